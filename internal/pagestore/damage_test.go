package pagestore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
)

// bytesFS is a filesystem of one file that is only read, to try many damages
// quickly.
type bytesFS struct {
	disk.FS
	data []byte
	read map[uint32]bool // the slots that were read, unless nil
}

type bytesFile struct {
	disk.File
	fs *bytesFS
}

func (f *bytesFS) OpenFile(string, int, fs.FileMode) (disk.File, error) {
	return bytesFile{fs: f}, nil
}

func (f bytesFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(f.fs.data)) {
		return 0, io.EOF
	}
	if f.fs.read != nil {
		f.fs.read[uint32(off/PageSize)] = true
	}
	n := copy(p, f.fs.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f bytesFile) Size() (int64, error) { return int64(len(f.fs.data)), nil }
func (f bytesFile) Close() error         { return nil }

// damageSample is a small flushed file of few pages and several table nodes,
// with free slots and two valid roots.
type damageSample struct {
	e *env
	// states are the versions flushed, by sequence number from 1; files what
	// the file was after each.
	states []twin
	files  [][]byte
	// holder says what each slot of the last file holds.
	holder map[uint32]string
	page   map[uint32]int
}

const (
	holdsNothing = ""
	holdsPage    = "page"
	holdsNode    = "node"
	holdsRoot    = "root"
)

func newDamageSample(t testing.TB) *damageSample {
	d := &damageSample{e: newEnv(t)}
	s := d.e.open()
	v := twin{data: map[int][]byte{}}
	for i, pages := range [][]int{{0, 1, 340, 345}, {0, 2, 340}, {0, 340}, {0, 1, 345}} {
		b := s.Begin()
		for _, page := range pages {
			p := content(uint64(100*i + page))
			_, err := b.WriteAt(p, int64(page)*PageSize)
			check(t, err)
			v.write(p, page*PageSize)
		}
		check(t, b.Commit())
		check(t, s.Flush())
		d.states, d.files = append(d.states, v.clone()), append(d.files, d.e.bytes())
	}
	d.holder, d.page = map[uint32]string{uint32(s.sequence % rootSlots): holdsRoot}, map[uint32]int{}
	for page, at := range s.table {
		if at.stored() {
			d.holder[at.slot], d.page[at.slot] = holdsPage, page
		}
	}
	for _, at := range s.nodes[0] {
		d.holder[at.slot] = holdsNode
	}
	check(t, s.Close())
	return d
}

func (d *damageSample) last() []byte { return d.files[len(d.files)-1] }

func (d *damageSample) open(data []byte) (*Store, error) {
	return Open(Options{FS: &bytesFS{data: data}, Path: testPath, Tenant: testTenant, Keys: d.e.keys})
}

// outcome is what a reader of a damaged file meets.
type outcome struct {
	openErr error
	// state is the flushed state that the root says, -1 when open fails.
	state  int
	broken map[int]error // pages that do not read
}

// try opens the file and reads every page that any state has. It fails the
// test when anything wrong is served.
func (d *damageSample) try(t testing.TB, data []byte, what func() string) outcome {
	t.Helper()
	s, err := d.open(data)
	if err != nil {
		if !fault.Is(err, fault.Corruption) {
			t.Fatalf("%s: open: %v", what(), err)
		}
		return outcome{openErr: err, state: -1}
	}
	return d.read(t, s, what)
}

// read reads the pages of an open store.
func (d *damageSample) read(t testing.TB, s *Store, what func() string) outcome {
	t.Helper()
	o := outcome{state: int(s.sequence) - 1, broken: map[int]error{}}
	v := d.states[o.state]
	if s.Pages() != int64(v.pages) {
		t.Fatalf("%s: %d pages, want %d", what(), s.Pages(), v.pages)
	}
	sn, p := s.Snapshot(), make([]byte, PageSize)
	defer sn.Release()
	for _, page := range []int{0, 1, 2, 3, 340, 341, 345} {
		clear(p)
		_, err := sn.ReadAt(p, int64(page)*PageSize)
		want := v.data[page]
		if want == nil {
			want = zeros[:]
		}
		switch {
		case err == nil && !bytes.Equal(p, want):
			t.Fatalf("%s: page %d was served wrong", what(), page)
		case err != nil && !fault.Is(err, fault.Corruption):
			t.Fatalf("%s: page %d: %v", what(), page, err)
		case err != nil:
			o.broken[page] = err
		}
	}
	return o
}

func wantPlace(t testing.TB, err error, offset int64, what func() string) {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) || e.File != testPath || e.Position != offset || e.Tenant != testTenant {
		t.Fatalf("%s: %v does not name %s, offset %d", what(), err, testPath, offset)
	}
}

func TestEveryFlippedByteIsDetectedOrCarriesNothing(t *testing.T) {
	t.Parallel()
	d := newDamageSample(t)
	last := len(d.states) - 1
	data := bytes.Clone(d.last())
	seen := map[string]int{}
	// A flip in a slot that Open does not look at cannot change what Open
	// does, so that one open store serves to read after all of those.
	fsys := &bytesFS{data: data, read: map[uint32]bool{}}
	open, err := Open(Options{FS: fsys, Path: testPath, Tenant: testTenant, Keys: d.e.keys})
	check(t, err)
	looked := fsys.read
	fsys.read = nil
	for i := range data {
		pristine := data[i]
		data[i] ^= 1 << (i % 8)
		what := func() string { return fmt.Sprintf("byte %d of slot %d flipped", i%PageSize, i/PageSize) }
		slot := uint32(i / PageSize)
		var o outcome
		if looked[slot] {
			o = d.try(t, data, what)
		} else {
			o = d.read(t, open, what)
		}
		holder := d.holder[slot]
		seen[holder]++
		switch holder {
		case holdsRoot: // an older consistent state, or a table that is gone
			if o.openErr == nil && o.state != last-1 {
				t.Fatalf("%s: not noticed", what())
			}
		case holdsNode:
			if o.openErr == nil {
				t.Fatalf("%s: not noticed", what())
			}
			wantPlace(t, o.openErr, slotOffset(slot), what)
		case holdsPage:
			if o.openErr != nil || o.state != last || len(o.broken) != 1 || o.broken[d.page[slot]] == nil {
				t.Fatalf("%s: %+v", what(), o)
			}
			wantPlace(t, o.broken[d.page[slot]], slotOffset(slot), what)
		default:
			if o.openErr != nil || o.state != last || len(o.broken) != 0 {
				t.Fatalf("%s, which holds nothing: %+v", what(), o)
			}
		}
		data[i] = pristine
	}
	for _, holder := range []string{holdsNothing, holdsPage, holdsNode, holdsRoot} {
		if seen[holder] == 0 {
			t.Errorf("the sample has no slot that holds %q", holder)
		}
	}
}

func TestSlotPutBackToAnOlderVersionIsDetected(t *testing.T) {
	d := newDamageSample(t)
	last := len(d.states) - 1
	for old, file := range d.files[:last] {
		for slot := range uint32(len(file) / PageSize) {
			at := slotOffset(slot)
			data := bytes.Clone(d.last())
			if bytes.Equal(data[at:at+PageSize], file[at:at+PageSize]) {
				continue
			}
			copy(data[at:at+PageSize], file[at:at+PageSize])
			what := func() string { return fmt.Sprintf("slot %d as of flush %d", slot, old+1) }
			o := d.try(t, data, what)
			switch d.holder[slot] {
			case holdsNode:
				wantPlace(t, o.openErr, at, what)
			case holdsPage:
				wantPlace(t, o.broken[d.page[slot]], at, what)
			case holdsRoot:
				if o.openErr == nil && o.state == last {
					t.Fatalf("%s: not noticed", what())
				}
			}
		}
	}
}

// TestOlderRootsNeverMixStates puts both root slots back to what they were
// at any flush, while pages and nodes are the newest.
func TestOlderRootsNeverMixStates(t *testing.T) {
	d := newDamageSample(t)
	for even := range d.files {
		for odd := range d.files {
			data := bytes.Clone(d.last())
			copy(data[:PageSize], d.files[even][:PageSize])
			copy(data[PageSize:], d.files[odd][PageSize:2*PageSize])
			d.try(t, data, func() string { return fmt.Sprintf("roots of flushes %d and %d", even+1, odd+1) })
		}
	}
}

func TestMovedSlotsAreDetected(t *testing.T) {
	d := newDamageSample(t)
	last := len(d.states) - 1
	slots := uint32(len(d.last()) / PageSize)
	for to := range slots {
		for from := range slots {
			data := bytes.Clone(d.last())
			copy(data[slotOffset(to):], data[slotOffset(from):][:PageSize])
			what := func() string { return fmt.Sprintf("slot %d copied over slot %d", from, to) }
			o := d.try(t, data, what)
			clean := o.openErr == nil && o.state == last && len(o.broken) == 0
			if from != to && d.holder[to] != holdsNothing && clean {
				t.Fatalf("%s: not noticed", what())
			}
		}
	}
}

func TestCutFileIsDetected(t *testing.T) {
	d := newDamageSample(t)
	last := len(d.states) - 1
	used := 0
	for slot := range d.holder {
		used = max(used, int(slotOffset(slot+1)))
	}
	for size := 0; size < used; size += 512 {
		o := d.try(t, d.last()[:size], func() string { return fmt.Sprintf("cut to %d bytes", size) })
		if o.openErr == nil && o.state == last {
			t.Fatalf("cut to %d of %d bytes: not noticed", size, used)
		}
		if o.openErr == nil && size >= rootSlots*PageSize {
			t.Fatalf("cut to %d of %d bytes: not noticed by Open", size, used)
		}
	}
	long := append(bytes.Clone(d.last()), bytes.Repeat([]byte{7}, 5000)...)
	if o := d.try(t, long, func() string { return "a longer file" }); o.openErr != nil || o.state != last || len(o.broken) > 0 {
		t.Fatalf("bytes after the end do harm: %+v", o)
	}
}

func TestCutFileOfFewPagesIsDetectedByOpen(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	set(t, s, map[int]uint64{0: 1, 1: 1, 2: 1})
	check(t, s.Flush())
	check(t, s.Close())
	e.put(e.bytes()[:s.FileBytes()-1])
	_, err := e.tryOpen()
	wantKind(t, err, fault.Corruption)
	wantPlace(t, err, s.FileBytes()-PageSize, func() string { return "cut by a byte" })
}

func TestRootOfAnotherFileIsRefused(t *testing.T) {
	d, other := newDamageSample(t), newDamageSample(t)
	for slot := range rootSlots {
		data := bytes.Clone(d.last())
		copy(data[slot*PageSize:(slot+1)*PageSize], other.last()[slot*PageSize:])
		if _, err := d.open(data); !fault.Is(err, fault.Corruption) {
			t.Fatalf("slot %d: %v", slot, err)
		}
	}
	data := bytes.Clone(d.last())
	copy(data[:rootSlots*PageSize], other.last())
	if _, err := d.open(data); !fault.Is(err, fault.Corruption) {
		t.Fatalf("both: %v", err)
	}
}

func TestRepairsAreNeverSilent(t *testing.T) {
	// A store that fell back to the older root goes on from there, and what
	// it flushes then is what the next open finds.
	d := newDamageSample(t)
	data := bytes.Clone(d.files[1])
	data[50] ^= 1 // root 2, in slot 0
	d.e.put(data)
	s := d.e.open()
	if s.sequence != 1 {
		t.Fatal("the root of sequence", s.sequence)
	}
	set(t, s, map[int]uint64{5: 5})
	check(t, s.Flush())
	s.verify(t)
	want := d.states[0].clone()
	want.write(content(5), 5*PageSize)
	check(t, s.Close())
	s = d.e.open()
	// Pages of state 1 whose slots flush 2 had not used again are all there:
	// flush 2 wrote to slots that were free in state 1.
	if why := want.differs(s.Begin(), rand.New(rand.NewPCG(1, 1))); why != "" {
		t.Fatal(why)
	}
}

func FuzzDamagedFileServesNothingWrong(f *testing.F) {
	d := newDamageSample(f)
	f.Add(0, []byte("KLPAGES2"))
	f.Add(24, []byte{2, 0, 0, 0})
	f.Add(3*PageSize+generationAt, []byte{0, 0, 0, 0})
	f.Add(PageSize, make([]byte, PageSize))
	f.Add(2*PageSize, []byte{})
	f.Fuzz(func(t *testing.T, at int, damage []byte) {
		data := bytes.Clone(d.last())
		if at < 0 || at > len(data) {
			return
		}
		copy(data[at:], damage)
		d.try(t, data, func() string { return "damaged" })
	})
}
