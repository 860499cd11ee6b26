package sqlfunc

import (
	"strings"
	"testing"
	"time"

	"kimberlite/internal/fault"
)

// TestOneCallIsBounded calls what takes quadratic time or many times its
// arguments' memory, were it not refused: SQLite looks at the clock between
// calls only.
func TestOneCallIsBounded(t *testing.T) {
	much := strings.Repeat("x", 4_000_000)
	for name, c := range map[string]struct {
		function string
		args     []any
	}{
		"ILIKE that is nearly there":   {"pg_ilike", []any{much, "%" + strings.Repeat("x_", 2000) + "y%"}},
		"LIKE that is nearly there":    {"pg_like", []any{much, "%" + strings.Repeat("x", 4000) + "y"}},
		"SIMILAR TO of many states":    {"pg_similar", []any{much, "(x|xx){1,20}y"}},
		"an expression of many states": {"pg_regexp_match", []any{much, "(x|xx){1,200}y"}},
		"many matches":                 {"pg_regexp_count", []any{much, "x"}},
		"many replacements":            {"pg_regexp_replace", []any{much, "x", "yyyyyyyyyyyyyyyy", "g"}},
		"few replacements that grow":   {"pg_regexp_replace", []any{much[:900_000], "x", strings.Repeat("y", 1000), "g"}},
		"a regular split":              {"pg_regexp_split", []any{much, ""}},
		"a split":                      {"pg_string_to_array", []any{strings.Repeat(",", 4_000_000), ","}},
		"a split into characters":      {"pg_string_to_array", []any{much, nil, nil}},
		"an array of many":             {"pg_array_remove", []any{"[1" + strings.Repeat(",1", 2_000_000) + "]", int64(2)}},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := named(t, c.function, len(c.args)).Call(Context{}, c.args)
			if fault.StateOf(err) != stateTooMuch {
				t.Errorf("it is answered %v", err)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}
