package sqltype

import (
	"math"
	"strconv"
	"strings"
)

// span is an interval as PostgreSQL keeps it.
type span struct {
	months, days int64
	micros       int64
	overflow     bool // a part was beyond what can be stored
}

const (
	microsSecond = int64(1_000_000)
	microsMinute = 60 * microsSecond
	microsHour   = 60 * microsMinute
	microsDay    = 24 * microsHour
	daysMonth    = 30
	maxHours     = 999_999_999 // more would not be read back
)

// spanUnit is what a unit's name means.
type spanUnit struct {
	months, days float64
	micros       float64
}

var spanUnits = map[string]spanUnit{
	"millennium": {months: 12000}, "century": {months: 1200}, "decade": {months: 120},
	"year": {months: 12}, "yr": {months: 12}, "y": {months: 12}, "mon": {months: 1}, "month": {months: 1},
	"week": {days: 7}, "w": {days: 7}, "day": {days: 1}, "d": {days: 1},
	"hour": {micros: float64(microsHour)}, "hr": {micros: float64(microsHour)}, "h": {micros: float64(microsHour)},
	"minute": {micros: float64(microsMinute)}, "min": {micros: float64(microsMinute)}, "m": {micros: float64(microsMinute)},
	"second": {micros: float64(microsSecond)}, "sec": {micros: float64(microsSecond)}, "s": {micros: float64(microsSecond)},
	"millisecond": {micros: 1000}, "msec": {micros: 1000}, "ms": {micros: 1000},
	"microsecond": {micros: 1}, "usec": {micros: 1}, "us": {micros: 1},
}

// unitNamed finds a unit in the singular or the plural.
func unitNamed(s string) (spanUnit, bool) {
	if s == "centuries" {
		s = "century"
	}
	if s == "millennia" {
		s = "millennium"
	}
	u, ok := spanUnits[s]
	if !ok {
		u, ok = spanUnits[strings.TrimSuffix(s, "s")]
	}
	return u, ok
}

// add adds n of a unit, fractions cascading down as PostgreSQL's do.
func (p *span) add(n float64, u spanUnit) {
	months := n * u.months
	whole := math.Trunc(months)
	p.months += int64(whole)
	days := n*u.days + (months-whole)*daysMonth
	if u.months >= 12 { // a fraction of a year is rounded to months
		p.months += int64(math.RoundToEven(months - whole))
		days = 0
	}
	whole = math.Trunc(days)
	p.days += int64(whole)
	p.micros += int64(math.RoundToEven(n*u.micros + (days-whole)*float64(microsDay)))
	p.overflow = p.overflow || math.Abs(n) >= 1e15 || math.Abs(months) > math.MaxInt32 || math.Abs(days) > math.MaxInt32 || math.Abs(n*u.micros) >= 4e18
}

func (t Type) inputInterval(text string) (any, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	if strings.Trim(s, "+-") == "infinity" {
		return nil, fail(stateNotSupported, "infinity is not supported in type interval")
	}
	var p span
	var ok bool
	if iso, found := strings.CutPrefix(s, "p"); found {
		ok = p.parseISO(iso)
	} else {
		ok = p.parseWords(s)
	}
	if !ok {
		return nil, t.invalidDatetime()
	}
	if p.overflow || p.micros/microsHour > maxHours || p.micros/microsHour < -maxHours || p.months > math.MaxInt32 || p.months < math.MinInt32 || p.days > math.MaxInt32 || p.days < math.MinInt32 {
		return nil, fail(stateDatetimeField, "interval field value out of range")
	}
	p.round(t.digits())
	return p.String(), nil
}

// round keeps digits of a second.
func (p *span) round(digits int) {
	unit := int64(1)
	for i := digits; i < 6; i++ {
		unit *= 10
	}
	half := unit / 2
	if p.micros < 0 {
		half = -half
	}
	p.micros = (p.micros + half) / unit * unit
}

// parseISO reads what follows the P: 1Y2M3DT4H5M6.5S.
func (p *span) parseISO(s string) bool {
	day, clock, hasClock := strings.Cut(s, "t")
	units := map[byte]spanUnit{'y': spanUnits["y"], 'm': spanUnits["mon"], 'w': spanUnits["w"], 'd': spanUnits["d"]}
	if s == "" || hasClock && clock == "" {
		return false
	}
	if !p.isoPart(day, units) {
		return false
	}
	return p.isoPart(clock, map[byte]spanUnit{'h': spanUnits["h"], 'm': spanUnits["m"], 's': spanUnits["s"]})
}

func (p *span) isoPart(s string, units map[byte]spanUnit) bool {
	for s != "" {
		end := strings.IndexFunc(s, func(r rune) bool { return r >= 'a' && r <= 'z' })
		if end <= 0 {
			return false
		}
		n, ok := spanNumber(s[:end])
		u, known := units[s[end]]
		if !ok || !known {
			return false
		}
		p.add(n, u)
		s = s[end+1:]
	}
	return true
}

// spanNumber reads a number with a sign and a fraction.
func spanNumber(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789.+-") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

// parseWords reads "1 year 2 mons -3 days 04:05:06.5 ago".
func (p *span) parseWords(s string) bool {
	f := strings.Fields(strings.TrimPrefix(s, "@"))
	ago := len(f) > 1 && f[len(f)-1] == "ago"
	if ago {
		f = f[:len(f)-1]
	}
	if len(f) == 0 {
		return false
	}
	for i := 0; i < len(f); i++ {
		word := f[i]
		if strings.Contains(word, ":") {
			if !p.clock(word) {
				return false
			}
			continue
		}
		end := strings.IndexFunc(word, func(r rune) bool { return r >= 'a' && r <= 'z' })
		name := ""
		switch {
		case end > 0:
			word, name = word[:end], word[end:]
		case end < 0 && i+1 < len(f) && f[i+1][0] >= 'a':
			name = f[i+1]
			i++
		case end < 0 && i+1 < len(f) && strings.Contains(f[i+1], ":"):
			name = "day"
		case end < 0 && i == len(f)-1:
			name = "second"
		}
		n, ok := spanNumber(word)
		u, known := unitNamed(name)
		if !ok || !known {
			return false
		}
		p.add(n, u)
	}
	if ago {
		p.months, p.days, p.micros = -p.months, -p.days, -p.micros
	}
	return true
}

// clock reads [-]H:MM[:SS[.ffffff]].
func (p *span) clock(s string) bool {
	negative := s[0] == '-'
	parts := strings.Split(strings.TrimLeft(s, "+-"), ":")
	if len(parts) < 2 || len(parts) > 3 {
		return false
	}
	total, unit := int64(0), microsHour
	for i, part := range parts {
		whole, fraction, hasFraction := strings.Cut(part, ".")
		most := 2
		if i == 0 {
			most = 9
		}
		n, ok := smallNumber(whole, 1, most)
		nanos, ok2 := parseFraction(fraction)
		if !ok || !ok2 || hasFraction && i != 2 || i > 0 && n > 59 {
			return false
		}
		total += int64(n)*unit + (int64(nanos)+500)/1000
		unit /= 60
	}
	if negative {
		total = -total
	}
	p.micros += total
	return true
}

// String writes the interval as PostgreSQL does: a part that follows a
// negative one has its sign.
func (p span) String() string {
	var b []byte
	before := false // the last part was negative
	for _, part := range []struct {
		n         int64
		one, many string
	}{{p.months / 12, " year", " years"}, {p.months % 12, " mon", " mons"}, {p.days, " day", " days"}} {
		if part.n == 0 {
			continue
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		if before && part.n > 0 {
			b = append(b, '+')
		}
		before = part.n < 0
		b = strconv.AppendInt(b, part.n, 10)
		if part.n == 1 {
			b = append(b, part.one...)
		} else {
			b = append(b, part.many...)
		}
	}
	if p.micros == 0 && len(b) > 0 {
		return string(b)
	}
	if len(b) > 0 {
		b = append(b, ' ')
	}
	us := p.micros
	if us < 0 {
		b = append(b, '-')
		us = -us
	} else if before {
		b = append(b, '+')
	}
	return string(appendClock(b, us))
}

// appendClock writes HH:MM:SS with the digits that are there.
func appendClock(b []byte, micros int64) []byte {
	two := func(n int64) {
		if n < 10 {
			b = append(b, '0')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	two(micros / microsHour)
	b = append(b, ':')
	two(micros / microsMinute % 60)
	b = append(b, ':')
	two(micros / microsSecond % 60)
	return appendFraction(b, micros%microsSecond)
}

// appendFraction writes microseconds without zeros at the end.
func appendFraction(b []byte, micros int64) []byte {
	if micros == 0 {
		return b
	}
	b = append(b, '.')
	for digit := microsSecond / 10; micros > 0; digit /= 10 {
		b = append(b, byte('0'+micros/digit))
		micros %= digit
	}
	return b
}
