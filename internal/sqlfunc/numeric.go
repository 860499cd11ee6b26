package sqlfunc

import (
	"math"
	"math/big"
	"strconv"

	"kimberlite/internal/sqltype"
)

// numericDigits is how many significant digits a numeric keeps that is not an
// integer; see package sqltype.
const numericDigits = 15

// numericFunctions are the exact arithmetic of numeric. Results that need more
// digits than are kept are rounded behind the point; before the point they
// fail.
func numericFunctions() []Function {
	var list []Function
	for name, op := range map[string]func(x, y *big.Rat) (*big.Rat, error){
		"add": func(x, y *big.Rat) (*big.Rat, error) { return x.Add(x, y), nil },
		"sub": func(x, y *big.Rat) (*big.Rat, error) { return x.Sub(x, y), nil },
		"mul": func(x, y *big.Rat) (*big.Rat, error) { return x.Mul(x, y), nil },
		"div": func(x, y *big.Rat) (*big.Rat, error) {
			if y.Sign() == 0 {
				return nil, fail(stateDivisionByZero, "division by zero")
			}
			return x.Quo(x, y), nil
		},
		"mod":      remainder,
		"quotient": quotient,
	} {
		list = append(list, strict("pg_numeric_"+name, 2, func(args []any) (any, error) {
			x, y := rational(args[0]), rational(args[1])
			if x == nil || y == nil {
				return finite(math.NaN(), sqltype.Float8)
			}
			r, err := op(x, y)
			if err != nil {
				return nil, err
			}
			return numericOf(r)
		}))
	}
	list = append(list,
		strict("pg_numeric_ceil", 1, rounded(ceiling)),
		strict("pg_numeric_floor", 1, rounded(floor)),
		strict("pg_numeric_pow", 2, func(args []any) (any, error) { return numericPower(args[0], args[1]) }),
	)
	for _, name := range []string{"trunc", "round"} {
		list = append(list, times(strict("pg_numeric_"+name, 1, func(args []any) (any, error) {
			return numericCut(name == "round", args)
		}), 1, 2)...)
	}
	return list
}

// rational is a number's exact value; nil for what is no finite number. A
// float64 stands for the shortest decimal that reads as it.
func rational(v any) *big.Rat {
	switch v := v.(type) {
	case int64:
		return new(big.Rat).SetInt64(v)
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil
		}
		r, _ := new(big.Rat).SetString(strconv.FormatFloat(v, 'g', -1, 64))
		return r
	case string:
		stored, err := sqltype.Numeric.Input(v)
		if err != nil {
			return nil
		}
		return rational(stored)
	}
	return nil
}

// numericOf is the stored form of an exact value, rounded to the digits that
// are kept.
func numericOf(r *big.Rat) (any, error) {
	if r.IsInt() {
		if r.Num().IsInt64() {
			return r.Num().Int64(), nil
		}
		return sqltype.Numeric.Input(r.Num().String())
	}
	whole := len(new(big.Int).Quo(new(big.Int).Abs(r.Num()), r.Denom()).String())
	if whole > numericDigits {
		return nil, fail(stateOutOfRange, "a numeric that is not an integer has at most %d significant digits here", numericDigits)
	}
	digits := numericDigits - whole
	if f, _ := r.Float64(); whole == 1 && math.Abs(f) < 1 && f != 0 { // digits behind the point that are no zeros
		digits = numericDigits - 1 - int(math.Floor(math.Log10(math.Abs(f))))
		digits = min(digits, 300)
	}
	return sqltype.Numeric.Input(r.FloatString(digits))
}

func floor(r *big.Rat) *big.Int {
	q := new(big.Int)
	return q.Div(r.Num(), r.Denom()) // Euclid's division: the denominator is positive
}

func ceiling(r *big.Rat) *big.Int {
	n := floor(r)
	if !r.IsInt() {
		n.Add(n, big.NewInt(1))
	}
	return n
}

func truncated(r *big.Rat) *big.Int { return new(big.Int).Quo(r.Num(), r.Denom()) }

func rounded(fn func(*big.Rat) *big.Int) call {
	return func(args []any) (any, error) {
		r := rational(args[0])
		if r == nil {
			return args[0], nil
		}
		return numericOf(new(big.Rat).SetInt(fn(r)))
	}
}

func quotient(x, y *big.Rat) (*big.Rat, error) {
	if y.Sign() == 0 {
		return nil, fail(stateDivisionByZero, "division by zero")
	}
	return new(big.Rat).SetInt(truncated(x.Quo(x, y))), nil
}

func remainder(x, y *big.Rat) (*big.Rat, error) {
	q, err := quotient(new(big.Rat).Set(x), y)
	if err != nil {
		return nil, err
	}
	return x.Sub(x, q.Mul(q, y)), nil
}

// numericCut is round and trunc to a number of digits, half away from zero.
func numericCut(round bool, args []any) (any, error) {
	r, digits := rational(args[0]), int64(0)
	if r == nil {
		return args[0], nil
	}
	if len(args) > 1 {
		digits = max(-400, min(400, integer(args[1])))
	}
	scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(max(digits, -digits)), nil))
	if digits < 0 {
		scale.Inv(scale)
	}
	r.Mul(r, scale)
	if round {
		half := big.NewRat(1, 2)
		if r.Sign() < 0 {
			half.Neg(half)
		}
		r.Add(r, half)
	}
	return numericOf(new(big.Rat).Quo(new(big.Rat).SetInt(truncated(r)), scale))
}

// numericPower is exact for small integer exponents.
func numericPower(x, y any) (any, error) {
	base, exponent := rational(x), rational(y)
	if base != nil && exponent != nil && exponent.IsInt() && exponent.Num().IsInt64() {
		if n := exponent.Num().Int64(); n >= 0 && n <= 64 {
			result := big.NewRat(1, 1)
			for range n {
				result.Mul(result, base)
			}
			return numericOf(result)
		}
	}
	f, err := power(float(x), float(y))
	if err != nil {
		return nil, err
	}
	return fromFloat(f)
}

// fromFloat is a floating point result as numeric.
func fromFloat(v any) (any, error) {
	r := rational(v)
	if r == nil {
		return nil, fail(stateOutOfRange, "value overflows numeric format")
	}
	return numericOf(r)
}
