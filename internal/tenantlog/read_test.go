package tenantlog

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

func TestEveryCursorReadsOnFromThere(t *testing.T) {
	mem, c := disk.NewMem(), newChain(t, tenant1)
	l := mustOpen(t, testOptions(mem, tenant1), Start(tenant1))
	grow(t, l, c, 40, 250, testRand(1))
	raws := wantRecords(t, l, 0, c.recs)
	for i, raw := range raws {
		for _, limit := range []int{1, 300, 2000, 0} {
			got, next, err := l.Read(raw.Cursor, limit)
			if err != nil || len(got) == 0 {
				t.Fatal(i, limit, err)
			}
			size := 0
			for j, r := range got {
				if r.Cursor != raws[i+j].Cursor || !bytes.Equal(r.Bytes, c.recs[i+j]) {
					t.Fatalf("from %d, limit %d: record %d is wrong", i, limit, i+j)
				}
				size += len(r.Bytes)
			}
			if limit > 0 && len(got) > 1 && size > limit {
				t.Fatalf("%d bytes over the limit of %d", size, limit)
			}
			if next.Offset.Uint64() != uint64(i+len(got)) {
				t.Fatalf("next is %+v", next)
			}
		}
	}
}

func TestACursorAtASegmentsEndFindsTheNextSegment(t *testing.T) {
	mem, c := disk.NewMem(), newChain(t, tenant1)
	l := mustOpen(t, testOptions(mem, tenant1), Start(tenant1))
	for i := range 50 {
		at := l.NextCursor()
		if recs, next, err := l.Read(at, 0); err != nil || len(recs) != 0 || next != at {
			t.Fatal(i, recs, next, err)
		}
		rec := c.next(200)
		mustAppend(t, l, rec)
		recs, _, err := l.Read(at, 0)
		if err != nil || len(recs) != 1 || !bytes.Equal(recs[0].Bytes, rec) {
			t.Fatal(i, len(recs), err)
		}
	}
}

func TestCursorsThatAreNotTheLogs(t *testing.T) {
	mem, _, positions := smallLog(t, tenant1, 10)
	l := mustOpen(t, testOptions(mem, tenant1), positions[9])
	for name, c := range map[string]struct {
		at   Cursor
		kind fault.Kind
	}{
		"beyond the end":             {Cursor{Offset: ident.NewOffset(11)}, fault.NotFound},
		"the middle of a record":     {Cursor{Offset: ident.NewOffset(1), Byte: 100}, fault.Corruption},
		"another record's byte":      {Cursor{Offset: ident.NewOffset(1), Byte: record.SegmentHeaderBytes + 1}, fault.Corruption},
		"a later record's at byte 0": {Cursor{Offset: ident.NewOffset(1)}, fault.Invalid},
		"a segment that is none":     {Cursor{Offset: ident.NewOffset(1), Segment: ident.NewOffset(1)}, fault.Corruption},
	} {
		if _, _, err := l.Read(c.at, 0); !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every byte of a log flipped once: reading gives the right records or a
// Corruption that names the file and a byte of the record flipped, and never
// anything else.
func TestReadNeverReturnsFlippedBytes(t *testing.T) {
	mem, c, positions := smallLog(t, tenant1, 12)
	end := positions[len(positions)-1]
	l := mustOpen(t, testOptions(mem, tenant1), end)
	places := places(wantRecords(t, l, 0, c.recs))
	for _, p := range places {
		good := readFile(t, mem, p.file)
		for i := p.from; i < p.to; i++ {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << (i % 8)
			writeFile(t, mem, p.file, bad)
			var e *fault.Error
			l, err := Open(testOptions(mem, tenant1), end)
			if err == nil {
				var got []Raw
				got, err = readAll(l, 1000)
				for j, r := range got {
					if !bytes.Equal(r.Bytes, c.recs[j]) {
						t.Fatalf("%s byte %d: wrong record %d returned", p.file, i, j)
					}
				}
			}
			if !errors.As(err, &e) || e.Kind != fault.Corruption || e.File != p.file || e.Position < p.from || e.Position >= p.to {
				t.Fatalf("%s byte %d (of %d to %d): %v", p.file, i, p.from, p.to, err)
			}
		}
		writeFile(t, mem, p.file, good)
	}
}

// place is a record, or a segment's header, in a file.
type place struct {
	file     string
	from, to int64
}

func places(raws []Raw) []place {
	var all []place
	for _, r := range raws {
		file := segmentPath(testDir, r.Cursor.Segment)
		if r.Cursor.Byte == record.SegmentHeaderBytes {
			all = append(all, place{file, 0, record.SegmentHeaderBytes})
		}
		all = append(all, place{file, r.Cursor.Byte, r.Cursor.Byte + int64(len(r.Bytes))})
	}
	return all
}

func TestFilesCutUnderAnOpenLogAreFound(t *testing.T) {
	mem, c, positions := smallLog(t, tenant1, 12)
	end := positions[len(positions)-1]
	first := segmentPath(testDir, ident.Offset{})
	good := readFile(t, mem, first)
	for n := range good {
		l := mustOpen(t, testOptions(mem, tenant1), end)
		writeFile(t, mem, first, good[:n])
		got, err := readAll(l, 0)
		wantKind(t, err, fault.Corruption)
		for i, r := range got {
			if !bytes.Equal(r.Bytes, c.recs[i]) {
				t.Fatal("wrong record")
			}
		}
		writeFile(t, mem, first, good)
	}
}

func TestSeekAgreesWithItsNaiveTwin(t *testing.T) {
	mem, c := disk.NewMem(), newChain(t, tenant1)
	o := testOptions(mem, tenant1)
	o.SegmentBytes, o.BufferBytes = 1<<20, 64<<10
	l, rng := mustOpen(t, o, Start(tenant1)), testRand(9)
	for round := range 12 {
		grow(t, l, c, 40+rng.IntN(300), 10+rng.IntN(3)*4000, rng)
		if round == 5 { // from now on without what the index learnt
			mustSync(t, l)
			at := l.Position()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = mustOpen(t, o, at)
		}
		naive := wantRecords(t, l, 0, c.recs)
		for range 60 {
			i := rng.IntN(len(naive))
			got, err := l.Seek(ident.NewOffset(uint64(i)))
			if err != nil || got != naive[i].Cursor {
				t.Fatalf("offset %d: %+v, %v; a full read says %+v", i, got, err, naive[i].Cursor)
			}
		}
		next := ident.NewOffset(uint64(len(c.recs)))
		if got, err := l.Seek(next); err != nil || got != l.NextCursor() {
			t.Fatal(got, err)
		}
		_, err := l.Seek(next.Next())
		wantKind(t, err, fault.NotFound)
	}
	if segments := len(files(t, mem)); segments < 4 {
		t.Fatalf("only %d segments", segments)
	}
	entries := 0
	for _, s := range l.index.segments {
		entries += len(s.entries)
	}
	if most := int(l.Position().TotalBytes/indexSpacing) + len(l.bases); entries == 0 || entries > most {
		t.Fatalf("%d index entries, at most %d make sense", entries, most)
	}
}

func TestSeekIndexesABoundedNumberOfSegments(t *testing.T) {
	mem, c := disk.NewMem(), newChain(t, tenant1)
	l := mustOpen(t, testOptions(mem, tenant1), Start(tenant1))
	grow(t, l, c, 400, 100, testRand(1))
	for i := range c.recs {
		if _, err := l.Seek(ident.NewOffset(uint64(i))); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.bases) < 2*maxIndexed || len(l.index.segments) != maxIndexed {
		t.Fatalf("%d segments, %d indexed", len(l.bases), len(l.index.segments))
	}
}

func TestSeekNamesDamagedHeaders(t *testing.T) {
	mem, c, positions := smallLog(t, tenant1, 12)
	end := positions[len(positions)-1]
	raws := wantRecords(t, mustOpen(t, testOptions(mem, tenant1), end), 0, c.recs)
	first := segmentPath(testDir, ident.Offset{})
	bad := readFile(t, mem, first)
	bad[raws[1].Cursor.Byte+20] ^= 1
	writeFile(t, mem, first, bad)
	l := mustOpen(t, testOptions(mem, tenant1), end)
	if _, err := l.Seek(ident.NewOffset(1)); err != nil {
		t.Fatal(err) // the headers before it say where it is
	}
	_, err := l.Seek(ident.NewOffset(2))
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != fault.Corruption || e.File != first || e.Position != raws[1].Cursor.Byte {
		t.Fatal(err)
	}
}

func TestReadersFollowWhileRecordsAreAppended(t *testing.T) {
	const records = 1500
	c := newChain(t, tenant1)
	for range records {
		c.next(len(c.recs) % 150)
	}
	o := Options{FS: disk.OS{}, Dir: t.TempDir(), Tenant: tenant1, SegmentBytes: 20_000, BufferBytes: 1000}
	l := mustOpen(t, o, Start(tenant1))
	errs := make(chan error, 16)
	var readers sync.WaitGroup
	for r := range 3 {
		readers.Go(func() { errs <- follow(l, c.recs, r*700+1) })
	}
	readers.Go(func() { errs <- seekAbout(l, c.recs) })
	for i, rec := range c.recs {
		if _, err := l.Append(rec); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			mustSync(t, l)
			l.Park()
		}
	}
	readers.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// follow reads until it has seen every record of want.
func follow(l *Log, want [][]byte, step int) error {
	var at Cursor
	for seen := 0; seen < len(want); {
		recs, next, err := l.Read(at, step)
		if err != nil {
			return err
		}
		for _, r := range recs {
			if !bytes.Equal(r.Bytes, want[seen]) {
				return fmt.Errorf("record %d is wrong", seen)
			}
			seen++
		}
		at = next
	}
	return nil
}

// seekAbout looks up records until the last one is there.
func seekAbout(l *Log, want [][]byte) error {
	rng := testRand(3)
	for {
		n := int(l.Position().Next.Uint64())
		if n == 0 {
			continue
		}
		i := rng.IntN(n)
		at, err := l.Seek(ident.NewOffset(uint64(i)))
		if err != nil {
			return err
		}
		recs, _, err := l.Read(at, 1)
		if err != nil || len(recs) != 1 || !bytes.Equal(recs[0].Bytes, want[i]) {
			return fmt.Errorf("record %d is wrong (%w)", i, err)
		}
		if n == len(want) {
			return nil
		}
	}
}
