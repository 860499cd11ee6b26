package sqlfunc

import (
	"math"
	"time"

	"kimberlite/internal/sqltype"
)

// timeFunctions are the arithmetic of dates and times.
func timeFunctions() []Function {
	var list []Function
	for sign, name := range map[int64]string{1: "add", -1: "sub"} {
		list = append(list,
			strict("pg_date_"+name, 2, func(args []any) (any, error) {
				at, err := moment(args[0])
				if err != nil {
					return nil, err
				}
				days := integer(args[1])
				if days > 10_000_000 || days < -10_000_000 {
					return nil, fail(stateDatetimeField, "date out of range")
				}
				return store(sqltype.Date, at.AddDate(0, 0, int(sign*days)))
			}),
			strict("pg_timestamp_"+name, 2, shift(sqltype.Timestamp, sign)),
			strict("pg_timestamptz_"+name, 2, shift(sqltype.Timestamptz, sign)),
			strict("pg_time_"+name, 2, func(args []any) (any, error) {
				micros, err := microsOfTime(text(args[0]))
				if err != nil {
					return nil, err
				}
				span, err := sqltype.ParseSpan(text(args[1]))
				if err != nil {
					return nil, err
				}
				return timeOfDay(micros + sign*(span.Micros%microsOfDay)), nil
			}),
		)
	}
	list = append(list,
		strict("pg_date_diff", 2, func(args []any) (any, error) {
			a, b, err := moments(args)
			if err != nil {
				return nil, err
			}
			return microsBetween(a, b) / microsOfDay, nil
		}),
		strict("pg_timestamp_diff", 2, func(args []any) (any, error) {
			a, b, err := moments(args)
			if err != nil {
				return nil, err
			}
			micros := microsBetween(a, b)
			return sqltype.Span{Days: micros / microsOfDay, Micros: micros % microsOfDay}.String(), nil
		}),
		strict("pg_time_diff", 2, func(args []any) (any, error) {
			a, err := microsOfTime(text(args[0]))
			if err != nil {
				return nil, err
			}
			b, err := microsOfTime(text(args[1]))
			return sqltype.Span{Micros: a - b}.String(), err
		}),
		strict("pg_date_time", 2, func(args []any) (any, error) { return text(args[0]) + " " + text(args[1]), nil }),
	)
	return append(list, makingFunctions()...)
}

// makingFunctions make moments, of numbers and of others.
func makingFunctions() []Function {
	return []Function{
		strict("pg_age", 2, age),
		strict("pg_make_date", 3, func(args []any) (any, error) {
			at, err := dayOf(integer(args[0]), integer(args[1]), integer(args[2]))
			if err != nil {
				return nil, err
			}
			return store(sqltype.Date, at)
		}),
		strict("pg_make_time", 3, func(args []any) (any, error) {
			micros, err := clockOf(integer(args[0]), integer(args[1]), float(args[2]))
			return timeOfDay(micros), err
		}),
		strict("pg_make_timestamp", 6, makeTimestamp),
		strict("pg_epoch", 1, func(args []any) (any, error) {
			seconds := float(args[0])
			if math.Abs(seconds) > 1e12 {
				return nil, fail(stateDatetimeField, "timestamp out of range")
			}
			return store(sqltype.Timestamptz, time.UnixMicro(int64(math.RoundToEven(seconds*1e6))))
		}),
		strict("pg_timezone_local", 2, func(args []any) (any, error) { return inZone(args, true) }),
		strict("pg_timezone_utc", 2, func(args []any) (any, error) { return inZone(args, false) }),
	}
}

func moments(args []any) (a, b time.Time, err error) {
	if a, err = moment(args[0]); err != nil {
		return a, b, err
	}
	b, err = moment(args[1])
	return a, b, err
}

// shift moves a date or timestamp by a span.
func shift(t sqltype.Type, sign int64) call {
	return func(args []any) (any, error) {
		at, err := moment(args[0])
		if err != nil {
			return nil, err
		}
		span, err := sqltype.ParseSpan(text(args[1]))
		if err != nil {
			return nil, err
		}
		if sign < 0 {
			span = negated(span)
		}
		return store(t, moved(at, span))
	}
}

// age counts years, months and days of the calendar.
func age(args []any) (any, error) {
	a, b, err := moments(args)
	if err != nil {
		return nil, err
	}
	negative := a.Before(b)
	if negative {
		a, b = b, a
	}
	months := int64(a.Year()-b.Year())*12 + int64(a.Month()-b.Month())
	days := int64(a.Day() - b.Day())
	micros := microsBetween(a, a.Truncate(24*time.Hour)) - microsBetween(b, b.Truncate(24*time.Hour))
	if micros < 0 {
		micros += microsOfDay
		days--
	}
	if days < 0 {
		// The days of the month that the earlier moment is in.
		days += int64(time.Date(b.Year(), b.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day())
		months--
	}
	span := sqltype.Span{Months: months, Days: days, Micros: micros}
	if negative {
		span = negated(span)
	}
	return span.String(), nil
}

func dayOf(year, month, day int64) (time.Time, error) {
	if year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31 {
		return time.Time{}, fail(stateDatetimeField, "date field value out of range")
	}
	at := time.Date(int(year), time.Month(month), int(day), 0, 0, 0, 0, time.UTC)
	if at.Day() != int(day) {
		return at, fail(stateDatetimeField, "date field value out of range")
	}
	return at, nil
}

func clockOf(hour, minute int64, second float64) (micros int64, err error) {
	if hour < 0 || hour > 24 || minute < 0 || minute > 59 || !(second >= 0 && second <= 60) || hour == 24 && (minute > 0 || second > 0) {
		return 0, fail(stateDatetimeField, "time field value out of range")
	}
	return (hour*3600+minute*60)*1_000_000 + int64(math.RoundToEven(second*1e6)), nil
}

func makeTimestamp(args []any) (any, error) {
	day, err := dayOf(integer(args[0]), integer(args[1]), integer(args[2]))
	if err != nil {
		return nil, err
	}
	micros, err := clockOf(integer(args[3]), integer(args[4]), float(args[5]))
	if err != nil {
		return nil, err
	}
	return store(sqltype.Timestamp, day.Add(time.Duration(micros)*time.Microsecond))
}

// inZone is AT TIME ZONE: of a timestamptz the local time, of a timestamp the
// moment.
func inZone(args []any, local bool) (any, error) {
	location, err := zone(text(args[0]))
	if err != nil {
		return nil, err
	}
	at, err := moment(args[1])
	if err != nil {
		return nil, err
	}
	_, offset := at.In(location).Zone()
	if local {
		return store(sqltype.Timestamp, at.Add(time.Duration(offset)*time.Second))
	}
	return store(sqltype.Timestamptz, at.Add(-time.Duration(offset)*time.Second))
}
