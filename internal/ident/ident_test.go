package ident_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"kimberlite/internal/ident"
)

func TestTenantIDTakesTheFull64Bits(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"1", "4294967295", "4294967296", "9007199254740993", "18446744073709551615"} {
		id, err := ident.ParseTenantID(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if id.String() != text || id.IsZero() {
			t.Errorf("%s became %s", text, id)
		}
		if again, err := ident.NewTenantID(id.Uint64()); err != nil || again != id {
			t.Errorf("%s: number %d made %s, %v", text, id.Uint64(), again, err)
		}
	}
}

func TestParseTenantIDRefusesWhatIsNoTenantAndSaysWhy(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"0":                    "reserved",
		"":                     "not a number",
		"-1":                   "not a number",
		"+1":                   "not a number",
		"1.0":                  "not a number",
		"0x1":                  "not a number",
		"1_000":                "not a number",
		" 1":                   "not a number",
		"１":                    "not a number",
		"18446744073709551616": "between 1 and 18446744073709551615",
	} {
		id, err := ident.ParseTenantID(text)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %s, %v; want an error that says %q", text, id, err, says)
		}
	}
	_, err := ident.ParseTenantID(strings.Repeat("9", 1<<20))
	if err == nil || len(err.Error()) > 300 {
		t.Errorf("a megabyte of digits made an error of %d bytes", len(err.Error()))
	}
}

func TestZeroIsNoTenant(t *testing.T) {
	t.Parallel()
	if id, err := ident.NewTenantID(0); err == nil || !id.IsZero() {
		t.Errorf("NewTenantID(0) = %s, %v", id, err)
	}
	mustPanic(t, "MustTenantID(0)", func() { ident.MustTenantID(0) })
}

func TestCountersPanicRatherThanWrapAround(t *testing.T) {
	t.Parallel()
	last := ident.NewOffset(math.MaxUint64)
	mustPanic(t, "the offset after the last", func() { last.Next() })
	mustPanic(t, "an offset past the end", func() { ident.NewOffset(2).Add(math.MaxUint64 - 1) })
	mustPanic(t, "the generation after the last", func() { ident.NewKeyGeneration(math.MaxUint32).Next() })
	if got := ident.NewOffset(1).Add(math.MaxUint64 - 1); got != last {
		t.Errorf("1 + (2^64-2) = %s", got)
	}
	if got := ident.NewKeyGeneration(math.MaxUint32 - 1).Next().Uint32(); got != math.MaxUint32 {
		t.Errorf("generation after 2^32-2 = %d", got)
	}
}

func TestOffsetsAreOrdered(t *testing.T) {
	t.Parallel()
	zero, one, last := ident.NewOffset(0), ident.NewOffset(1), ident.NewOffset(math.MaxUint64)
	if !zero.Before(one) || !one.Before(last) || one.Before(one) || last.Before(zero) {
		t.Error("Before does not order offsets by number")
	}
	if zero.Next() != one {
		t.Error("the offset after 0 is not 1")
	}
}

func TestStreamsOfTwoTenantsDifferWhereTheNumberIsTheSame(t *testing.T) {
	t.Parallel()
	a, b := ident.NewStreamID(ident.MustTenantID(7), 3), ident.NewStreamID(ident.MustTenantID(8), 3)
	if a == b {
		t.Error("7/3 equals 8/3")
	}
	if a.String() != "7/3" || a.Tenant() != ident.MustTenantID(7) || a.Number() != 3 || a.IsZero() {
		t.Errorf("stream 3 of tenant 7 is %s of tenant %s, number %d", a, a.Tenant(), a.Number())
	}
	if !(ident.StreamID{}).IsZero() {
		t.Error("the zero StreamID is not zero")
	}
}

func TestNewRegionTakesOnlyLabelsThatAreSafeAsNames(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("a", ident.MaxRegionLength)
	for _, name := range []string{"a", "us-east", "eu-central-1", longest} {
		if r, err := ident.NewRegion(name); err != nil || r.String() != name || r.IsZero() {
			t.Errorf("NewRegion(%q) = %q, %v", name, r, err)
		}
	}
	for _, name := range []string{"", "US-EAST", "1a", "-a", "a-", "a b", "a/b", "..", "a.b", "ä", "a\x00", "a\n", longest + "a"} {
		if r, err := ident.NewRegion(name); err == nil || !r.IsZero() {
			t.Errorf("NewRegion(%q) = %q, %v; want a refusal", name, r, err)
		}
	}
}

func TestIdentifiersSurviveJSON(t *testing.T) {
	t.Parallel()
	type document struct {
		Tenant     ident.TenantID      `json:"tenant"`
		Offset     ident.Offset        `json:"offset"`
		Generation ident.KeyGeneration `json:"generation"`
		Region     ident.Region        `json:"region"`
		Elsewhere  ident.Region        `json:"elsewhere"`
	}
	region, err := ident.NewRegion("us-east")
	if err != nil {
		t.Fatal(err)
	}
	in := document{
		Tenant:     ident.MustTenantID(math.MaxUint64),
		Offset:     ident.NewOffset(math.MaxUint64),
		Generation: ident.NewKeyGeneration(math.MaxUint32),
		Region:     region,
	}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"tenant":"18446744073709551615","offset":18446744073709551615,"generation":4294967295,"region":"us-east","elsewhere":""}`
	if string(text) != want {
		t.Errorf("JSON is\n%s, want\n%s", text, want)
	}
	var out document
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("read back as %+v, %v", out, err)
	}
}

func TestJSONWithABadIdentifierIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`"0"`, `0`, `""`, `-1`, `1.5`, `"x"`, `{}`, `18446744073709551616`, `null`} {
		id := ident.MustTenantID(5)
		if err := json.Unmarshal([]byte(text), &id); err == nil {
			t.Errorf("tenant %s became %s", text, id)
		} else if id != ident.MustTenantID(5) {
			t.Errorf("refused tenant %s changed the id to %s", text, id)
		}
	}
	for _, text := range []string{`-1`, `1.5`, `"x"`, `18446744073709551616`} {
		var o ident.Offset
		if err := json.Unmarshal([]byte(text), &o); err == nil {
			t.Errorf("offset %s became %s", text, o)
		}
	}
	for _, text := range []string{`-1`, `4294967296`, `"x"`} {
		var g ident.KeyGeneration
		if err := json.Unmarshal([]byte(text), &g); err == nil {
			t.Errorf("generation %s became %s", text, g)
		}
	}
	for _, text := range []string{`"US"`, `5`, `"a/b"`} {
		var r ident.Region
		if err := json.Unmarshal([]byte(text), &r); err == nil {
			t.Errorf("region %s became %q", text, r)
		}
	}
}

// FuzzParseTenantID: whatever is taken stands for one number only, and comes
// back from its own text.
func FuzzParseTenantID(f *testing.F) {
	for _, seed := range []string{"1", "0", "007", "18446744073709551615", "18446744073709551616", "-1", "", "1e3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ident.ParseTenantID(text)
		if err != nil {
			return
		}
		again, err := ident.ParseTenantID(id.String())
		if err != nil || again != id || id.IsZero() {
			t.Errorf("%q became %s, then %s, %v", text, id, again, err)
		}
	})
}

func mustPanic(t *testing.T, what string, act func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", what)
		}
	}()
	act()
}
