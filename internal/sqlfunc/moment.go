package sqlfunc

import (
	"strings"
	"time"

	"kimberlite/internal/sqltype"
)

// The stored forms of dates and times tell their type: a date has ten
// characters, a time none of '-', and a timestamptz ends with Z.

// typeOfMoment is the type of a stored date, time or timestamp.
func typeOfMoment(s string) sqltype.Type {
	switch {
	case strings.HasSuffix(s, "Z"):
		return sqltype.Timestamptz
	case len(s) == len("2006-01-02") && strings.IndexByte(s, ':') < 0:
		return sqltype.Date
	case strings.IndexByte(s, '-') < 0:
		return sqltype.Time
	}
	return sqltype.Timestamp
}

// moment reads a stored date, time or timestamp.
func moment(v any) (time.Time, error) {
	s := text(v)
	return typeOfMoment(s).ParseTime(s)
}

// store writes a moment as a type has it.
func store(t sqltype.Type, at time.Time) (any, error) {
	if at.Year() < 1 || at.Year() > 9999 {
		return nil, fail(stateDatetimeField, "%s out of range", t.SQL())
	}
	return t.FormatTime(at.UTC())
}

// zone is a time zone by the name that PostgreSQL knows it by. Names other
// than UTC's are the operating system's matter, which two nodes need not
// share: they are refused, and fixed distances are taken.
func zone(name string) (*time.Location, error) {
	switch strings.ToUpper(strings.TrimSpace(name)) {
	case "UTC", "GMT", "Z", "ZULU", "ETC/UTC", "ETC/GMT", "UCT", "UNIVERSAL", "GREENWICH":
		return time.UTC, nil
	}
	span, err := sqltype.ParseSpan(name)
	if err != nil || span.Months != 0 || span.Days != 0 {
		return nil, fail(stateNotSupported, "no time zone is supported but UTC and distances such as '02:00': convert in the client")
	}
	return time.FixedZone("", int(span.Micros/1_000_000)), nil
}

// moved adds a span as PostgreSQL does: months first, a day that the month has
// not becoming its last, then days, then the rest.
func moved(at time.Time, s sqltype.Span) time.Time {
	if s.Months != 0 {
		year, month, day := at.Date()
		first := time.Date(year, month+time.Month(s.Months), 1, at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), at.Location())
		last := first.AddDate(0, 1, -1).Day()
		at = first.AddDate(0, 0, min(day, last)-1)
	}
	at = at.AddDate(0, 0, int(max(-10_000_000, min(10_000_000, s.Days))))
	// A duration holds 292 years.
	const step = int64(1_000_000) * 3600 * 24 * 365
	for rest := s.Micros; rest != 0; {
		n := max(-step, min(step, rest))
		at = at.Add(time.Duration(n) * time.Microsecond)
		rest -= n
		if at.Year() < -1 || at.Year() > 10_001 {
			break
		}
	}
	return at
}

func negated(s sqltype.Span) sqltype.Span {
	return sqltype.Span{Months: -s.Months, Days: -s.Days, Micros: -s.Micros}
}

// microsBetween is the distance of two moments: a duration would end at 292
// years.
func microsBetween(a, b time.Time) int64 { return a.UnixMicro() - b.UnixMicro() }

const microsOfDay = int64(24 * time.Hour / time.Microsecond)

// timeOfDay writes microseconds since midnight, which wrap at midnight.
func timeOfDay(micros int64) string {
	micros %= microsOfDay
	if micros < 0 {
		micros += microsOfDay
	}
	return time.UnixMicro(micros).UTC().Format("15:04:05.000000")
}

// microsOfTime reads a time of day; 24:00:00 is one.
func microsOfTime(s string) (int64, error) {
	span, err := sqltype.ParseSpan(s)
	return span.Micros, err
}
