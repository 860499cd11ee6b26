package replication

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kimberlite/internal/disk"
)

type discard struct{}

func (discard) Apply(entries []Entry) error { return nil }

func benchDir(b *testing.B) string {
	dir, err := os.MkdirTemp(".", "bench-*") // the temporary directory may lie in memory
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// rawLoop is what there is to be had: writers that commit records together
// into one file that is written already.
type rawLoop struct {
	file disk.File
	off  int64
	size int64

	mu      sync.Mutex
	buf     []byte
	spare   []byte
	waiters []chan struct{}
	idle    []chan struct{}
	busy    bool
}

func newRawLoop(b *testing.B, size int64) *rawLoop {
	f, err := disk.OS{}.OpenFile(filepath.Join(benchDir(b), "raw"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	if _, err := f.WriteAt(make([]byte, size), 0); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return &rawLoop{file: f, size: size}
}

// commit returns once record is durable. The first to come writes for all
// that came while the disk was busy.
func (r *rawLoop) commit(record []byte, wake chan struct{}) {
	r.mu.Lock()
	r.buf = append(r.buf, record...)
	r.waiters = append(r.waiters, wake)
	if r.busy {
		r.mu.Unlock()
		<-wake
		return
	}
	r.busy = true
	for mine := true; mine || len(r.waiters) > 0; mine = false {
		buf, waiters := r.buf, r.waiters
		r.buf, r.waiters = r.spare[:0], r.idle[:0]
		r.mu.Unlock()
		if r.off+int64(len(buf)) > r.size {
			r.off = 0
		}
		if _, err := r.file.WriteAt(buf, r.off); err != nil {
			panic(err)
		}
		r.off += int64(len(buf))
		if err := r.file.Sync(); err != nil {
			panic(err)
		}
		for _, w := range waiters {
			if w != wake {
				w <- struct{}{}
			}
		}
		r.mu.Lock()
		r.spare, r.idle = buf, waiters
		if mine && len(r.waiters) > 0 {
			// Hand the rest over, so that this writer is not the last served.
			go r.lead()
			r.mu.Unlock()
			return
		}
	}
	r.busy = false
	r.mu.Unlock()
}

// lead writes until nobody waits.
func (r *rawLoop) lead() {
	r.mu.Lock()
	for len(r.waiters) > 0 {
		buf, waiters := r.buf, r.waiters
		r.buf, r.waiters = r.spare[:0], r.idle[:0]
		r.mu.Unlock()
		if r.off+int64(len(buf)) > r.size {
			r.off = 0
		}
		if _, err := r.file.WriteAt(buf, r.off); err != nil {
			panic(err)
		}
		r.off += int64(len(buf))
		if err := r.file.Sync(); err != nil {
			panic(err)
		}
		for _, w := range waiters {
			w <- struct{}{}
		}
		r.mu.Lock()
		r.spare, r.idle = buf, waiters
	}
	r.busy = false
	r.mu.Unlock()
}

// drive runs b.N operations on n goroutines and reports their rate.
func drive(b *testing.B, n int, op func(worker int)) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	start := time.Now()
	for w := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for left.Add(-1) >= 0 {
				op(w)
			}
		}()
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "op/s")
}

func BenchmarkRaw1Fsync(b *testing.B) {
	r := newRawLoop(b, 8<<20)
	record := make([]byte, 256)
	wake := make(chan struct{}, 1)
	drive(b, 1, func(int) { r.commit(record, wake) })
}

func BenchmarkRaw32(b *testing.B) {
	r := newRawLoop(b, 64<<20)
	record := make([]byte, 256)
	var wakes [32]chan struct{}
	for i := range wakes {
		wakes[i] = make(chan struct{}, 1)
	}
	drive(b, 32, func(w int) { r.commit(record, wakes[w]) })
}

func benchPropose(b *testing.B, n int) {
	s, g := mustOpen(b, disk.OS{}, benchDir(b), discard{})
	defer s.Close()
	data := make([]byte, 300)
	ctx := context.Background()
	b.ReportAllocs()
	drive(b, n, func(int) {
		if _, err := g.Propose(ctx, data); err != nil {
			b.Error(err)
		}
	})
}

func BenchmarkPropose1(b *testing.B)  { benchPropose(b, 1) }
func BenchmarkPropose32(b *testing.B) { benchPropose(b, 32) }
