package replication

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
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
// into one file that is written already. One writer at a time writes for all
// that came while the disk was busy, then wakes them and the next to write.
type rawLoop struct {
	file disk.File
	size int64

	mu     sync.Mutex // guards all below
	off    int64
	buf    []byte
	spare  []byte
	batch  *rawBatch
	turn   sync.Cond
	flying bool
}

// rawBatch is what one sync makes durable.
type rawBatch struct{ done bool }

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
	r := &rawLoop{file: f, size: size, batch: &rawBatch{}}
	r.turn.L = &r.mu
	return r
}

// commit returns once record is durable.
func (r *rawLoop) commit(record []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf = append(r.buf, record...)
	mine := r.batch
	for r.flying && !mine.done {
		r.turn.Wait()
	}
	if mine.done {
		return
	}
	buf, off := r.buf, r.off
	if off+int64(len(buf)) > r.size {
		off = 0
	}
	r.off = off + int64(len(buf))
	r.buf, r.batch, r.flying = r.spare[:0], &rawBatch{}, true
	r.mu.Unlock()
	_, err := r.file.WriteAt(buf, off)
	if err == nil {
		err = r.file.Sync()
	}
	if err != nil {
		panic(err)
	}
	r.mu.Lock()
	r.spare, r.flying, mine.done = buf, false, true
	r.turn.Broadcast()
}

// cpuTime returns what this process has used of the processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// drive runs op on n goroutines for d and returns how often.
func drive(n int, d time.Duration, op func()) int64 {
	var count atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for range n {
		wg.Go(func() {
			for time.Now().Before(end) {
				op()
				count.Add(1)
			}
		})
	}
	wg.Wait()
	return count.Load()
}

// benchAgainstRaw lets n proposers and n raw writers take turns of a quarter
// second, so that what else the machine does strikes both, and reports the
// rates and their ratio. Each iteration is a pair of turns.
func benchAgainstRaw(b *testing.B, n int) {
	raw := newRawLoop(b, 64<<20)
	s, g := mustOpen(b, disk.OS{}, benchDir(b), discard{})
	defer s.Close()
	record, data := make([]byte, 256), make([]byte, 300)
	ctx := context.Background()
	propose := func() {
		if _, err := g.Propose(ctx, data); err != nil {
			b.Error(err)
		}
	}
	const turn = 250 * time.Millisecond
	drive(n, turn, propose) // warm up
	var ours, theirs int64
	var cpuOurs, cpuTheirs time.Duration
	b.ResetTimer()
	for range b.N {
		t0 := cpuTime()
		ours += drive(n, turn, propose)
		t1 := cpuTime()
		theirs += drive(n, turn, func() { raw.commit(record) })
		cpuOurs += t1 - t0
		cpuTheirs += cpuTime() - t1
	}
	b.ReportMetric(float64(cpuOurs.Nanoseconds())/float64(ours), "cpu-ns/propose")
	b.ReportMetric(float64(cpuTheirs.Nanoseconds())/float64(theirs), "cpu-ns/raw")
	seconds := turn.Seconds() * float64(b.N)
	b.ReportMetric(float64(ours)/seconds, "propose/s")
	b.ReportMetric(float64(theirs)/seconds, "raw/s")
	b.ReportMetric(float64(ours)/float64(theirs), "ratio")
}

func BenchmarkAgainstRaw1(b *testing.B)  { benchAgainstRaw(b, 1) }
func BenchmarkAgainstRaw32(b *testing.B) { benchAgainstRaw(b, 32) }

func benchPropose(b *testing.B, n int) {
	s, g := mustOpen(b, disk.OS{}, benchDir(b), discard{})
	defer s.Close()
	data := make([]byte, 300)
	ctx := context.Background()
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := g.Propose(ctx, data); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkPropose1(b *testing.B)  { benchPropose(b, 1) }
func BenchmarkPropose32(b *testing.B) { benchPropose(b, 32) }

// benchOpen measures opening a store and its group, ready to propose.
func benchOpen(b *testing.B, prepare func(g *Group)) {
	dir := benchDir(b)
	s, g := mustOpen(b, disk.OS{}, dir, discard{})
	prepare(g)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		s, _ := mustOpen(b, disk.OS{}, dir, discard{})
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkOpenNew(b *testing.B) {
	for range b.N {
		s, _ := mustOpen(b, disk.OS{}, benchDir(b), discard{})
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
}

func BenchmarkOpenEmpty(b *testing.B) { benchOpen(b, func(*Group) {}) }

func fill(b *testing.B, g *Group, bytes int) {
	const size = 4 << 10
	done := make(chan error, bytes/size)
	for range cap(done) {
		g.ProposeAsync(make([]byte, size), func(_ any, err error) { done <- err })
	}
	for range cap(done) {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenCheckpointed(b *testing.B) {
	benchOpen(b, func(g *Group) {
		fill(b, g, 64<<20)
		if err := g.SaveCheckpoint(g.Applied(), nil); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkOpenReplay64MiB(b *testing.B) { benchOpen(b, func(g *Group) { fill(b, g, 64<<20) }) }
