package attacktext

import (
	"fmt"
	"strings"

	"kimberlite/internal/fault"
)

// endless counts without end.
const endless = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) `

// zeros is a text of n digits, made without a large statement.
func zeros(n int) string { return fmt.Sprintf(`hex(zeroblob(%d))`, n/2) }

// of is a text of n characters, all the same.
func of(n int, character string) string {
	return fmt.Sprintf(`replace(%s, '0', '%s')`, zeros(n), character)
}

// Bombs returns statements that try to take more time or memory than they may.
// Their values are of up to bigBytes.
func Bombs(bigBytes int) []Statement {
	timeout, large := Kinds(fault.Timeout), Kinds(fault.TooLarge)
	bounded := Kinds(fault.Timeout, fault.TooLarge)
	big, half := zeros(bigBytes), zeros(bigBytes/2)
	return []Statement{
		{"endless recursion", endless + `SELECT count(*) FROM n`, nil, timeout},
		{"endless recursion that writes", `INSERT INTO own(secret) ` + endless + `SELECT i FROM n WHERE i < 0`, nil, timeout},
		{"endless recursion without duplicates", `WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i+1 FROM n) SELECT count(*) FROM n`, nil, bounded},
		{"endless recursion that doubles", `WITH RECURSIVE d(x) AS (SELECT 'xx' UNION ALL SELECT x||x FROM d) SELECT max(length(x)) FROM d`, nil, large},
		{"endless recursion that sorts", endless + `SELECT i FROM n ORDER BY i DESC`, nil, bounded},
		{"endless series", `SELECT count(*) FROM generate_series(1, 9223372036854775807)`, nil, timeout},
		{"series of series", `SELECT count(*) FROM generate_series(1,100000) a, generate_series(1,100000) b, generate_series(1,100000) c`, nil, timeout},
		{"cartesian product", `SELECT count(*) FROM probe a, probe b, probe c, probe d, probe e, probe f, probe g, probe h, probe i, generate_series(1,99999)`, nil, timeout},
		{"cartesian product of events", `SELECT count(*) FROM kimberlite.events a, kimberlite.events b, kimberlite.events c, generate_series(1,99999)`, nil, timeout},
		{"cartesian product of keywords", `SELECT count(*) FROM pragma_function_list a, pragma_function_list b, pragma_function_list c`, nil, timeout},
		{"window over everything", `SELECT sum(s) FROM (SELECT sum(value) OVER (ORDER BY value ROWS BETWEEN 100000 PRECEDING AND 100000 FOLLOWING EXCLUDE TIES) s FROM generate_series(1, 1000000))`, nil, bounded},
		{"views that double", "WITH a AS (SELECT 1 x)" + doubling(40) + " SELECT count(*) FROM v40", nil, bounded},
		{"expressions that double", expressionBomb(40), nil, bounded},
		{"deep expression", `SELECT ` + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000), nil, large},
		{"deep negation", `SELECT ` + strings.Repeat("- ", 100000) + "1", nil, large},
		{"deep concatenation", `SELECT 1` + strings.Repeat("||1", 100000), nil, large},
		{"deep subqueries", strings.Repeat("SELECT * FROM (", 5000) + "SELECT 1" + strings.Repeat(")", 5000), nil, large},
		{"deep cases", `SELECT ` + strings.Repeat("CASE WHEN 1 THEN ", 5000) + "1" + strings.Repeat(" END", 5000), nil, large},
		{"deep exists", strings.Repeat("SELECT EXISTS(", 5000) + "SELECT 1" + strings.Repeat(")", 5000), nil, large},
		{"many compound selects", `SELECT 1` + strings.Repeat(" UNION ALL SELECT 1", 10000), nil, large},
		{"many joins", `SELECT 1 FROM own` + strings.Repeat(" JOIN own", 300), nil, large},
		{"many columns", `SELECT 1` + strings.Repeat(",1", 5000), nil, large},
		{"many columns of a table", `CREATE TABLE wide(a` + columns(5000) + `)`, nil, large},
		{"many values", `INSERT INTO own(n) VALUES (1)` + strings.Repeat(",(1)", 50000) + `,(1000)`, nil, Kinds(fault.Timeout, fault.Constraint)},
		{"huge list", `SELECT 1 WHERE 1 IN (0` + strings.Repeat(",2", bigBytes/80) + `)`, nil, AnyKind},
		{"huge list of strings", `SELECT 1 WHERE 'x' IN ('a'` + strings.Repeat(",'bcdef'", bigBytes/160) + `)`, nil, AnyKind},
		{"many arguments of a function", `SELECT max(1` + strings.Repeat(",1", 5000) + `)`, nil, large},
		{"a statement of 100 MB", `SELECT '` + strings.Repeat("x", 100<<20) + `'`, nil, large},
		{"100 MB of statements", strings.Repeat("SELECT 1; ", 10<<20), nil, large},
		{"100 MB of comment", `/*` + strings.Repeat("x", 100<<20) + `*/ SELECT 1`, nil, large},
		{"a statement just below the limit", `SELECT length('` + strings.Repeat("x", 4<<20-100) + `')`, nil, Succeeds},
		{"a name of a megabyte", `CREATE TABLE "` + strings.Repeat("x", 1<<20) + `"(a)`, nil, large},
		{"a column of a megabyte", `SELECT 1 AS "` + strings.Repeat("x", 1<<20) + `"`, nil, AnyKind},

		{"zeroblob", `SELECT zeroblob(2147483647)`, nil, large},
		{"zeroblob of all", `SELECT zeroblob(9223372036854775807)`, nil, large},
		{"many zeroblobs", `SELECT length(hex(zeroblob(5000000))||hex(zeroblob(5000000)))`, nil, large},
		{"randomblob", `SELECT randomblob(1000000000)`, nil, large},
		{"hex", `SELECT hex(hex(hex(zeroblob(5000000))))`, nil, large},
		{"replace that grows", `SELECT replace(` + big + `, '0', 'xxxxxxxxxxxxxxxx')`, nil, large},
		{"printf with a width", `SELECT printf('%2000000000d', 1)`, nil, large},
		{"printf with a precision", `SELECT printf('%.2000000000f', 1.5)`, nil, AnyKind},
		{"printf with a star", `SELECT printf('%*s', 2147483647, 'x'), printf('%.*c', 2000000000, 'x')`, nil, large},
		{"group_concat", `SELECT length(group_concat(` + big + `)) FROM generate_series(1,100)`, nil, large},
		{"json_group_array", `SELECT length(json_group_array(value)) FROM generate_series(1,100000000)`, nil, bounded},
		{"a large sort", `SELECT x FROM (SELECT randomblob(20000) x FROM generate_series(1,50000)) ORDER BY x`, nil, bounded},
		{"a large distinct", `SELECT count(DISTINCT x) FROM (SELECT randomblob(20000) x FROM generate_series(1,50000))`, nil, bounded},
		{"a large group", `SELECT count(*) FROM (SELECT 1 FROM generate_series(1,100000000) GROUP BY hex(randomblob(1000)))`, nil, bounded},
		{"a large materialised query", `WITH x AS MATERIALIZED (SELECT randomblob(20000) b FROM generate_series(1,50000)) SELECT count(*) FROM x a, x b`, nil, bounded},
		{"a large automatic index", `SELECT count(*) FROM (SELECT value v, randomblob(1000) b FROM generate_series(1,10000000)) a JOIN (SELECT value v FROM generate_series(1,10000000)) b USING(v)`, nil, bounded},
		{"a row of more than there is memory for", `SELECT ` + strings.Repeat("zeroblob(16000000),", 20) + `1`, nil, large},
		{"a column's type of two megabytes", `SELECT CAST(1 AS "` + strings.Repeat("x", 2<<20) + `") AS "` + strings.Repeat("y", 1500000) + `"`, nil, AnyKind},
		{"a result without end", endless + `SELECT i FROM n`, nil, bounded},
		{"a result of much", endless + `SELECT ` + big + ` FROM n`, nil, bounded},

		// SQLite looks at the clock between its instructions only, and each
		// call of these is one. Whatever they answer, they must do so in time.
		{"slow functions in a row", `SELECT sum(length(hex(zeroblob(100000 + value % 2)))) FROM generate_series(1,1000000)`, nil, timeout},
		{"instr of what is nearly there", `SELECT instr(` + big + `, ` + half + `||'1')`, nil, AnyKind},
		{"instr in a blob", fmt.Sprintf(`SELECT instr(zeroblob(%d), CAST(zeroblob(%d)||'1' AS BLOB))`, bigBytes, bigBytes/2), nil, AnyKind},
		{"replace of what is nearly there", `SELECT length(replace(` + big + `, ` + half + `||'1', ''))`, nil, AnyKind},
		{"trim of many", `SELECT length(trim(` + big + `, ` + of(bigBytes/2, "a") + `||'0'))`, nil, AnyKind},
		{"ltrim of many", `SELECT length(ltrim(` + big + `, ` + of(bigBytes/2, "é") + `||'0'))`, nil, AnyKind},
		{"rtrim of many", `SELECT length(rtrim(` + big + `, ` + of(bigBytes/2, "a") + `||'0'))`, nil, AnyKind},
		{"LIKE of what is nearly there", `SELECT ` + big + ` LIKE '%` + strings.Repeat("0", 4000) + `1'`, nil, AnyKind},
		{"LIKE with many wildcards", `SELECT ` + big + ` LIKE '` + strings.Repeat("%0_", 1300) + `1'`, nil, AnyKind},
		{"LIKE with many gaps", `SELECT ` + big + ` LIKE '%` + strings.Repeat("_", 4000) + `1%'`, nil, AnyKind},
		{"GLOB of what is nearly there", `SELECT ` + big + ` GLOB '*` + strings.Repeat("[0-9]", 800) + `1'`, nil, AnyKind},
		{"REGEXP with many states", `SELECT regexp('(0|00|000){1,200}1$', ` + big + `)`, nil, AnyKind},
		{"REGEXP with nested stars", `SELECT regexp('((0*)*0*)*1', ` + big + `)`, nil, AnyKind},
		{"REGEXP of much", `SELECT 'x' REGEXP ` + big, nil, AnyKind},
		{"unhex that ignores many", `SELECT length(unhex(` + of(bigBytes, "z") + `, ` + of(bigBytes/2, "y") + `||'z'))`, nil, AnyKind},
		{"decimal_mul", `SELECT length(decimal_mul(` + of(bigBytes/2, "9") + `, ` + of(bigBytes/2, "9") + `))`, nil, Kinds(fault.Timeout, fault.TooLarge, fault.Denied)},
		{"decimal with a large exponent", `SELECT length(decimal('1e1000000000')), length(decimal_add('1e-1000000000', '1'))`, nil, AnyKind},
		{"decimal_pow2", `SELECT length(decimal_pow2(20000)), length(decimal_pow2(-20000)), decimal_exp('1', 1000000000)`, nil, Kinds(fault.Denied)},
		{"json_patch", `SELECT length(json_patch((SELECT json_group_object('k'||value,1) FROM generate_series(1,500000)), (SELECT json_group_object('j'||value,1) FROM generate_series(1,500000))))`, nil, Kinds(fault.Timeout, fault.TooLarge, fault.Denied)},
		{"deep JSON", `SELECT json_valid(replace(` + big + `, '0', '['))`, nil, AnyKind},
		{"deep JSON tree", `SELECT count(*) FROM json_tree('` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `'), generate_series(1,1000000)`, nil, bounded},
		{"broken JSON", `SELECT json_error_position('[' || ` + of(bigBytes/2, "1,") + `)`, nil, AnyKind},
		{"soundex", `SELECT soundex(` + big + `), upper(` + big + `) = lower(` + big + `)`, nil, AnyKind},
		{"strftime", `SELECT length(strftime(replace(hex(zeroblob(100000)), '0', '%J%Y-'), 'now'))`, nil, AnyKind},
		{"dates far away", `SELECT datetime('now', '+999999999999 months'), timediff('9999-12-31', '-4713-11-24')`, nil, AnyKind},
		{"quote", `SELECT length(quote(zeroblob(8000000))), length(unistr_quote(` + big + `))`, nil, AnyKind},
	}
}

// doubling is a chain of common table expressions, each twice the last.
func doubling(n int) string {
	var b strings.Builder
	last := "a"
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, ", v%d AS (SELECT x.x FROM %s x, %s y)", i, last, last)
		last = fmt.Sprintf("v%d", i)
	}
	return b.String()
}

// expressionBomb is a chain of subqueries whose expressions double when they
// are folded into one another.
func expressionBomb(n int) string {
	return strings.Repeat("SELECT x+x AS x FROM (", n) + "SELECT id AS x FROM own" + strings.Repeat(")", n)
}

func columns(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ",c%d", i)
	}
	return b.String()
}
