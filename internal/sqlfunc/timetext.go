package sqlfunc

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"kimberlite/internal/sqltype"
)

// timeTextFunctions are to_char, to_date and to_timestamp with the patterns
// that are common; others are refused.
func timeTextFunctions() []Function {
	return []Function{
		strict("pg_to_char", 3, func(args []any) (any, error) {
			at, err := moment(args[0])
			if err != nil {
				return nil, err
			}
			return written(clockParts{at: at, zone: integer(args[2]) != 0}, text(args[1]))
		}),
		strict("pg_to_char_interval", 2, func(args []any) (any, error) {
			s, err := sqltype.ParseSpan(text(args[0]))
			if err != nil {
				return nil, err
			}
			return written(clockParts{span: &s}, text(args[1]))
		}),
		strict("pg_to_date", 2, func(args []any) (any, error) {
			at, err := readAs(text(args[0]), text(args[1]))
			if err != nil {
				return nil, err
			}
			return store(sqltype.Date, at)
		}),
		strict("pg_to_timestamp", 2, func(args []any) (any, error) {
			at, err := readAs(text(args[0]), text(args[1]))
			if err != nil {
				return nil, err
			}
			return store(sqltype.Timestamptz, at)
		}),
		strict("pg_to_char_number", 2, func(args []any) (any, error) { return numberText(args[0], text(args[1])) }),
		strict("pg_to_number", 2, func(args []any) (any, error) { return readNumber(text(args[0])) }),
	}
}

// patterns are the template patterns of dates and times, longest first where
// one begins another.
var patterns = []string{
	"HH24", "HH12", "SSSSS", "SSSS", "YYYY", "Y,YYY", "IYYY", "MONTH", "Month", "month", "A.M.", "P.M.", "a.m.", "p.m.", "IDDD",
	"YYY", "IYY", "MON", "Mon", "mon", "DAY", "Day", "day", "DDD", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "TZH", "TZM",
	"HH", "MI", "SS", "MS", "US", "YY", "IY", "MM", "DY", "Dy", "dy", "DD", "ID", "WW", "IW", "CC", "AM", "PM", "am", "pm",
	"TZ", "tz", "OF", "RM", "rm", "BC", "AD", "bc", "ad", "TH", "th", "TM", "SP",
	"FM", "FX", "Y", "I", "D", "W", "Q", "J",
}

// templatePart is a pattern, or text between patterns.
type templatePart struct {
	pattern, literal string
	fill             bool // padded: no FM before it
	ordinal          string
}

func template(format string) []templatePart {
	var parts []templatePart
	fill := true
	for format != "" {
		if strings.HasPrefix(format, `"`) {
			inner, rest, _ := strings.Cut(format[1:], `"`)
			parts, format = append(parts, templatePart{literal: inner}), rest
			continue
		}
		name := patternAt(format)
		switch {
		case name == "":
			parts = append(parts, templatePart{literal: format[:1]})
			format = format[1:]
		case name == "FM":
			fill = false
			format = format[2:]
		case name == "FX" || name == "TM":
			format = format[2:]
		case (name == "TH" || name == "th") && len(parts) > 0 && parts[len(parts)-1].pattern != "":
			parts[len(parts)-1].ordinal = format[:2]
			format = format[2:]
		default:
			parts = append(parts, templatePart{pattern: name, fill: fill})
			fill = true
			format = format[len(name):]
		}
	}
	return parts
}

// patternAt is the pattern that a format begins with: as it is written, or in
// lower case.
func patternAt(format string) string {
	for _, p := range patterns {
		if strings.HasPrefix(format, p) {
			return p
		}
	}
	for _, p := range patterns {
		if len(p) > 1 && strings.HasPrefix(format, strings.ToLower(p)) {
			return p
		}
	}
	return ""
}

// clockParts is what is written: a moment, or a span.
type clockParts struct {
	at   time.Time
	zone bool
	span *sqltype.Span
}

func written(c clockParts, format string) (any, error) {
	if len(format) > maxPattern {
		return nil, fail(stateTooMuch, "a template has at most %d bytes", maxPattern)
	}
	var b strings.Builder
	for _, p := range template(format) {
		if p.pattern == "" {
			b.WriteString(p.literal)
			continue
		}
		s, n, err := c.write(p)
		if err != nil {
			return nil, err
		}
		if p.ordinal != "" {
			s += ordinal(n, p.ordinal == "TH")
		}
		b.WriteString(s)
		if b.Len() > maxText {
			return nil, tooLong()
		}
	}
	return b.String(), nil
}

func ordinal(n int64, upper bool) string {
	s := "th"
	if n%100/10 != 1 {
		s = map[int64]string{1: "st", 2: "nd", 3: "rd"}[n%10]
		if s == "" {
			s = "th"
		}
	}
	if upper {
		s = strings.ToUpper(s)
	}
	return s
}

// write writes one pattern; n is its number, where it is one.
func (c clockParts) write(p templatePart) (s string, n int64, err error) {
	if n, width, ok := c.number(p.pattern); ok {
		if !p.fill {
			width = 0
		}
		if n < 0 {
			return "-" + fmt.Sprintf("%0*d", width, -n), n, nil
		}
		return fmt.Sprintf("%0*d", width, n), n, nil
	}
	if s, ok := c.word(p); ok {
		return s, 0, nil
	}
	return "", 0, fail(stateNotSupported, "the template pattern %s is not supported here", p.pattern)
}

// micros is the time of day.
func (c clockParts) micros() int64 {
	if c.span != nil {
		return c.span.Micros
	}
	return microsBetween(c.at, c.at.Truncate(24*time.Hour))
}

// number is a pattern's number and its width.
func (c clockParts) number(pattern string) (n int64, width int, ok bool) {
	micros := c.micros()
	hour, fraction := micros/microsOfHour, micros%1_000_000
	switch pattern {
	case "HH24":
		return hour, 2, true
	case "HH", "HH12":
		return (hour+11)%12 + 1, 2, true
	case "MI":
		return micros / 60_000_000 % 60, 2, true
	case "SS":
		return micros / 1_000_000 % 60, 2, true
	case "MS", "FF3":
		return fraction / 1000, 3, true
	case "US", "FF6":
		return fraction, 6, true
	case "FF1", "FF2", "FF4", "FF5":
		width = int(pattern[2] - '0')
		for range 6 - width {
			fraction /= 10
		}
		return fraction, width, true
	case "SSSS", "SSSSS":
		return micros / 1_000_000, 0, true
	}
	if c.span != nil {
		switch pattern {
		case "YYYY":
			return c.span.Months / 12, 4, true
		case "MM":
			return c.span.Months % 12, 2, true
		case "DD":
			return c.span.Days, 2, true
		}
		return 0, 0, false
	}
	return c.dateNumber(pattern)
}

func (c clockParts) dateNumber(pattern string) (n int64, width int, ok bool) {
	year, week := c.at.ISOWeek()
	y, day := int64(c.at.Year()), int64(c.at.Day())
	switch pattern {
	case "YYYY":
		return y, 4, true
	case "YYY":
		return y % 1000, 3, true
	case "YY":
		return y % 100, 2, true
	case "Y":
		return y % 10, 1, true
	case "IYYY":
		return int64(year), 4, true
	case "IY":
		return int64(year) % 100, 2, true
	case "MM":
		return int64(c.at.Month()), 2, true
	case "DD":
		return day, 2, true
	case "DDD":
		return int64(c.at.YearDay()), 3, true
	case "D":
		return int64(c.at.Weekday()) + 1, 1, true
	case "ID":
		return (int64(c.at.Weekday())+6)%7 + 1, 1, true
	case "W":
		return (day-1)/7 + 1, 1, true
	case "WW":
		return (int64(c.at.YearDay())-1)/7 + 1, 2, true
	case "IW":
		return int64(week), 2, true
	case "Q":
		return int64(c.at.Month()-1)/3 + 1, 1, true
	case "CC":
		return (y + 99) / 100, 2, true
	case "J":
		return microsBetween(c.at.Truncate(24*time.Hour), time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))/microsOfDay + 2451545, 1, true
	}
	return 0, 0, false
}

// word is a pattern that is written in letters.
func (c clockParts) word(p templatePart) (string, bool) {
	half := "am"
	if c.micros()/microsOfHour%24 >= 12 {
		half = "pm"
	}
	switch p.pattern {
	case "AM", "PM":
		return strings.ToUpper(half), true
	case "am", "pm":
		return half, true
	case "A.M.", "P.M.", "a.m.", "p.m.":
		s := half[:1] + "." + half[1:] + "."
		if p.pattern[0] < 'a' {
			s = strings.ToUpper(s)
		}
		return s, true
	}
	if c.span != nil {
		return "", false
	}
	var word string
	switch strings.ToUpper(p.pattern) {
	case "MONTH":
		word = c.at.Month().String()
		if p.fill {
			word = fmt.Sprintf("%-9s", word)
		}
	case "MON":
		word = c.at.Month().String()[:3]
	case "DAY":
		word = c.at.Weekday().String()
		if p.fill {
			word = fmt.Sprintf("%-9s", word)
		}
	case "DY":
		word = c.at.Weekday().String()[:3]
	case "AD", "BC":
		word = "AD"
	case "TZ":
		if word = ""; c.zone {
			word = "UTC"
		}
	case "OF", "TZH":
		word = "+00"
	case "TZM":
		word = "00"
	default:
		return "", false
	}
	return cased(word, p.pattern), true
}

// cased writes a word as its pattern is written: MONTH, Month or month.
func cased(word, pattern string) string {
	switch {
	case pattern == strings.ToUpper(pattern):
		return strings.ToUpper(word)
	case pattern == strings.ToLower(pattern):
		return strings.ToLower(word)
	}
	return word
}

// readAs is to_timestamp: it reads a text by a template.
func readAs(s, format string) (time.Time, error) {
	f := map[string]int64{"YYYY": 1, "MM": 1, "DD": 1}
	for _, p := range template(format) {
		if p.pattern == "" {
			// Any separator stands for any other, and blanks are skipped.
			s = strings.TrimLeft(s, " ")
			if lit := strings.TrimSpace(p.literal); lit != "" && s != "" && (s[0] < '0' || s[0] > '9') {
				s = s[1:]
			}
			continue
		}
		var err error
		if s, err = readPart(strings.TrimLeft(s, " "), p, f); err != nil {
			return time.Time{}, err
		}
	}
	hour := f["HH24"]
	if h, ok := f["HH12"]; ok {
		if h < 1 || h > 12 {
			return time.Time{}, fail(stateInvalidDatetime, "hour is invalid for the 12-hour clock")
		}
		hour = h%12 + 12*f["PM"]
	}
	day, err := dayOf(f["YYYY"], f["MM"], f["DD"])
	if err != nil {
		return day, err
	}
	if n, ok := f["DDD"]; ok {
		day = time.Date(int(f["YYYY"]), 1, int(n), 0, 0, 0, 0, time.UTC)
	}
	micros, err := clockOf(hour, f["MI"], float64(f["SS"])+float64(f["US"])/1e6)
	return day.Add(time.Duration(micros) * time.Microsecond), err
}

// readPart reads one pattern into fields, and returns the rest.
func readPart(s string, p templatePart, f map[string]int64) (string, error) {
	widths := map[string]int{"YYYY": 4, "MM": 2, "DD": 2, "DDD": 3, "HH24": 2, "HH12": 2, "HH": 2, "MI": 2, "SS": 2, "MS": 3, "US": 6, "YY": 2, "FF3": 3, "FF6": 6}
	if width, ok := widths[p.pattern]; ok {
		i := 0
		for i < len(s) && i < width && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		n, err := strconv.ParseInt(s[:i], 10, 64)
		if err != nil {
			return s, fail(stateInvalidDatetime, "invalid value for %q: an integer is wanted", p.pattern)
		}
		switch p.pattern {
		case "HH":
			f["HH12"] = n
		case "MS", "FF3", "US", "FF6":
			for range 6 - i {
				n *= 10
			}
			f["US"] = n
		case "YY":
			if n += 2000; n >= 2070 {
				n -= 100
			}
			f["YYYY"] = n
		default:
			f[p.pattern] = n
		}
		return s[i:], nil
	}
	switch strings.ToUpper(p.pattern) {
	case "MON", "MONTH":
		for m := time.January; m <= time.December; m++ {
			name := m.String()
			if strings.EqualFold(p.pattern, "MON") {
				name = name[:3]
			}
			if len(s) >= len(name) && strings.EqualFold(s[:len(name)], name) {
				f["MM"] = int64(m)
				return s[len(name):], nil
			}
		}
		return s, fail(stateInvalidDatetime, "invalid value for %q: a month's name is wanted", p.pattern)
	case "AM", "PM":
		if len(s) >= 2 && (strings.EqualFold(s[:2], "am") || strings.EqualFold(s[:2], "pm")) {
			if s[0]|0x20 == 'p' {
				f["PM"] = 1
			}
			return s[2:], nil
		}
		return s, fail(stateInvalidDatetime, "invalid value for %q: AM or PM is wanted", p.pattern)
	}
	return s, fail(stateNotSupported, "the template pattern %s is not supported here", p.pattern)
}
