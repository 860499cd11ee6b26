package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kimberlite/internal/fault"
)

func TestInferredTypesKeepEveryValueAsWritten(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		column string
		values []string
		want   string
	}{
		"integers":               {"n", []string{"1", "-2", "0", "", "9223372036854775807"}, typeInteger},
		"over 64 bits":           {"n", []string{"1", "9223372036854775808"}, typeText},
		"leading zero":           {"n", []string{"1", "02155"}, typeText},
		"plus sign":              {"n", []string{"+1"}, typeText},
		"minus zero":             {"n", []string{"-0"}, typeText},
		"space":                  {"n", []string{" 1"}, typeText},
		"reals":                  {"n", []string{"1.5", "-0.25", "77.490", "0.00"}, typeReal},
		"reals and integers":     {"n", []string{"1.5", "2"}, typeReal},
		"long integer with real": {"n", []string{"1.5", "9007199254740993"}, typeText},
		"seventeen digits":       {"n", []string{"49112.87100000001", "16774.548999999995"}, typeReal},
		"too many digits":        {"n", []string{"0.12345678901234567891"}, typeText},
		"real with leading zero": {"n", []string{"00.5"}, typeText},
		"exponent":               {"n", []string{"1e5"}, typeText},
		"hexadecimal":            {"n", []string{"0x10"}, typeText},
		"infinity":               {"n", []string{"Inf"}, typeText},
		"underscore":             {"n", []string{"1_000"}, typeText},
		"nothing":                {"n", []string{"", ""}, typeText},
		"text":                   {"n", []string{"1", "x"}, typeText},
		"a code":                 {"REASONCODE", []string{"195662009"}, typeText},
		"a zip":                  {"Zip", []string{"10001"}, typeText},
		"a postal code":          {"postal_code", []string{"10001"}, typeText},
		"an id":                  {"patient_id", []string{"7", "8"}, typeInteger},
		"a word with code in it": {"encoded", []string{"7"}, typeInteger},
	} {
		n := newInference([]string{c.column}, "")
		for _, v := range c.values {
			n.row([]string{v})
		}
		if got := n.types()[0]; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// FuzzInferredNumbersReadBack demands that a number of an inferred type says
// what the text said.
func FuzzInferredNumbersReadBack(f *testing.F) {
	for _, seed := range []string{"1", "007", "-0", "1.50", "0.1", "123456789012345678.5", "-9223372036854775808", "1e3", "99999999999999999999.0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n := newInference([]string{"n"}, "")
		n.row([]string{s})
		switch n.types()[0] {
		case typeInteger:
			if v, err := strconv.ParseInt(s, 10, 64); err != nil || fmt.Sprint(v) != s {
				t.Fatalf("%q became %d, %v", s, v, err)
			}
		case typeReal:
			v, err := strconv.ParseFloat(s, 64)
			if err != nil || math.IsInf(v, 0) {
				t.Fatalf("%q became %v, %v", s, v, err)
			}
			whole, decimals, _ := strings.Cut(s, ".")
			back := strconv.FormatFloat(v, 'f', len(decimals), 64)
			if digits := len(strings.TrimLeft(strings.Trim(whole, "-")+decimals, "0")); digits <= maxRealDigits && back != s {
				t.Fatalf("%q reads back as %q", s, back)
			}
		}
	})
}

func TestRowThatNeverEndsIsRefusedBeforeItFillsMemory(t *testing.T) {
	t.Parallel()
	endless := io.MultiReader(strings.NewReader("a,b\n1,\""), repeated("x"))
	rows, err := newTable("endless.csv", endless, ',')
	if err != nil {
		t.Fatal(err)
	}
	_, err = rows.next()
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "a quote may be missing") {
		t.Errorf("%v", err)
	}
}

// repeated is a reader that never ends.
type repeated string

func (r repeated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r[0]
	}
	return len(p), nil
}

func TestLongInputPassesTheGuardRowByRow(t *testing.T) {
	t.Parallel()
	row := "1," + strings.Repeat("x", 1<<20) + "\n"
	const n = maxCSVRow>>20 + 8
	in := io.MultiReader(strings.NewReader("a,b\n"), strings.NewReader(strings.Repeat(row, n)))
	rows, err := newTable("long.csv", in, ',')
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := rows.next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if rows.rows != n {
		t.Errorf("%d rows, want %d", rows.rows, n)
	}
}

// FuzzTableGivesOnlyWholeRows demands that whatever a file holds, rows have as
// many fields as the header and hold UTF-8 without NUL.
func FuzzTableGivesOnlyWholeRows(f *testing.F) {
	for _, seed := range []string{"a,b\n1,2\n", "\ufeffa\n\"x\"\n", "a,b\n1\n", "a\n\"\n", "a\n\x00\n", "a,b\r\n1,\"2\r\n3\"\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := newTable("f", strings.NewReader(text), ',')
		for err == nil {
			var row []string
			if row, err = rows.next(); err == nil && (len(row) != len(rows.columns) || slices.ContainsFunc(row, func(s string) bool { return strings.Contains(s, "\x00") })) {
				t.Fatalf("row %q under %q", row, rows.columns)
			}
		}
		if !errors.Is(err, io.EOF) && !fault.Is(err, fault.Invalid) {
			t.Fatal(err)
		}
	})
}

// TestLoadSaysWhatWasCommittedBeforeABadRow loads more than one batch.
func TestLoadSaysWhatWasCommittedBeforeABadRow(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.must("tenant", "create", "--data", "D", "--id", "1", "--name", "a")
	var text strings.Builder
	text.WriteString("id,name\n")
	for i := 1; i <= batchRows+500; i++ {
		fmt.Fprintf(&text, "%d,n\n", i)
	}
	text.WriteString("17,again\n20000,n\n") // the line after the header and batchRows+500 rows
	p.write("rows.csv", text.String())
	p.must("sql", "--data", "D", "--tenant", "1", "-c", "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
	o := p.run("load", "--data", "D", "--tenant", "1", "--table", "t", "rows.csv")
	p.failure(o, 1, fmt.Sprintf("rows.csv, line %d; %s of the lines before were committed", batchRows+502, "5,000 rows"))
	if out := p.must("sql", "--data", "D", "--tenant", "1", "--format", "csv", "-c", "SELECT count(*) FROM t"); out != "count(*)\n5000\n" {
		t.Errorf("the table holds %q", out)
	}
}

// TestLoadKeepsToTheTenantsRate loads three batches at one operation a second
// or so: it waits instead of failing.
func TestLoadKeepsToTheTenantsRate(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.must("tenant", "create", "--data", "D", "--id", "1", "--name", "a", "--max-ops-per-sec", "4")
	text := "id\n" + strings.Repeat("1\n", 4*batchRows)
	p.write("rows.csv", text)
	out := p.must("load", "--data", "D", "--tenant", "1", "--table", "t", "--create", "rows.csv")
	if !strings.HasPrefix(out, "loaded 20,000 rows into t") {
		t.Error(out)
	}
}
