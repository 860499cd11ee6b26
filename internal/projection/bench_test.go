package projection

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/disk"
	"kimberlite/internal/pagestore"
	"kimberlite/internal/record"
)

const benchRows = 10_000

func newBench(b *testing.B) *fixture {
	b.Helper()
	f := &fixture{t: b, fs: disk.OS{}, keys: newKeys(b)}
	var err error
	f.store, err = pagestore.Open(pagestore.Options{FS: f.fs, Path: filepath.Join(b.TempDir(), "p.db"), Tenant: tenantOne, Keys: f.keys})
	if err != nil {
		b.Fatal(err)
	}
	f.DB, err = Open(context.Background(), Options{Store: f.store, Tenant: tenantOne})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = f.DB.Close()    // the numbers are in
		_ = f.store.Close() // likewise
	})
	f.mustExec(`CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b TEXT)`)
	f.mustExec(fmt.Sprintf(`INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT %d) SELECT i, i, 'row '||i FROM n`, benchRows))
	if err := f.store.Flush(); err != nil {
		b.Fatal(err)
	}
	f.payloads = nil
	return f
}

// rawDriver is the same driver on a plain file with its own WAL.
func rawDriver(b *testing.B) *sqlite3.Conn {
	b.Helper()
	c, err := sqlite3.Open("file:" + filepath.Join(b.TempDir(), "raw.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() }) // the numbers are in
	err = c.Exec(`PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-256;
		CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b TEXT)`)
	if err == nil {
		err = c.Exec(fmt.Sprintf(`INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT %d) SELECT i, i, 'row '||i FROM n`, benchRows))
	}
	if err != nil {
		b.Fatal(err)
	}
	return c
}

const pointRead = `SELECT a, b FROM t WHERE id=?`

func BenchmarkPointRead(b *testing.B) {
	for _, hot := range []int{100, benchRows} {
		b.Run(fmt.Sprintf("kimberlite/%d", hot), func(b *testing.B) {
			f := newBench(b)
			r, err := f.Read(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer r.Release()
			args := []any{0}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				args[0] = i%hot + 1
				rows, err := r.Query(context.Background(), pointRead, args)
				if err != nil || !rows.Next() || rows.Int64(0) != int64(i%hot+1) || rows.Text(1) == "" {
					b.Fatal(err)
				}
				rows.Close()
			}
		})
		b.Run(fmt.Sprintf("kimberlite with pool/%d", hot), func(b *testing.B) {
			f := newBench(b)
			args := []any{0}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				args[0] = i%hot + 1
				r, err := f.Read(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				rows, err := r.Query(context.Background(), pointRead, args)
				if err != nil || !rows.Next() || rows.Int64(0) != int64(i%hot+1) || rows.Text(1) == "" {
					b.Fatal(err)
				}
				rows.Close()
				r.Release()
			}
		})
		b.Run(fmt.Sprintf("raw/%d", hot), func(b *testing.B) {
			c := rawDriver(b)
			s, _, err := c.Prepare(pointRead)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if s.BindInt(1, i%hot+1) != nil || !s.Step() || s.ColumnInt64(0) != int64(i%hot+1) || s.ColumnText(1) == "" || s.Reset() != nil {
					b.Fatal(s.Err())
				}
			}
		})
	}
}

func BenchmarkInsert(b *testing.B) {
	for _, group := range []int{1, 32} {
		b.Run(fmt.Sprintf("kimberlite/group of %d", group), func(b *testing.B) {
			f := newBench(b)
			b.ReportAllocs()
			args := []any{0, "text of a row"}
			for n := 0; b.Loop(); n++ {
				if n%group == 0 {
					insertGroup(b, f, group, args)
				}
				if n%5000 == 4999 {
					if err := f.store.Flush(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
	b.Run("raw", func(b *testing.B) {
		c := rawDriver(b)
		s, _, err := c.Prepare(`INSERT INTO t(a,b) VALUES(?,?)`)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if s.BindInt(1, 0) != nil || s.BindText(2, "text of a row") != nil || s.Exec() != nil {
				b.Fatal("insert failed")
			}
		}
	})
}

func insertGroup(b *testing.B, f *fixture, n int, args []any) {
	b.Helper()
	g, err := f.DB.BeginGroup(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	for range n {
		if err := g.BeginTxn(); err != nil {
			b.Fatal(err)
		}
		res, err := g.Exec(context.Background(), `INSERT INTO t(a,b) VALUES(?,?)`, args)
		if err != nil {
			b.Fatal(err)
		}
		if err := g.EndTxn("", [16]byte{}, res); err != nil {
			b.Fatal(err)
		}
	}
	at := f.DB.Applied()
	at.Next = at.Next.Next()
	if err := g.Prepare(at); err != nil {
		b.Fatal(err)
	}
	if err := g.Commit(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkApply(b *testing.B) {
	f := newBench(b)
	s, _ := f.Stream("t")
	b.ReportAllocs()
	offset, id := s.Next.Uint64(), int64(benchRows)
	for b.Loop() {
		records := make([]ApplyRecord, 32)
		at := f.DB.Applied()
		for i := range records {
			id++
			at.Next = at.Next.Next()
			row := []record.Value{id, int64(5), "text of a row"}
			records[i] = ApplyRecord{At: at, Payload: &record.Payload{Txns: []record.Txn{{Events: []record.Event{{
				Kind: record.RowInserted, Stream: s.Number, StreamOffset: offset, SchemaVersion: 1, RowID: id, After: row,
			}}}}}}
			offset++
		}
		if err := f.DB.ApplyAll(context.Background(), records); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	f := newBench(b)
	b.ReportAllocs()
	for b.Loop() {
		db, err := Open(context.Background(), Options{Store: f.store, Tenant: tenantOne})
		if err != nil {
			b.Fatal(err)
		}
		other := &fixture{DB: db, t: b}
		if _, err := other.rows(pointRead, 5); err != nil {
			b.Fatal(err)
		}
		_ = db.Close() // never fails
	}
}
