package bench

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

// enabled skips a comparison unless it is asked for: timings have no place
// among tests.
func enabled(t *testing.T) {
	t.Helper()
	if os.Getenv("KIMBERLITE_BENCH") == "" {
		t.Skip("a benchmark: run make bench")
	}
}

// rounds is how often each pair runs.
const rounds = 5

// measure is a rate (operations per second) of one run of at least d.
type measure func(d time.Duration) float64

// pair runs a and b in turn and returns the median rates and the median of
// the ratios a/b.
func pair(a, b measure, d time.Duration) (rateA, rateB, ratio float64) {
	a(d / 4)
	b(d / 4)
	var as, bs, ratios []float64
	for i := range rounds {
		var x, y float64
		if i%2 == 0 {
			x = a(d)
			y = b(d)
		} else {
			y = b(d)
			x = a(d)
		}
		as, bs, ratios = append(as, x), append(bs, y), append(ratios, x/y)
	}
	return median(as), median(bs), median(ratios)
}

func median(v []float64) float64 {
	v = append([]float64(nil), v...)
	sort.Float64s(v)
	return v[len(v)/2]
}

func percentile(v []time.Duration, p float64) time.Duration {
	v = append([]time.Duration(nil), v...)
	sort.Slice(v, func(i, j int) bool { return v[i] < v[j] })
	return v[min(len(v)-1, int(float64(len(v))*p))]
}

// report collects lines for docs/benchmarks.md.
var report struct {
	sync.Mutex
	rows []string
}

func row(t *testing.T, what, a, b, ratio, target string) {
	line := fmt.Sprintf("| %s | %s | %s | %s | %s |", what, a, b, ratio, target)
	t.Log(line)
	report.Lock()
	defer report.Unlock()
	report.rows = append(report.rows, line)
}

func rate(r float64) string {
	switch {
	case r >= 1e6:
		return fmt.Sprintf("%.2f M/s", r/1e6)
	case r >= 1e4:
		return fmt.Sprintf("%.1f k/s", r/1e3)
	}
	return fmt.Sprintf("%.0f/s", r)
}

// TestMain writes the collected rows to the file that KIMBERLITE_BENCH names.
func TestMain(m *testing.M) {
	code := m.Run()
	if out := os.Getenv("KIMBERLITE_BENCH"); out != "" && out != "1" && len(report.rows) > 0 {
		table := "| what | A: Kimberlite | B: compared with | A/B | wanted |\n|---|---|---|---|---|\n" + strings.Join(report.rows, "\n") + "\n"
		if err := os.WriteFile(out, []byte(table), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// spread runs work on n goroutines for d and returns operations per second.
func spread(n int, d time.Duration, work func(worker, i int)) float64 {
	var wg sync.WaitGroup
	counts := make([]int, n)
	start := time.Now()
	end := start.Add(d)
	for w := range n {
		wg.Go(func() {
			for i := 0; time.Now().Before(end); i++ {
				work(w, i)
				counts[w]++
			}
		})
	}
	wg.Wait()
	total := 0
	for _, c := range counts {
		total += c
	}
	return float64(total) / time.Since(start).Seconds()
}
