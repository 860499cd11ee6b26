package projection

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
)

// TestOurFunctionsAnswerAsSQLites asks SQLite's functions and ours the same:
// texts of few and odd letters, patterns that nearly match.
func TestOurFunctionsAnswerAsSQLites(t *testing.T) {
	theirs, ours := memoryConn(t), memoryConn(t)
	if err := registerFunctions(ours); err != nil {
		t.Fatal(err)
	}
	calls := []string{
		`instr(?1,?2)`, `replace(?1,?2,?3)`, `trim(?1)`, `trim(?1,?2)`, `ltrim(?1,?2)`, `rtrim(?1,?2)`, `ltrim(?1)`, `rtrim(?1)`,
		`unhex(?1,?2)`, `?1 LIKE ?2`, `?1 LIKE ?2 ESCAPE 'x'`, `?1 LIKE ?2 ESCAPE '%'`, `?1 LIKE ?2 ESCAPE '_'`, `?1 GLOB ?2`, `?1 NOT LIKE ?2`,
		`?1 LIKE ?2 ESCAPE ?3`,
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 60_000 {
		call := calls[n%len(calls)]
		args := []any{oddValue(rng), oddValue(rng), oddValue(rng)}
		args = args[:1+strings.Count(call, "?2")+strings.Count(call, "?3")]
		want, got := answer(theirs, call, args), answer(ours, call, args)
		if got != want {
			t.Fatalf("%s of %q: %s, SQLite says %s", call, args, got, want)
		}
	}
}

func memoryConn(t *testing.T) *conn {
	t.Helper()
	db, err := sqlite3.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &conn{db: db, limits: &Limits{}, file: &file{}}
}

func oddValue(rng *rand.Rand) any {
	switch rng.IntN(20) {
	case 0:
		return nil
	case 1:
		return int64(rng.IntN(200) - 100)
	case 2:
		return float64(rng.IntN(100)) / 8
	case 3:
		return []byte(oddText(rng))
	}
	return oddText(rng)
}

func oddText(rng *rand.Rand) string {
	letters := []string{"a", "b", "A", "B", "%", "_", "*", "?", "x", " ", "é", "É", "日", "0", "1", "f", "[", "]", "^", "-", "[a-b]", "[^a]", "%a", "a%"}
	if rng.IntN(2) == 0 {
		letters = letters[:8]
	}
	var b strings.Builder
	for range rng.IntN(9) {
		b.WriteString(letters[rng.IntN(len(letters))])
	}
	return b.String()
}

func answer(c *conn, call string, args []any) string {
	s, _, err := c.db.Prepare(`SELECT ` + call)
	if err != nil {
		return err.Error()
	}
	defer s.Close()
	for i, a := range args {
		if err := bindValue(s, i+1, a); err != nil {
			return err.Error()
		}
	}
	if !s.Step() {
		return s.Err().Error()
	}
	v, _ := columnValue(s, 0)
	return fmt.Sprintf("%T %q", v, fmt.Sprint(v))
}

func TestRegularExpressions(t *testing.T) {
	f := newFixture(t, Options{})
	for call, want := range map[string]string{
		`'abc' REGEXP 'b'`: "1", `'abc' REGEXP '^b'`: "0", `'abc' REGEXP 'c$'`: "1", `'aXb' REGEXP 'a[xX]b'`: "1",
		`'ABC' REGEXP 'b'`: "0", `regexpi('b', 'ABC')`: "1", `'a.c' REGEXP 'a\.c'`: "1", `'abc' REGEXP 'a\.c'`: "0",
		`'é' REGEXP '^\u00e9$'`: "1", `'x1' REGEXP '\w\d'`: "1", `'aaa' REGEXP '^a{2,3}$'`: "1", `'ab' REGEXP '(a|b)+'`: "1",
		`NULL REGEXP 'a'`: "<nil>", `'a' REGEXP NULL`: "<nil>", `12 REGEXP 2`: "1",
	} {
		if got := f.text(`SELECT ` + strings.ReplaceAll(call, `\\`, `\`)); got != "[["+want+"]]" {
			t.Errorf("%s: %s, want %s", call, got, want)
		}
	}
	f.mustExec(`CREATE TABLE t(p); INSERT INTO t VALUES('s3cret(')`)
	_, err := f.rows(`SELECT 'x' REGEXP p FROM t`)
	wantKind(t, err, fault.SQL)
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error tells the pattern: %v", err)
	}
	_, err = f.rows(`SELECT 'x' REGEXP hex(zeroblob(5000))`)
	wantKind(t, err, fault.TooLarge)
}

// TestOneCallOfAFunctionEndsInTime has for each function the arguments that
// take the longest.
func TestOneCallOfAFunctionEndsInTime(t *testing.T) {
	f := newFixture(t, Options{Limits: Limits{StatementTimeout: 50 * time.Millisecond}})
	const big = `hex(zeroblob(7000000))`
	for _, call := range []string{
		`instr(` + big + `, hex(zeroblob(3000000))||'1')`,
		`length(replace(` + big + `, hex(zeroblob(3000000))||'1', ''))`,
		`length(trim(` + big + `, replace(hex(zeroblob(3000000)), '0', 'a')||'0'))`,
		`length(unhex(replace(` + big + `, '0', 'z'), replace(hex(zeroblob(3000000)), '0', 'a')||'z'))`,
		big + ` LIKE '%` + strings.Repeat("0", 4000) + `1'`,
		big + ` LIKE '` + strings.Repeat("%0_", 1300) + `1'`,
		big + ` REGEXP '(0|00|000){1,100}1$'`,
		big + ` GLOB '*` + strings.Repeat("[0-9]", 800) + `1'`,
	} {
		start := time.Now()
		_, err := f.rows(`SELECT ` + call)
		if err != nil {
			wantKind(t, err, fault.Timeout)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%.60s took %v", call, took)
		}
	}
	_, err := f.rows(`SELECT replace(` + big + `, '0', '` + strings.Repeat("x", 1000) + `')`)
	wantKind(t, err, fault.TooLarge)
	_, err = f.rows(`SELECT sum(length(hex(zeroblob(600000 + value%2)))) FROM generate_series(1, 1000000)`)
	wantKind(t, err, fault.Timeout)
}
