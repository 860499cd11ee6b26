package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"kimberlite"
	"kimberlite/internal/fault"
)

// loadTest is a load and what it measured.
type loadTest struct {
	flags    *benchFlags
	duration time.Duration
	tenants  []*kimberlite.Tenant

	took time.Duration

	mu            sync.Mutex // guards both while workers end
	reads, writes histogram
}

// seedBatch is how many rows one transaction of the preparation inserts.
const seedBatch = 1000

// prepare makes the tenants and their rows.
func (l *loadTest) prepare(ctx context.Context, db *kimberlite.DB) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	l.tenants = make([]*kimberlite.Tenant, l.flags.tenants)
	for i := range l.tenants {
		g.Go(func() error {
			id := uint64(i) + 1 //nolint:gosec // counted from 0
			t, err := db.CreateTenant(ctx, kimberlite.TenantConfig{
				ID: kimberlite.MustTenantID(id), Name: fmt.Sprintf("bench-%d", id),
			})
			if err != nil {
				return err
			}
			l.tenants[i] = t
			return l.seed(ctx, t)
		})
	}
	return g.Wait()
}

func (l *loadTest) seed(ctx context.Context, t *kimberlite.Tenant) error {
	if _, err := t.Exec(ctx, "CREATE TABLE bench (id INTEGER PRIMARY KEY, value TEXT)"); err != nil {
		return err
	}
	value := strings.Repeat("x", l.flags.value)
	for first := 1; first <= l.flags.rows; first += seedBatch {
		var rows [][]any
		for id := first; id < first+seedBatch && id <= l.flags.rows; id++ {
			rows = append(rows, []any{id, value})
		}
		if _, err := t.ExecBatch(ctx, insertBench, rows); err != nil {
			return err
		}
	}
	return nil
}

const (
	insertBench = "INSERT INTO bench VALUES (?, ?)"
	readBench   = "SELECT value FROM bench WHERE id = ?"
)

// run lets all workers loose for the duration.
func (l *loadTest) run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	start := time.Now()
	end := start.Add(l.duration)
	for i, t := range l.tenants {
		for w := range l.flags.workers {
			g.Go(func() error { return l.work(gctx, t, newWorker(l.flags, i, w), end) })
		}
	}
	err := g.Wait()
	l.took = time.Since(start)
	if err == nil && ctx.Err() != nil {
		return fault.OfContext("bench", ctx)
	}
	return err
}

// worker draws one worker's operations: the same ones in every run.
type worker struct {
	state   uint64
	reads   uint64 // percent
	rows    uint64 // to read from
	nextID  int64
	stride  int64
	value   string
	scratch string
}

func newWorker(f *benchFlags, tenant, w int) *worker {
	return &worker{
		state: uint64(tenant)<<32 | uint64(w), reads: uint64(f.reads), rows: uint64(f.rows), //nolint:gosec // validated ranges
		nextID: int64(f.rows) + 1 + int64(w), stride: int64(f.workers), value: strings.Repeat("x", f.value),
	}
}

// draw returns the next number of a repeatable sequence (SplitMix64).
func (w *worker) draw() uint64 {
	w.state += 0x9E3779B97F4A7C15
	z := w.state
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

func (l *loadTest) work(ctx context.Context, t *kimberlite.Tenant, w *worker, end time.Time) error {
	var reads, writes histogram
	for now := time.Now(); now.Before(end) && ctx.Err() == nil; {
		into := &writes
		var err error
		if w.draw()%100 < w.reads {
			into = &reads
			err = t.QueryRow(ctx, readBench, int64(w.draw()%w.rows)+1).Scan(&w.scratch) //nolint:gosec // below rows
		} else {
			_, err = t.Exec(ctx, insertBench, w.nextID, w.value)
			w.nextID += w.stride
		}
		if err != nil {
			return err
		}
		after := time.Now()
		into.record(after.Sub(now))
		now = after
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads.add(&reads)
	l.writes.add(&writes)
	return nil
}
