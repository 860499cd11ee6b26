package sqlfunc

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/fault"
)

// named returns a function by name and number of arguments.
func named(t testing.TB, name string, args int) Function {
	t.Helper()
	for _, f := range Functions() {
		if f.Name == name && (f.Args == args || f.Args < 0) {
			return f
		}
	}
	t.Fatalf("there is no %s of %d arguments", name, args)
	return Function{}
}

var at = Context{Now: time.Date(2026, 11, 23, 20, 0, 0, 500000000, time.UTC), Random: bytes.NewReader(bytes.Repeat([]byte{7}, 1<<16))}

// TestFunctionsAnswerAsPostgreSQL has answers that PostgreSQL 15 gave, in
// stored form.
func TestFunctionsAnswerAsPostgreSQL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args []any
		want any
	}{
		{"pg_int4_add", []any{int64(1), int64(2)}, int64(3)},
		{"pg_int8_mul", []any{int64(-1 << 31), int64(1 << 32)}, int64(-1 << 63)},
		{"pg_int4_div", []any{int64(-7), int64(2)}, int64(-3)},
		{"pg_int4_mod", []any{int64(-7), int64(2)}, int64(-1)},
		{"pg_numeric_add", []any{0.1, 0.2}, 0.3},
		{"pg_numeric_mul", []any{1.1, 1.1}, 1.21},
		{"pg_numeric_div", []any{int64(1), int64(3)}, 0.333333333333333},
		{"pg_numeric_round", []any{2.5, int64(0)}, int64(3)},
		{"pg_numeric_round", []any{-2.345, int64(2)}, -2.35},
		{"pg_numeric_trunc", []any{-2.9}, int64(-2)},
		{"pg_numeric_ceil", []any{-2.5}, int64(-2)},
		{"pg_numeric_floor", []any{-2.5}, int64(-3)},
		{"pg_numeric_mod", []any{-7.5, int64(2)}, -1.5},
		{"pg_initcap", []any{"hello WORLD-of x1y"}, "Hello World-Of X1y"},
		{"pg_substring", []any{"alphabet", int64(3), int64(2)}, "ph"},
		{"pg_substring", []any{"alphabet", int64(-1), int64(3)}, "a"},
		{"pg_left", []any{"abcde", int64(-2)}, "abc"},
		{"pg_right", []any{"abcde", int64(-2)}, "cde"},
		{"pg_lpad", []any{"hi", int64(5), "xy"}, "xyxhi"},
		{"pg_rpad", []any{"hello", int64(3)}, "hel"},
		{"pg_split_part", []any{"a~b~c", "~", int64(-1)}, "c"},
		{"pg_translate", []any{"12345", "143", "ax"}, "a2x5"},
		{"pg_overlay", []any{"Txxxxas", "hom", int64(2), int64(4)}, "Thomas"},
		{"pg_concat_ws", []any{",", "a", nil, int64(2)}, "a,2"},
		{"pg_format", []any{"%s %I %L %%", "x", "A b", "it's"}, `x "A b" 'it''s' %`},
		{"pg_quote_ident", []any{"select"}, `"select"`},
		{"pg_encode", []any{[]byte{0, 0xff, 'a'}, "escape"}, `\000\377a`},
		{"pg_like", []any{"abc", "a_c"}, int64(1)},
		{"pg_like", []any{"abc", "A%"}, int64(0)},
		{"pg_ilike", []any{"ÄBC", "ä%"}, int64(1)},
		{"pg_like", []any{"a%c", `a\%c`}, int64(1)},
		{"pg_similar", []any{"abc", "%(b|d)%"}, int64(1)},
		{"pg_regexp_replace", []any{"foobarbaz", "b(..)", `X\1Y`, "g"}, "fooXarYXazY"},
		{"pg_regexp_match_array", []any{"foobarbequebaz", "(bar)(beque)"}, `["bar","beque"]`},
		{"pg_date_add", []any{"2026-02-27", int64(2)}, "2026-03-01"},
		{"pg_date_diff", []any{"2026-03-01", "2026-02-27"}, int64(2)},
		{"pg_timestamp_add", []any{"2026-01-31 10:00:00.000000", "1 mon"}, "2026-02-28 10:00:00.000000"},
		{"pg_timestamp_diff", []any{"2026-01-02 00:00:00.000000", "2025-12-31 12:00:00.000000"}, "1 day 12:00:00"},
		{"pg_age", []any{"2001-04-10 00:00:00.000000", "1957-06-13 00:00:00.000000"}, "43 years 9 mons 27 days"},
		{"pg_date_trunc", []any{"week", "2026-11-22 05:00:00.000000", int64(0)}, "2026-11-16 00:00:00.000000"},
		{"pg_extract", []any{"epoch", "1970-01-02 00:00:00.500000"}, 86400.5},
		{"pg_extract", []any{"dow", "2026-11-22"}, int64(0)},
		{"pg_interval_mul", []any{"1 mon", 1.5}, "1 mon 15 days"},
		{"pg_justify_interval", []any{"1 mon -01:00:00"}, "29 days 23:00:00"},
		{"pg_to_char", []any{"2026-03-04 05:06:07.089000", "FMDay, DDth Mon YYYY HH12:MI:SS.MS am", int64(0)}, "Wednesday, 04th Mar 2026 05:06:07.089 am"},
		{"pg_to_date", []any{"05 Dec 2000", "DD Mon YYYY"}, "2000-12-05"},
		{"pg_to_char_number", []any{-12454.8, "999G999D9S"}, " 12,454.8-"},
		{"pg_to_char_number", []any{int64(12), "FM0000"}, "0012"},
		{"pg_array_contains", []any{`[1,4,3]`, `[3,1]`}, int64(1)},
		{"pg_array_overlap", []any{`["a",null]`, `[null]`}, int64(0)},
		{"pg_string_to_array", []any{"a,,b", ",", ""}, `["a",null,"b"]`},
		{"pg_array_to_string", []any{int64(16), `[true,null,false]`, ",", "*"}, "t,*,f"},
		{"pg_jsonb_get", []any{`{"a": {"b": 1}}`, "a"}, `{"b": 1}`},
		{"pg_jsonb_get_text", []any{`[1, "x"]`, int64(-1)}, "x"},
		{"pg_jsonb_contains", []any{`{"a": [1, 2], "b": 2}`, `{"a": [2]}`}, int64(1)},
		{"pg_jsonb_contains", []any{`[1, [2]]`, `2`}, int64(0)},
		{"pg_jsonb_concat", []any{`{"a": 1}`, `{"b": 2}`}, `{"a": 1, "b": 2}`},
		{"pg_jsonb_set", []any{`[{"f": 1}, 2]`, `["0","f"]`, `[9]`}, `[{"f": [9]}, 2]`},
		{"pg_jsonb_insert", []any{`{"a": [0, 1, 2]}`, `["a","1"]`, `"n"`, int64(1)}, `{"a": [0, 1, "n", 2]}`},
		{"pg_jsonb_delete", []any{`["a", "b"]`, "a"}, `["b"]`},
		{"pg_cast_int4", []any{"12 ", int64(25), int64(-1)}, int64(12)},
		{"pg_cast_text", []any{int64(1), int64(16), int64(-1)}, "true"},
		{"pg_cast_varchar", []any{"abcdef", int64(25), int64(7)}, "abc"},
		{"pg_cast_date", []any{"2026-01-02 03:04:05.000000", int64(1114), int64(-1)}, "2026-01-02"},
		{"pg_cast_int4_array", []any{`["1","2"]`, int64(1009), int64(-1)}, `[1,2]`},
		{"pg_greatest", []any{nil, int64(2), 3.5}, 3.5},
		{"pg_now", nil, "2026-11-23 20:00:00.500000Z"},
	} {
		got, err := named(t, c.name, len(c.args)).Call(at, c.args)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s(%v) = %#v, %v; want %#v", c.name, c.args, got, err, c.want)
		}
	}
}

func TestFunctionsRefuseWithPostgreSQLsState(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		args  []any
		state string
	}{
		{"pg_int4_add", []any{int64(1<<31 - 1), int64(1)}, "22003"},
		{"pg_int8_mul", []any{int64(1 << 62), int64(2)}, "22003"},
		{"pg_int8_sub", []any{int64(-1 << 63), int64(1)}, "22003"},
		{"pg_int8_abs", []any{int64(-1 << 63)}, "22003"},
		{"pg_int4_div", []any{int64(1), int64(0)}, "22012"},
		{"pg_float8_div", []any{1.0, 0.0}, "22012"},
		{"pg_float8_mul", []any{1e308, 10.0}, "22003"},
		{"pg_numeric_div", []any{1.5, int64(0)}, "22012"},
		{"pg_float8_math", []any{"sqrt", -1.0}, "2201F"},
		{"pg_float8_math", []any{"ln", 0.0}, "2201E"},
		{"pg_cast_int4", []any{"x", int64(25), int64(-1)}, "22P02"},
		{"pg_cast_date", []any{"2026-02-30", int64(25), int64(-1)}, "22008"},
		{"pg_assign_varchar", []any{"abcdef", int64(25), int64(7)}, "22001"},
		{"pg_regexp_match", []any{"x", "("}, "2201B"},
		{"pg_like", []any{"x", `x\`}, "22025"},
		{"pg_substring", []any{"x", int64(1), int64(-1)}, "22011"},
		{"pg_chr", []any{int64(0)}, "54000"},
		{"pg_repeat", []any{"xxxxxxxx", int64(1 << 40)}, "54000"},
		{"pg_limit", []any{int64(-1)}, "2201W"},
		{"pg_json_array_length", []any{`{}`}, "22023"},
	} {
		_, err := named(t, c.name, len(c.args)).Call(at, c.args)
		if err == nil || fault.StateOf(err) != c.state {
			t.Errorf("%s(%v): %v, want SQLSTATE %s", c.name, c.args, err, c.state)
		}
	}
}

func TestAggregates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		rows [][]any
		want any
	}{
		{"pg_numeric_sum", [][]any{{0.1}, {0.2}, {nil}}, 0.3},
		{"pg_numeric_sum", nil, nil},
		{"pg_numeric_avg", [][]any{{int64(1)}, {int64(2)}}, 1.5},
		{"pg_string_agg", [][]any{{"a", ","}, {nil, ","}, {"b", ";"}}, "a;b"},
		{"pg_interval_avg", [][]any{{"1 day"}, {"2 days"}}, "1 day 12:00:00"},
		{"pg_interval_max", [][]any{{"30 days"}, {"2 mons"}}, "2 mons"},
		{"pg_json_agg", [][]any{{"1"}, {nil}, {`"x"`}}, `[1, null, "x"]`},
		{"pg_json_object_agg", [][]any{{"a", "1"}}, `{ "a" : 1 }`},
		{"pg_numeric_var_pop", [][]any{{int64(1)}, {int64(3)}}, int64(1)},
		{"pg_float8_stddev_samp", [][]any{{1.0}}, nil},
	} {
		var acc Accumulator
		for _, a := range Aggregates() {
			if a.Name == c.name {
				acc = a.New()
			}
		}
		if acc == nil {
			t.Fatalf("there is no %s", c.name)
		}
		for _, row := range c.rows {
			if err := acc.Step(row); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := acc.Final(); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s = %#v, %v; want %#v", c.name, got, err, c.want)
		}
	}
}

// FuzzFunctions calls every function with texts, numbers and blobs: whatever
// comes, it answers or refuses with an SQLSTATE, and never panics.
func FuzzFunctions(f *testing.F) {
	for i := range Functions() {
		f.Add(uint16(i), "2026-01-02", int64(3), 1.5)
		f.Add(uint16(i), `{"a": [1, "x", null]}`, int64(-1), -1e-300)
		f.Add(uint16(i), "["+strings.Repeat("[", 50), int64(1<<62), 1e300)
	}
	f.Fuzz(func(t *testing.T, which uint16, s string, n int64, x float64) {
		fn := Functions()[int(which)%len(Functions())]
		values := []any{s, n, x, []byte(s), nil}
		count := fn.Args
		if count < 0 {
			count = int(which) % 5
		}
		for shift := range values {
			args := make([]any, count)
			for i := range args {
				args[i] = values[(i+shift)%len(values)]
			}
			got, err := fn.Call(at, args)
			if err != nil && len(fault.StateOf(err)) != 5 {
				t.Fatalf("%s: %v has no SQLSTATE", fn.Name, err)
			}
			switch got.(type) {
			case nil, int64, float64, string, []byte:
			default:
				t.Fatalf("%s answered a %T", fn.Name, got)
			}
		}
	})
}
