package quantity

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Day and Week are what "d" and "w" stand for: exactly 24 hours and 7 days,
// whatever the calendar says.
const (
	Day  = 24 * time.Hour
	Week = 7 * Day
)

// ParseDuration reads what time.ParseDuration reads, and days and weeks:
// "2555d", "7w", "1d12h", "1.5d", "250ms". Years are refused: they have no
// one length. So are negative durations. The longest is about 292 years.
func ParseDuration(s string) (time.Duration, error) {
	trimmed := strings.TrimSpace(s)
	rest := strings.TrimPrefix(trimmed, "+")
	switch {
	case strings.HasPrefix(rest, "-"):
		return 0, invalid("the duration %s is negative: use 0 or more", quote(s))
	case rest == "0":
		return 0, nil
	case rest == "":
		return 0, notADuration(s)
	}
	var total time.Duration
	for rest != "" {
		term, after := splitTerm(rest)
		d, err := parseTerm(s, term)
		if err != nil {
			return 0, err
		}
		if total > math.MaxInt64-d {
			return 0, tooLong(s)
		}
		total, rest = total+d, after
	}
	return total, nil
}

func notADuration(s string) error {
	return invalid("%s is not a duration: write numbers and units, such as 2555d, 7w, 1d12h, 90m or 250ms", quote(s))
}

func tooLong(s string) error {
	return invalid("the duration %s is too long: at most %dd", quote(s), int64(math.MaxInt64/Day))
}

// splitTerm cuts the first number with its unit off.
func splitTerm(s string) (term, rest string) {
	isNumber := func(c byte) bool { return isDigit(c) || c == '.' }
	i := 0
	for i < len(s) && isNumber(s[i]) {
		i++
	}
	for i < len(s) && !isNumber(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

// parseTerm reads one number with its unit, of the whole input s.
func parseTerm(s, term string) (time.Duration, error) {
	number := strings.TrimRightFunc(term, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	switch name := term[len(number):]; name {
	case "d":
		return scale(s, number, Day)
	case "w":
		return scale(s, number, Week)
	case "y", "yr", "year", "years":
		return 0, invalid("the duration %s is in years, which differ in length: write days, such as 365d or 2555d", quote(s))
	case "":
		return 0, invalid("the duration %s lacks a unit: use w, d, h, m, s, ms, us or ns", quote(s))
	}
	d, err := time.ParseDuration(term)
	if err == nil {
		return d, nil
	}
	if number != "" && strings.HasPrefix(err.Error(), "time: invalid duration") {
		if _, err := time.ParseDuration("1" + term[len(number):]); err == nil && wellFormed(number) {
			return 0, tooLong(s)
		}
	}
	return 0, notADuration(s)
}

// wellFormed reports whether number has a digit and at most one point.
func wellFormed(number string) bool {
	return strings.Trim(number, ".") != "" && strings.Count(number, ".") <= 1
}

// scale multiplies a decimal number by a unit; what is under a nanosecond is
// cut off, as time.ParseDuration does.
func scale(s, number string, by time.Duration) (time.Duration, error) {
	if !wellFormed(number) {
		return 0, notADuration(s)
	}
	digits, decimals, _ := strings.Cut(number, ".")
	whole, _, fits := leadingDigits(digits)
	numerator, denominator, _, _ := fraction(decimals)
	part, _ := mulDiv(numerator, int64(by), denominator)
	if !fits || whole > (math.MaxInt64-part)/int64(by) {
		return 0, tooLong(s)
	}
	return time.Duration(whole*int64(by) + part), nil
}

// FormatDuration writes a duration exactly, so that ParseDuration reads it
// back: whole days as "2555d", days and a rest as "1d12h", less than a day as
// time.Duration does but without zero parts ("90m" is "1h30m"). 0 is "0s". It
// panics on a negative one.
func FormatDuration(d time.Duration) string {
	if d < 0 {
		panic("quantity: FormatDuration of a negative duration")
	}
	if d == 0 {
		return "0s"
	}
	var out string
	if days := d / Day; days > 0 {
		out = strconv.FormatInt(int64(days), 10) + "d"
	}
	rest := d % Day
	if h := rest / time.Hour; h > 0 {
		out += strconv.FormatInt(int64(h), 10) + "h"
	}
	rest %= time.Hour
	if m := rest / time.Minute; m > 0 {
		out += strconv.FormatInt(int64(m), 10) + "m"
	}
	if rest %= time.Minute; rest > 0 {
		out += rest.String()
	}
	return out
}
