package sqltype

import (
	"strconv"
	"strings"
	"time"
)

// Layouts of the stored forms.
const (
	layoutDate        = "2006-01-02"
	layoutTime        = "15:04:05.000000"
	layoutTimestamp   = "2006-01-02 15:04:05.000000"
	layoutTimestamptz = "2006-01-02 15:04:05.000000Z"
)

// moment is what a text says of a time; what it does not name is absent.
type moment struct {
	year, month, day int
	hasDate          bool
	clock            time.Duration // since midnight, 24:00:00 included
	hasTime          bool
	zone             time.Duration // east of UTC
	hasZone          bool
}

func (t Type) invalidDatetime() error {
	return fail(stateInvalidDatetime, "invalid input syntax for type %s", t.SQL())
}

func (t Type) outOfField() error {
	return fail(stateDatetimeField, "date/time field value out of range for type %s", t.SQL())
}

func (t Type) inputDatetime(text string) (any, error) {
	m, err := t.parseMoment(strings.TrimSpace(text))
	if err != nil {
		return nil, err
	}
	if t.OID == Time.OID {
		if !m.hasTime {
			return nil, t.invalidDatetime()
		}
		return formatClock(roundTo(m.clock, t.digits())), nil
	}
	if !m.hasDate {
		return nil, t.invalidDatetime()
	}
	day := time.Date(m.year, time.Month(m.month), m.day, 0, 0, 0, 0, time.UTC)
	if m.month < 1 || m.month > 12 || m.day < 1 || day.Day() != m.day || day.Month() != time.Month(m.month) {
		return nil, t.outOfField()
	}
	at := day
	if t.OID != Date.OID {
		at = day.Add(roundTo(m.clock, t.digits()))
	}
	if t.OID == Timestamptz.OID {
		at = at.Add(-m.zone)
	}
	return t.formatInstant(at)
}

// formatInstant writes a time in the stored form of a date or timestamp.
func (t Type) formatInstant(at time.Time) (any, error) {
	if y := at.Year(); y < 1 || y > 9999 {
		return nil, fail(stateDatetimeField, "years are stored from 0001 to 9999")
	}
	switch t.OID {
	case Date.OID:
		return at.Format(layoutDate), nil
	case Timestamp.OID:
		return at.Format(layoutTimestamp), nil
	}
	return at.Format(layoutTimestamptz), nil
}

// roundTo rounds to digits of a second, half up.
func roundTo(d time.Duration, digits int) time.Duration {
	unit := time.Second
	for range digits {
		unit /= 10
	}
	return d.Round(unit)
}

// formatClock writes a time of day, 24:00:00 included.
func formatClock(d time.Duration) string {
	if d >= 24*time.Hour {
		return "24:00:00.000000"
	}
	return time.Time{}.Add(d).Format(layoutTime)
}

var months = map[string]int{
	"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}

// parseMoment reads ISO 8601 and the commoner of PostgreSQL's other forms.
func (t Type) parseMoment(s string) (m moment, err error) {
	switch strings.ToLower(s) {
	case "infinity", "-infinity", "+infinity", "inf", "-inf":
		return m, fail(stateNotSupported, "infinity is not supported in type %s", t.SQL())
	case "now", "today", "tomorrow", "yesterday", "allballs":
		return m, fail(stateNotSupported, "the word is not supported as a value of type %s: use now() or current_date", t.SQL())
	case "epoch":
		return moment{year: 1970, month: 1, day: 1, hasDate: true, hasTime: true}, nil
	}
	var words []string // of a date with a month's name
	for _, f := range strings.Fields(strings.ReplaceAll(s, ",", " ")) {
		if err := t.parseField(&m, f, &words); err != nil {
			return m, err
		}
	}
	if len(words) > 0 {
		return m, t.parseWords(&m, words)
	}
	if !m.hasDate && !m.hasTime {
		return m, t.invalidDatetime()
	}
	return m, nil
}

// parseField reads one word of a time.
func (t Type) parseField(m *moment, f string, words *[]string) error {
	low := strings.ToLower(f)
	if low == "bc" {
		return fail(stateNotSupported, "years before 0001 are not supported in type %s", t.SQL())
	}
	if low == "ad" {
		return nil
	}
	if (low == "am" || low == "pm") && m.hasTime {
		return t.halfDay(m, low)
	}
	if len(low) >= 3 && months[low[:3]] != 0 && strings.HasPrefix(monthName(months[low[:3]]), low) {
		*words = append(*words, low)
		return nil
	}
	if !m.hasDate && !m.hasTime && len(f) > 10 && f[4] == '-' {
		if at := strings.IndexAny(f, "tT"); at > 0 { // 2026-11-23T20:00
			if !m.parseDate(f[:at]) {
				return t.invalidDatetime()
			}
			f = f[at+1:]
		}
	}
	switch {
	case strings.Contains(f, ":") && !m.hasTime:
		return t.parseClock(m, f)
	case m.hasTime && !m.hasZone:
		zone, ok := parseZone(f)
		if !ok {
			return t.invalidDatetime()
		}
		m.zone, m.hasZone = zone, true
		return nil
	case m.hasDate:
		return t.invalidDatetime()
	case len(f) <= 4 && strings.Trim(f, "0123456789") == "":
		*words = append(*words, low)
		return nil
	case !m.parseDate(f):
		return t.invalidDatetime()
	}
	return nil
}

func monthName(n int) string { return strings.ToLower(time.Month(n).String()) }

func (t Type) halfDay(m *moment, word string) error {
	if m.clock >= 13*time.Hour {
		return t.outOfField()
	}
	if m.clock >= 12*time.Hour {
		m.clock -= 12 * time.Hour
	}
	if word == "pm" {
		m.clock += 12 * time.Hour
	}
	return nil
}

// parseDate reads 2026-11-23, 20261123 and 11/23/2026.
func (m *moment) parseDate(s string) bool {
	var y, mo, d string
	switch {
	case strings.Count(s, "-") == 2:
		p := strings.Split(s, "-")
		y, mo, d = p[0], p[1], p[2]
		if n := months[strings.ToLower(mo)]; n != 0 { // 23-Nov-2026, 2026-Nov-23
			mo = strconv.Itoa(n)
			if len(y) <= 2 {
				y, d = d, y
			}
		}
	case strings.Count(s, "/") == 2:
		p := strings.Split(s, "/")
		mo, d, y = p[0], p[1], p[2]
		if len(p[0]) == 4 {
			y, mo, d = p[0], p[1], p[2]
		}
	case len(s) == 8:
		y, mo, d = s[:4], s[4:6], s[6:]
	default:
		return false
	}
	var ok [3]bool
	m.year, ok[0] = smallNumber(y, 4, 4)
	m.month, ok[1] = smallNumber(mo, 1, 2)
	m.day, ok[2] = smallNumber(d, 1, 2)
	m.hasDate = true
	return ok[0] && ok[1] && ok[2]
}

func (t Type) parseWords(m *moment, words []string) error {
	if m.hasDate || len(words) != 3 {
		return t.invalidDatetime()
	}
	for i, w := range words {
		if w[0] < 'a' {
			continue
		}
		m.month = months[w[:3]]
		rest := append(append([]string{}, words[:i]...), words[i+1:]...)
		day, year := rest[0], rest[1]
		if len(day) == 4 {
			day, year = year, day
		}
		var ok [2]bool
		m.day, ok[0] = smallNumber(day, 1, 2)
		m.year, ok[1] = smallNumber(year, 4, 4)
		if !ok[0] || !ok[1] {
			break
		}
		m.hasDate = true
		return nil
	}
	return t.invalidDatetime()
}

// smallNumber reads a number of some digits.
func smallNumber(s string, least, most int) (int, bool) {
	if len(s) < least || len(s) > most || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// parseClock reads 20:00, 20:00:00.5, with a zone behind it or without.
func (t Type) parseClock(m *moment, s string) error {
	if low := strings.ToLower(s); strings.HasSuffix(low, "am") || strings.HasSuffix(low, "pm") {
		if err := t.parseClock(m, s[:len(s)-2]); err != nil {
			return err
		}
		return t.halfDay(m, low[len(low)-2:])
	}
	if at := strings.IndexAny(s, "+-zZuUgG"); at > 0 {
		zone, ok := parseZone(s[at:])
		if !ok {
			return t.invalidDatetime()
		}
		m.zone, m.hasZone = zone, true
		s = s[:at]
	}
	p := strings.Split(s, ":")
	if len(p) == 2 {
		p = append(p, "00")
	}
	if len(p) != 3 {
		return t.invalidDatetime()
	}
	second, fraction, _ := strings.Cut(p[2], ".")
	h, ok1 := smallNumber(p[0], 1, 2)
	mi, ok2 := smallNumber(p[1], 2, 2)
	sec, ok3 := smallNumber(second, 2, 2)
	nanos, ok4 := parseFraction(fraction)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return t.invalidDatetime()
	}
	d := time.Duration(h)*time.Hour + time.Duration(mi)*time.Minute + time.Duration(sec)*time.Second + nanos
	if mi > 59 || sec > 60 || d > 24*time.Hour {
		return t.outOfField()
	}
	m.clock, m.hasTime = d, true
	return nil
}

// parseFraction reads the digits behind a second's point.
func parseFraction(s string) (time.Duration, bool) {
	if strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	if len(s) > 9 {
		s = s[:9]
	}
	n := 0
	for i := range 9 {
		n *= 10
		if i < len(s) {
			n += int(s[i] - '0')
		}
	}
	return time.Duration(n), true
}

// parseZone reads Z, UTC, GMT, +02, +0530, +05:30, and +05:30:15.
func parseZone(s string) (time.Duration, bool) {
	switch strings.ToLower(s) {
	case "z", "utc", "gmt", "zulu", "ut", "etc/utc":
		return 0, true
	}
	if len(s) < 2 || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	digits := s[1:]
	if !strings.Contains(digits, ":") && len(digits) > 2 {
		if len(digits) == 3 {
			digits = "0" + digits
		}
		if len(digits) != 4 {
			return 0, false
		}
		digits = digits[:2] + ":" + digits[2:]
	}
	total, unit := time.Duration(0), time.Hour
	for i, p := range strings.Split(digits, ":") {
		n, ok := smallNumber(p, 1, 2)
		if !ok || i > 2 || i == 0 && n > 15 || i > 0 && n > 59 {
			return 0, false
		}
		total += time.Duration(n) * unit
		unit /= 60
	}
	if s[0] == '-' {
		total = -total
	}
	return total, true
}
