package main

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTableLinesUpNumbersRightAndTextLeft(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	l := &layout{w: &sticky{w: &b}}
	l.begin([]cell{{text: "id"}, {text: "name"}}, [][]cell{cells([]any{int64(7), "Zoë"}), cells([]any{int64(1234), "a\tb"}), cells([]any{nil, nil})})
	l.row(cells([]any{1.5, []byte{0, 255}}))
	const want = "" +
		" id   | name\n" +
		"------+------\n" +
		"    7 | Zoë\n" +
		" 1234 | a\\tb\n" +
		" NULL | NULL\n" +
		"  1.5 | \\x00ff\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestPrintableLeavesNothingForATerminalToObey(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain Zoë 漢字": "plain Zoë 漢字", "\x1b[31m": `\x1b[31m`, "a\nb\tc\rd": `a\nb\tc\rd`, "\xff": `\xff`,
		"\u202e": `\u202e`, "\u0085": `\x85`, "\x00": `\x00`, "\uFFFD": "\uFFFD",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestNumbersReadBackTheSame(t *testing.T) {
	t.Parallel()
	for f, want := range map[float64]string{
		0: "0.0", 1: "1.0", -2.5: "-2.5", 0.1: "0.1", 1e14: "100000000000000.0", 1e15: "1e+15", 1e-4: "0.0001", 1e-5: "1e-05",
		math.Inf(1): "Inf", math.Inf(-1): "-Inf", 227761.06: "227761.06",
	} {
		if got := floatText(f); got != want {
			t.Errorf("%v is %q, want %q", f, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1000: "-1,000", -100: "-100", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestColumnsOfOneNameGetNamesOfTheirOwnInJSON(t *testing.T) {
	t.Parallel()
	var got []string
	for _, name := range jsonNames([]string{"a", "a", "a_2", "a", "b\"c"}) {
		got = append(got, string(name))
	}
	if want := []string{`"a"`, `"a_2"`, `"a_2_2"`, `"a_3"`, `"b\"c"`}; !slices.Equal(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestPercentilesAreAtMostOnePartIn64TooLarge(t *testing.T) {
	t.Parallel()
	var h, half histogram
	var all []time.Duration
	d := time.Duration(3)
	for i := range 20_000 {
		d = (d*1103515245 + 12345) % (1 << 31)
		sample := d >> (i % 20)
		all = append(all, sample)
		if i%2 == 0 {
			h.record(sample)
		} else {
			half.record(sample)
		}
	}
	h.add(&half)
	slices.Sort(all)
	for _, share := range []float64{.01, .5, .9, .99, .999, 1} {
		exact := all[min(len(all)-1, max(0, int(share*float64(len(all))+0.5)-1))]
		if got := h.percentile(share); got < exact || got > exact+exact/subBuckets+1 {
			t.Errorf("percentile %v is %v, exactly %v", share, got, exact)
		}
	}
	if h.most != all[len(all)-1] || h.n != uint64(len(all)) {
		t.Errorf("most %v, n %d", h.most, h.n)
	}
	for _, edge := range []time.Duration{0, 1, 63, 64, 65, 127, 128, math.MaxInt64, -1} {
		if i := bucketOf(edge); i < 0 || i >= len(h.counts) || bucketEnd(i) < edge {
			t.Errorf("%d falls into bucket %d, which ends at %d", edge, i, bucketEnd(i))
		}
	}
}

func TestErrorsAreOneLineWhateverTheyHold(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	o := p.run("tenant", "show", "a\nb\x1b[2J", "--data", "D\nE")
	if strings.Count(o.stderr, "\n") != 1 || strings.Contains(o.stderr, "\x1b") {
		t.Errorf("%q", o.stderr)
	}
}
