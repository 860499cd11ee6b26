package sqlfunc

import (
	"strings"
	"time"

	"kimberlite/internal/sqltype"
)

// clockFunctions tell the time and take moments apart.
func clockFunctions() []Function {
	now := func(c Context, _ []any) (any, error) { return store(sqltype.Timestamptz, c.Now) }
	list := []Function{
		{Name: "pg_now", Call: now},
		// The clock is the transaction's: see docs/compatibility.md.
		{Name: "pg_clock_timestamp", Call: now},
		{Name: "pg_timeofday", Call: func(c Context, _ []any) (any, error) {
			return c.Now.UTC().Format("Mon Jan 02 15:04:05.000000 2006 UTC"), nil
		}},
		strict("pg_date_trunc", 3, func(args []any) (any, error) {
			at, err := moment(args[1])
			if err != nil {
				return nil, err
			}
			t := sqltype.Timestamp
			if integer(args[2]) != 0 {
				t = sqltype.Timestamptz
			}
			if at, err = truncate(text(args[0]), at); err != nil {
				return nil, err
			}
			return store(t, at)
		}),
		strict("pg_date_trunc_zone", 3, func(args []any) (any, error) {
			location, err := zone(text(args[2]))
			if err != nil {
				return nil, err
			}
			at, err := moment(args[1])
			if err != nil {
				return nil, err
			}
			_, offset := at.In(location).Zone()
			shifted := at.Add(time.Duration(offset) * time.Second)
			if shifted, err = truncate(text(args[0]), shifted); err != nil {
				return nil, err
			}
			return store(sqltype.Timestamptz, shifted.Add(-time.Duration(offset)*time.Second))
		}),
		strict("pg_date_part", 2, func(args []any) (any, error) {
			v, err := field(text(args[0]), text(args[1]))
			if err != nil {
				return nil, err
			}
			return float(v), nil
		}),
		strict("pg_extract", 2, func(args []any) (any, error) { return field(text(args[0]), text(args[1])) }),
		strict("pg_date_bin", 3, dateBin),
	}
	return list
}

func unknownUnit(unit string, what string) error {
	known := " millennium century decade year quarter month week day hour minute second milliseconds microseconds epoch dow isodow doy isoyear julian timezone timezone_hour timezone_minute "
	if strings.Contains(known, " "+unit+" ") {
		return fail(stateNotSupported, "unit %q not supported for type %s", unit, what)
	}
	return fail(stateInvalidArgument, "the unit is not recognized for type %s: use year, month, day, hour and the like", what)
}

// unitName is a unit in the singular, as PostgreSQL takes it.
func unitName(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	switch s {
	case "millisecond", "msec", "ms", "msecs":
		return "milliseconds"
	case "microsecond", "usec", "us", "usecs":
		return "microseconds"
	case "centuries":
		return "century"
	case "milliseconds", "microseconds", "century":
		return s
	case "mon", "mons":
		return "month"
	case "sec", "secs":
		return "second"
	case "min", "mins":
		return "minute"
	case "hr", "hrs":
		return "hour"
	}
	if long := strings.TrimSuffix(s, "s"); strings.Contains(" year quarter month week day hour minute second decade millennium ", " "+long+" ") {
		return long
	}
	return s
}

// truncate is date_trunc.
func truncate(unit string, at time.Time) (time.Time, error) {
	year, month, day := at.Date()
	date := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
	switch unitName(unit) {
	case "microseconds":
		return at.Truncate(time.Microsecond), nil
	case "milliseconds":
		return at.Truncate(time.Millisecond), nil
	case "second":
		return at.Truncate(time.Second), nil
	case "minute":
		return at.Truncate(time.Minute), nil
	case "hour":
		return at.Truncate(time.Hour), nil
	case "day":
		return date(year, month, day), nil
	case "week":
		return date(year, month, day-(int(at.Weekday())+6)%7), nil
	case "month":
		return date(year, month, 1), nil
	case "quarter":
		return date(year, (month-1)/3*3+1, 1), nil
	case "year":
		return date(year, 1, 1), nil
	case "decade":
		return date(max(1, year/10*10), 1, 1), nil
	case "century":
		return date((year-1)/100*100+1, 1, 1), nil
	case "millennium":
		return date((year-1)/1000*1000+1, 1, 1), nil
	}
	return at, unknownUnit(unitName(unit), "timestamp")
}

// field is extract: an integer, or a number with six digits behind the point.
func field(unit, s string) (any, error) {
	t := typeOfMoment(s)
	name := unitName(unit)
	if t.OID == sqltype.Time.OID {
		micros, err := microsOfTime(s)
		if err != nil {
			return nil, err
		}
		return clockField(name, micros, t)
	}
	at, err := t.ParseTime(s)
	if err != nil {
		return nil, err
	}
	if v, ok := dateField(name, at); ok {
		return v, nil
	}
	switch name {
	case "epoch":
		return decimal(at.UnixMicro(), 6)
	case "julian":
		micros := microsBetween(at, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
		return numericOf(ratio(2451545*microsOfDay+micros, microsOfDay))
	case "timezone", "timezone_hour", "timezone_minute":
		if t.OID == sqltype.Timestamptz.OID {
			return int64(0), nil
		}
	}
	if t.OID == sqltype.Date.OID {
		return nil, unknownUnit(name, "date")
	}
	return clockField(name, microsBetween(at, at.Truncate(24*time.Hour)), t)
}

func dateField(name string, at time.Time) (int64, bool) {
	year, week := at.ISOWeek()
	n := int64(at.Year())
	switch name {
	case "year":
		return n, true
	case "isoyear":
		return int64(year), true
	case "week":
		return int64(week), true
	case "month":
		return int64(at.Month()), true
	case "quarter":
		return int64(at.Month()-1)/3 + 1, true
	case "day":
		return int64(at.Day()), true
	case "dow":
		return int64(at.Weekday()), true
	case "isodow":
		return (int64(at.Weekday())+6)%7 + 1, true
	case "doy":
		return int64(at.YearDay()), true
	case "decade":
		return n / 10, true
	case "century":
		return (n + 99) / 100, true
	case "millennium":
		return (n + 999) / 1000, true
	}
	return 0, false
}

// clockField is a field of a time of day.
func clockField(name string, micros int64, t sqltype.Type) (any, error) {
	switch name {
	case "hour":
		return micros / 3_600_000_000, nil
	case "minute":
		return micros / 60_000_000 % 60, nil
	case "second":
		return decimal(micros%60_000_000, 6)
	case "milliseconds":
		return decimal(micros%60_000_000, 3)
	case "microseconds":
		return micros % 60_000_000, nil
	case "epoch":
		return decimal(micros, 6)
	}
	return nil, unknownUnit(name, t.SQL())
}

// dateBin is date_bin(stride, source, origin).
func dateBin(args []any) (any, error) {
	stride, err := sqltype.ParseSpan(text(args[0]))
	if err != nil {
		return nil, err
	}
	at, origin, err := moments(args[1:])
	if err != nil {
		return nil, err
	}
	step := stride.Days*microsOfDay + stride.Micros
	switch {
	case stride.Months != 0:
		return nil, fail(stateNotSupported, "timestamps cannot be binned into intervals containing months or years")
	case step <= 0:
		return nil, fail(stateDatetimeField, "stride must be greater than zero")
	}
	distance := microsBetween(at, origin)
	bins := distance / step
	if distance < 0 && distance%step != 0 {
		bins--
	}
	return store(typeOfMoment(text(args[1])), time.UnixMicro(origin.UnixMicro()+bins*step).UTC())
}
