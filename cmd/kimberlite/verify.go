package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/internal/fault"
	"kimberlite/internal/node"
	"kimberlite/internal/quantity"
)

func verifyCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "verify PATH",
		Short: "Verify a data directory or a tenant's directory, offline and without keys",
		Long: `Verify every byte of the logs under PATH: a data directory that no process has
open, a tenant's directory or its log directory. No key is needed. Damage is
named by file and byte offset, with exit status 7.`,
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite verify ./data`,
		Args: exactly("PATH"),
	}
	return a.verb(c, func(ctx context.Context, args []string) error {
		if a.global.server != "" {
			return errServer()
		}
		report, err := a.verifyPath(ctx, args[0])
		if err != nil {
			return err
		}
		return a.printVerified(report)
	})
}

func (a *app) verifyPath(ctx context.Context, path string) (*kimberlite.VerifyReport, error) {
	release, err := holdDirectory(path)
	if err != nil {
		return nil, err
	}
	bar := a.progress("verifying", segmentBytes(path))
	report, err := kimberlite.VerifyPath(ctx, path, bar.set)
	bar.done()
	return report, errors.Join(err, release())
}

// holdDirectory keeps the data directory that a tenant's directory stands in
// from changing while it is read. A data directory itself holds VerifyPath, a
// copy of a tenant's directory needs no holding, and what cannot be written
// to neither.
func holdDirectory(path string) (release func() error, err error) {
	free := func() error { return nil }
	dir, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.Wrap("verify", fault.Invalid, err, "the path has no absolute form")
	}
	if node.IsDataDir(dir) {
		return free, nil
	}
	// DATA/shards/1/tenants/1/log is as deep as it goes.
	for range strings.Count("DATA/shards/1/tenants/1/log", "/") {
		if dir = filepath.Dir(dir); !node.IsDataDir(dir) {
			continue
		}
		release, err = node.LockDir(dir)
		if errors.Is(err, fs.ErrPermission) || isReadOnly(err) {
			return free, nil
		}
		return release, err
	}
	return free, nil
}

// segmentBytes returns the size of all segments under a path, for the bar.
func segmentBytes(path string) int64 {
	var total int64
	err := filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, ".segment") {
			if info, err := e.Info(); err == nil {
				total += info.Size()
			}
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return total
}

// verifiedDocument is a verification as --json prints it.
type verifiedDocument struct {
	Path     string                   `json:"path"`
	OK       bool                     `json:"ok"`
	Tenants  []verifiedTenantDocument `json:"tenants"`
	Problems []problemDocument        `json:"problems"`
}

// verifiedTenantDocument is what was found in one tenant's log.
type verifiedTenantDocument struct {
	ID          uint64 `json:"id"`
	OK          bool   `json:"ok"`
	Records     uint64 `json:"records"`
	Bytes       int64  `json:"bytes"`
	Segments    int    `json:"segments"`
	LastHash    string `json:"last_hash"`
	Signed      bool   `json:"signed"`
	HeadRecords uint64 `json:"head_records"`
	Pending     uint64 `json:"pending"`
}

// problemDocument is one thing that is wrong; tenant is null for what is
// nobody's.
type problemDocument struct {
	Tenant  *uint64 `json:"tenant"`
	File    string  `json:"file"`
	Offset  int64   `json:"offset"`
	Record  uint64  `json:"record"`
	Message string  `json:"message"`
}

func documentVerified(r *kimberlite.VerifyReport) verifiedDocument {
	doc := verifiedDocument{Path: r.Path, OK: r.Count() == 0, Tenants: []verifiedTenantDocument{}, Problems: []problemDocument{}}
	for i := range r.Tenants {
		t := &r.Tenants[i]
		doc.Tenants = append(doc.Tenants, verifiedTenantDocument{
			ID: t.Tenant.Uint64(), OK: len(t.Problems) == 0, Records: t.Records, Bytes: t.Bytes, Segments: t.Segments,
			LastHash: hexText(t.LastHash[:]), Signed: t.Signed, HeadRecords: t.HeadRecords, Pending: t.Pending,
		})
	}
	for _, p := range r.All() {
		problem := problemDocument{File: p.File, Offset: p.Offset, Record: p.Record.Uint64(), Message: p.Message}
		if !p.Tenant.IsZero() {
			id := p.Tenant.Uint64()
			problem.Tenant = &id
		}
		doc.Problems = append(doc.Problems, problem)
	}
	return doc
}

// printVerified prints a report; problems make it fail with Corruption.
func (a *app) printVerified(r *kimberlite.VerifyReport) error {
	err := a.print(documentVerified(r), func(w io.Writer) {
		rows := make([]string, len(r.Tenants))
		for i := range r.Tenants {
			rows[i] = verifiedRow(&r.Tenants[i])
		}
		columns(w, "TENANT\tRESULT\tRECORDS\tBYTES\tSEGMENTS\tSIGNED HEAD\tPENDING", rows)
		for _, p := range r.All() {
			fmt.Fprintf(w, "%s, offset %d: %s\n", printable(p.File), p.Offset, printable(p.Message))
		}
	})
	if err != nil {
		return err
	}
	return corruption(r)
}

func verifiedRow(t *kimberlite.VerifyTenantReport) string {
	result, head := "ok", "none"
	if n := len(t.Problems); n > 0 {
		result = fmt.Sprintf("%d wrong", n)
	}
	if t.Signed {
		head = fmt.Sprintf("%d records", t.HeadRecords)
	}
	return line(t.Tenant, result, t.Records, quantity.DisplaySize(t.Bytes), t.Segments, head, t.Pending)
}

// corruption returns the error that stands for a report's problems, or nil.
func corruption(r *kimberlite.VerifyReport) error {
	problems := r.All()
	if len(problems) == 0 {
		return nil
	}
	first := problems[0]
	more := ""
	if n := len(problems) - 1; n > 0 {
		more = fmt.Sprintf(", and %d more", n)
	}
	return fault.Corrupt("verify", first.File, first.Offset, "%s%s", first.Message, more).ForTenant(first.Tenant)
}
