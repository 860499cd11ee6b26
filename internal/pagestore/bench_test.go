package pagestore

import (
	"path/filepath"
	"testing"

	"kimberlite/internal/disk"
)

// benchStore returns a flushed store of some pages on the real disk.
func benchStore(b *testing.B, pages int) (*Store, Options) {
	b.Helper()
	o := Options{FS: disk.OS{}, Path: filepath.Join(b.TempDir(), "projection.db"), Tenant: testTenant, Keys: newTestKeys(testTenant)}
	s, err := Open(o)
	check(b, err)
	batch := s.Begin()
	for page := range pages {
		writePage(b, batch, page, uint64(page))
	}
	check(b, batch.Commit())
	check(b, s.Flush())
	b.Cleanup(func() { _ = s.Close() })
	b.ReportAllocs()
	return s, o
}

func benchmarkOpen(b *testing.B, pages int) {
	_, o := benchStore(b, pages)
	for b.Loop() {
		s, err := Open(o)
		check(b, err)
		check(b, s.Close())
	}
}

func BenchmarkOpen1Page(b *testing.B)       { benchmarkOpen(b, 1) }
func BenchmarkOpen300Pages(b *testing.B)    { benchmarkOpen(b, 300) }
func BenchmarkOpen25000Pages(b *testing.B)  { benchmarkOpen(b, 25_000) }
func BenchmarkCommit3Pages(b *testing.B)    { benchmarkCommit(b, false) }
func BenchmarkCommitPinned(b *testing.B)    { benchmarkCommit(b, true) }
func BenchmarkReadStored(b *testing.B)      { benchmarkRead(b, false) }
func BenchmarkReadInMemory(b *testing.B)    { benchmarkRead(b, true) }
func BenchmarkFlush1Page(b *testing.B)      { benchmarkFlush(b, 1, 300) }
func BenchmarkFlush256Pages(b *testing.B)   { benchmarkFlush(b, 256, 300) }
func BenchmarkFlush256Of25000(b *testing.B) { benchmarkFlush(b, 256, 25_000) }

func benchmarkRead(b *testing.B, resident bool) {
	s, _ := benchStore(b, 200)
	if resident {
		batch := s.Begin()
		for page := range 200 {
			writePage(b, batch, page, 1)
		}
		check(b, batch.Commit())
	}
	sn := s.Snapshot()
	defer sn.Release()
	p := make([]byte, PageSize)
	page := int64(0)
	for b.Loop() {
		if _, err := sn.ReadAt(p, page*PageSize); err != nil {
			b.Fatal(err)
		}
		if page++; page == 200 {
			page = 0
		}
	}
}

// BenchmarkTransactionStart is what every read transaction costs: a snapshot
// and the 16 bytes that SQLite compares.
func BenchmarkTransactionStart(b *testing.B) {
	s, _ := benchStore(b, 10)
	var p [16]byte
	for b.Loop() {
		sn := s.Snapshot()
		if _, err := sn.ReadAt(p[:], 24); err != nil {
			b.Fatal(err)
		}
		sn.Release()
	}
}

func BenchmarkReadHeader(b *testing.B) {
	s, _ := benchStore(b, 10)
	sn := s.Snapshot()
	defer sn.Release()
	var p [16]byte
	for b.Loop() {
		if _, err := sn.ReadAt(p[:], 24); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	s, _ := benchStore(b, 10)
	for b.Loop() {
		s.Snapshot().Release()
	}
}

func BenchmarkSnapshotParallel(b *testing.B) {
	s, _ := benchStore(b, 10)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Snapshot().Release()
		}
	})
}

func benchmarkCommit(b *testing.B, pinned bool) {
	s, _ := benchStore(b, 100)
	p := content(1)
	i := int64(0)
	for b.Loop() {
		var sn *Snapshot
		if pinned {
			sn = s.Snapshot()
		}
		batch := s.Begin()
		for _, page := range []int64{0, 1 + i%99, 1 + (i*7)%99} {
			if _, err := batch.WriteAt(p, page*PageSize); err != nil {
				b.Fatal(err)
			}
		}
		check(b, batch.Commit())
		i++
		if pinned {
			sn.Release()
		}
	}
}

// BenchmarkCommitSpilling commits pages faster than they are flushed.
func BenchmarkCommitSpilling(b *testing.B) {
	s, _ := benchStore(b, 10_000)
	p := content(1)
	page := int64(0)
	for b.Loop() {
		batch := s.Begin()
		for range 3 {
			if _, err := batch.WriteAt(p, page%10_000*PageSize); err != nil {
				b.Fatal(err)
			}
			page += 7
		}
		check(b, batch.Commit())
	}
}

func benchmarkFlush(b *testing.B, dirty, pages int) {
	s, _ := benchStore(b, pages)
	p := content(1)
	for b.Loop() {
		b.StopTimer()
		batch := s.Begin()
		for i := range dirty {
			if _, err := batch.WriteAt(p, int64(i*pages/dirty)*PageSize); err != nil {
				b.Fatal(err)
			}
		}
		check(b, batch.Commit())
		b.StartTimer()
		check(b, s.Flush())
	}
}
