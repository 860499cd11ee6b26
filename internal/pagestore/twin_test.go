package pagestore

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// twin is the naive form of one version: whole pages in a map.
type twin struct {
	pages int
	data  map[int][]byte // a page that is missing reads as zeros
	meta  string
}

func (v twin) clone() twin { return twin{v.pages, maps.Clone(v.data), v.meta} }

func (v *twin) write(p []byte, off int) {
	for i := 0; i < len(p); {
		page, from := (off+i)/PageSize, (off+i)%PageSize
		part := p[i:min(len(p), i+PageSize-from)]
		next := make([]byte, PageSize)
		copy(next, v.data[page])
		copy(next[from:], part)
		clear(next[payloadSize:])
		v.data[page] = next
		v.pages = max(v.pages, page+1)
		i += len(part)
	}
}

func (v *twin) truncate(pages int) {
	maps.DeleteFunc(v.data, func(page int, _ []byte) bool { return page >= pages })
	v.pages = pages
}

type reader interface {
	ReadAt(p []byte, off int64) (int, error)
	Size() int64
}

// differs says where a reader differs from the twin, or "". It looks at every
// page that has bytes, and at some of the others.
func (v twin) differs(r reader, rng *rand.Rand) string {
	if r.Size() != int64(v.pages)*PageSize {
		return fmt.Sprintf("size %d, want %d pages", r.Size(), v.pages)
	}
	if m, ok := r.(interface{ Meta() []byte }); ok && string(m.Meta()) != v.meta {
		return fmt.Sprintf("meta data %q, want %q", m.Meta(), v.meta)
	}
	p := make([]byte, PageSize)
	look := func(page int) string {
		want := v.data[page]
		if want == nil {
			want = zeros[:]
		}
		if _, err := r.ReadAt(p, int64(page)*PageSize); err != nil {
			return fmt.Sprintf("page %d: %v", page, err)
		}
		if !bytes.Equal(p, want) {
			return fmt.Sprintf("page %d has other bytes", page)
		}
		return ""
	}
	for page := range v.data {
		if why := look(page); why != "" {
			return why
		}
	}
	for i := 0; i < 5 && v.pages > 0; i++ {
		if why := look(rng.IntN(v.pages)); why != "" {
			return why
		}
	}
	return ""
}

// twinRun drives a store and its twin by the same random steps.
type twinRun struct {
	t        *testing.T
	e        *env
	s        *Store
	rng      *rand.Rand
	now      twin // the latest committed version
	durable  twin
	pins     []*Snapshot
	pinned   []twin
	maxPages int
}

func newTwinRun(t *testing.T, seed uint64) *twinRun {
	r := &twinRun{t: t, e: newEnv(t), rng: rand.New(rand.NewPCG(seed, 2)), now: twin{data: map[int][]byte{}}}
	r.durable = r.now.clone()
	r.e.max = 1 + r.rng.IntN(30)
	r.maxPages = []int{20, 400, 1500}[r.rng.IntN(3)]
	r.s = r.e.open()
	return r
}

func (r *twinRun) must(why string) {
	r.t.Helper()
	if why != "" {
		r.t.Fatal(why)
	}
}

// change makes random changes in a batch and in a twin.
func (r *twinRun) change(b *Batch, v *twin) {
	if r.rng.IntN(2) == 0 {
		v.meta = fmt.Sprint("meta ", r.rng.Uint64())
		check(r.t, b.SetMeta([]byte(v.meta)))
	}
	if r.rng.IntN(8) == 0 {
		return // nothing but the meta data
	}
	for range 1 + r.rng.IntN(12) {
		switch page := r.rng.IntN(1 + r.rng.IntN(r.maxPages)); r.rng.IntN(12) {
		case 0:
			check(r.t, b.Truncate(int64(page)*PageSize))
			v.truncate(page)
		case 1, 2:
			p := make([]byte, r.rng.IntN(9000))
			fill(p, r.rng.Uint64())
			off := page*PageSize + r.rng.IntN(PageSize)
			_, err := b.WriteAt(p, int64(off))
			check(r.t, err)
			v.write(p, off)
		case 3:
			for i := range r.rng.IntN(40) { // enough to make the batch spill
				p := content(r.rng.Uint64())
				writeBytes(r.t, b, p, page+i)
				v.write(p, (page+i)*PageSize)
			}
		case 4:
			page = 0
			fallthrough
		default:
			p := content(r.rng.Uint64())
			writeBytes(r.t, b, p, page)
			v.write(p, page*PageSize)
		}
	}
	if r.rng.IntN(3) == 0 {
		r.must(v.differs(b, r.rng))
	}
}

func fill(p []byte, seed uint64) {
	for i := range p {
		p[i] = byte(seed>>(i%8*8)) + byte(i)
	}
}

func writeBytes(t *testing.T, b *Batch, p []byte, page int) {
	t.Helper()
	_, err := b.WriteAt(p, int64(page)*PageSize)
	check(t, err)
}

func (r *twinRun) step() {
	switch r.rng.IntN(16) {
	case 0, 1, 2:
		v := r.now
		check(r.t, r.s.Flush())
		r.durable = v
	case 3:
		b, v := r.s.Begin(), r.now.clone()
		r.change(b, &v)
		b.Discard()
	case 4, 5, 6:
		r.pins, r.pinned = append(r.pins, r.s.Snapshot()), append(r.pinned, r.now)
	case 7, 8, 9:
		if n := len(r.pins); n > 0 {
			i := r.rng.IntN(n)
			r.must(r.pinned[i].differs(r.pins[i], r.rng))
			r.pins[i].Release()
			r.pins, r.pinned = append(r.pins[:i:i], r.pins[i+1:]...), append(r.pinned[:i:i], r.pinned[i+1:]...)
		}
	case 10:
		if r.rng.IntN(4) == 0 {
			r.reopen()
		}
	case 11:
		b, v, flushed := r.s.Begin(), r.now.clone(), r.now
		r.change(b, &v)
		check(r.t, r.s.Flush()) // with the batch open
		r.durable = flushed
		r.change(b, &v)
		check(r.t, b.Commit())
		r.now = v
	default:
		b, v := r.s.Begin(), r.now.clone()
		r.change(b, &v)
		check(r.t, b.Commit())
		r.now = v
	}
}

func (r *twinRun) reopen() {
	for i, sn := range r.pins {
		r.must(r.pinned[i].differs(sn, r.rng))
		if i%2 == 0 {
			sn.Release()
		}
	}
	check(r.t, r.s.Close())
	r.s = r.e.open()
	r.pins, r.pinned = nil, nil
	r.now = r.durable
}

func TestStoreDoesWhatItsNaiveTwinDoes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(18) {
		r := newTwinRun(t, seed)
		for step := range 150 {
			r.step()
			sn := r.s.Snapshot()
			if why := r.now.differs(sn, r.rng); why != "" {
				t.Fatalf("seed %d, step %d: %s", seed, step, why)
			}
			sn.Release()
			if step%10 == 0 {
				r.s.verify(t)
			}
		}
		for i, sn := range r.pins {
			r.must(r.pinned[i].differs(sn, r.rng))
			sn.Release()
			r.s.verify(t)
		}
		if bound := 3*r.e.max + 2; len(r.s.memory) > bound {
			t.Fatalf("seed %d: %d pages in memory, the bound is %d", seed, len(r.s.memory), r.e.max)
		}
	}
}

func TestTableOfManyLevelsGrowsAndShrinks(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	e := newEnv(t)
	s := e.open()
	v := twin{data: map[int][]byte{}}
	for i, pages := range []int{rootFanout, rootFanout + 1, 120_000, 119_999, 5000, rootFanout*nodeFanout + 1, rootFanout * nodeFanout, 700, 3, 0, 250_000} {
		b := s.Begin()
		check(t, b.Truncate(int64(pages)*PageSize))
		v.truncate(pages)
		for j := 0; j < 20 && pages > 0; j++ {
			page, p := rng.IntN(pages), content(uint64(i*100+j))
			writeBytes(t, b, p, page)
			v.write(p, page*PageSize)
		}
		check(t, b.Commit())
		check(t, s.Flush())
		s.verify(t)
		check(t, s.Close())
		s = e.open()
		s.verify(t)
		if why := v.differs(s.Begin(), rng); why != "" {
			t.Fatalf("%d pages: %s", pages, why)
		}
		s.batch.Discard()
	}
	// All but the last state's slots are free again, or cut off.
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := levelsFor(250_000)
	if used, want := uint64(s.slots.count-s.slots.free), counts[1]+counts[2]+uint64(len(v.data))+rootSlots; used != want {
		t.Fatalf("%d slots are in use, want %d", used, want)
	}
}

func TestHugeBatchStaysOutOfMemoryAndOutOfFlush(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	set(t, s, map[int]uint64{0: 1})
	check(t, s.Flush())
	b := s.Begin()
	for i := range 1000 {
		writePage(t, b, i, uint64(i))
		if b.resident > e.max+1 {
			t.Fatal(b.resident, "pages of the batch in memory")
		}
	}
	check(t, s.Flush())
	s.verify(t)
	check(t, b.Commit())
	if s.Dirty() != 1000 || len(s.memory) > e.max {
		t.Fatal(s.Dirty(), len(s.memory))
	}
	before := s.FileBytes()
	b = s.Begin()
	for i := range 1000 {
		writePage(t, b, i, uint64(i+5))
	}
	b.Discard()
	s.verify(t)
	check(t, s.Flush())
	check(t, s.Close())
	s = e.open()
	for i := range 1000 {
		wantPage(t, s.Begin(), i, uint64(i))
		s.batch.Discard()
	}
	if s.FileBytes() > 2*before+100*PageSize {
		t.Fatal("the file has grown to", s.FileBytes(), "from", before)
	}
}

func TestHotPagesStayInMemory(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	for i := range 200 {
		set(t, s, map[int]uint64{0: uint64(i), 1: uint64(i), 2 + i: 1})
	}
	for page := range uint32(2) {
		if s.memory[page].frame == nil {
			t.Fatal("page", page, "was spilled, which every commit writes")
		}
	}
	if s.resident() > e.max {
		t.Fatal(s.resident(), "pages in memory")
	}
}

func TestFileIsShortenedWhenItsEndIsFree(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	pages := map[int]uint64{}
	for i := range 2000 {
		pages[i] = uint64(i)
	}
	set(t, s, pages)
	check(t, s.Flush())
	full := s.FileBytes()
	b := s.Begin()
	check(t, b.Truncate(10*PageSize))
	check(t, b.Commit())
	for range 3 {
		for i := range 10 { // pages move to the front when they are written
			set(t, s, map[int]uint64{i: 9})
		}
		check(t, s.Flush())
		s.verify(t)
	}
	if s.FileBytes() > full/10 {
		t.Fatal("the file still has", s.FileBytes(), "of", full, "bytes")
	}
	if info, err := e.fs.Stat(testPath); err != nil || info.Size() != s.FileBytes() {
		t.Fatal(info.Size(), s.FileBytes(), err)
	}
	set(t, s, pages)
	check(t, s.Flush())
	check(t, s.Close())
	s = e.open()
	wantPage(t, s.Begin(), 1999, 1999)
}
