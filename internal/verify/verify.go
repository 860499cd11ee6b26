// Package verify checks, offline and without any key, that what stands in a
// data directory or in one tenant's directory is the unbroken chain that was
// written there.
//
// It guarantees that a flipped bit, a swapped, dropped, repeated or moved
// record, a missing segment and a cut tail are each named by file and byte
// offset. It only reads. It must not open tenants or keys: it uses the public
// read surface of the tenant log, and the replicated log's own records of
// what the tenants' logs must hold. The root package and the command line
// call it.
package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
	"kimberlite/internal/tenantlog"
)

// Problem is one thing that is wrong.
type Problem struct {
	Tenant  ident.TenantID
	File    string
	Offset  int64 // byte offset in File
	Record  ident.Offset
	Message string
}

// TenantReport is what was found in one tenant's log.
type TenantReport struct {
	Tenant   ident.TenantID
	Records  uint64
	Bytes    int64
	Segments int
	LastHash record.Hash
	// Signed says that a signed head covers HeadRecords records.
	Signed      bool
	HeadRecords uint64
	// Pending is how many records exist only in the replicated log, from where
	// the next opening brings them.
	Pending  uint64
	Problems []Problem
}

// Report is what was found under a path.
type Report struct {
	Path    string
	Tenants []TenantReport
	// Problems are those that belong to no tenant.
	Problems []Problem
}

// Count returns the number of problems.
func (r *Report) Count() int {
	n := len(r.Problems)
	for i := range r.Tenants {
		n += len(r.Tenants[i].Problems)
	}
	return n
}

// All returns every problem.
func (r *Report) All() []Problem {
	all := append([]Problem(nil), r.Problems...)
	for i := range r.Tenants {
		all = append(all, r.Tenants[i].Problems...)
	}
	return all
}

// Path checks a data directory, a tenant's directory or its log directory.
// progress, if not nil, is told how many bytes have been read so far. The
// error says that the check could not be made; what is wrong with the data is
// in the report. NotFound says that nothing there can be verified.
func Path(ctx context.Context, fsys disk.FS, path string, progress func(int64)) (*Report, error) {
	names, err := fsys.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New("verify", fault.NotFound, "there is no %s", path)
	}
	if err != nil {
		return nil, fault.Wrap("verify", fault.Unavailable, err, "cannot read %s", path)
	}
	v := &verifier{ctx: ctx, fs: fsys, report: &Report{Path: path}, progress: progress}
	has := map[string]bool{}
	for _, n := range names {
		has[n] = true
	}
	switch {
	case has["node.toml"]:
		err = v.dataDirectory(path)
	case has["log"]:
		err = v.tenantDirectory(filepath.Join(path, "log"), filepath.Base(path))
	case has["HEAD"] || hasSegment(names):
		err = v.tenantDirectory(path, filepath.Base(filepath.Dir(path)))
	default:
		return nil, fault.New("verify", fault.NotFound, "%s is neither a data directory nor a tenant's directory", path)
	}
	return v.report, err
}

func hasSegment(names []string) bool {
	for _, n := range names {
		if strings.HasSuffix(n, ".segment") {
			return true
		}
	}
	return false
}

type verifier struct {
	ctx      context.Context
	fs       disk.FS
	report   *Report
	progress func(int64)
	read     int64
}

// tenantDirectory checks one tenant by its own files alone: its signed head
// says how far the chain must reach.
func (v *verifier) tenantDirectory(logDir, name string) error {
	id, err := ident.ParseTenantID(name)
	if err != nil {
		return fault.New("verify", fault.Invalid, "a tenant's directory is named by its id; %q is none", name)
	}
	return v.tenant(logDir, id, expectation{})
}

// expectation is what the shard's own state says of a tenant's log.
type expectation struct {
	known   bool
	offline bool               // nobody has the directory open
	at      tenantlog.Position // as of the last checkpoint
	// envelope is the key envelope in force, public and kek are what it names.
	envelope, public []byte
	kek              ident.KeyGeneration
	pending          []pendingRecord // in the replicated log after the checkpoint
	// next and last are the place after pending, and the hash before it.
	next ident.Offset
	last record.Hash
}

type pendingRecord struct {
	offset ident.Offset
	hash   record.Hash
	size   int64
}

func (v *verifier) tenant(logDir string, id ident.TenantID, e expectation) error {
	if v.ctx.Err() != nil {
		return fault.OfContext("verify", v.ctx)
	}
	expect := tenantlog.Expect{PublicKey: e.public}
	if e.known {
		expect.Position = &e.at
	}
	base := v.read
	rep, err := tenantlog.Verify(v.fs, logDir, id, expect, func(n int64) {
		v.read = base + n
		if v.progress != nil {
			v.progress(v.read)
		}
	})
	if err != nil {
		return err
	}
	out := TenantReport{
		Tenant: id, Records: rep.Records, Bytes: rep.Bytes, Segments: rep.Segments, LastHash: rep.LastHash,
	}
	if rep.Head != nil {
		out.Signed, out.HeadRecords = true, rep.Head.Next.Uint64()
	}
	for _, p := range rep.Problems {
		out.Problems = append(out.Problems, Problem{Tenant: id, File: p.File, Offset: p.Offset, Record: p.Record, Message: p.Message})
	}
	v.comparePending(&out, e, rep)
	compareHead(&out, e, logDir)
	v.report.Tenants = append(v.report.Tenants, out)
	return nil
}

// comparePending looks at the records that the replicated log holds after the
// checkpoint. Those that the tenant's files hold whole were walked like all
// others. One whose place in the files is filled with something else is
// damage, though the next opening mends it; the rest wait for that opening.
func (v *verifier) comparePending(out *TenantReport, e expectation, rep tenantlog.Report) {
	for _, p := range e.pending {
		switch {
		case p.offset.Uint64() == out.Records && rep.Tail != tenantlog.TailClean && rep.TornBytes >= p.size:
			out.Problems = append(out.Problems, Problem{
				Tenant: out.Tenant, File: rep.TornFile, Offset: rep.TornAt, Record: p.offset,
				Message: "this is not the record that the replicated log holds; the next opening writes it again",
			})
			out.Pending++
		case p.offset.Uint64() >= out.Records:
			out.Pending++
		case p.offset.Uint64() == out.Records-1 && p.hash != out.LastHash && len(out.Problems) == 0:
			out.Problems = append(out.Problems, Problem{
				Tenant: out.Tenant, File: rep.TornFile, Record: p.offset,
				Message: "the last record is not the one that the replicated log holds at this offset",
			})
		}
	}
}

func sortReports(reports []TenantReport) {
	sort.Slice(reports, func(i, j int) bool { return reports[i].Tenant.Uint64() < reports[j].Tenant.Uint64() })
}

// compareHead holds the signed head against the replicated log of a directory
// that nobody has open: a head is written only once the replicated log holds
// its records.
func compareHead(out *TenantReport, e expectation, logDir string) {
	reach := e.at.Next.Uint64()
	for _, p := range e.pending {
		reach = max(reach, p.offset.Uint64()+1)
	}
	if !e.offline || out.HeadRecords <= reach || len(out.Problems) > 0 {
		return
	}
	out.Problems = append(out.Problems, Problem{
		Tenant: out.Tenant, File: filepath.Join(logDir, tenantlog.HeadName), Record: ident.NewOffset(reach),
		Message: fmt.Sprintf("the signed head covers %d records, and the replicated log knows of %d: it is an older copy", out.HeadRecords, reach),
	})
}
