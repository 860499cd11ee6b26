package pagestore

import (
	"sync"
	"sync/atomic"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/seal"
)

// runSlots is how many neighbouring slots are written in one call at most.
const runSlots = 16

// slotWriter seals plaintexts into slots and writes neighbouring slots
// together. It writes ciphertext only.
type slotWriter struct {
	file       disk.File
	fileBytes  *atomic.Int64
	generation uint32
	key        *seal.Key
	run        *slotRun
	first      uint32 // the slot of the run's first page
	count      int
}

type slotRun struct {
	sealed [runSlots * PageSize]byte
	place  [placeSize]byte
}

var slotRuns = sync.Pool{New: func() any { return new(slotRun) }}

// newWriter returns a writer under the current key generation. Close it.
func (s *Store) newWriter() (*slotWriter, error) {
	file, err := s.ensureFile()
	if err != nil {
		return nil, err
	}
	generation, key, err := s.keys.current()
	if err != nil {
		return nil, err
	}
	return &slotWriter{file: file, fileBytes: &s.fileBytes, generation: generation, key: key, run: slotRuns.Get().(*slotRun)}, nil
}

// add seals plaintext (payloadSize bytes) for a slot and returns its entry.
func (w *slotWriter) add(k kind, level int, number, slot uint32, plaintext []byte) (entry, error) {
	if w.count == runSlots || (w.count > 0 && slot != w.first+uint32(w.count)) {
		if err := w.flush(); err != nil {
			return entry{}, err
		}
	}
	if w.count == 0 {
		w.first = slot
	}
	dst := w.run.sealed[w.count*PageSize : (w.count+1)*PageSize]
	w.count++
	putPlace(&w.run.place, k, level, number, slot)
	return sealSlot(dst, plaintext, &w.run.place, w.generation, w.key, slot), nil
}

// flush writes what was added.
func (w *slotWriter) flush() error {
	if w.count == 0 {
		return nil
	}
	n := w.count
	w.count = 0
	if _, err := w.file.WriteAt(w.run.sealed[:n*PageSize], slotOffset(w.first)); err != nil {
		return err
	}
	grow(w.fileBytes, slotOffset(w.first+uint32(n)))
	return nil
}

func (w *slotWriter) close() { slotRuns.Put(w.run) }

// grow raises a length to at least to.
func grow(length *atomic.Int64, to int64) {
	for {
		now := length.Load()
		if to <= now || length.CompareAndSwap(now, to) {
			return
		}
	}
}

// takeSlots returns n free slots in rising order, live, and kept if asked.
func (s *Store) takeSlots(n int, live, kept bool) ([]uint32, error) {
	taken := make([]uint32, 0, n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	for range n {
		slot, ok := s.slots.take(live, kept)
		if !ok {
			s.giveBack(taken)
			return nil, fault.New("page write", fault.TooLarge, "the projection file has as many pages as it can have").ForTenant(s.o.Tenant)
		}
		taken = append(taken, slot)
	}
	return taken, nil
}

// giveBack frees slots that nothing came to refer to. The caller holds mu.
func (s *Store) giveBack(taken []uint32) {
	for _, slot := range taken {
		if s.slots.isLive(slot) {
			s.slots.clearLive(slot)
		}
		if s.slots.isKept(slot) {
			s.slots.clearKept(slot)
		}
	}
}

// item is a page in memory that is to be written.
type item struct {
	page  uint32
	frame *frame
	at    entry
}

// writeItems seals pages into fresh live slots and sets their entries. When
// it fails no slot is used.
func (s *Store) writeItems(op string, items []item, kept bool) error {
	w, err := s.newWriter()
	if err != nil {
		return err
	}
	defer w.close()
	taken, err := s.takeSlots(len(items), true, kept)
	if err != nil {
		return err
	}
	for i := range items {
		if items[i].at, err = w.add(kindPage, 0, items[i].page, taken[i], items[i].frame[:]); err != nil {
			break
		}
	}
	if err == nil {
		err = w.flush()
	}
	if err != nil {
		s.mu.Lock()
		s.giveBack(taken)
		s.mu.Unlock()
		return s.writeError(op, err)
	}
	return nil
}
