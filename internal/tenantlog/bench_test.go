package tenantlog

import (
	"path/filepath"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

// benchRecords makes a chain of records of 300 bytes.
func benchRecords(b *testing.B, n int) *chain {
	c := newChain(b, tenant1)
	for range n {
		c.next(300 - record.MinRecordBytes)
	}
	return c
}

func benchLog(b *testing.B, n int) (Options, *chain, Position) {
	b.Helper()
	o, c := Options{FS: disk.OS{}, Dir: filepath.Join(b.TempDir(), "log"), Tenant: tenant1}, benchRecords(b, n)
	l := mustOpen(b, o, Start(tenant1))
	for _, rec := range c.recs {
		mustAppend(b, l, rec)
	}
	mustSync(b, l)
	at := l.Position()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	return o, c, at
}

func BenchmarkAppend(b *testing.B) {
	const n = 20_000
	c, o := benchRecords(b, n), Options{FS: disk.OS{}, Tenant: tenant1}
	b.SetBytes(300)
	b.ReportAllocs()
	var l *Log
	i := n
	for b.Loop() {
		if i == n {
			b.StopTimer()
			if l != nil {
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			}
			o.Dir = filepath.Join(b.TempDir(), "log")
			l, i = mustOpen(b, o, Start(tenant1)), 0
			b.StartTimer()
		}
		if _, err := l.Append(c.recs[i]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkVerify(b *testing.B) {
	o, _, at := benchLog(b, 200_000)
	b.SetBytes(at.TotalBytes)
	b.ReportAllocs()
	start := Start(tenant1)
	for b.Loop() {
		r, err := Verify(o.FS, o.Dir, tenant1, Expect{Position: &start}, nil)
		if err != nil || len(r.Problems) > 0 || r.Records != 200_000 {
			b.Fatal(err, r.Problems)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	o, _, at := benchLog(b, 100_000)
	l := mustOpen(b, o, at)
	b.SetBytes(at.TotalBytes)
	b.ReportAllocs()
	for b.Loop() {
		if recs, err := readAll(l, 1<<20); err != nil || len(recs) != 100_000 {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadOneInTheTail(b *testing.B) {
	o, c, at := benchLog(b, 1000)
	l := mustOpen(b, o, at)
	cur, err := l.Seek(ident.NewOffset(900))
	if err != nil {
		b.Fatal(err)
	}
	_ = c
	b.ReportAllocs()
	for b.Loop() {
		if recs, _, err := l.Read(cur, 1); err != nil || len(recs) != 1 {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(map[bool]string{true: "10 records", false: "100000 records"}[n == 10], func(b *testing.B) {
			o, _, at := benchLog(b, n)
			b.ReportAllocs()
			for b.Loop() {
				mustOpen(b, o, at)
			}
		})
	}
}

// BenchmarkSeekCold finds the last record of a full segment that no index
// knows yet.
func BenchmarkSeekCold(b *testing.B) {
	o, _, at := benchLog(b, 55_000)
	for b.Loop() {
		l := mustOpen(b, o, at)
		if _, err := l.Seek(ident.NewOffset(54_999)); err != nil {
			b.Fatal(err)
		}
	}
}
