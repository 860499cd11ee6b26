package sqlfunc

import (
	"encoding/hex"
	"io"
	"math"

	"kimberlite/internal/sqltype"
)

// maxSeries bounds what generate_series of times makes.
const maxSeries = 1_000_000

func otherFunctions() []Function {
	list := []Function{
		{Name: "pg_gen_random_uuid", Call: func(c Context, _ []any) (any, error) { return randomUUID(c.Random) }},
		loose("pg_num_nulls", -1, func(args []any) (any, error) { return countNulls(args), nil }),
		loose("pg_num_nonnulls", -1, func(args []any) (any, error) { return int64(len(args)) - countNulls(args), nil }),
		strict("pg_step", 1, func(args []any) (any, error) {
			if integer(args[0]) == 0 {
				return nil, fail(stateInvalidArgument, "step size cannot equal zero")
			}
			return args[0], nil
		}),
		strict("pg_time_series", 3, timeSeries),
		strict("pg_float8_round", 1, func(args []any) (any, error) { return math.RoundToEven(float(args[0])), nil }),
	}
	for name, sign := range map[string]int{"greatest": 1, "least": -1} {
		list = append(list,
			loose("pg_"+name, -1, func(args []any) (any, error) { return extreme(args, sign, compare) }),
			loose("pg_interval_"+name, -1, func(args []any) (any, error) { return extreme(args, sign, compareSpans) }))
	}
	return list
}

// randomUUID is of version 4, RFC 9562.
func randomUUID(random io.Reader) (any, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:], nil
}

func countNulls(args []any) (n int64) {
	for _, a := range args {
		if a == nil {
			n++
		}
	}
	return n
}

// extreme is the greatest or least argument; NULLs do not count.
func extreme(args []any, sign int, compare func(a, b any) (int, error)) (any, error) {
	var best any
	for _, a := range args {
		if a == nil {
			continue
		}
		if best == nil {
			best = a
			continue
		}
		order, err := compare(a, best)
		if err != nil {
			return nil, err
		}
		if order*sign > 0 {
			best = a
		}
	}
	return best, nil
}

// compare orders stored values of one type.
func compare(a, b any) (int, error) {
	if x, ok := a.(string); ok {
		y := text(b)
		switch {
		case x < y:
			return -1, nil
		case x > y:
			return 1, nil
		}
		return 0, nil
	}
	x, okX := a.(int64)
	y, okY := b.(int64)
	switch {
	case okX && okY && x < y, !(okX && okY) && float(a) < float(b):
		return -1, nil
	case okX && okY && x > y, !(okX && okY) && float(a) > float(b):
		return 1, nil
	}
	return 0, nil
}

func compareSpans(a, b any) (int, error) {
	x, err := sqltype.ParseSpan(text(a))
	if err != nil {
		return 0, err
	}
	y, err := sqltype.ParseSpan(text(b))
	if err != nil {
		return 0, err
	}
	return compare(keyOf(x), keyOf(y))
}

// timeSeries counts from a moment to another by a span, as an array.
func timeSeries(args []any) (any, error) {
	from, to, err := moments(args)
	if err != nil {
		return nil, err
	}
	step, err := sqltype.ParseSpan(text(args[2]))
	if err != nil {
		return nil, err
	}
	direction, err := compare(keyOf(step), int64(0))
	if err != nil {
		return nil, err
	}
	if direction == 0 {
		return nil, fail(stateInvalidArgument, "step size cannot equal zero")
	}
	t := typeOfMoment(text(args[0]))
	list := []any{}
	for at := from; at.Compare(to)*direction <= 0; at = moved(at, step) {
		if len(list) == maxSeries {
			return nil, fail(stateTooMuch, "generate_series of times gives at most %d rows", maxSeries)
		}
		v, err := store(t, at)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if next := moved(at, step); next.Equal(at) {
			break
		}
	}
	return arrayText(list)
}
