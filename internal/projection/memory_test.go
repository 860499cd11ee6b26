package projection

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// residentBytes is the memory of the process that is in RAM, or 0 where that
// cannot be read.
func residentBytes() int64 {
	runtime.GC()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

// TestAnOpenTenantTakesAtMostOneMebibyte measures writer and reader after
// some work on a table that is larger than their caches.
func TestAnOpenTenantTakesAtMostOneMebibyte(t *testing.T) {
	if testing.Short() || raceEnabled || residentBytes() == 0 {
		t.Skip("not measurable here")
	}
	const tenants = 40
	var all []*fixture
	before := residentBytes()
	for range tenants {
		f := newFixture(t, Options{})
		f.mustExec(`CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); CREATE INDEX i ON t(a)`)
		f.mustExec(`INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 3000) SELECT i, i%17, hex(zeroblob(40)) FROM n`)
		if err := f.store.Flush(); err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	storage := residentBytes()
	for _, f := range all {
		// The disk in memory is not part of it: new connections on it are.
		f.DB.dropWriter()
		f.DB.readers.close()
	}
	closed := residentBytes()
	for _, f := range all {
		f.DB.readers.closed = false
		for i := range 20 {
			f.mustExec(`INSERT INTO t(a,b) VALUES(?,?)`, i, strings.Repeat("x", 50))
			f.text(`SELECT count(*) FROM t WHERE a=5`)
			f.text(`SELECT b FROM t WHERE id=?`, i+1)
		}
	}
	open := residentBytes()
	each := (open - closed) / tenants
	t.Logf("%d KiB for each open tenant (%d KiB before, %d with data, %d closed, %d open)", each>>10, before>>10, storage>>10, closed>>10, open>>10)
	if each > 1<<20 {
		t.Errorf("an open tenant takes %d bytes", each)
	}
}
