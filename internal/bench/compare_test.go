package bench

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"kimberlite/internal/tenant"
)

func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

const span = time.Second

func pointReads(t *testing.T, h *tenant.Tenant, rows int) measure {
	return func(d time.Duration) float64 {
		return spread(1, d, func(_, i int) {
			for range 100 {
				r, err := h.Query(ctx, "SELECT name FROM t WHERE id = ?", []any{int64(i%rows + 1)})
				if err != nil {
					t.Error(err)
					return
				}
				if !r.Next() {
					t.Error("no row", r.Err())
				}
				_ = r.Text(0)
				r.Close()
				i += 7
			}
		}) * 100
	}
}

func fill(t *testing.T, h *tenant.Tenant, rows int) {
	t.Helper()
	for done := 0; done < rows; {
		n := min(5000, rows-done)
		batch := make([][]any, n)
		for i := range batch {
			batch[i] = []any{"somebody", payload}
		}
		if _, err := h.ExecBatch(ctx, tenant.Request{}, "INSERT INTO t (name, v) VALUES (?, ?)", batch); err != nil {
			t.Fatal(err)
		}
		done += n
	}
}

func TestPointRead(t *testing.T) {
	enabled(t)
	const rows = 1000
	raw := rawSQLite(t, rows)
	s, _, err := raw.Prepare("SELECT name FROM t WHERE id = ?")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rawRead := func(d time.Duration) float64 {
		return spread(1, d, func(_, i int) {
			for range 100 {
				_ = s.BindInt64(1, int64(i%rows+1))
				if !s.Step() {
					t.Error(s.Err())
				}
				_ = s.ColumnText(0)
				_ = s.Reset()
				i += 7
			}
		}) * 100
	}
	sealed := createTenants(t, openNode(t, benchDir(t), true, nil), 1, schema)[0]
	plain := createTenants(t, openNode(t, benchDir(t), false, nil), 1, schema)[0]
	fill(t, sealed, rows)
	fill(t, plain, rows)
	a, b, ratio := pair(pointReads(t, sealed, rows), rawRead, span)
	row(t, "point read by primary key, hot; raw: the same SQLite driver on a plain WAL file", rate(a), rate(b), fmt.Sprintf("%.2f", ratio), "≥ 0.8")
	a, b, ratio = pair(pointReads(t, sealed, rows), pointReads(t, plain, rows), span)
	row(t, "point read, sealing on against off", rate(a), rate(b), fmt.Sprintf("%.3f", ratio), "≥ 0.99")
}

func inserts(t *testing.T, tenants []*tenant.Tenant, writers int) measure {
	return func(d time.Duration) float64 {
		return spread(writers, d, func(w, _ int) { insert(t, tenants[w%len(tenants)]) })
	}
}

func TestDurableInserts(t *testing.T) {
	enabled(t)
	journal := newRawJournal(t)
	n := openNode(t, benchDir(t), true, nil)
	tenants := createTenants(t, n, 32, schema)
	a, b, ratio := pair(inserts(t, tenants, 32), journal.writers(32), span)
	row(t, "durable inserts, 32 tenants × 1 writer; raw: 32 writers group-committing 256 B to one preallocated file", rate(a), rate(b), fmt.Sprintf("%.2f", ratio), "≥ 0.5")
	a, b, ratio = pair(inserts(t, tenants[:1], 32), journal.writers(32), span)
	row(t, "durable inserts, 1 tenant × 32 writers; raw: the same", rate(a), rate(b), fmt.Sprintf("%.2f", ratio), "≥ 0.3")
	a, b, ratio = pair(inserts(t, tenants[:1], 1), oneFsync(t), span)
	row(t, "durable insert, 1 writer; B: fdatasync of a 256 B overwrite in a preallocated file", fmt.Sprintf("%.0f µs", 1e6/a), fmt.Sprintf("%.0f µs", 1e6/b), fmt.Sprintf("%.2f × its latency", 1/ratio), "≤ 2")
	plain := createTenants(t, openNode(t, benchDir(t), false, nil), 32, schema)
	a, b, ratio = pair(inserts(t, tenants, 32), inserts(t, plain, 32), span)
	row(t, "durable inserts, 32 tenants × 1 writer, sealing on against off", rate(a), rate(b), fmt.Sprintf("%.3f", ratio), "≥ 0.85")
}

// oneFsync writes 256 bytes and syncs, with nobody else: the least latency.
func oneFsync(t *testing.T) measure {
	j := newRawJournal(t)
	buf := make([]byte, rawRecord)
	at := int64(0)
	return func(d time.Duration) float64 {
		return spread(1, d, func(_, _ int) {
			if _, err := j.f.WriteAt(buf, at); err != nil {
				t.Error(err)
			}
			at = (at + rawRecord) % (rawFile / 2)
			if err := syncData(j.f); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestManyTenantsInTurn(t *testing.T) {
	enabled(t)
	n := openNode(t, benchDir(t), true, nil)
	many := createTenants(t, n, 1000, schema)
	one := createTenants(t, openNode(t, benchDir(t), true, nil), 1, schema)
	for _, h := range many {
		fill(t, h, 10)
	}
	fill(t, one[0], 1000)
	inTurn := func(tenants []*tenant.Tenant, op func(h *tenant.Tenant, i int)) measure {
		return func(d time.Duration) float64 {
			next := 0
			return spread(1, d, func(_, i int) {
				op(tenants[next%len(tenants)], i)
				next++
			})
		}
	}
	write := func(h *tenant.Tenant, _ int) { insert(t, h) }
	a, b, ratio := pair(inTurn(many, write), inTurn(one, write), 2*span)
	row(t, "durable inserts, 1,000 tenants in turn against 1 tenant", rate(a), rate(b), fmt.Sprintf("%.2f", ratio), "≥ 0.8")
	read := func(h *tenant.Tenant, i int) {
		r, err := h.Query(ctx, "SELECT name FROM t WHERE id = ?", []any{int64(i%10 + 1)})
		if err != nil {
			t.Error(err)
			return
		}
		for r.Next() {
		}
	}
	mixed := func(h *tenant.Tenant, i int) {
		if i%10 == 0 {
			insert(t, h)
		} else {
			read(h, i)
		}
	}
	a, b, ratio = pair(inTurn(many, mixed), inTurn(one, mixed), 2*span)
	row(t, "9 point reads to 1 insert, 1,000 tenants in turn against 1 tenant", rate(a), rate(b), fmt.Sprintf("%.2f", ratio), "≥ 0.8")
}
