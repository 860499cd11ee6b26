package dialect

import (
	"strings"
	"sync"

	"kimberlite/internal/sqltype"
)

// function is one way to call a function.
type function struct {
	params   []parameter
	required int
	variadic bool
	result   sqltype.Type
	// resultOf is the argument whose type the result has, or -1; element says
	// that it is that of the elements of it.
	resultOf  int
	element   bool
	template  string
	strict    bool // NULL comes of NULL arguments only
	ambiguous bool
}

// parameter is what a function takes in one place.
type parameter struct {
	typ   sqltype.Type
	any   bool // any type, as it is
	text  bool // any type, as its text
	array bool
}

// functionTable are the functions by name, as functionLines has them.
var functionTable = sync.OnceValue(func() map[string][]function {
	m := map[string][]function{}
	for _, lines := range []string{textFunctions, numberFunctions, timeFunctions, otherFunctions, jsonFunctions} {
		for line := range strings.SplitSeq(lines, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				name, f := parseFunction(line)
				m[name] = append(m[name], f)
			}
		}
	}
	return m
})

// parseFunction reads a line: name(type, type?, type...) result = template.
// Types are PostgreSQL's, "any", "show" (any type, as text), "array"; a result
// "$1" has the first argument's type, "$1[]" that of its elements. A type with
// ? may be left out. A ! after the result says that the result can be NULL
// though no argument is.
func parseFunction(line string) (string, function) {
	head, template, _ := strings.Cut(line, " = ")
	name, rest, _ := strings.Cut(head, "(")
	args, result, _ := strings.Cut(rest, ")")
	f := function{template: strings.TrimSpace(template), resultOf: -1, strict: true}
	for a := range strings.SplitSeq(args, ",") {
		if a = strings.TrimSpace(a); a == "" {
			continue
		}
		if strings.HasSuffix(a, "...") {
			a, f.variadic = strings.TrimSuffix(a, "..."), true
		}
		optional := strings.HasSuffix(a, "?")
		a = strings.TrimSuffix(a, "?")
		p := parameter{}
		switch a {
		case "any":
			p.any = true
		case "show":
			p.any, p.text = true, true
		case "array":
			p.array = true
		default:
			p.typ = mustType(a)
		}
		f.params = append(f.params, p)
		if !optional {
			f.required++
		}
	}
	result = strings.TrimSpace(result)
	if strings.HasSuffix(result, "!") {
		result, f.strict = strings.TrimSuffix(result, "!"), false
	}
	if strings.HasPrefix(result, "$") {
		f.resultOf = int(result[1] - '1')
		f.element = strings.HasSuffix(result, "[]")
	} else {
		f.result = mustType(result)
	}
	return name, f
}

// mustType is a type that the tables here name.
func mustType(name string) sqltype.Type {
	t, ok := sqltype.Parse(name)
	if !ok {
		panic("dialect: no type " + name)
	}
	return t
}

const textFunctions = `
	lower(text) text = pg_lower($1)
	upper(text) text = pg_upper($1)
	initcap(text) text = pg_initcap($1)
	length(text) int4 = length($1)
	length(bytea) int4 = length($1)
	char_length(text) int4 = length($1)
	character_length(text) int4 = length($1)
	octet_length(text) int4 = octet_length($1)
	octet_length(bytea) int4 = octet_length($1)
	bit_length(text) int4 = 8 * octet_length($1)
	bit_length(bytea) int4 = 8 * octet_length($1)
	ascii(text) int4 = pg_ascii($1)
	chr(int4) text = pg_chr($1)
	btrim(text, text?) text = pg_btrim($*)
	btrim(bytea, bytea) bytea = pg_btrim($*)
	ltrim(text, text?) text = pg_ltrim($*)
	rtrim(text, text?) text = pg_rtrim($*)
	trim(text, text?) text = pg_btrim($*)
	substring(text, int4) text = pg_substring($*)
	substring(text, int4, int4) text = pg_substring($*)
	substring(text, text) text! = pg_substring_regexp($*)
	substring(bytea, int4, int4?) bytea = pg_substring($*)
	substring_similar(text, text, text) text! = pg_substring_similar($*)
	substr(text, int4, int4?) text = pg_substring($*)
	substr(bytea, int4, int4?) bytea = pg_substring($*)
	position(text, text) int4 = instr($1, $2)
	position(bytea, bytea) int4 = instr($1, $2)
	strpos(text, text) int4 = instr($1, $2)
	overlay(text, text, int4, int4?) text = pg_overlay($*)
	replace(text, text, text) text = replace($*)
	translate(text, text, text) text = pg_translate($*)
	left(text, int4) text = pg_left($*)
	right(text, int4) text = pg_right($*)
	lpad(text, int4, text?) text = pg_lpad($*)
	rpad(text, int4, text?) text = pg_rpad($*)
	repeat(text, int4) text = pg_repeat($*)
	reverse(text) text = pg_reverse($1)
	split_part(text, text, int4) text = pg_split_part($*)
	starts_with(text, text) bool = pg_starts_with($*)
	concat(show...) text = pg_concat($*)
	concat_ws(text, show...) text! = pg_concat_ws($*)
	format(text, show...) text = pg_format($*)
	format(text) text = pg_format($*)
	quote_ident(text) text = pg_quote_ident($1)
	quote_literal(show) text = pg_quote_literal($1)
	quote_nullable(show) text = pg_quote_nullable($1)
	to_hex(int8) text = pg_to_hex($1)
	encode(bytea, text) text = pg_encode($*)
	decode(text, text) bytea = pg_decode($*)
	convert_from(bytea, text) text = pg_convert_from($*)
	convert_to(text, text) bytea = pg_convert_to($*)
	sha224(bytea) bytea = pg_sha(224, $1)
	sha256(bytea) bytea = pg_sha(256, $1)
	sha384(bytea) bytea = pg_sha(384, $1)
	sha512(bytea) bytea = pg_sha(512, $1)
	regexp_replace(text, text, text, text?) text = pg_regexp_replace($*)
	regexp_match(text, text, text?) text[]! = pg_regexp_match_array($*)
	regexp_like(text, text, text?) bool = pg_regexp_like($*)
	regexp_count(text, text) int4 = pg_regexp_count($*)
	regexp_substr(text, text) text! = pg_regexp_substr($*)
	regexp_split_to_array(text, text, text?) text[] = pg_regexp_split($*)
	string_to_array(text, text, text?) text[]! = pg_string_to_array($*)
	normalize(text) text = pg_normalize($1)
	like(text, text) bool = pg_like($*)
	notlike(text, text) bool = NOT pg_like($*)
	text(show) text = $1
`

const numberFunctions = `
	abs(int2) int2 = pg_int2_abs($1)
	abs(int4) int4 = pg_int4_abs($1)
	abs(int8) int8 = pg_int8_abs($1)
	abs(numeric) numeric = abs($1)
	abs(float8) float8 = abs($1)
	sign(numeric) numeric = sign($1)
	sign(float8) float8 = CAST(sign($1) AS REAL)
	ceil(numeric) numeric = pg_numeric_ceil($1)
	ceil(float8) float8 = ceil($1)
	ceiling(numeric) numeric = pg_numeric_ceil($1)
	ceiling(float8) float8 = ceil($1)
	floor(numeric) numeric = pg_numeric_floor($1)
	floor(float8) float8 = floor($1)
	trunc(numeric, int4?) numeric = pg_numeric_trunc($*)
	trunc(float8) float8 = trunc($1)
	mod(int2, int2) int2 = pg_int2_mod($*)
	mod(int4, int4) int4 = pg_int4_mod($*)
	mod(int8, int8) int8 = pg_int8_mod($*)
	mod(numeric, numeric) numeric = pg_numeric_mod($*)
	div(numeric, numeric) numeric = pg_numeric_quotient($*)
	gcd(int4, int4) int4 = pg_gcd($*)
	gcd(int8, int8) int8 = pg_gcd($*)
	lcm(int4, int4) int4 = pg_cast_int4(pg_lcm($*), 20, -1)
	lcm(int8, int8) int8 = pg_lcm($*)
	factorial(int8) numeric = pg_factorial($1)
	power(float8, float8) float8 = pg_float8_pow($*)
	power(numeric, numeric) numeric = pg_numeric_pow($*)
	pow(float8, float8) float8 = pg_float8_pow($*)
	pow(numeric, numeric) numeric = pg_numeric_pow($*)
	sqrt(float8) float8 = pg_float8_math('sqrt', $1)
	sqrt(numeric) numeric = pg_numeric_math('sqrt', $1)
	cbrt(float8) float8 = pg_float8_math('cbrt', $1)
	exp(float8) float8 = pg_float8_math('exp', $1)
	exp(numeric) numeric = pg_numeric_math('exp', $1)
	ln(float8) float8 = pg_float8_math('ln', $1)
	ln(numeric) numeric = pg_numeric_math('ln', $1)
	log(float8) float8 = pg_float8_math('log', $1)
	log(numeric) numeric = pg_numeric_math('log', $1)
	log(numeric, numeric) numeric = pg_numeric_log($*)
	log10(float8) float8 = pg_float8_math('log', $1)
	log10(numeric) numeric = pg_numeric_math('log', $1)
	sin(float8) float8 = pg_float8_math('sin', $1)
	cos(float8) float8 = pg_float8_math('cos', $1)
	tan(float8) float8 = pg_float8_math('tan', $1)
	cot(float8) float8 = pg_float8_math('cot', $1)
	asin(float8) float8 = pg_float8_math('asin', $1)
	acos(float8) float8 = pg_float8_math('acos', $1)
	atan(float8) float8 = pg_float8_math('atan', $1)
	sinh(float8) float8 = pg_float8_math('sinh', $1)
	cosh(float8) float8 = pg_float8_math('cosh', $1)
	tanh(float8) float8 = pg_float8_math('tanh', $1)
	atan2(float8, float8) float8 = pg_float8_atan2($*)
	degrees(float8) float8 = pg_float8_math('degrees', $1)
	radians(float8) float8 = pg_float8_math('radians', $1)
	pi() float8 = pi()
	random() float8 = pg_random()
	width_bucket(float8, float8, float8, int4) int4 = pg_width_bucket($*)
	width_bucket(numeric, numeric, numeric, int4) int4 = pg_width_bucket($*)
	int4(float8) int4 = pg_cast_int4($1, 701, -1)
	float8(float8) float8 = $1
	to_char(numeric, text) text = pg_to_char_number($*)
	to_char(float8, text) text = pg_to_char_number($*)
	to_number(text, text) numeric = pg_to_number($*)
	isfinite(date) bool = ($1 IS NOT NULL)
	isfinite(timestamptz) bool = ($1 IS NOT NULL)
`

const timeFunctions = `
	now() timestamptz = pg_now()
	transaction_timestamp() timestamptz = pg_now()
	statement_timestamp() timestamptz = pg_now()
	clock_timestamp() timestamptz = pg_clock_timestamp()
	timeofday() text = pg_timeofday()
	date_trunc(text, timestamp) timestamp = pg_date_trunc($1, $2, 0)
	date_trunc(text, timestamptz) timestamptz = pg_date_trunc($1, $2, 1)
	date_trunc(text, timestamptz, text) timestamptz = pg_date_trunc_zone($*)
	date_trunc(text, interval) interval = pg_interval_trunc($*)
	date_part(text, timestamp) float8 = pg_date_part($*)
	date_part(text, timestamptz) float8 = pg_date_part($*)
	date_part(text, date) float8 = pg_date_part($*)
	date_part(text, time) float8 = pg_date_part($*)
	date_part(text, interval) float8 = pg_interval_part($*)
	extract(text, timestamp) numeric = pg_extract($*)
	extract(text, timestamptz) numeric = pg_extract($*)
	extract(text, date) numeric = pg_extract($*)
	extract(text, time) numeric = pg_extract($*)
	extract(text, interval) numeric = pg_interval_extract($*)
	age(timestamp, timestamp) interval = pg_age($*)
	age(timestamptz, timestamptz) interval = pg_age($*)
	age(timestamp) interval = pg_age(substr(pg_now(), 1, 10) || ' 00:00:00.000000', $1)
	age(timestamptz) interval = pg_age(substr(pg_now(), 1, 10) || ' 00:00:00.000000', $1)
	to_char(timestamp, text) text = pg_to_char($1, $2, 0)
	to_char(timestamptz, text) text = pg_to_char($1, $2, 1)
	to_char(interval, text) text = pg_to_char_interval($*)
	to_date(text, text) date = pg_to_date($*)
	to_timestamp(text, text) timestamptz = pg_to_timestamp($*)
	to_timestamp(float8) timestamptz = pg_epoch($1)
	make_date(int4, int4, int4) date = pg_make_date($*)
	make_time(int4, int4, float8) time = pg_make_time($*)
	make_timestamp(int4, int4, int4, int4, int4, float8) timestamp = pg_make_timestamp($*)
	make_timestamptz(int4, int4, int4, int4, int4, float8) timestamptz = pg_make_timestamp($*) || 'Z'
	make_interval(int4?, int4?, int4?, int4?, int4?, int4?, float8?) interval = pg_make_interval($*)
	justify_days(interval) interval = pg_justify_days($1)
	justify_hours(interval) interval = pg_justify_hours($1)
	justify_interval(interval) interval = pg_justify_interval($1)
	timezone(text, timestamptz) timestamp = pg_timezone_local($*)
	timezone(text, timestamp) timestamptz = pg_timezone_utc($*)
	timezone(interval, timestamptz) timestamp = pg_timezone_local($*)
	date_bin(interval, timestamp, timestamp) timestamp = pg_date_bin($*)
	date_bin(interval, timestamptz, timestamptz) timestamptz = pg_date_bin($*)
	date(timestamp) date = substr($1, 1, 10)
	date(timestamptz) date = substr($1, 1, 10)
	date(date) date = $1
`

const otherFunctions = `
	gen_random_uuid() uuid = pg_gen_random_uuid()
	uuid_generate_v4() uuid = pg_gen_random_uuid()
	nextval(text) int8 = nextval($1)
	nextval(regclass) int8 = nextval(regclass_text($1))
	currval(regclass) int8 = currval(regclass_text($1))
	setval(regclass, int8) int8 = setval(regclass_text($1), $2)
	setval(regclass, int8, bool) int8 = setval(regclass_text($1), $2, $3)
	currval(text) int8 = currval($1)
	lastval() int8 = lastval()
	setval(text, int8) int8 = setval($1, $2)
	setval(text, int8, bool) int8 = setval($1, $2, $3)
	array_length(array, int4) int4! = pg_array_length($*)
	array_ndims(array) int4! = CASE WHEN json_array_length($1) > 0 THEN 1 END
	array_lower(array, int4) int4! = CASE WHEN $2 = 1 AND json_array_length($1) > 0 THEN 1 END
	array_upper(array, int4) int4! = pg_array_length($*)
	cardinality(array) int4 = json_array_length($1)
	array_to_string(array, text, text?) text! = pg_array_to_string($e, $*)
	array_append(array, any) $1! = pg_array_append($1, $2, $e)
	array_prepend(any, array) $2! = pg_array_prepend($1, $2, $e)
	array_cat(array, array) $1! = pg_array_concat($1, $2)
	array_remove(array, any) $1! = pg_array_remove($1, $2)
	array_replace(array, any, any) $1! = pg_array_replace($1, $2, $3)
	array_position(array, any) int4! = pg_array_position($1, $2)
	array_positions(array, any) int4[]! = pg_array_positions($1, $2)
	pg_typeof(any) regtype = $0
	num_nulls(any...) int4 = pg_num_nulls($*)
	num_nonnulls(any...) int4 = pg_num_nonnulls($*)
`

const jsonFunctions = `
	json_array_length(json) int4 = pg_json_array_length($1)
	jsonb_array_length(jsonb) int4 = pg_json_array_length($1)
	json_typeof(json) text = pg_json_typeof($1)
	jsonb_typeof(jsonb) text = pg_json_typeof($1)
	json_extract_path(json, text...) json! = pg_json_extract_path($*)
	jsonb_extract_path(jsonb, text...) jsonb! = pg_jsonb_extract_path($*)
	json_extract_path_text(json, text...) text! = pg_json_extract_path_text($*)
	jsonb_extract_path_text(jsonb, text...) text! = pg_jsonb_extract_path_text($*)
	jsonb_set(jsonb, text[], jsonb, bool?) jsonb = pg_jsonb_set($*)
	jsonb_insert(jsonb, text[], jsonb, bool?) jsonb = pg_jsonb_insert($*)
	jsonb_pretty(jsonb) text = pg_jsonb_pretty($1)
	jsonb_strip_nulls(jsonb) jsonb = pg_jsonb_strip_nulls($1)
	json_strip_nulls(json) json = pg_json_strip_nulls($1)
	jsonb_contains(jsonb, jsonb) bool = pg_jsonb_contains($*)
	jsonb_exists(jsonb, text) bool = pg_jsonb_has($*)
	jsonb_concat(jsonb, jsonb) jsonb = pg_jsonb_concat($*)
`
