package demo

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kimberlite"
	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
)

// rebuild is step 7.
func (d *demo) rebuild(ctx context.Context) error {
	h := d.hospitals[0]
	before, err := h.t.TableHash(ctx)
	if err != nil {
		return err
	}
	if err := h.t.RebuildProjection(ctx); err != nil {
		return err
	}
	after, err := h.t.TableHash(ctx)
	if err != nil {
		return err
	}
	d.out.say("hash over all rows of hospital-a before: %s…", hex.EncodeToString(before[:12]))
	d.out.say("               and after the rebuilding: %s…", hex.EncodeToString(after[:12]))
	return d.out.holds(before == after, "the log is the truth: the tables derived from it are identical")
}

// reopen is step 8.
func (d *demo) reopen(ctx context.Context) error {
	var before [2][32]byte
	for i, h := range d.hospitals {
		var err error
		if before[i], err = h.t.TableHash(ctx); err != nil {
			return err
		}
	}
	if err := d.close(); err != nil {
		return err
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	same := true
	for i, h := range d.hospitals {
		var err error
		if h.t, err = d.db.TenantByName(h.config.Name); err != nil {
			return err
		}
		after, err := h.t.TableHash(ctx)
		if err != nil {
			return err
		}
		same = same && after == before[i]
	}
	return d.out.holds(same, "both hospitals hold what they held")
}

// verifyChains is step 10.
func (d *demo) verifyChains(ctx context.Context) error {
	rows := [][]string{{"HOSPITAL", "RECORDS", "BYTES", "SEGMENTS", "SIGNED HEAD", "LAST HASH"}}
	problems := 0
	for _, h := range d.hospitals {
		r, err := h.t.Verify(ctx)
		if err != nil {
			return err
		}
		head := "none"
		if r.Signed {
			head = quantity.FormatCount(int64(r.HeadRecords)) + " records" //nolint:gosec // a count of records
		}
		rows = append(rows, []string{
			h.config.Name, quantity.FormatCount(int64(r.Records)), quantity.DisplaySize(r.Bytes), //nolint:gosec // likewise
			quantity.FormatCount(int64(r.Segments)), head, hex.EncodeToString(r.LastHash[:8]) + "…",
		})
		problems += len(r.Problems)
		if r.Records == 0 || !r.Signed || r.HeadRecords != r.Records {
			return broken("the signed head of %s covers all of its %d records", h.config.Name, r.Records)
		}
	}
	d.out.table(rows)
	return d.out.holds(problems == 0, "every record is where it belongs, as it was written, and the heads' signatures hold")
}

// flipByte is step 11. It works on a copy, so that the original stays whole.
func (d *demo) flipByte(ctx context.Context) (err error) {
	id := d.hospitals[0].t.ID().String()
	temp, err := os.MkdirTemp("", "kimberlite-demo-")
	if err != nil {
		return fault.Wrap("demo", fault.Unavailable, err, "cannot make a temporary directory")
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	// A tenant's directory is named by its id; the check relies on it.
	dir := filepath.Join(temp, id)
	original := filepath.Join(d.config.Dir, "shards", "1", "tenants", id, "log")
	if err := os.CopyFS(filepath.Join(dir, "log"), os.DirFS(original)); err != nil {
		return fault.Wrap("demo", fault.Unavailable, err, "cannot copy the log")
	}
	if err := d.cleanCopy(ctx, dir, "a copy of hospital-a's log, verified without any key: nothing wrong"); err != nil {
		return err
	}
	segments, err := filepath.Glob(filepath.Join(dir, "log", "*.segment"))
	if err != nil || len(segments) == 0 {
		return broken("the log has a segment")
	}
	slices.Sort(segments)
	whole, err := os.ReadFile(segments[0])
	if err != nil {
		return fault.Wrap("demo", fault.Unavailable, err, "cannot read the copy")
	}
	for _, at := range []int{0, len(whole) / 2, len(whole) - 1} {
		if err := d.flipAt(ctx, dir, segments[0], whole, at); err != nil {
			return err
		}
	}
	if err := os.WriteFile(segments[0], whole, 0o600); err != nil {
		return fault.Wrap("demo", fault.Unavailable, err, "cannot write the copy")
	}
	return d.cleanCopy(ctx, dir, "with the byte put back, nothing is wrong again")
}

func (d *demo) cleanCopy(ctx context.Context, dir, claim string) error {
	report, err := kimberlite.VerifyPath(ctx, dir, nil)
	if err != nil {
		return err
	}
	return d.out.holds(report.Count() == 0 && len(report.Tenants) == 1 && report.Tenants[0].Records > 0, "%s", claim)
}

// flipAt changes one byte of a segment's copy and has it found.
func (d *demo) flipAt(ctx context.Context, dir, segment string, whole []byte, at int) error {
	forged := slices.Clone(whole)
	forged[at] ^= 1
	if err := os.WriteFile(segment, forged, 0o600); err != nil {
		return fault.Wrap("demo", fault.Unavailable, err, "cannot write the copy")
	}
	report, err := kimberlite.VerifyPath(ctx, dir, nil)
	if err != nil {
		return err
	}
	problems := report.All()
	if len(problems) == 0 {
		return broken("the flip of byte %d is found", at)
	}
	found := problems[0]
	name := strings.TrimPrefix(found.File, filepath.Dir(dir)+string(filepath.Separator))
	d.facts.Flipped = append(d.facts.Flipped, FlipFacts{File: name, Byte: int64(at), FoundAt: found.Offset, Message: found.Message})
	d.out.say("byte %d of %s changed: %s (file %s, offset %d)", at, filepath.Base(segment), found.Message, name, found.Offset)
	return d.out.holds(found.File == segment && found.Offset <= int64(at), "found, and named by file and offset")
}
