package sqlfunc

import (
	"encoding/binary"
	"io"
	"math"
	"math/big"

	"kimberlite/internal/sqltype"
)

// mathFunctions are the functions of analysis, and what counts and draws.
func mathFunctions() []Function {
	return []Function{
		strict("pg_float8_math", 2, func(args []any) (any, error) { return analysis(text(args[0]), float(args[1])) }),
		strict("pg_numeric_math", 2, func(args []any) (any, error) {
			f, err := analysis(text(args[0]), float(args[1]))
			if err != nil {
				return nil, err
			}
			return fromFloat(f)
		}),
		strict("pg_numeric_log", 2, func(args []any) (any, error) {
			base, err := analysis("ln", float(args[0]))
			if err != nil {
				return nil, err
			}
			x, err := analysis("ln", float(args[1]))
			if err != nil {
				return nil, err
			}
			if float(base) == 0 {
				return nil, fail(stateDivisionByZero, "division by zero")
			}
			return fromFloat(float(x) / float(base))
		}),
		strict("pg_float8_pow", 2, func(args []any) (any, error) { return power(float(args[0]), float(args[1])) }),
		strict("pg_float8_atan2", 2, func(args []any) (any, error) { return math.Atan2(float(args[0]), float(args[1])), nil }),
		strict("pg_gcd", 2, func(args []any) (any, error) { return divisor(integer(args[0]), integer(args[1]), false) }),
		strict("pg_lcm", 2, func(args []any) (any, error) { return divisor(integer(args[0]), integer(args[1]), true) }),
		strict("pg_factorial", 1, factorial),
		strict("pg_width_bucket", 4, widthBucket),
		{Name: "pg_random", Call: func(c Context, _ []any) (any, error) { return draw(c) }},
	}
}

// analysis computes a function by its name.
func analysis(name string, x float64) (any, error) {
	switch name {
	case "sqrt":
		if x < 0 {
			return nil, fail(stateInvalidPower, "cannot take square root of a negative number")
		}
		return math.Sqrt(x), nil
	case "ln", "log":
		if x <= 0 {
			return nil, fail(stateInvalidLog, "cannot take logarithm of zero or of a negative number")
		}
		if name == "log" {
			return math.Log10(x), nil
		}
		return math.Log(x), nil
	case "asin", "acos":
		if x < -1 || x > 1 {
			return nil, fail(stateOutOfRange, "input is out of range")
		}
	case "degrees":
		return finite(x*(180/math.Pi), sqltype.Float8, x)
	case "radians":
		return x * (math.Pi / 180), nil
	case "cot":
		return finite(1/math.Tan(x), sqltype.Float8)
	}
	fn := map[string]func(float64) float64{
		"cbrt": math.Cbrt, "exp": math.Exp, "sin": math.Sin, "cos": math.Cos, "tan": math.Tan,
		"asin": math.Asin, "acos": math.Acos, "atan": math.Atan, "sinh": math.Sinh, "cosh": math.Cosh, "tanh": math.Tanh,
	}[name]
	if fn == nil {
		return nil, fail(stateNotSupported, "there is no function of that name")
	}
	return finite(fn(x), sqltype.Float8, x)
}

func divisor(x, y int64, multiple bool) (any, error) {
	a, b := new(big.Int).Abs(big.NewInt(x)), new(big.Int).Abs(big.NewInt(y))
	n := new(big.Int).GCD(nil, nil, a, b)
	if multiple {
		if n.Sign() == 0 {
			return int64(0), nil
		}
		n.Mul(n.Quo(a, n), b)
	}
	if !n.IsInt64() {
		return nil, outOfRange(sqltype.Int8)
	}
	return n.Int64(), nil
}

func factorial(args []any) (any, error) {
	n := integer(args[0])
	switch {
	case n < 0:
		return nil, fail(stateOutOfRange, "factorial of a negative number is undefined")
	case n > 20:
		return nil, fail(stateOutOfRange, "factorials beyond 20! have more digits than a numeric keeps here")
	}
	return new(big.Int).MulRange(1, n).Int64(), nil
}

func widthBucket(args []any) (any, error) {
	x, low, high, count := float(args[0]), float(args[1]), float(args[2]), integer(args[3])
	const state = "2201G"
	switch {
	case count <= 0:
		return nil, fail(state, "count must be greater than zero")
	case low == high:
		return nil, fail(state, "lower bound cannot equal upper bound")
	}
	if low > high {
		x, low, high = -x, -low, -high
	}
	switch {
	case x < low:
		return int64(0), nil
	case x >= high:
		return count + 1, nil
	}
	return int64((x-low)/(high-low)*float64(count)) + 1, nil
}

// draw returns a number from 0 up to 1, of 53 random bits.
func draw(c Context) (any, error) {
	var b [8]byte
	if _, err := io.ReadFull(c.Random, b[:]); err != nil {
		return nil, err
	}
	return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53), nil
}
