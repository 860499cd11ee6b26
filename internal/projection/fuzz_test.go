package projection

import (
	"bytes"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// FuzzStatement gives any text to a reader and to a writer. Whatever it is, it
// is answered with a result or a client's error, our own tables stay as they
// are, and the log rebuilds what it did.
func FuzzStatement(f *testing.F) {
	for _, a := range attacks {
		f.Add(a.sql)
	}
	f.Add(`INSERT INTO t VALUES(2,'x') RETURNING *`)
	f.Add(`CREATE TABLE u(a INTEGER PRIMARY KEY AUTOINCREMENT, b AS (a)); INSERT INTO u DEFAULT VALUES`)
	f.Add(`ALTER TABLE t RENAME TO u; UPDATE u SET b=a`)
	f.Fuzz(func(t *testing.T, sql string) {
		x := newFixture(t, Options{Limits: Limits{StatementTimeout: 1e8, MaxMemoryBytes: 16 << 20, MaxValueBytes: 1 << 20}})
		x.mustExec(`CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES(1,1)`)
		applied := x.Applied()
		_, err := x.rows(sql)
		checkClientError(t, err)
		_, err = x.exec(sql)
		checkClientError(t, err)
		if err != nil && x.Applied() != applied {
			t.Error("a statement that failed has moved the log")
		}
		x.checkRebuild()
	})
}

func checkClientError(t *testing.T, err error) {
	t.Helper()
	if err != nil && (fault.Is(err, fault.Internal) || fault.Is(err, fault.Corruption) || fault.Is(err, fault.Unavailable)) {
		t.Error(err)
	}
}

func FuzzDecodePosition(f *testing.F) {
	f.Add((&position{}).encode())
	f.Add((&position{recent: []streamCount{{3, 7}, {1, 2}}}).encode())
	f.Add([]byte("short"))
	f.Add(bytes.Repeat([]byte{0xff}, appliedBytes+2*countBytes))
	f.Add(make([]byte, appliedBytes+countBytes*(maxRecent+1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePosition(b)
		if err != nil || len(b) == 0 {
			return
		}
		if !bytes.Equal(p.encode(), b) {
			t.Errorf("%x became %x", b, p.encode())
		}
	})
}

func FuzzDecodeColumns(f *testing.F) {
	b, err := encodeColumns([]record.Column{{Name: "a", Type: "INT", Key: 1}, {}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`[{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		columns, err := decodeColumns(b)
		if err != nil {
			return
		}
		again, err := encodeColumns(columns)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := decodeColumns(again); err != nil || !sameColumns(same, columns) {
			t.Errorf("%v became %v, %v", columns, same, err)
		}
	})
}
