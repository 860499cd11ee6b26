package tenantlog

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

func TestWhatWasAppendedIsReadBack(t *testing.T) {
	for _, buffer := range []int{1, 300, 1 << 20} {
		dir := filepath.Join(t.TempDir(), "tenants", "1", "log")
		o := Options{FS: disk.OS{}, Dir: dir, Tenant: tenant1, SegmentBytes: 2000, BufferBytes: buffer}
		l, c := mustOpen(t, o, Start(tenant1)), newChain(t, tenant1)
		for range 4 {
			grow(t, l, c, 25, 300, testRand(1))
			wantRecords(t, l, 700, c.recs)
		}
		mustSync(t, l)
		at := l.Position()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, o, at)
		for _, step := range []int{1, 100, 5000, 0} {
			wantRecords(t, l, step, c.recs)
		}
		grow(t, l, c, 10, 300, testRand(2))
		wantRecords(t, l, 700, c.recs)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIdleLogTouchesNothing(t *testing.T) {
	mem := disk.NewMem()
	l := mustOpen(t, testOptions(mem, tenant1), Start(tenant1))
	mustSync(t, l)
	if recs, next, err := l.Read(Cursor{}, 0); err != nil || len(recs) != 0 || next != (Cursor{}) {
		t.Fatal(recs, next, err)
	}
	if at, err := l.Seek(ident.Offset{}); err != nil || at != (Cursor{}) {
		t.Fatal(at, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := mem.Stat("/data"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("an idle log made a directory")
	}
}

func TestReplicasWriteTheSameBytesAndSizes(t *testing.T) {
	one, two, c := disk.NewMem(), disk.NewMem(), newChain(t, tenant1)
	o := testOptions(one, tenant1)
	a := mustOpen(t, o, Start(tenant1))
	o.FS, o.BufferBytes = two, 1<<20
	b := mustOpen(t, o, Start(tenant1))
	rng := testRand(3)
	for i := range 60 {
		rec := c.next(rng.IntN(400))
		if p, q := mustAppend(t, a, rec), mustAppend(t, b, rec); p != q {
			t.Fatalf("positions differ: %+v, %+v", p, q)
		}
		if i%7 == 0 { // a restart of one replica changes nothing
			mustSync(t, b)
			at := b.Position()
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = mustOpen(t, o, at)
		}
	}
	mustSync(t, a)
	mustSync(t, b)
	left, right := files(t, one), files(t, two)
	var total int64
	for name, content := range left {
		if !bytes.Equal(content, right[name]) {
			t.Errorf("%s differs", name)
		}
		if len(content) > 1200 {
			t.Errorf("%s has %d bytes, the limit is 1200", name, len(content))
		}
		total += int64(len(content))
	}
	if len(left) < 5 || len(left) != len(right) || total != a.Position().TotalBytes {
		t.Fatalf("%d and %d files, %d bytes, position %+v", len(left), len(right), total, a.Position())
	}
}

func TestARecordLargerThanASegmentGetsItsOwn(t *testing.T) {
	mem, c := disk.NewMem(), newChain(t, tenant1)
	l := mustOpen(t, testOptions(mem, tenant1), Start(tenant1))
	for _, n := range []int{5000, 10, 9000, 9000, 10, 10} {
		mustAppend(t, l, c.next(n))
	}
	wantRecords(t, l, 1, c.recs)
	wantRecords(t, l, 0, c.recs)
	mustSync(t, l)
	if n := len(files(t, mem)); n != 5 {
		t.Fatalf("%d segments", n)
	}
}

func TestAppendRefusesWhatIsNotNext(t *testing.T) {
	mem, c := disk.NewMem(), newChain(t, tenant1)
	l := mustOpen(t, testOptions(mem, tenant1), Start(tenant1))
	r0, r1, r2 := c.next(10), c.next(10), c.next(10)
	other := newChain(t, tenant2)
	fork := newChain(t, tenant1)
	fork.next(20)
	flipped := bytes.Clone(r1)
	flipped[100] ^= 1
	mustAppend(t, l, r0)
	before := l.Position()
	for name, b := range map[string]struct {
		rec  []byte
		kind fault.Kind
	}{
		"the same again":       {r0, fault.Conflict},
		"one too far":          {r2, fault.Conflict},
		"another tenant's":     {other.next(10), fault.Conflict},
		"of a forked chain":    {fork.next(10), fault.Conflict},
		"a damaged one":        {flipped, fault.Corruption},
		"half a record":        {r1[:len(r1)-1], fault.Corruption},
		"two records":          {append(bytes.Clone(r1), r2...), fault.Corruption},
		"nothing":              {nil, fault.Corruption},
		"something else":       {[]byte(strings.Repeat("x", 500)), fault.Corruption},
		"a genesis elsewhere":  {newChain(t, tenant2).next(10), fault.Conflict},
		"an old one of a fork": {newChain(t, tenant1).next(11), fault.Conflict},
		"a wrong offset":       {c.misfit(1, tenant1, 2), fault.Conflict},
		"a wrong tenant":       {c.misfit(1, tenant2, 1), fault.Conflict},
	} {
		if _, err := l.Append(b.rec); !fault.Is(err, b.kind) {
			t.Errorf("%s: %v", name, err)
		} else if b.kind == fault.Conflict && b.rec[15] == 1 && !strings.Contains(err.Error(), "base offset") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l.Position() != before {
		t.Fatal("a refused record moved the log")
	}
	mustAppend(t, l, r1)
	wantRecords(t, l, 0, [][]byte{r0, r1})
}

func TestOpenCutsBackToThePosition(t *testing.T) {
	mem, c, positions := smallLog(t, tenant1, 25)
	final := files(t, mem)
	for i, at := range append([]Position{Start(tenant1), {}}, positions...) {
		n := int(at.Next.Uint64())
		clone := mem.CrashClone(nil)
		l := mustOpen(t, testOptions(clone, tenant1), at)
		wantRecords(t, l, 0, c.recs[:n])
		// Durable at once: a power loss does not bring the rest back.
		var left int64
		for name, b := range files(t, clone.CrashClone(nil)) {
			if name != filepath.Join(testDir, HeadName) {
				left += int64(len(b))
			}
		}
		if left != at.TotalBytes {
			t.Fatalf("case %d: %d bytes left, not %d", i, left, at.TotalBytes)
		}
		for _, rec := range c.recs[n:] {
			mustAppend(t, l, rec)
		}
		mustSync(t, l)
		if l.Position() != positions[len(positions)-1] {
			t.Fatalf("case %d: position %+v", i, l.Position())
		}
		for name, want := range final {
			if !bytes.Equal(readFile(t, clone, name), want) {
				t.Fatalf("case %d: %s differs after appending again", i, name)
			}
		}
	}
}

func TestOpenNamesWhatIsMissingAndCutsNothing(t *testing.T) {
	mem, _, positions := smallLog(t, tenant1, 25)
	i := 15
	for lastOf(positions[i]) == positions[i].Segment {
		i++ // a segment of more than one record
	}
	at := positions[i]
	tail := segmentPath(testDir, at.Segment)
	other, _, _ := smallLog(t, tenant2, 25)
	foreign := files(t, other)
	for name, c := range map[string]struct {
		change func(fsys disk.FS)
		file   string
		offset int64
	}{
		"the segment is gone": {func(f disk.FS) { _ = f.Remove(tail) }, tail, 0},
		"the first is gone":   {func(f disk.FS) { _ = f.Remove(segmentPath(testDir, ident.Offset{})) }, segmentPath(testDir, ident.Offset{}), 0},
		"the segment is cut": {func(f disk.FS) {
			writeFile(t, f, tail, readFile(t, f, tail)[:at.SegmentBytes-1])
		}, tail, at.SegmentBytes - 1},
		"the header is damaged": {func(f disk.FS) {
			b := readFile(t, f, tail)
			b[50] ^= 1
			writeFile(t, f, tail, b)
		}, tail, 0},
		"another tenant's segment": {func(f disk.FS) {
			for _, b := range foreign {
				if int64(len(b)) >= at.SegmentBytes {
					writeFile(t, f, tail, b)
				}
			}
		}, tail, 8},
		"another segment": {func(f disk.FS) {
			writeFile(t, f, tail, append(readFile(t, f, segmentPath(testDir, ident.Offset{})), make([]byte, 1000)...))
		}, tail, 16},
		"the last hash differs": {func(f disk.FS) {
			b := readFile(t, f, tail)
			b[at.SegmentBytes-1] ^= 1
			writeFile(t, f, tail, b)
		}, tail, at.SegmentBytes - 32},
		"a segment in between": {func(f disk.FS) {
			writeFile(t, f, segmentPath(testDir, lastOf(at)), []byte("x"))
		}, segmentPath(testDir, lastOf(at)), 0},
	} {
		clone := mem.CrashClone(nil)
		c.change(clone)
		before := files(t, clone)
		_, err := Open(testOptions(clone, tenant1), at)
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind != fault.Corruption || e.File != c.file || e.Position != c.offset || e.Tenant != tenant1 {
			t.Errorf("%s: %v", name, err)
		}
		after := files(t, clone)
		for file, b := range before {
			if !bytes.Equal(after[file], b) {
				t.Errorf("%s: %s was changed", name, file)
			}
		}
	}
}

func TestOpenRefusesImpossiblePositions(t *testing.T) {
	mem, _, positions := smallLog(t, tenant1, 5)
	good := positions[4]
	for name, change := range map[string]func(p *Position){
		"bytes without records":   func(p *Position) { p.Next = ident.Offset{} },
		"segment beyond its end":  func(p *Position) { p.Segment = p.Next },
		"total below the segment": func(p *Position) { p.TotalBytes = p.SegmentBytes - 1 },
		"no room for a record":    func(p *Position) { p.SegmentBytes = 100 },
	} {
		p := good
		change(&p)
		if _, err := Open(testOptions(mem, tenant1), p); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Open(testOptions(mem, ident.TenantID{}), good)
	wantKind(t, err, fault.Invalid)
}

// Opening looks at the same few places however long the log is.
func TestOpenCostsTheSameForALongLog(t *testing.T) {
	cost := func(n int) (reads int64) {
		mem, c := disk.NewMem(), newChain(t, tenant1)
		o := testOptions(mem, tenant1)
		o.SegmentBytes = 1 << 20
		l := mustOpen(t, o, Start(tenant1))
		grow(t, l, c, n, 200, testRand(4))
		mustSync(t, l)
		var count atomic.Int64
		o.FS = &disk.Faulty{FS: mem, Inject: func(op disk.Op, _ string) error {
			if op == disk.OpRead || op == disk.OpOpen {
				count.Add(1)
			}
			return nil
		}}
		mustOpen(t, o, l.Position())
		return count.Load()
	}
	if short, long := cost(2), cost(5000); long != short || long > 10 {
		t.Fatalf("%d reads for a short log, %d for a long one", short, long)
	}
}

func TestSegmentNames(t *testing.T) {
	for _, n := range []uint64{0, 1, 1 << 40, 1<<64 - 1} {
		base, ok := parseSegmentName(SegmentName(ident.NewOffset(n)))
		if !ok || base.Uint64() != n {
			t.Fatal(n, base, ok)
		}
	}
	for _, name := range []string{"", "HEAD", ".segment", "1.segment", "+0000000000000000001.segment", "99999999999999999999.segment", "00000000000000000000.segment.tmp", "0000000000000000000x.segment"} {
		if _, ok := parseSegmentName(name); ok {
			t.Errorf("%q is taken for a segment", name)
		}
	}
}

func TestHeadIsReplacedAndChecked(t *testing.T) {
	mem := disk.NewMem()
	if _, ok, err := ReadHead(mem, testDir); ok || err != nil {
		t.Fatal(ok, err)
	}
	c := newChain(t, tenant1)
	l := mustOpen(t, testOptions(mem, tenant1), Start(tenant1))
	signHead(t, mem, tenant1, l.Position())
	grow(t, l, c, 2, 10, testRand(1))
	signHead(t, mem, tenant1, l.Position())
	clone := mem.CrashClone(nil)
	h, ok, err := ReadHead(clone, testDir)
	if err != nil || !ok || h.Next != l.Position().Next || h.LastHash != l.Position().LastHash || !h.PublicKey.Equal(public) {
		t.Fatal(h, ok, err)
	}
	name := filepath.Join(testDir, HeadName)
	good := readFile(t, mem, name)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		writeFile(t, mem, name, bad)
		_, _, err := ReadHead(mem, testDir)
		if i == 4 || i == 5 { // the version
			wantKind(t, err, fault.Incompatible)
			continue
		}
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind != fault.Corruption || e.File != name {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}
