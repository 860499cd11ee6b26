package tenantlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"path/filepath"
	"strings"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

// rewrite replaces the records of the first segment.
func rewrite(t testing.TB, fsys disk.FS, recs ...[]byte) {
	t.Helper()
	first := segmentPath(testDir, ident.Offset{})
	header := readFile(t, fsys, first)[:record.SegmentHeaderBytes]
	writeFile(t, fsys, first, bytes.Join(append([][]byte{header}, recs...), nil))
}

// disorder is a log whose first segment was put together anew, and the byte
// of that segment at which this shows.
type disorder struct {
	name string
	fs   *disk.Mem
	at   int64
}

// disorders returns what someone can do to a segment with whole records.
func disorders(t *testing.T) (all []disorder, end Position, c *chain) {
	mem, c, positions := smallLog(t, tenant1, 20)
	end = positions[19]
	raws := wantRecords(t, mustOpen(t, testOptions(mem, tenant1), end), 0, c.recs)
	n := 0 // records in the first segment
	for n < len(raws) && (raws[n].Cursor.Segment == ident.Offset{}) {
		n++
	}
	if n < 4 {
		t.Fatalf("the test needs more records in a segment, not %d", n)
	}
	r := c.recs[:n]
	at := func(i int) int64 { return raws[i].Cursor.Byte }
	after := func(i int) int64 { return at(i) + int64(len(r[i])) }
	joined := func(parts ...[][]byte) (all [][]byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	one := func(rec []byte) [][]byte { return [][]byte{rec} }
	_, other, _ := smallLog(t, tenant2, 20)
	fork := newChain(t, tenant1)
	for range 3 {
		fork.next(50)
	}
	// forged is record 2 altered by someone who makes the hash right again.
	forged := bytes.Clone(r[2])
	forged[record.HeaderBytes+5] ^= 1
	rehash(forged)
	for _, x := range []struct {
		name string
		at   int64
		recs [][]byte
	}{
		{"swapped", at(1), joined(r[:1], r[2:3], r[1:2], r[3:])},
		{"dropped", at(2), joined(r[:2], r[3:])},
		{"dropped first", at(0), r[1:]},
		{"dropped last", at(n - 1), r[:n-1]},
		{"repeated", at(2), joined(r[:2], r[1:])},
		{"repeated last", after(n - 1), joined(r, r[n-1:])},
		{"moved to the end", at(1), joined(r[:1], r[2:], r[1:2])},
		{"moved to the front", at(0), joined(r[n-1:], r[:n-1])},
		{"moved from elsewhere", at(2), joined(r[:2], c.recs[n:n+1], r[2:])},
		{"another tenant's", at(2), joined(r[:2], other.recs[2:3], r[3:])},
		{"of a fork", at(2), joined(r[:2], fork.recs[2:], r[3:])},
		{"rewritten with its hash", after(2), joined(r[:2], one(forged), r[3:])},
		{"linked, but a later offset", at(2), joined(r[:2], one(c.misfit(2, tenant1, 3)), r[3:])},
		{"linked, but an earlier offset", at(2), joined(r[:2], one(c.misfit(2, tenant1, 1)), r[3:])},
		{"linked, but another tenant's", at(2), joined(r[:2], one(c.misfit(2, tenant2, 2)), r[3:])},
		{"junk between", at(2), joined(r[:2], one([]byte("junk")), r[2:])},
		{"zeros at the end", after(n - 1), joined(r, one(make([]byte, 500)))},
		{"all gone", at(0), nil},
	} {
		clone := mem.CrashClone(nil)
		rewrite(t, clone, x.recs...)
		all = append(all, disorder{x.name, clone, x.at})
	}
	return all, end, c
}

func TestVerifyNamesRecordsOutOfPlace(t *testing.T) {
	all, end, _ := disorders(t)
	first := segmentPath(testDir, ident.Offset{})
	for _, x := range all {
		for how, e := range expectations(end) {
			wantProblem(t, verify(t, x.fs, tenant1, e), first, x.at, x.at+1, 8, x.name+", "+how)
		}
	}
}

func TestReadRefusesRecordsOutOfPlace(t *testing.T) {
	all, end, c := disorders(t)
	first := segmentPath(testDir, ident.Offset{})
	for _, x := range all {
		l := mustOpen(t, testOptions(x.fs, tenant1), end)
		got, err := readAll(l, 0)
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind != fault.Corruption || e.File != first || e.Position != x.at {
			t.Errorf("%s: want it at %d: %v", x.name, x.at, err)
		}
		for i, r := range got {
			if !bytes.Equal(r.Bytes, c.recs[i]) {
				t.Errorf("%s: wrong record %d", x.name, i)
			}
		}
	}
}

func TestSeekNamesRecordsOutOfPlace(t *testing.T) {
	all, end, _ := disorders(t)
	for _, x := range all {
		named := strings.HasPrefix(x.name, "linked") || x.name == "swapped" || x.name == "dropped" || x.name == "repeated"
		if !named {
			continue
		}
		l := mustOpen(t, testOptions(x.fs, tenant1), end)
		_, err := l.Seek(ident.NewOffset(3))
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind != fault.Corruption || e.Position != x.at {
			t.Errorf("%s: want it at %d: %v", x.name, x.at, err)
		}
	}
}

// rehash makes the checksum and hash of a record right again.
func rehash(rec []byte) {
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := crc32.Update(crc32.Checksum(rec[:44], table), table, rec[48:80])
	binary.BigEndian.PutUint32(rec[44:], crc)
	sum := sha256.Sum256(rec[:len(rec)-record.TrailerBytes])
	copy(rec[len(rec)-record.TrailerBytes:], sum[:])
}

func TestVerifyNamesSegmentsOutOfPlace(t *testing.T) {
	mem, c, positions := smallLog(t, tenant1, 30)
	end := positions[29]
	other, _, _ := smallLog(t, tenant2, 30)
	l := mustOpen(t, testOptions(mem, tenant1), end)
	wantRecords(t, l, 0, c.recs)
	seg := func(i int) string { return segmentPath(testDir, l.bases[i]) }
	size := func(i int) int64 { return int64(len(readFile(t, mem, seg(i)))) }
	if len(l.bases) < 4 {
		t.Fatal("the test needs more segments")
	}
	others, err := listSegments(other, testDir)
	if err != nil {
		t.Fatal(err)
	}
	remove := func(i int) func(f disk.FS) {
		return func(f disk.FS) {
			if err := f.Remove(seg(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := len(l.bases) - 1
	for name, x := range map[string]struct {
		change func(f disk.FS)
		file   string
		at     int64
	}{
		"first missing": {remove(0), seg(0), 0},
		"one missing":   {remove(1), seg(0), size(0)},
		"last missing":  {remove(last), seg(last - 1), size(last - 1)},
		"two swapped": {func(f disk.FS) {
			a, b := readFile(t, f, seg(1)), readFile(t, f, seg(2))
			writeFile(t, f, seg(1), b)
			writeFile(t, f, seg(2), a)
		}, seg(1), 16},
		"another tenant's first": {func(f disk.FS) {
			writeFile(t, f, seg(0), readFile(t, other, segmentPath(testDir, others[0])))
		}, seg(0), 8},
		"another tenant's last": {func(f disk.FS) {
			writeFile(t, f, seg(last), readFile(t, other, segmentPath(testDir, others[1])))
		}, seg(last), 8},
		"another tenant's, one more": {func(f disk.FS) {
			writeFile(t, f, segmentPath(testDir, end.Next), readFile(t, other, segmentPath(testDir, others[0])))
		}, segmentPath(testDir, end.Next), 8},
		"a copy under a later name": {func(f disk.FS) {
			writeFile(t, f, segmentPath(testDir, end.Next), readFile(t, f, seg(1)))
		}, segmentPath(testDir, end.Next), 16},
		"a copy in between": {func(f disk.FS) {
			writeFile(t, f, segmentPath(testDir, l.bases[1].Next()), readFile(t, f, seg(1)))
		}, segmentPath(testDir, l.bases[1].Next()), 0},
		"a strange name": {func(f disk.FS) {
			writeFile(t, f, filepath.Join(testDir, "1.segment"), readFile(t, f, seg(1)))
		}, filepath.Join(testDir, "1.segment"), 0},
		"an empty file": {func(f disk.FS) { writeFile(t, f, seg(1), nil) }, seg(1), 0},
		"a header alone": {func(f disk.FS) {
			writeFile(t, f, seg(1), readFile(t, f, seg(1))[:record.SegmentHeaderBytes])
		}, seg(1), record.SegmentHeaderBytes},
	} {
		clone := mem.CrashClone(nil)
		x.change(clone)
		for how, e := range expectations(end) {
			r := verify(t, clone, tenant1, e)
			beyond := e.Position != nil && x.file == segmentPath(testDir, end.Next)
			if beyond { // no record of this log: the next opening removes it
				if r.Tail != TailTorn || r.TornFile != x.file || len(r.Problems) != 0 {
					t.Errorf("%s, %s: %+v", name, how, r)
				}
				continue
			}
			wantProblem(t, r, x.file, x.at, x.at+1, 30, name+", "+how)
		}
	}
}

// A header altered by someone who makes its checksum right again.
func TestForgedSegmentHeadersAreNamed(t *testing.T) {
	mem, c, positions := smallLog(t, tenant1, 12)
	end := positions[11]
	l := mustOpen(t, testOptions(mem, tenant1), end)
	second := segmentPath(testDir, l.bases[1])
	good := readFile(t, mem, second)
	for name, x := range map[string]struct {
		change func(h *record.SegmentHeader)
		at     int64
		read   bool // whether reading finds it: times are the verifier's
	}{
		"tenant":        {func(h *record.SegmentHeader) { h.Tenant = tenant2 }, 8, true},
		"base":          {func(h *record.SegmentHeader) { h.Base = h.Base.Next() }, 16, true},
		"previous hash": {func(h *record.SegmentHeader) { h.PrevHash[0] ^= 1 }, 24, true},
		"time":          {func(h *record.SegmentHeader) { h.Time = h.Time.Add(1) }, 56, false},
	} {
		h, err := record.DecodeSegmentHeader(good)
		if err != nil {
			t.Fatal(err)
		}
		x.change(&h)
		writeFile(t, mem, second, append(h.Encode(), good[record.SegmentHeaderBytes:]...))
		for how, e := range expectations(end) {
			wantProblem(t, verify(t, mem, tenant1, e), second, x.at, x.at+1, 2, name+", "+how)
		}
		l := mustOpen(t, testOptions(mem, tenant1), end)
		_, err = readAll(l, 0)
		if !x.read {
			wantRecords(t, l, 0, c.recs)
			continue
		}
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind != fault.Corruption || e.File != second || e.Position != x.at {
			t.Errorf("%s: %v", name, err)
		}
	}
}
