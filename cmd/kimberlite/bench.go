package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
)

// benchFlags are the flags of bench.
type benchFlags struct {
	tenants, workers, reads, rows, value int
	duration                             string
}

func benchCommand(a *app) *cobra.Command {
	var flags benchFlags
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure operations per second and latency under a load",
		Long: `Measure operations per second and latency. Each worker of each tenant, one
operation after another, reads a row by its primary key or inserts one; every
insert is acknowledged only once it is durable. The data directory must be new:
without --data it is a temporary one, removed afterwards.`,
		Example: "  kimberlite bench --tenants 4 --workers 2 --reads 80 --duration 1s",
		Args:    exactly(),
	}
	f := c.Flags()
	f.IntVar(&flags.tenants, "tenants", 4, "number of tenants")
	f.IntVar(&flags.workers, "workers", 4, "workers per tenant")
	f.IntVar(&flags.reads, "reads", 50, "percentage of operations that read")
	f.IntVar(&flags.rows, "rows", 1000, "rows per tenant to begin with")
	f.IntVar(&flags.value, "value-size", 100, "bytes of text per row")
	f.StringVar(&flags.duration, "duration", "5s", "how long to measure")
	return a.verb(c, func(ctx context.Context, _ []string) error {
		duration, err := quantity.ParseDuration(flags.duration)
		if err != nil {
			return badFlag("--duration", err)
		}
		if err := flags.validate(duration); err != nil {
			return err
		}
		return a.bench(ctx, &flags, duration)
	})
}

func (f *benchFlags) validate(duration time.Duration) error {
	for _, bound := range []struct {
		flag        string
		value       int
		least, most int
	}{
		{"--tenants", f.tenants, 1, 100_000}, {"--workers", f.workers, 1, 1024}, {"--reads", f.reads, 0, 100},
		{"--rows", f.rows, 1, 10_000_000}, {"--value-size", f.value, 0, 1 << 20},
	} {
		if bound.value < bound.least || bound.value > bound.most {
			return fault.New(bound.flag, fault.Invalid, "%d is out of range: want %d to %d", bound.value, bound.least, bound.most)
		}
	}
	if f.tenants*f.workers > 10_000 {
		return fault.New("--workers", fault.Invalid, "%d workers in all are too many: at most 10000", f.tenants*f.workers)
	}
	if duration <= 0 {
		return fault.New("--duration", fault.Invalid, "want more than 0")
	}
	return nil
}

// newDirectory returns a directory for a run that makes its own data: the one
// named, which must be new or empty, or a temporary one, which remove removes.
func (a *app) newDirectory() (dir string, remove func() error, err error) {
	if a.global.server != "" {
		return "", nil, errServer()
	}
	keep := func() error { return nil }
	if dir = a.flagOrEnv(a.global.data, envData); dir != "" {
		return dir, keep, mustBeEmpty(dir)
	}
	temp, err := os.MkdirTemp("", "kimberlite-bench-")
	if err != nil {
		return "", nil, fault.Wrap("bench", fault.Unavailable, err, "cannot make a temporary directory")
	}
	return filepath.Join(temp, "data"), func() error { return os.RemoveAll(temp) }, nil
}

func mustBeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fault.Wrap("", fault.Invalid, err, "cannot read the directory")
	case len(entries) > 0:
		return fault.New("", fault.AlreadyExists, "%s is there and not empty: name another with --data, or remove it", dir)
	}
	return nil
}

func (a *app) bench(ctx context.Context, flags *benchFlags, duration time.Duration) (err error) {
	dir, remove, err := a.newDirectory()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	options := a.options(false)
	options.MaxReaders = flags.workers
	db, err := kimberlite.OpenContext(ctx, dir, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	l := &loadTest{flags: flags, duration: duration}
	if err := l.prepare(ctx, db); err != nil {
		return err
	}
	if err := l.run(ctx); err != nil {
		return err
	}
	return a.print(l.document(), l.report)
}

// benchDocument is a measurement as --json prints it.
type benchDocument struct {
	Tenants      int             `json:"tenants"`
	Workers      int             `json:"workers_per_tenant"`
	ReadPercent  int             `json:"read_percent"`
	Rows         int             `json:"rows_per_tenant"`
	ValueSize    int             `json:"value_size"`
	Seconds      float64         `json:"seconds"`
	Operations   uint64          `json:"operations"`
	OpsPerSecond float64         `json:"ops_per_second"`
	Read         latencyDocument `json:"read"`
	Write        latencyDocument `json:"write"`
}

// latencyDocument is one sort of operation; latencies are in microseconds.
type latencyDocument struct {
	Operations   uint64  `json:"operations"`
	OpsPerSecond float64 `json:"ops_per_second"`
	Mean         float64 `json:"mean_us"`
	P50          float64 `json:"p50_us"`
	P90          float64 `json:"p90_us"`
	P99          float64 `json:"p99_us"`
	P999         float64 `json:"p999_us"`
	Max          float64 `json:"max_us"`
}

func documentLatency(h *histogram, took time.Duration) latencyDocument {
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return latencyDocument{
		Operations: h.n, OpsPerSecond: float64(h.n) / took.Seconds(), Mean: us(h.mean()),
		P50: us(h.percentile(.5)), P90: us(h.percentile(.9)), P99: us(h.percentile(.99)), P999: us(h.percentile(.999)), Max: us(h.most),
	}
}

func (l *loadTest) document() benchDocument {
	all := l.reads.n + l.writes.n
	return benchDocument{
		Tenants: l.flags.tenants, Workers: l.flags.workers, ReadPercent: l.flags.reads, Rows: l.flags.rows, ValueSize: l.flags.value,
		Seconds: l.took.Seconds(), Operations: all, OpsPerSecond: float64(all) / l.took.Seconds(),
		Read: documentLatency(&l.reads, l.took), Write: documentLatency(&l.writes, l.took),
	}
}

func (l *loadTest) report(w io.Writer) {
	fmt.Fprintf(w, "%d tenants × %d workers, %d%% reads, %s of text, %.1f s\n",
		l.flags.tenants, l.flags.workers, l.flags.reads, quantity.DisplaySize(int64(l.flags.value)), l.took.Seconds())
	row := func(name string, h *histogram) string {
		return line(name, grouped(int64(h.n)), grouped(int64(float64(h.n)/l.took.Seconds())), //nolint:gosec // a count of operations
			short(h.mean()), short(h.percentile(.5)), short(h.percentile(.9)), short(h.percentile(.99)), short(h.percentile(.999)), short(h.most))
	}
	columns(w, "OPERATION\tCOUNT\tPER SECOND\tMEAN\tP50\tP90\tP99\tP99.9\tMAX", []string{row("read", &l.reads), row("write", &l.writes)})
}

// short shows a latency with three digits or so.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return d.String()
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Nanosecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
