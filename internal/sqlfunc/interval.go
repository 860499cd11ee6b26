package sqlfunc

import (
	"math"
	"math/big"

	"kimberlite/internal/sqltype"
)

const (
	daysOfMonth  = 30
	microsOfHour = int64(3_600_000_000)
)

// intervalFunctions calculate with intervals.
func intervalFunctions() []Function {
	list := []Function{
		strict("pg_interval_key", 1, func(args []any) (any, error) {
			s, err := sqltype.ParseSpan(text(args[0]))
			return keyOf(s), err
		}),
		strict("pg_interval_add", 2, func(args []any) (any, error) { return addSpans(args, 1) }),
		strict("pg_interval_sub", 2, func(args []any) (any, error) { return addSpans(args, -1) }),
		strict("pg_interval_mul", 2, func(args []any) (any, error) { return scaledSpan(args[0], float(args[1])) }),
		strict("pg_interval_div", 2, func(args []any) (any, error) {
			if float(args[1]) == 0 {
				return nil, fail(stateDivisionByZero, "division by zero")
			}
			return scaledSpan(args[0], 1/float(args[1]))
		}),
		strict("pg_interval_part", 2, func(args []any) (any, error) {
			v, err := spanField(text(args[0]), args[1])
			if err != nil {
				return nil, err
			}
			return float(v), nil
		}),
		strict("pg_interval_extract", 2, func(args []any) (any, error) { return spanField(text(args[0]), args[1]) }),
		strict("pg_interval_trunc", 2, truncateSpan),
		strict("pg_justify_days", 1, justify(false, true)),
		strict("pg_justify_hours", 1, justify(true, false)),
		strict("pg_justify_interval", 1, justify(true, true)),
	}
	for n := range 8 {
		list = append(list, strict("pg_make_interval", n, makeInterval))
	}
	return list
}

// keyOf is what intervals are compared by: microseconds, a month of 30 days.
// It loses the last microseconds of more than nine million years.
func keyOf(s sqltype.Span) any {
	total := new(big.Int).Add(big.NewInt(s.Micros), new(big.Int).Mul(big.NewInt(s.Months*daysOfMonth+s.Days), big.NewInt(microsOfDay)))
	if total.IsInt64() {
		return total.Int64()
	}
	f, _ := new(big.Float).SetInt(total).Float64()
	return f
}

func addSpans(args []any, sign int64) (any, error) {
	a, err := sqltype.ParseSpan(text(args[0]))
	if err != nil {
		return nil, err
	}
	b, err := sqltype.ParseSpan(text(args[1]))
	if err != nil {
		return nil, err
	}
	return stored3(float64(a.Months)+float64(sign*b.Months), float64(a.Days)+float64(sign*b.Days), float64(a.Micros)+float64(sign*b.Micros),
		sqltype.Span{Months: a.Months + sign*b.Months, Days: a.Days + sign*b.Days, Micros: a.Micros + sign*b.Micros})
}

// stored3 writes a span whose parts, computed in floating point beside it, are
// within what can be stored.
func stored3(months, days, micros float64, s sqltype.Span) (any, error) {
	if math.Abs(months) > math.MaxInt32 || math.Abs(days) > math.MaxInt32 || math.Abs(micros) > 3.6e18 {
		return nil, fail(stateDatetimeField, "interval out of range")
	}
	return s.String(), nil
}

// scaledSpan multiplies: what is left of a month goes to the days, and what is
// left of a day to the time.
func scaledSpan(v any, factor float64) (any, error) {
	s, err := sqltype.ParseSpan(text(v))
	if err != nil {
		return nil, err
	}
	months := float64(s.Months) * factor
	days := float64(s.Days) * factor
	wholeMonths, wholeDays := math.Trunc(months), math.Trunc(days)
	restDays := tidied((months - wholeMonths) * daysOfMonth)
	restSeconds := tidied((days - wholeDays + restDays - math.Trunc(restDays)) * 86400)
	if math.Abs(restSeconds) >= 86400 {
		wholeDays += math.Trunc(restSeconds / 86400)
		restSeconds -= math.Trunc(restSeconds/86400) * 86400
	}
	wholeDays += math.Trunc(restDays)
	micros := math.RoundToEven(float64(s.Micros)*factor + restSeconds*1e6)
	return stored3(wholeMonths, wholeDays, micros, sqltype.Span{Months: int64(wholeMonths), Days: int64(wholeDays), Micros: int64(micros)})
}

// tidied rounds to microseconds, as PostgreSQL does between the steps.
func tidied(f float64) float64 { return math.RoundToEven(f*1e6) / 1e6 }

func spanField(unit string, v any) (any, error) {
	s, err := sqltype.ParseSpan(text(v))
	if err != nil {
		return nil, err
	}
	years := s.Months / 12
	switch name := unitName(unit); name {
	case "year":
		return years, nil
	case "month":
		return s.Months % 12, nil
	case "quarter":
		return s.Months%12/3 + 1, nil
	case "day":
		return s.Days, nil
	case "decade":
		return years / 10, nil
	case "century":
		return years / 100, nil
	case "millennium":
		return years / 1000, nil
	case "hour":
		return s.Micros / microsOfHour, nil
	case "epoch":
		// PostgreSQL takes years of 365.25 days here, and months of 30.
		total := new(big.Int).Mul(big.NewInt(years), big.NewInt(microsOfDay/4*1461))
		total.Add(total, new(big.Int).Mul(big.NewInt(s.Months%12*daysOfMonth+s.Days), big.NewInt(microsOfDay)))
		total.Add(total, big.NewInt(s.Micros))
		return numericOf(new(big.Rat).SetFrac(total, big.NewInt(1_000_000)))
	case "minute", "second", "milliseconds", "microseconds":
		return clockField(name, s.Micros, sqltype.Interval)
	default:
		return nil, unknownUnit(name, "interval")
	}
}

func truncateSpan(args []any) (any, error) {
	s, err := sqltype.ParseSpan(text(args[1]))
	if err != nil {
		return nil, err
	}
	cut := func(n, unit int64) int64 { return n / unit * unit }
	switch name := unitName(text(args[0])); name {
	case "microseconds":
	case "milliseconds":
		s.Micros = cut(s.Micros, 1000)
	case "second":
		s.Micros = cut(s.Micros, 1_000_000)
	case "minute":
		s.Micros = cut(s.Micros, 60_000_000)
	case "hour":
		s.Micros = cut(s.Micros, microsOfHour)
	case "day":
		s.Micros = 0
	case "month", "quarter", "year", "decade", "century", "millennium":
		months := map[string]int64{"month": 1, "quarter": 3, "year": 12, "decade": 120, "century": 1200, "millennium": 12000}[name]
		s = sqltype.Span{Months: cut(s.Months, months)}
	default:
		return nil, unknownUnit(name, "interval")
	}
	return s.String(), nil
}

// justify turns 24 hours into a day and 30 days into a month, all parts of one
// sign.
func justify(hours, days bool) call {
	return func(args []any) (any, error) {
		s, err := sqltype.ParseSpan(text(args[0]))
		if err != nil {
			return nil, err
		}
		if hours {
			s.Days += s.Micros / microsOfDay
			s.Micros %= microsOfDay
		}
		if days {
			s.Months += s.Days / daysOfMonth
			s.Days %= daysOfMonth
			rest := s.Days
			if rest == 0 && hours {
				rest = s.Micros
			}
			switch {
			case s.Months > 0 && rest < 0:
				s.Months, s.Days = s.Months-1, s.Days+daysOfMonth
			case s.Months < 0 && rest > 0:
				s.Months, s.Days = s.Months+1, s.Days-daysOfMonth
			}
		}
		if hours {
			balance(&s.Days, &s.Micros, microsOfDay)
		}
		return s.String(), nil
	}
}

// balance gives the smaller part the sign of the larger.
func balance(large, small *int64, unit int64) {
	switch {
	case *large > 0 && *small < 0:
		*large--
		*small += unit
	case *large < 0 && *small > 0:
		*large++
		*small -= unit
	}
}

// makeInterval takes years, months, weeks, days, hours, minutes and seconds.
func makeInterval(args []any) (any, error) {
	var n [6]int64
	seconds := 0.0
	for i, a := range args {
		if i == len(n) {
			seconds = float(a)
			continue
		}
		n[i] = integer(a)
	}
	s := sqltype.Span{Months: n[0]*12 + n[1], Days: n[2]*7 + n[3], Micros: n[4]*microsOfHour + n[5]*60_000_000 + int64(math.RoundToEven(seconds*1e6))}
	return stored3(float64(s.Months), float64(s.Days), float64(n[4])*float64(microsOfHour)+seconds*1e6, s)
}

// ratio is a / b.
func ratio(a, b int64) *big.Rat { return big.NewRat(a, b) }

// decimal is n with its last digits behind the point.
func decimal(n int64, digits int64) (any, error) {
	scale := int64(1)
	for range digits {
		scale *= 10
	}
	return numericOf(ratio(n, scale))
}
