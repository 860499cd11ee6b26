package sqltype

import (
	"bytes"
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"kimberlite/internal/fault"
)

func mustParse(t testing.TB, name string) Type {
	t.Helper()
	typ, ok := Parse(name)
	if !ok {
		t.Fatalf("Parse(%q) failed", name)
	}
	return typ
}

func TestEverySpellingOfATypeIsUnderstood(t *testing.T) {
	tests := []struct{ name, sql, declared string }{
		{"int", "integer", "pg_int4"},
		{"INTEGER", "integer", "pg_int4"},
		{"int8", "bigint", "pg_int8"},
		{"smallint", "smallint", "pg_int2"},
		{"boolean", "boolean", "pg_bool"},
		{"Character  Varying (10)", "character varying(10)", "pg_varchar(10)"},
		{"varchar", "character varying", "pg_varchar"},
		{"char", "character(1)", "pg_bpchar(1)"},
		{"char(5)", "character(5)", "pg_bpchar(5)"},
		{"bpchar", "bpchar", "pg_bpchar"},
		{`"char"`, `"char"`, "pg_char"},
		{"text", "text", "pg_text"},
		{"numeric", "numeric", "pg_numeric"},
		{"decimal(10, 2)", "numeric(10,2)", "pg_numeric(10,2)"},
		{"numeric(5)", "numeric(5,0)", "pg_numeric(5,0)"},
		{"real", "real", "pg_float4"},
		{"double precision", "double precision", "pg_float8"},
		{"float(24)", "real", "pg_float4"},
		{"float(25)", "double precision", "pg_float8"},
		{"timestamp(3) with time zone", "timestamp(3) with time zone", "pg_timestamptz(3)"},
		{"timestamptz", "timestamp with time zone", "pg_timestamptz"},
		{"timestamp", "timestamp without time zone", "pg_timestamp"},
		{"time(0)", "time(0) without time zone", "pg_time(0)"},
		{"interval", "interval", "pg_interval"},
		{"interval day to second", "interval", "pg_interval"},
		{"uuid", "uuid", "pg_uuid"},
		{"json", "json", "pg_json_text"},
		{"jsonb", "jsonb", "pg_jsonb_text"},
		{"pg_catalog.bytea", "bytea", "pg_bytea"},
		{"text[]", "text[]", "pg_text_array"},
		{"integer[3][]", "integer[]", "pg_int4_array"},
		{"_int8", "bigint[]", "pg_int8_array"},
		{"varchar(3)[]", "character varying(3)[]", "pg_varchar_array(3)"},
		{"int ARRAY", "integer[]", "pg_int4_array"},
		{"regclass", "regclass", "pg_regclass"},
	}
	for _, tt := range tests {
		typ := mustParse(t, tt.name)
		if got := typ.SQL(); got != tt.sql {
			t.Errorf("%q is %q, want %q", tt.name, got, tt.sql)
		}
		if got := typ.Declared(); got != tt.declared {
			t.Errorf("%q is declared %q, want %q", tt.name, got, tt.declared)
		}
		back, enforced := FromDeclared(typ.Declared())
		if back != typ || !enforced {
			t.Errorf("%q: declared %q is read back as %v (%v), want %v", tt.name, typ.Declared(), back, enforced, typ)
		}
		again, ok := Parse(typ.SQL())
		if !ok || again != typ {
			t.Errorf("%q: %q is read back as %v", tt.name, typ.SQL(), again)
		}
	}
	for _, name := range []string{"", "tex", "varchar(0)", "varchar(a)", "numeric(2,3)", "int(4)", "text]", "int4[x]", "(3)", ")("} {
		if typ, ok := Parse(name); ok {
			t.Errorf("Parse(%q) = %v, want none", name, typ)
		}
	}
}

func TestDeclarationsOfSQLiteAreNotEnforced(t *testing.T) {
	for decl, want := range map[string]Type{
		"INTEGER": Int8, "int": Int8, "BIGINT": Int8, "REAL": Float8, "double": Float8, "FLOAT": Float8,
		"BLOB": Bytea, "TEXT": Text, "": Text, "NUMERIC": Text, "DATE": Text, "pg_nonsense": Text,
	} {
		if got, enforced := FromDeclared(decl); got != want || enforced {
			t.Errorf("%q: %v, enforced %v; want %v", decl, got, enforced, want)
		}
	}
}

func TestEveryTypeIsFoundByItsNumber(t *testing.T) {
	for _, typ := range All() {
		if got, ok := Lookup(typ.OID); !ok || got != typ {
			t.Errorf("%v is not found", typ)
		}
		if got, ok := Parse(typ.Name()); !ok || got != typ {
			if typ != Char { // char is another type's spelling
				if typ != CharArray {
					t.Errorf("%v: Parse(%q) = %v", typ, typ.Name(), got)
				}
			}
		}
		if a, ok := typ.Array(); ok {
			if e, ok := a.Element(); !ok || e != typ {
				t.Errorf("%v: the element of its array is %v", typ, e)
			}
		}
	}
}

const third = 1.0 / 3

// inputs are texts with their stored forms and PostgreSQL's output.
var inputs = []struct {
	typ, in string
	stored  any
	out     string
}{
	{"bool", " TRUE ", int64(1), "t"}, {"bool", "n", int64(0), "f"}, {"bool", "off", int64(0), "f"}, {"bool", "1", int64(1), "t"},
	{"int4", " -2147483648 ", int64(math.MinInt32), "-2147483648"},
	{"int4", "0x1F", int64(31), "31"}, {"int4", "1_000", int64(1000), "1000"}, {"int4", "007", int64(7), "7"},
	{"int8", "9223372036854775807", int64(math.MaxInt64), "9223372036854775807"},
	{"oid", "4294967295", int64(math.MaxUint32), "4294967295"}, {"oid", "-1", int64(math.MaxUint32), "4294967295"},
	{"float8", "1e15", 1e15, "1e+15"}, {"float8", "100000000000000", 1e14, "100000000000000"}, {"float8", "0.0001", 0.0001, "0.0001"},
	{"float8", "0.00001", 0.00001, "1e-05"}, {"float8", "-Infinity", math.Inf(-1), "-Infinity"}, {"float8", "0.1", 0.1, "0.1"},
	{"float4", "0.1", float64(float32(0.1)), "0.1"}, {"float4", "1000000", 1e6, "1e+06"},
	{"numeric", "12.50", 12.5, "12.5"}, {"numeric", "1e3", int64(1000), "1000"}, {"numeric", "-0.0", int64(0), "0"},
	{"numeric(10,2)", "12.5", 12.5, "12.50"}, {"numeric(10,2)", "2.345", 2.35, "2.35"}, {"numeric(10,2)", "-2.345", -2.35, "-2.35"},
	{"numeric(10,2)", "99999999.994", 99999999.99, "99999999.99"}, {"numeric(10,2)", "0.001", int64(0), "0.00"}, {"numeric(10,2)", "7", int64(7), "7.00"},
	{"numeric(3,3)", "0.0006", 0.001, "0.001"}, {"numeric(2,0)", "9.5e0", int64(10), "10"},
	{"numeric", "9223372036854775807", int64(math.MaxInt64), "9223372036854775807"}, {"numeric", "1e20", 1e20, "100000000000000000000"},
	{"numeric", ".000000000000123", 1.23e-13, "0.000000000000123"},
	{"varchar(3)", "abc  ", "abc", "abc"}, {"varchar(3)", "äöü", "äöü", "äöü"}, {"text", "", "", ""},
	{"char(5)", "ab  ", "ab", "ab   "}, {"char(2)", "äb   ", "äb", "äb"},
	{"name", strings.Repeat("x", 70), strings.Repeat("x", 63), strings.Repeat("x", 63)},
	{"date", "2026-11-23", "2026-11-23", "2026-11-23"}, {"date", "20261123", "2026-11-23", "2026-11-23"}, {"date", "11/23/2026", "2026-11-23", "2026-11-23"},
	{"date", "Nov 23, 2026", "2026-11-23", "2026-11-23"}, {"date", "23 November 2026", "2026-11-23", "2026-11-23"}, {"date", "2026-11-23 20:00:00", "2026-11-23", "2026-11-23"},
	{"date", "0001-01-01", "0001-01-01", "0001-01-01"}, {"date", "2024-02-29", "2024-02-29", "2024-02-29"}, {"date", "epoch", "1970-01-01", "1970-01-01"},
	{"time", "20:00", "20:00:00.000000", "20:00:00"}, {"time", "1:02:03.5", "01:02:03.500000", "01:02:03.5"}, {"time", "24:00:00", "24:00:00.000000", "24:00:00"},
	{"time", "12:30 AM", "00:30:00.000000", "00:30:00"}, {"time", "04:05pm", "16:05:00.000000", "16:05:00"}, {"time(1)", "23:59:59.96", "24:00:00.000000", "24:00:00"},
	{"timestamp", "2026-11-23T20:00:00.123456789", "2026-11-23 20:00:00.123457", "2026-11-23 20:00:00.123457"},
	{"timestamp", "2026-11-23", "2026-11-23 00:00:00.000000", "2026-11-23 00:00:00"},
	{"timestamp", "2026-11-23 20:00:00+05", "2026-11-23 20:00:00.000000", "2026-11-23 20:00:00"},
	{"timestamp(0)", "2026-12-31 23:59:59.5", "2027-01-01 00:00:00.000000", "2027-01-01 00:00:00"},
	{"timestamp", "2026-11-23 24:00", "2026-11-24 00:00:00.000000", "2026-11-24 00:00:00"},
	{"timestamptz", "2026-11-23 20:00:00.5+02", "2026-11-23 18:00:00.500000Z", "2026-11-23 18:00:00.5+00"},
	{"timestamptz", "2026-11-23T20:00:00Z", "2026-11-23 20:00:00.000000Z", "2026-11-23 20:00:00+00"},
	{"timestamptz", "2026-11-23 20:00:00 -05:30", "2026-11-24 01:30:00.000000Z", "2026-11-24 01:30:00+00"},
	{"timestamptz", "2026-11-23 20:00 UTC", "2026-11-23 20:00:00.000000Z", "2026-11-23 20:00:00+00"},
	{"interval", "1 day 2 hours", "1 day 02:00:00", "1 day 02:00:00"}, {"interval", "P1Y2M3DT4H5M6.5S", "1 year 2 mons 3 days 04:05:06.5", "1 year 2 mons 3 days 04:05:06.5"},
	{"interval", "-1 day +02:03:04", "-1 days +02:03:04", "-1 days +02:03:04"}, {"interval", "1 mon ago", "-1 mons", "-1 mons"},
	{"interval", "1.5 days", "1 day 12:00:00", "1 day 12:00:00"}, {"interval", "1.5 years", "1 year 6 mons", "1 year 6 mons"},
	{"interval", "90 seconds", "00:01:30", "00:01:30"}, {"interval", "0", "00:00:00", "00:00:00"}, {"interval", "2 weeks", "14 days", "14 days"}, {"interval", "1 12:00", "1 day 12:00:00", "1 day 12:00:00"},
	{"interval", "-00:00:00.000001", "-00:00:00.000001", "-00:00:00.000001"}, {"interval(0)", "1.6s", "00:00:02", "00:00:02"},
	{"uuid", "{A0EEBC99-9C0B4EF8-BB6D6BB9BD380A11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
	{"json", ` {"b":1, "a":2}`, ` {"b":1, "a":2}`, ` {"b":1, "a":2}`},
	{"jsonb", ` {"bb":1, "a":[1,{}, []],"a":{"x":"\u00e4\n/"},"c":1.50e2,"d":1e-2}`, `{"a": {"x": "ä\n/"}, "c": 150, "d": 0.01, "bb": 1}`, `{"a": {"x": "ä\n/"}, "c": 150, "d": 0.01, "bb": 1}`},
	{"jsonb", `"\ud83d\ude00\u0001"`, "\"😀\\u0001\"", "\"😀\\u0001\""}, {"jsonb", "1.10", "1.10", "1.10"}, {"jsonb", "-0", "0", "0"},
	{"bytea", `\x00fF`, []byte{0, 255}, `\x00ff`}, {"bytea", `a\\b\001`, []byte{'a', '\\', 'b', 1}, `\x615c6201`}, {"bytea", "", []byte{}, `\x`},
	{"int4[]", "{1, NULL,3}", "[1,null,3]", "{1,NULL,3}"}, {"int4[]", "{}", "[]", "{}"}, {"int4[]", "{{1,2},{3,4}}", "[[1,2],[3,4]]", "{{1,2},{3,4}}"},
	{"text[]", `{a,"b c","NULL","q\"x",""}`, `["a","b c","NULL","q\"x",""]`, `{a,"b c","NULL","q\"x",""}`},
	{"bool[]", "{t,f}", "[true,false]", "{t,f}"}, {"bytea[]", `{"\\x01"}`, `["\\x01"]`, `{"\\x01"}`}, {"timestamptz[]", `{2026-11-23}`, `["2026-11-23 00:00:00.000000Z"]`, `{"2026-11-23 00:00:00+00"}`},
	{"numeric(4,2)[]", `{1.5}`, `[1.5]`, `{1.50}`}, {"int4[]", "[0:1]={7,8}", "[7,8]", "{7,8}"},
}

func TestInputMakesTheStoredFormAndOutputPostgreSQLs(t *testing.T) {
	for _, tt := range inputs {
		typ := mustParse(t, tt.typ)
		v, err := typ.Input(tt.in)
		if err != nil {
			t.Errorf("%s %q: %v", tt.typ, tt.in, err)
			continue
		}
		if !same(v, tt.stored) {
			t.Errorf("%s %q: stored %#v, want %#v", tt.typ, tt.in, v, tt.stored)
		}
		out, err := typ.AppendText(nil, v)
		if err != nil || string(out) != tt.out {
			t.Errorf("%s %q: output %q (%v), want %q", tt.typ, tt.in, out, err, tt.out)
		}
		if err := typ.Check(v); err != nil {
			t.Errorf("%s %q: Check refuses what Input made: %v", tt.typ, tt.in, err)
		}
		roundTrip(t, typ, v)
	}
}

func same(a, b any) bool {
	x, ok1 := a.([]byte)
	y, ok2 := b.([]byte)
	if ok1 || ok2 {
		return ok1 && ok2 && bytes.Equal(x, y)
	}
	return a == b
}

// roundTrip checks that a stored value comes back through text and binary.
func roundTrip(t testing.TB, typ Type, v any) {
	t.Helper()
	text, err := typ.AppendText(nil, v)
	if err != nil {
		t.Errorf("%s: no text: %v", typ.SQL(), err)
		return
	}
	if again, err := typ.Input(string(text)); err != nil || !same(again, v) {
		t.Errorf("%s: text of %#v is read back as %#v (%v)", typ.SQL(), v, again, err)
	}
	b, err := typ.AppendBinary(nil, v)
	if err != nil {
		t.Errorf("%s: no binary form of %#v: %v", typ.SQL(), v, err)
		return
	}
	if again, err := typ.InputBinary(b); err != nil || !same(again, v) {
		t.Errorf("%s: binary of %#v is read back as %#v (%v)", typ.SQL(), v, again, err)
	}
}

func TestMalformedTextsAreRefusedWithPostgreSQLsState(t *testing.T) {
	tests := []struct{ typ, in, state string }{
		{"bool", "maybe", "22P02"}, {"bool", "", "22P02"}, {"bool", "o", "22P02"},
		{"int4", "abc", "22P02"}, {"int4", "", "22P02"}, {"int4", "1.5", "22P02"}, {"int4", "2147483648", "22003"}, {"int2", "-32769", "22003"}, {"int8", "9223372036854775808", "22003"},
		{"float8", "x", "22P02"}, {"float8", "NaN", "22003"}, {"float8", "1e400", "22003"}, {"float4", "1e39", "22003"}, {"float8", "0x1p3", "22P02"},
		{"numeric", "", "22P02"}, {"numeric", "1e", "22P02"}, {"numeric", "..", "22P02"}, {"numeric", "NaN", "22003"}, {"numeric", "0.1234567890123456", "22003"}, {"numeric", "1e400", "22003"}, {"numeric(4,2)", "100", "22003"}, {"numeric", "1e-400", "22003"},
		{"varchar(3)", "abcd", "22001"}, {"char(3)", "abcd", "22001"}, {"text", "a\x00b", "22021"}, {"text", "\xff", "22021"},
		{"date", "2026-02-30", "22008"}, {"date", "2026-13-01", "22008"}, {"date", "x", "22007"}, {"date", "", "22007"}, {"date", "infinity", "0A000"}, {"date", "0044-03-15 BC", "0A000"}, {"date", "now", "0A000"}, {"date", "0000-01-01", "22008"}, {"date", "20:00", "22007"},
		{"time", "25:00", "22008"}, {"time", "20", "22007"}, {"time", "20:60", "22008"},
		{"timestamptz", "2026-11-23 20:00:00+25", "22007"}, {"timestamp", "2026-11-23 20:00:00 x", "22007"}, {"timestamp", "9999-12-31 23:59:59.9999999", "22008"}, {"timestamptz", "0001-01-01 00:00+01", "22008"},
		{"interval", "", "22007"}, {"interval", "1 fortnight", "22007"}, {"interval", "infinity", "0A000"}, {"interval", "P", "22007"}, {"interval", "999999999 years", "22008"},
		{"uuid", "a0eebc99", "22P02"}, {"uuid", "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "22P02"},
		{"json", "{", "22P02"}, {"jsonb", "{'a':1}", "22P02"}, {"jsonb", `"\u0000"`, "22P05"}, {"jsonb", `"\ud800"`, "22P02"}, {"jsonb", "1e2000", "22003"},
		{"bytea", `\xabc`, "22023"}, {"bytea", `\9`, "22P02"},
		{"int4[]", "1", "22P02"}, {"int4[]", "{1", "22P02"}, {"int4[]", "{1,}", "22P02"}, {"int4[]", "{a}", "22P02"}, {"int4[]", "{1}x", "22P02"}, {"int4[]", "{{{{{{{1}}}}}}}", "22P02"},
	}
	for _, tt := range tests {
		v, err := mustParse(t, tt.typ).Input(tt.in)
		if err == nil {
			t.Errorf("%s %q is taken as %#v", tt.typ, tt.in, v)
			continue
		}
		if got := fault.StateOf(err); got != tt.state {
			t.Errorf("%s %q: state %s, want %s (%v)", tt.typ, tt.in, got, tt.state, err)
		}
		if len(tt.in) > 3 && tt.in != "infinity" && strings.Contains(err.Error(), tt.in) {
			t.Errorf("%s: the error holds the value: %v", tt.typ, err)
		}
	}
}

func TestCheckRefusesWhatInputWouldNotHaveMade(t *testing.T) {
	tests := []struct {
		typ string
		v   any
	}{
		{"bool", int64(2)}, {"bool", "t"}, {"int2", int64(40000)}, {"int4", 1.5}, {"int4", "1"}, {"int8", []byte{1}},
		{"float8", math.NaN()}, {"float8", "x"}, {"numeric", third}, {"numeric(10,2)", 1.234}, {"numeric(4,2)", int64(100)}, {"numeric(4,2)", 100.5}, {"numeric", "1"}, {"numeric", math.Inf(1)},
		{"varchar(2)", "abc"}, {"text", int64(1)}, {"text", "\xff"}, {"text", "a\x00"}, {"char(3)", "a "}, {"char(1)", "ab"},
		{"date", "2026-1-1"}, {"date", "2026-02-30"}, {"date", int64(0)}, {"date", "0000-01-01"}, {"time", "20:00"}, {"timestamp", "2026-11-23 20:00:00"}, {"timestamp", "2026-11-23 20:00:00.000000Z"},
		{"timestamptz", "2026-11-23 20:00:00.000000"}, {"timestamp(0)", "2026-11-23 20:00:00.500000"},
		{"interval", "1 hour"}, {"uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"}, {"json", "{"}, {"jsonb", `{"a":1}`}, {"bytea", "x"}, {"int4[]", "{1}"}, {"int4[]", `["a"]`}, {"int4[]", "null"},
	}
	for _, tt := range tests {
		if err := mustParse(t, tt.typ).Check(tt.v); err == nil {
			t.Errorf("%s takes %#v", tt.typ, tt.v)
		}
	}
	for _, typ := range All() {
		if err := typ.Check(nil); err != nil {
			t.Errorf("%s refuses NULL: %v", typ.SQL(), err)
		}
	}
}

func TestCastConvertsWhatPostgreSQLConverts(t *testing.T) {
	tests := []struct {
		typ   string
		v     any
		want  any
		state string
	}{
		{"int4", 2.5, int64(3), ""}, {"int4", -2.5, int64(-3), ""}, {"int4", 1e10, nil, "22003"}, {"int8", math.Inf(1), nil, "22003"}, {"int4", "12", int64(12), ""}, {"int4", "x", nil, "22P02"},
		{"bool", int64(5), int64(1), ""}, {"bool", "yes", int64(1), ""}, {"varchar(2)", "abc", "ab", ""}, {"text", int64(5), "5", ""}, {"text", 1.5, "1.5", ""}, {"text", []byte{1}, `\x01`, ""},
		{"numeric(10,2)", third, 0.33, ""}, {"numeric", third, 0.333333333333333, ""}, {"numeric(3,1)", int64(1000), nil, "22003"}, {"float8", "1.5", 1.5, ""}, {"float4", 0.1, float64(float32(0.1)), ""},
		{"date", "2026-11-23 20:00:00.000000Z", "2026-11-23", ""}, {"date", int64(1), nil, "42846"}, {"uuid", int64(1), nil, "42846"}, {"bytea", "abc", []byte("abc"), ""},
		{"int4[]", "[1,2]", "[1,2]", ""}, {"int4[]", "{1,2}", "[1,2]", ""}, {"jsonb", int64(7), "7", ""}, {"int4", nil, nil, ""},
	}
	for _, tt := range tests {
		got, err := mustParse(t, tt.typ).Cast(tt.v)
		if tt.state != "" {
			if err == nil || fault.StateOf(err) != tt.state {
				t.Errorf("%#v to %s: %v, want state %s", tt.v, tt.typ, err, tt.state)
			}
			continue
		}
		if err != nil || !same(got, tt.want) {
			t.Errorf("%#v to %s: %#v (%v), want %#v", tt.v, tt.typ, got, err, tt.want)
		}
	}
}

// TestBinaryFormsAreThoseOfPostgreSQL holds bytes as PostgreSQL's *_send
// functions lay them out.
func TestBinaryFormsAreThoseOfPostgreSQL(t *testing.T) {
	tests := []struct{ typ, in, hex string }{
		{"bool", "t", "01"}, {"int2", "-2", "fffe"}, {"int4", "1", "00000001"}, {"int8", "-1", "ffffffffffffffff"},
		{"float8", "1.5", "3ff8000000000000"}, {"float4", "1.5", "3fc00000"},
		{"numeric", "0", "0000000000000000"}, {"numeric", "12345.678", "00030001000000030001" + "09291a7c"}, {"numeric", "-0.0001", "0001ffff40000004" + "0001"}, {"numeric(6,2)", "10000", ""},
		{"numeric(7,2)", "10000", "0001000100000002" + "0001"}, {"numeric", "0.00001", "0001fffe00000005" + "03e8"},
		{"date", "2000-01-02", "00000001"}, {"date", "1999-12-31", "ffffffff"},
		{"time", "00:00:01", "00000000000f4240"}, {"timestamp", "2000-01-01 00:00:00.000001", "0000000000000001"}, {"timestamptz", "1999-12-31 23:59:59.999999+00", "ffffffffffffffff"},
		{"interval", "1 mon 2 days 00:00:03", "00000000002dc6c0" + "00000002" + "00000001"},
		{"uuid", "00000000-0000-0000-0000-0000000000ff", "000000000000000000000000000000ff"},
		{"jsonb", "1", "0131"}, {"bytea", `\x01`, "01"}, {"text", "a", "61"},
		{"int4[]", "{1,NULL}", "00000001" + "00000001" + "00000017" + "00000002" + "00000001" + "00000004" + "00000001" + "ffffffff"},
		{"int4[]", "{}", "00000000" + "00000000" + "00000017"},
	}
	for _, tt := range tests {
		typ := mustParse(t, tt.typ)
		v, err := typ.Input(tt.in)
		if tt.hex == "" {
			if err == nil {
				t.Errorf("%s %q is taken", tt.typ, tt.in)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %q: %v", tt.typ, tt.in, err)
			continue
		}
		b, err := typ.AppendBinary(nil, v)
		if err != nil || hex.EncodeToString(b) != tt.hex {
			t.Errorf("%s %q: %x (%v), want %s", tt.typ, tt.in, b, err, tt.hex)
		}
	}
}

func TestOrderOfStoredTimesIsTheOrderOfTimes(t *testing.T) {
	in := []string{"0001-01-01", "1999-12-31 23:59:59.999999", "2000-01-01", "2000-01-01 00:00:00.5", "2026-11-23 20:00:00+02", "2026-11-23 20:00:00", "9999-12-31"}
	last := ""
	for _, s := range in {
		v, err := Timestamptz.Input(s)
		if err != nil {
			t.Fatal(err)
		}
		if v.(string) <= last {
			t.Errorf("%q is not after %q", v, last)
		}
		last = v.(string)
	}
}

// FuzzInput: whatever Input takes is a stored form that comes back the same
// through text and binary.
func FuzzInput(f *testing.F) {
	for i, tt := range inputs {
		f.Add(i%len(All()), tt.in)
		typ, _ := Parse(tt.typ)
		for at, other := range All() {
			if other.OID == typ.OID {
				f.Add(at, tt.in)
			}
		}
	}
	f.Fuzz(func(t *testing.T, at int, text string) {
		typ := All()[uint(at)%uint(len(All()))]
		v, err := typ.Input(text)
		if err != nil {
			if fault.StateOf(err) == "XX000" {
				t.Fatalf("%s: an error without a state: %v", typ.SQL(), err)
			}
			return
		}
		checkStored(t, typ, v)
	})
}

// FuzzInputBinary: the same of binary forms.
func FuzzInputBinary(f *testing.F) {
	for at, typ := range All() {
		for _, tt := range inputs {
			if other, _ := Parse(tt.typ); other.OID == typ.OID {
				v, _ := typ.Input(tt.in)
				if b, err := typ.AppendBinary(nil, v); err == nil {
					f.Add(at, b)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, at int, b []byte) {
		typ := All()[uint(at)%uint(len(All()))]
		if v, err := typ.InputBinary(b); err == nil {
			checkStored(t, typ, v)
		}
	})
}

func checkStored(t *testing.T, typ Type, v any) {
	t.Helper()
	switch typ.OID {
	case Void.OID, Record.OID, AnyArray.OID, ACLItem.OID, Int2Vector.OID, OIDVector.OID, ACLItemArray.OID,
		Regclass.OID, Regtype.OID, Regproc.OID, Regnamespace.OID, Regrole.OID, RegclassArray.OID, RegtypeArray.OID:
		return // of the catalog; not for columns
	}
	if err := typ.Check(v); err != nil {
		t.Fatalf("%s: Check refuses %#v: %v", typ.SQL(), v, err)
	}
	text, err := typ.AppendText(nil, v)
	if err != nil {
		t.Fatalf("%s: no text of %#v: %v", typ.SQL(), v, err)
	}
	if again, err := typ.Input(string(text)); err != nil || !same(again, v) {
		t.Fatalf("%s: text %q of %#v is read back as %#v (%v)", typ.SQL(), text, v, again, err)
	}
	b, err := typ.AppendBinary(nil, v)
	if err != nil {
		if _, array := typ.Element(); array {
			return // uneven parts have no binary form
		}
		t.Fatalf("%s: no binary form of %#v: %v", typ.SQL(), v, err)
	}
	again, err := typ.InputBinary(b)
	if _, array := typ.Element(); array && err == nil {
		return // nested empty arrays become one
	}
	if err != nil || !same(again, v) {
		t.Fatalf("%s: binary of %#v is read back as %#v (%v)", typ.SQL(), v, again, err)
	}
}
