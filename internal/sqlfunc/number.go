package sqlfunc

import (
	"math"
	"math/bits"

	"kimberlite/internal/sqltype"
)

// numberFunctions are the arithmetic of integers and floating point numbers,
// which fails where it overflows.
func numberFunctions() []Function {
	var list []Function
	for _, t := range []sqltype.Type{sqltype.Int2, sqltype.Int4, sqltype.Int8} {
		prefix := "pg_" + t.Name() + "_"
		for name, op := range integerOperations {
			list = append(list, strict(prefix+name, 2, func(args []any) (any, error) {
				n, err := op(integer(args[0]), integer(args[1]), t)
				if err != nil {
					return nil, err
				}
				return inRange(n, t)
			}))
		}
		list = append(list, strict(prefix+"abs", 1, func(args []any) (any, error) {
			n := integer(args[0])
			if n == math.MinInt64 {
				return nil, outOfRange(t)
			}
			return inRange(max(n, -n), t)
		}))
	}
	for _, t := range []sqltype.Type{sqltype.Float4, sqltype.Float8} {
		for name, op := range floatOperations {
			list = append(list, strict("pg_"+t.Name()+"_"+name, 2, func(args []any) (any, error) {
				x, y := float(args[0]), float(args[1])
				if name == "div" && y == 0 {
					return nil, fail(stateDivisionByZero, "division by zero")
				}
				return finite(op(x, y), t, x, y)
			}))
		}
	}
	for name := range floatOperations {
		list = append(list, strict("pg_any_"+name, 2, func(args []any) (any, error) { return anyOperation(name, args[0], args[1]) }))
	}
	return append(list,
		strict("pg_any_mod", 2, func(args []any) (any, error) { return anyOperation("mod", args[0], args[1]) }),
		strict("pg_any_pow", 2, func(args []any) (any, error) { return power(float(args[0]), float(args[1])) }),
		strict("pg_bitxor", 2, func(args []any) (any, error) { return integer(args[0]) ^ integer(args[1]), nil }),
		strict("pg_limit", 1, notNegative("LIMIT", stateInvalidLimit)),
		strict("pg_offset", 1, notNegative("OFFSET", stateInvalidOffset)),
	)
}

// notNegative guards the number of LIMIT and OFFSET, where SQLite takes a
// negative one for none.
func notNegative(what, state string) call {
	return func(args []any) (any, error) {
		n := integer(args[0])
		if n < 0 {
			return nil, fail(state, "%s must not be negative", what)
		}
		return n, nil
	}
}

func outOfRange(t sqltype.Type) error { return fail(stateOutOfRange, "%s out of range", t.SQL()) }

func inRange(n int64, t sqltype.Type) (any, error) {
	switch {
	case t.OID == sqltype.Int2.OID && n != int64(int16(n)), t.OID == sqltype.Int4.OID && n != int64(int32(n)):
		return nil, outOfRange(t)
	}
	return n, nil
}

var integerOperations = map[string]func(x, y int64, t sqltype.Type) (int64, error){
	"add": func(x, y int64, t sqltype.Type) (int64, error) {
		n := x + y
		if (n > x) != (y > 0) && y != 0 {
			return 0, outOfRange(t)
		}
		return n, nil
	},
	"sub": func(x, y int64, t sqltype.Type) (int64, error) {
		n := x - y
		if (n < x) != (y > 0) && y != 0 {
			return 0, outOfRange(t)
		}
		return n, nil
	},
	"mul": multiply,
	"div": func(x, y int64, t sqltype.Type) (int64, error) {
		switch {
		case y == 0:
			return 0, fail(stateDivisionByZero, "division by zero")
		case y == -1 && x == math.MinInt64:
			return 0, outOfRange(t)
		}
		return x / y, nil
	},
	"mod": func(x, y int64, _ sqltype.Type) (int64, error) {
		switch y {
		case 0:
			return 0, fail(stateDivisionByZero, "division by zero")
		case -1:
			return 0, nil
		}
		return x % y, nil
	},
	"shl": func(x, y int64, t sqltype.Type) (int64, error) {
		n := x << (uint64(y) & (widthOf(t) - 1))
		switch t.OID {
		case sqltype.Int2.OID:
			return int64(int16(n)), nil
		case sqltype.Int4.OID:
			return int64(int32(n)), nil
		}
		return n, nil
	},
	"shr": func(x, y int64, t sqltype.Type) (int64, error) { return x >> (uint64(y) & (widthOf(t) - 1)), nil },
}

// widthOf is the number of bits by which a shift's distance wraps: PostgreSQL
// computes with int4 where int2 is shifted.
func widthOf(t sqltype.Type) uint64 {
	if t.OID == sqltype.Int8.OID {
		return 64
	}
	return 32
}

func multiply(x, y int64, t sqltype.Type) (int64, error) {
	high, low := bits.Mul64(magnitude(x), magnitude(y))
	negative := (x < 0) != (y < 0)
	switch {
	case high != 0, !negative && low > math.MaxInt64, negative && low > 1<<63:
		return 0, outOfRange(t)
	}
	return x * y, nil
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

var floatOperations = map[string]func(x, y float64) float64{
	"add": func(x, y float64) float64 { return x + y },
	"sub": func(x, y float64) float64 { return x - y },
	"mul": func(x, y float64) float64 { return x * y },
	"div": func(x, y float64) float64 { return x / y },
}

// finite refuses what overflowed, or is no number, as of finite arguments.
func finite(f float64, t sqltype.Type, args ...float64) (any, error) {
	if t.OID == sqltype.Float4.OID {
		f = float64(float32(f))
	}
	if math.IsNaN(f) {
		return nil, fail(stateOutOfRange, "the result is not a number, which is not supported")
	}
	if math.IsInf(f, 0) {
		for _, a := range args {
			if math.IsInf(a, 0) {
				return f, nil
			}
		}
		return nil, fail(stateOutOfRange, "value out of range: overflow")
	}
	return f, nil
}

// anyOperation calculates with values of columns whose type nobody declared.
func anyOperation(name string, x, y any) (any, error) {
	_, okX := x.(int64)
	_, okY := y.(int64)
	if op := integerOperations[name]; okX && okY && op != nil {
		return op(integer(x), integer(y), sqltype.Int8)
	}
	if name == "div" && float(y) == 0 {
		return nil, fail(stateDivisionByZero, "division by zero")
	}
	if name == "mod" {
		if float(y) == 0 {
			return nil, fail(stateDivisionByZero, "division by zero")
		}
		return finite(math.Mod(float(x), float(y)), sqltype.Float8, float(x), float(y))
	}
	return finite(floatOperations[name](float(x), float(y)), sqltype.Float8, float(x), float(y))
}

// power is ^ of floating point numbers.
func power(x, y float64) (any, error) {
	switch {
	case x == 0 && y < 0:
		return nil, fail(stateInvalidPower, "zero raised to a negative power is undefined")
	case x < 0 && y != math.Trunc(y):
		return nil, fail(stateInvalidPower, "a negative number raised to a non-integer power yields a complex result")
	}
	return finite(math.Pow(x, y), sqltype.Float8, x, y)
}
