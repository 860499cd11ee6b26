package tenantlog

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

// Expect is what the caller knows of a log from elsewhere. The more it knows,
// the more Verify can find.
type Expect struct {
	// Position is what the shard's checkpoint says, [Start] when it knows of
	// no records; or nil when there is no checkpoint to ask, as for a copy
	// of the files. With it, records beyond it need not be whole: the
	// replicated log brings them again. Without it, the signed head says
	// what must be there, and a log with records must have one.
	Position *Position
	// PublicKey is the key that the tenant's heads are signed with; nil takes
	// the one in the head, which then proves only that the head is whole.
	PublicKey ed25519.PublicKey
}

// TailState says how a log ends.
type TailState uint8

const (
	// TailClean is a log that ends with a whole record.
	TailClean TailState = iota
	// TailTorn is a log with bytes after its last whole record that nothing
	// says must be there: what a crash leaves, and the next opening cuts off.
	TailTorn
)

// String returns "clean" or "torn".
func (t TailState) String() string {
	if t == TailTorn {
		return "torn"
	}
	return "clean"
}

// MaxProblems is how many problems a Report lists; the rest are counted.
const MaxProblems = 1000

// Report is what Verify found.
type Report struct {
	Tenant ident.TenantID
	// Records counts the sound records, Bytes all bytes of all segments, and
	// Segments their files.
	Records  uint64
	Bytes    int64
	Segments int
	// LastHash is the hash of the last sound record, or the genesis hash.
	LastHash record.Hash
	// Head is the signed head, if there is one and its signature holds.
	Head *record.Head
	// Tail says how the log ends, and TornFile, TornAt and TornBytes where a
	// torn end begins and how long it is.
	Tail      TailState
	TornFile  string
	TornAt    int64
	TornBytes int64
	// Problems are in the order of the files; MoreProblems were not listed.
	Problems     []Problem
	MoreProblems int
}

// Problem is one thing that is wrong with a log.
type Problem struct {
	// File is the file's path and Offset the byte in it; for what is missing,
	// where it should be.
	File   string
	Offset int64
	// Record is the record concerned, or the one that should be there.
	Record ident.Offset
	// Message says what is wrong.
	Message string
}

// String returns the problem in one line.
func (p Problem) String() string {
	return fmt.Sprintf("%s (file %s, offset %d, record %s)", p.Message, p.File, p.Offset, p.Record)
}

// Err returns the first problem as a Corruption, or nil when there is none.
func (r Report) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	p := r.Problems[0]
	return fault.Corrupt("verify", p.File, p.Offset, "%s", p.Message).ForTenant(r.Tenant)
}

// Verify reads every byte of a log's files and reports what is wrong with
// them: a flipped bit, a swapped, dropped, repeated or moved record, a cut
// tail, a missing or foreign segment, another tenant's file, a bad or missing
// signature. After a problem it goes on with what it can still tell apart. It
// needs no keys, changes nothing, and uses a fixed amount of memory; nobody
// may be appending meanwhile. progress, if not nil, is told now and then how
// many bytes are done.
//
// The error is for files that cannot be read at all; everything that is wrong
// inside of them is in the report.
func Verify(fsys disk.FS, dir string, tenant ident.TenantID, e Expect, progress func(bytes int64)) (Report, error) {
	if tenant.IsZero() {
		return Report{}, fault.New("verify", fault.Invalid, "a log needs a tenant")
	}
	w := newWalk(fsys, dir, tenant, e, progress)
	bases, err := w.list()
	if err != nil {
		return w.report, err
	}
	if err := w.readHead(); err != nil {
		return w.report, err
	}
	w.expectations()
	for i, base := range bases {
		if err := w.segment(base, i == len(bases)-1); err != nil {
			return w.report, err
		}
	}
	w.finish()
	return w.report, nil
}

// list returns the segments, and reports files that pretend to be some.
func (w *walk) list() ([]ident.Offset, error) {
	names, err := w.fs.ReadDir(w.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, ioFault(err, "list", w.dir)
	}
	var bases []ident.Offset
	for _, name := range names {
		base, ok := parseSegmentName(name)
		switch {
		case ok:
			bases = append(bases, base)
		case strings.Contains(name, segmentSuffix):
			w.problem(filepath.Join(w.dir, name), 0, ident.Offset{}, "a file that is no segment of this log")
		}
	}
	w.report.Segments = len(bases)
	return bases, nil
}

// readHead reads and checks the signed head by itself.
func (w *walk) readHead() error {
	name := filepath.Join(w.dir, HeadName)
	b, err := disk.ReadFile(w.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		w.noHead = true
		return nil
	}
	if err != nil {
		return ioFault(err, "read", name)
	}
	h, err := record.DecodeHead(b)
	if err != nil {
		w.problem(name, 0, ident.Offset{}, "%s", message(err))
		return nil
	}
	switch {
	case h.Verify() != nil:
		w.problem(name, record.HeadSignatureAt, h.Next, "the head's signature is wrong: the head was damaged or forged")
		return nil //nolint:nilerr // it is noted as a problem; nothing in the head can be believed
	case h.Tenant != w.tenant:
		w.problem(name, record.HeadTenantAt, h.Next, "the head belongs to tenant %s", h.Tenant)
		return nil
	case w.expect.PublicKey != nil && !h.PublicKey.Equal(w.expect.PublicKey):
		w.problem(name, record.HeadPublicKeyAt, h.Next, "the head is signed with another key than this tenant's")
		return nil
	}
	w.report.Head = &h
	return nil
}

// expectations turns the checkpoint's position and the head into milestones
// that the walk must meet.
func (w *walk) expectations() {
	if h := w.report.Head; h != nil {
		w.milestones = append(w.milestones, milestone{
			who:      "the signed head",
			position: Position{Next: h.Next, LastHash: h.LastHash, Segment: h.Segment, SegmentBytes: h.SegmentBytes, TotalBytes: h.TotalBytes},
			binding:  w.expect.Position == nil,
		})
	}
	if p := w.expect.Position; p != nil {
		at := *p
		if at == (Position{}) {
			at = Start(w.tenant)
		}
		w.milestones = append(w.milestones, milestone{who: "the checkpoint", position: at, binding: true})
	}
	for _, m := range w.milestones {
		if m.binding && w.required.Before(m.position.Next) {
			w.required = m.position.Next
		}
	}
	for i := range w.milestones {
		w.meet(&w.milestones[i], "", 0) // those of an empty log
	}
}

// finish checks what only the end of the walk can tell.
func (w *walk) finish() {
	w.report.LastHash = w.last
	if w.next.Before(w.required) {
		w.problem(w.file, w.fileEnd, w.next, "the log is cut short: %s records must be there, it ends after %s", w.required, w.next)
	}
	p := w.expect.Position
	records := p == nil && w.report.Bytes > 0 || p != nil && !p.isEmpty()
	if w.noHead && records {
		w.problem(filepath.Join(w.dir, HeadName), 0, w.next, "the signed head is missing")
	}
	w.tell(true)
}

// message returns what an error of package record says, without its prefix.
func message(err error) string {
	var e *fault.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}
