package demo_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kimberlite"
	"kimberlite/internal/demo"
	"kimberlite/internal/fault"
)

// run runs the demo once for all that is asked of it.
func run(t *testing.T) (string, *demo.Facts, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	var out bytes.Buffer
	facts, err := demo.Run(t.Context(), &out, demo.Config{Dir: dir, Program: "./kimberlite"})
	if err != nil {
		t.Fatalf("%v, after\n%s", err, out.String())
	}
	return dir, facts, out.String()
}

// synthea counts the rows of the packed tables that the demo loads.
var synthea = map[string]int64{
	"patients": 27, "encounters": 604, "conditions": 438, "observations": 990, "medications": 663, "procedures": 249,
	"allergies": 40, "immunizations": 29,
}

func TestDemoShowsWhatItClaims(t *testing.T) {
	t.Parallel()
	dir, facts, out := run(t)
	if len(facts.Hospitals) != 2 {
		t.Fatalf("%d hospitals", len(facts.Hospitals))
	}
	a, b := facts.Hospitals[0], facts.Hospitals[1]
	if a.ID != 1 || b.ID != 2 || a.Region != "us-east" || b.Region != "us-east" || a.RetentionDays != 2555 || b.RetentionDays != 2555 {
		t.Errorf("hospitals %+v, %+v", a, b)
	}
	if a.Patient123 != "Alice Smith, born 1985-03-15" || b.Patient123 != "Bob Johnson, born 1990-07-22" {
		t.Errorf("patient 123 is %q and %q", a.Patient123, b.Patient123)
	}
	for table, want := range synthea {
		if table == "patients" {
			want += 2 // patient 123 at both
		}
		if got := a.Rows[table] + b.Rows[table]; got != want || a.Rows[table] == 0 || b.Rows[table] == 0 {
			t.Errorf("%s: %d and %d rows, want %d in all", table, a.Rows[table], b.Rows[table], want)
		}
	}
	if a.KEKGeneration != 2 || a.DEKGeneration != 2 || b.KEKGeneration != 1 || b.DEKGeneration != 1 {
		t.Errorf("keys %+v, %+v", a, b)
	}
	for part, times := range map[string]int{"Alice Smith": 1, "Bob Johnson": 1, "refused (denied)": 2, "\n11. ": 1, "✓": len(facts.Checks)} {
		if got := strings.Count(out, part); got < times {
			t.Errorf("%q shows %d times, want %d or more", part, got, times)
		}
	}
	checkDirectory(t, dir)
}

func TestDemoRefusalsAndFlipsAreWhatTheyShouldBe(t *testing.T) {
	t.Parallel()
	_, facts, _ := run(t)
	kinds := map[string]int{}
	for _, r := range facts.Refused {
		kinds[r.Kind]++
		switch r.Kind {
		case "quota_exceeded":
			if r.Limit != "max_log_size" || r.Value == 0 || r.Usage == 0 {
				t.Errorf("%+v", r)
			}
		case "rate_limited":
			if r.Limit != "max_ops_per_sec" || r.Value != 5 {
				t.Errorf("%+v", r)
			}
		}
	}
	if kinds["quota_exceeded"] != 1 || kinds["rate_limited"] != 1 || kinds["denied"] < 2 || kinds["not_found"] != 1 {
		t.Errorf("refusals %v", kinds)
	}
	if len(facts.Flipped) != 3 {
		t.Fatalf("flips %+v", facts.Flipped)
	}
	for _, f := range facts.Flipped {
		if f.File != "1/log/00000000000000000000.segment" || f.FoundAt > f.Byte {
			t.Errorf("%+v", f)
		}
	}
	if !slices.Contains(facts.Checks, "the log is the truth: the tables derived from it are identical") {
		t.Errorf("checks %q", facts.Checks)
	}
}

// checkDirectory looks at what the demo left as somebody else would.
func checkDirectory(t *testing.T, dir string) {
	t.Helper()
	report, err := kimberlite.VerifyPath(t.Context(), dir, nil)
	if err != nil || report.Count() != 0 || len(report.Tenants) != 2 {
		t.Fatalf("verification: %+v, %v", report, err)
	}
	for _, plain := range []string{"Alice", "Johnson", "birth_date", "patients", "admissions", "hospital-a's"} {
		err := filepath.WalkDir(filepath.Join(dir, "shards"), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if bytes.Contains(text, []byte(plain)) {
				t.Errorf("%q stands in %s as it is", plain, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := kimberlite.Open(dir, kimberlite.Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	h, err := db.TenantByName("hospital-b")
	if err != nil {
		t.Fatal(err)
	}
	var first string
	if err := h.QueryRow(t.Context(), "SELECT first FROM patients WHERE id = 123").Scan(&first); err != nil || first != "Bob" {
		t.Errorf("patient 123 of hospital-b is %q, %v", first, err)
	}
	var orphans int
	err = h.QueryRow(t.Context(), "SELECT count(*) FROM encounters WHERE patient NOT IN (SELECT id FROM patients)").Scan(&orphans)
	if err != nil || orphans != 0 {
		t.Errorf("%d encounters of patients elsewhere, %v", orphans, err)
	}
}

func TestDemoRefusesADirectoryThatIsNotNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := demo.Run(t.Context(), nil, demo.Config{Dir: dir}); !fault.Is(err, fault.AlreadyExists) {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestDemoEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := demo.Run(ctx, nil, demo.Config{Dir: filepath.Join(t.TempDir(), "data")})
	if !fault.Is(err, fault.Canceled) {
		t.Errorf("%v", err)
	}
}
