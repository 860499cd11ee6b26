package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/record"
	"kimberlite/internal/seal"
	"kimberlite/internal/tenant"
)

var ctx = context.Background()

// benchDir is a directory on the disk that the checkout is on: the
// temporary directory may be memory.
func benchDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(".", "bench-data-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// plaintext is the test-only switch that turns sealing off.
type plaintext struct{ seal.KeySource }

func (p plaintext) DEK(g ident.KeyGeneration) (*seal.DEK, error) {
	d, err := p.KeySource.DEK(g)
	if err != nil {
		return nil, err
	}
	return seal.InsecurePlaintextDEK(d.Tenant(), g), nil
}

func openNode(t *testing.T, dir string, sealed bool, change func(*node.Config)) *node.Node {
	t.Helper()
	c := node.Config{Dir: dir, MaxOpenTenants: 1100}
	if !sealed {
		c.KeySource = func(k seal.KeySource) seal.KeySource { return plaintext{k} }
	}
	if change != nil {
		change(&c)
	}
	n, err := node.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close(ctx) })
	return n
}

func createTenants(t *testing.T, n *node.Node, count int, schema string) []*tenant.Tenant {
	t.Helper()
	region, _ := ident.NewRegion("us-east")
	tenants := make([]*tenant.Tenant, count)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < count; i += 16 {
				id := ident.MustTenantID(uint64(i + 1))
				if err := n.Tenants().Create(ctx, tenant.Config{ID: id, Name: fmt.Sprint("t", i+1), Region: region}); err != nil {
					t.Error(err)
					return
				}
				h, err := n.Tenants().Tenant(id)
				if err != nil {
					t.Error(err)
					return
				}
				tenants[i] = h
				if schema == "" {
					continue
				}
				if _, err := h.Exec(ctx, tenant.Request{}, schema, nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return tenants
}

const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, v BLOB)"

// payload makes an insert's record about 256 bytes long, as the raw loop's.
var payload = make([]byte, 64)

func insert(t *testing.T, h *tenant.Tenant) {
	if _, err := h.Exec(ctx, tenant.Request{}, "INSERT INTO t (name, v) VALUES (?, ?)", []any{"somebody", payload}); err != nil {
		t.Error(err)
	}
}

// rawSQLite is the same driver used raw on a plain file with the settings
// that an embedding program would choose.
func rawSQLite(t *testing.T, rows int) *sqlite3.Conn {
	t.Helper()
	c, err := sqlite3.Open("file:" + filepath.Join(benchDir(t), "raw.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	err = c.Exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-256;" + schema + "; BEGIN")
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := c.Prepare("INSERT INTO t (name, v) VALUES (?, ?)")
	if err != nil {
		t.Fatal(err)
	}
	for range rows {
		_ = s.BindText(1, "somebody")
		_ = s.BindBlob(2, payload)
		if err := s.Exec(); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.Close()
	if err := c.Exec("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	return c
}

// rawJournal is writers that group-commit 256-byte records to one
// preallocated file: the least that durability costs on this disk.
type rawJournal struct {
	f    *os.File
	mu   sync.Mutex // guards queue
	wake *sync.Cond
	q    []chan struct{}
	at   int64
	stop bool
}

const rawRecord, rawFile = 256, 256 << 20

func newRawJournal(t *testing.T) *rawJournal {
	t.Helper()
	f, err := os.Create(filepath.Join(benchDir(t), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for range rawFile >> 20 {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	j := &rawJournal{f: f}
	j.wake = sync.NewCond(&j.mu)
	go j.run(t)
	t.Cleanup(func() {
		j.mu.Lock()
		j.stop = true
		j.wake.Signal()
		j.mu.Unlock()
	})
	return j
}

func (j *rawJournal) run(t *testing.T) {
	for {
		j.mu.Lock()
		for len(j.q) == 0 && !j.stop {
			j.wake.Wait()
		}
		q := j.q
		j.q = nil
		stop := j.stop
		j.mu.Unlock()
		if stop {
			_ = j.f.Close()
			return
		}
		buf := make([]byte, rawRecord*len(q))
		if j.at+int64(len(buf)) > rawFile {
			j.at = 0
		}
		if _, err := j.f.WriteAt(buf, j.at); err != nil {
			t.Error(err)
		}
		j.at += int64(len(buf))
		if err := syncData(j.f); err != nil {
			t.Error(err)
		}
		for _, c := range q {
			c <- struct{}{}
		}
	}
}

// append returns once a record is durable.
func (j *rawJournal) append(c chan struct{}) {
	j.mu.Lock()
	j.q = append(j.q, c)
	j.wake.Signal()
	j.mu.Unlock()
	<-c
}

func (j *rawJournal) writers(n int) measure {
	chans := make([]chan struct{}, n)
	for i := range chans {
		chans[i] = make(chan struct{}, 1)
	}
	return func(d time.Duration) float64 {
		return spread(n, d, func(w, _ int) { j.append(chans[w]) })
	}
}

var _ = record.DataRecord
