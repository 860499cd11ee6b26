// Package quantity reads and writes sizes, durations and counts as people
// type them in flags, configuration and connection strings.
//
// It guarantees that what it formats it parses back to the same number, that
// no input makes it panic, and that nothing overflows, is negative or loses a
// fraction silently. It is pure, and must not know which flag or limit a
// value is for: the caller names that. The command line, the configuration
// and the public API call it. Its errors are of kind fault.Invalid, without
// operation, and quote at most the start of what was typed.
package quantity

import (
	"math"
	"strconv"
	"strings"

	"kimberlite/internal/fault"
)

// Unlimited is how people write that a limit is off; it parses as 0, the value
// by which all limits of Kimberlite say so.
const Unlimited = "unlimited"

// quotedBytes is how much of a bad input an error repeats.
const quotedBytes = 32

func quote(s string) string {
	if len(s) > quotedBytes {
		return strconv.Quote(s[:quotedBytes]) + "…"
	}
	return strconv.Quote(s)
}

func invalid(format string, args ...any) error {
	return fault.New("", fault.Invalid, format, args...)
}

// unit is a name and how many of the smallest unit it stands for.
type unit struct {
	name string
	size int64
}

// ParseCount reads a whole number from 0 to 9223372036854775807, in decimal,
// with underscores between digits if the writer likes; "unlimited" is 0.
func ParseCount(s string) (int64, error) {
	trimmed := strings.TrimSpace(s)
	if strings.EqualFold(trimmed, Unlimited) {
		return 0, nil
	}
	if strings.HasPrefix(trimmed, "-") {
		return 0, invalid("%s is negative: use 0 or more", quote(s))
	}
	n, rest, fits := leadingDigits(trimmed)
	switch {
	case rest == trimmed || rest != "":
		return 0, invalid("%s is not a number: use digits only, such as 1000, or %s", quote(s), Unlimited)
	case !fits:
		return 0, invalid("%s is too large: at most %d", quote(s), int64(math.MaxInt64))
	}
	return n, nil
}

// FormatCount writes a count in decimal; ParseCount reads it back.
func FormatCount(n int64) string { return strconv.FormatInt(n, 10) }

// leadingDigits reads the decimal number that s starts with, underscores
// between digits allowed, and returns what follows; fits is false when it is
// over MaxInt64. Without a digit rest is s.
func leadingDigits(s string) (n int64, rest string, fits bool) {
	fits = true
	i := 0
	for ; i < len(s); i++ {
		c := s[i]
		if c == '_' && i > 0 && i+1 < len(s) && isDigit(s[i-1]) && isDigit(s[i+1]) {
			continue
		}
		if !isDigit(c) {
			break
		}
		d := int64(c - '0')
		if n > (math.MaxInt64-d)/10 {
			fits = false
			continue
		}
		n = n*10 + d
	}
	return n, s[i:], fits
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// fraction reads the digits after a decimal point that s starts with, as
// numerator over denominator, and returns what follows. Digits beyond the
// eighteenth count only when they are zeros; exact is false otherwise.
func fraction(s string) (numerator, denominator int64, rest string, exact bool) {
	denominator, exact = 1, true
	i := 0
	for ; i < len(s) && isDigit(s[i]); i++ {
		switch {
		case denominator < 1e18:
			numerator, denominator = numerator*10+int64(s[i]-'0'), denominator*10
		case s[i] != '0':
			exact = false
		}
	}
	return numerator, denominator, s[i:], exact
}
