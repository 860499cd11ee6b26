package sqltype

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

var plainTypes = []Type{
	Bool, Int2, Int4, Int8, Date, Numeric,
	plainType("numeric(10,2)"), plainType("numeric(3,3)"), plainType("numeric(15,0)"), plainType("numeric(15,7)"),
	plainType("numeric(20,4)"), plainType("numeric(1,0)"),
}

func plainType(name string) Type {
	t, ok := Parse(name)
	if !ok {
		panic(name)
	}
	return t
}

// sameAsTheLongWay demands that where the short cuts answer, they answer as the
// long ways do.
func sameAsTheLongWay(t *testing.T, text string) {
	t.Helper()
	for _, typ := range plainTypes {
		v, err := typ.inputAny(text)
		if got, ok := typ.inputPlain(text); ok && (err != nil || got != v) {
			t.Errorf("%s of %q: %v, the long way says %v, %v", typ.SQL(), text, got, v, err)
		}
		var float any
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			float = f
		}
		for _, v := range []any{v, text, float} {
			if err := typ.checkAny(v); err != nil && typ.checkPlain(v) {
				t.Errorf("%s takes %#v, the long way says %v", typ.SQL(), v, err)
			}
		}
	}
}

func TestShortCutsAnswerAsTheLongWayDoes(t *testing.T) {
	for _, s := range []string{
		"", "-", ".", "-.", "0", "-0", "0.0", "-0.00", "00012", "1.", ".5", "-.5", "1.50", "99999999.99", "100000000", "99999999.995", "0.1", "0.3",
		"1..2", "1.2.3", "12345678.9", "999999999999999", "9999999999999999", "123456789012345678", "1234567890123456789", "-9223372036854775808",
		"32767", "32768", "-32768", "-32769", "2147483648", "+5", " 5", "5 ", "1e3", "0x10", "1_000", "٣", "a",
		"t", "true", "TRUE", "f", "false", "no",
		"2024-02-28", "2024-02-29", "2023-02-29", "2023-02-30", "2023-04-31", "2023-04-30", "2023-12-31", "0000-01-01", "0001-01-01", "9999-12-31",
		"2023-13-01", "2023-00-10", "2023-01-00", "-123-01-01", "2023-1-01 ", "2023-01-32", "20230-1-01", "2023-01--1",
		"0.0001", "0.0000001", "123456.7654321", "0.30000000000000004", "1e22", "-99999999.99", "NaN", "Inf",
	} {
		sameAsTheLongWay(t, s)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		var s string
		switch rng.IntN(4) {
		case 0:
			n := strconv.FormatInt(int64(rng.Uint64())>>rng.IntN(64), 10)
			at := rng.IntN(len(n) + 1)
			s = n[:at] + strings.Repeat(".", rng.IntN(2)) + n[at:]
		case 1:
			s = strconv.FormatFloat(math.Float64frombits(rng.Uint64()), 'g', -1, 64)
		case 2:
			s = strconv.FormatFloat(float64(rng.IntN(2_000_000)-1_000_000)/math.Pow10(rng.IntN(6)), 'f', -1, 64)
		default:
			s = strconv.Itoa(rng.IntN(10000) + 1000)[:4] + "-" + strconv.Itoa(rng.IntN(20) + 100)[1:] + "-" + strconv.Itoa(rng.IntN(40) + 100)[1:]
		}
		sameAsTheLongWay(t, s)
	}
}

func FuzzShortCuts(f *testing.F) {
	for _, s := range []string{"-12.50", "2024-02-29", "true", "123456789012345678", "0.30000000000000004"} {
		f.Add(s)
	}
	f.Fuzz(sameAsTheLongWay)
}
