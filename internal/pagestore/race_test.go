package pagestore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// TestReadersSeeOneVersionWhileWriterAndFlushGoOn has every page say by which
// commit it was written, and page 0 the latest commit: a reader then knows
// what every other page must say.
func TestReadersSeeOneVersionWhileWriterAndFlushGoOn(t *testing.T) {
	const pages, commits, readers = 60, 250, 3
	e := newEnv(t)
	s := e.open()
	var history sync.Map // commit -> [pages]uint64
	var now [pages]uint64
	history.Store(uint64(0), now)
	b := s.Begin()
	for page := range pages {
		stamp(t, b, page, 0)
	}
	check(t, b.Commit())
	var done atomic.Bool
	var all sync.WaitGroup
	failures := make(chan error, readers+1)
	for i := range readers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 3))
			for !done.Load() {
				if err := readVersion(s, &history, rng, pages); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	all.Go(func() {
		for !done.Load() {
			if err := s.Flush(); err != nil {
				failures <- err
				return
			}
			_, _, _ = s.Dirty(), s.FileBytes(), s.Seals()
		}
	})
	rng := rand.New(rand.NewPCG(9, 3))
	for commit := uint64(1); commit <= commits; commit++ {
		b := s.Begin()
		next := now
		for _, page := range append(rng.Perm(pages)[:1+rng.IntN(40)], 0) {
			stamp(t, b, page, commit)
			next[page] = commit
		}
		if commit%7 == 0 {
			b.Discard()
			continue
		}
		now = next
		history.Store(commit, now)
		check(t, b.Commit())
	}
	done.Store(true)
	all.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	s.verify(t)
	check(t, s.Flush())
	check(t, s.Close())
	s = e.open()
	check(t, readVersion(s, &history, rng, pages))
}

func stamp(t *testing.T, b *Batch, page int, commit uint64) {
	p := make([]byte, PageSize)
	for i := 0; i < payloadSize; i += 16 {
		binary.LittleEndian.PutUint64(p[i:], commit)
		binary.LittleEndian.PutUint64(p[i+8:], uint64(page))
	}
	_, err := b.WriteAt(p, int64(page)*PageSize)
	check(t, err)
}

func readVersion(s *Store, history *sync.Map, rng *rand.Rand, pages int) error {
	sn := s.Snapshot()
	defer sn.Release()
	var head [16]byte
	if _, err := sn.ReadAt(head[:], 0); err != nil {
		return err
	}
	commit := binary.LittleEndian.Uint64(head[:])
	known, ok := history.Load(commit)
	if !ok {
		return fmt.Errorf("commit %d was never published", commit)
	}
	want := known.([60]uint64)
	p := make([]byte, PageSize)
	for range 30 {
		page := rng.IntN(pages)
		if _, err := sn.ReadAt(p, int64(page)*PageSize); err != nil {
			return err
		}
		for i := 0; i < payloadSize; i += 16 * 9 {
			if got, of := binary.LittleEndian.Uint64(p[i:]), binary.LittleEndian.Uint64(p[i+8:]); got != want[page] || of != uint64(page) {
				return fmt.Errorf("commit %d: page %d says page %d of commit %d, want commit %d", commit, page, of, got, want[page])
			}
		}
	}
	return nil
}
