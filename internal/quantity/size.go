package quantity

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// binaryUnits are the units that FormatSize writes, largest first.
var binaryUnits = []unit{
	{"EiB", 1 << 60}, {"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
}

// sizeUnits are all that ParseSize knows, in lower case. K, M, G… alone are
// left out: half of the world reads them as 1000, the other half as 1024.
var sizeUnits = map[string]int64{
	"": 1, "b": 1, "byte": 1, "bytes": 1,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "pb": 1e15, "eb": 1e18,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40, "pib": 1 << 50, "eib": 1 << 60,
}

// ParseSize reads a number of bytes: digits ("1024"), with a binary unit
// ("10GiB", "1.5 MiB") or a decimal one ("500kB"), in any case, or
// "unlimited", which is 0. A fraction must come to whole bytes.
func ParseSize(s string) (int64, error) {
	trimmed := strings.TrimSpace(s)
	if strings.EqualFold(trimmed, Unlimited) {
		return 0, nil
	}
	if strings.HasPrefix(trimmed, "-") {
		return 0, invalid("the size %s is negative: use 0 or more bytes", quote(s))
	}
	whole, rest, fits := leadingDigits(trimmed)
	if rest == trimmed {
		return 0, invalid("%s is not a size: write a number and a unit, such as 10GiB, 500kB or 1024, or %s", quote(s), Unlimited)
	}
	numerator, denominator, exact := int64(0), int64(1), true
	if after, ok := strings.CutPrefix(rest, "."); ok {
		numerator, denominator, rest, exact = fraction(after)
		if rest == after {
			return 0, invalid("the size %s has no digit after its point", quote(s))
		}
	}
	name := strings.TrimLeft(rest, " ")
	unit, ok := sizeUnits[strings.ToLower(name)]
	if !ok {
		return 0, unknownSizeUnit(s, name)
	}
	part, whole2 := mulDiv(numerator, unit, denominator)
	if !exact || !whole2 {
		return 0, invalid("the size %s is not a whole number of bytes", quote(s))
	}
	if !fits || whole > (math.MaxInt64-part)/unit {
		return 0, invalid("the size %s is too large: at most %s", quote(s), FormatSize(math.MaxInt64))
	}
	return whole*unit + part, nil
}

func unknownSizeUnit(s, name string) error {
	if len(name) == 1 && strings.Contains("kmgtpe", strings.ToLower(name)) {
		upper := strings.ToUpper(name)
		return invalid("the size %s could mean two things: write %siB (1024-based) or %sB (1000-based)", quote(s), upper, upper)
	}
	return invalid("the size %s has the unknown unit %s: use B, kB, MB, GB, TB or KiB, MiB, GiB, TiB", quote(s), quote(name))
}

// mulDiv returns a*b/c for non-negative a < c, and whether it is whole.
func mulDiv(a, b, c int64) (quotient int64, whole bool) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	q, r := bits.Div64(hi, lo, uint64(c)) // a < c, hence hi < c
	return int64(q), r == 0
}

// FormatSize writes a number of bytes exactly, in the largest binary unit that
// divides it: "10GiB", "1536KiB", "1000B", "0B". It panics on a negative one.
func FormatSize(bytes int64) string {
	if bytes < 0 {
		panic("quantity: FormatSize of a negative size")
	}
	for _, u := range binaryUnits {
		if bytes > 0 && bytes%u.size == 0 {
			return strconv.FormatInt(bytes/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(bytes, 10) + "B"
}

// DisplaySize writes a number of bytes for a table: three digits or so, such
// as "1.46MiB". It is rounded; use FormatSize for what is parsed again.
func DisplaySize(bytes int64) string {
	if bytes < 0 {
		panic("quantity: DisplaySize of a negative size")
	}
	for _, u := range binaryUnits {
		if bytes >= u.size {
			return trimZeros(strconv.FormatFloat(float64(bytes)/float64(u.size), 'f', 2, 64)) + u.name
		}
	}
	return strconv.FormatInt(bytes, 10) + "B"
}

func trimZeros(s string) string {
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}
