package sqlfunc

import (
	"encoding/json"
	"math/big"
	"strings"
	"sync"

	"kimberlite/internal/sqltype"
)

var aggregates = sync.OnceValue(func() []Aggregate {
	list := []Aggregate{
		{"pg_single", 1, func() Accumulator { return &single{} }},
		{"pg_numeric_sum", 1, func() Accumulator { return &numericSum{} }},
		{"pg_numeric_avg", 1, func() Accumulator { return &numericSum{average: true} }},
		{"pg_interval_sum", 1, func() Accumulator { return &spanSum{} }},
		{"pg_interval_avg", 1, func() Accumulator { return &spanSum{average: true} }},
		{"pg_interval_min", 1, func() Accumulator { return &spanExtreme{sign: -1} }},
		{"pg_interval_max", 1, func() Accumulator { return &spanExtreme{sign: 1} }},
		{"pg_string_agg", 2, func() Accumulator { return &textSum{} }},
		{"pg_bit_and", 1, func() Accumulator { return &bitSum{op: func(a, b int64) int64 { return a & b }} }},
		{"pg_bit_or", 1, func() Accumulator { return &bitSum{op: func(a, b int64) int64 { return a | b }} }},
		{"pg_bit_xor", 1, func() Accumulator { return &bitSum{op: func(a, b int64) int64 { return a ^ b }} }},
		{"pg_json_agg", 1, func() Accumulator { return &jsonList{typ: sqltype.JSON} }},
		{"pg_jsonb_agg", 1, func() Accumulator { return &jsonList{typ: sqltype.JSONB} }},
		{"pg_json_object_agg", 2, func() Accumulator { return &jsonList{typ: sqltype.JSON, object: true} }},
		{"pg_jsonb_object_agg", 2, func() Accumulator { return &jsonList{typ: sqltype.JSONB, object: true} }},
	}
	for _, name := range []string{"stddev_samp", "stddev_pop", "var_samp", "var_pop"} {
		for _, exact := range []bool{false, true} {
			prefix := map[bool]string{false: "pg_float8_", true: "pg_numeric_"}[exact]
			list = append(list, Aggregate{prefix + name, 1, func() Accumulator {
				return &deviation{exact: exact, root: strings.HasPrefix(name, "stddev"), sample: strings.HasSuffix(name, "samp")}
			}})
		}
	}
	return list
})

// numericSum adds exactly.
type numericSum struct {
	sum     big.Rat
	n       int64
	average bool
}

func (a *numericSum) Step(args []any) error {
	if args[0] == nil {
		return nil
	}
	r := rational(args[0])
	if r == nil {
		return fail(stateOutOfRange, "a value is no finite number")
	}
	a.sum.Add(&a.sum, r)
	a.n++
	return nil
}

func (a *numericSum) Final() (any, error) {
	if a.n == 0 {
		return nil, nil //nolint:nilnil // NULL
	}
	if a.average {
		a.sum.Quo(&a.sum, new(big.Rat).SetInt64(a.n))
	}
	return numericOf(&a.sum)
}

// spanSum adds intervals.
type spanSum struct {
	sum     any
	n       int64
	average bool
}

func (a *spanSum) Step(args []any) (err error) {
	if args[0] == nil {
		return nil
	}
	if a.n++; a.n == 1 {
		a.sum = args[0]
		return nil
	}
	a.sum, err = addSpans([]any{a.sum, args[0]}, 1)
	return err
}

func (a *spanSum) Final() (any, error) {
	if a.n == 0 || !a.average {
		return a.sum, nil
	}
	return scaledSpan(a.sum, 1/float64(a.n))
}

type spanExtreme struct {
	best any
	sign int
}

func (a *spanExtreme) Step(args []any) (err error) {
	a.best, err = extreme([]any{a.best, args[0]}, a.sign, compareSpans)
	return err
}

func (a *spanExtreme) Final() (any, error) { return a.best, nil }

// textSum is string_agg: each text but the first with its own separator before
// it.
type textSum struct {
	b    strings.Builder
	some bool
}

func (a *textSum) Step(args []any) error {
	if args[0] == nil {
		return nil
	}
	if a.some && args[1] != nil {
		a.b.WriteString(text(args[1]))
	}
	a.some = true
	a.b.WriteString(text(args[0]))
	if a.b.Len() > maxText {
		return tooLong()
	}
	return nil
}

func (a *textSum) Final() (any, error) {
	if !a.some {
		return nil, nil //nolint:nilnil // NULL
	}
	return a.b.String(), nil
}

type bitSum struct {
	op   func(a, b int64) int64
	sum  int64
	some bool
}

func (a *bitSum) Step(args []any) error {
	switch {
	case args[0] == nil:
	case !a.some:
		a.sum, a.some = integer(args[0]), true
	default:
		a.sum = a.op(a.sum, integer(args[0]))
	}
	return nil
}

func (a *bitSum) Final() (any, error) {
	if !a.some {
		return nil, nil //nolint:nilnil // NULL
	}
	return a.sum, nil
}

// jsonList is json_agg and json_object_agg: its arguments are JSON texts, and
// before them the key.
type jsonList struct {
	b      strings.Builder
	typ    sqltype.Type
	object bool
}

func (a *jsonList) Step(args []any) error {
	value := orNull(args[len(args)-1])
	switch {
	case a.b.Len() > 0:
		a.b.WriteString(", ")
	case a.object:
		a.b.WriteByte('{')
	default:
		a.b.WriteByte('[')
	}
	if a.object {
		if args[0] == nil {
			return fail("22004", "field name must not be null")
		}
		a.b.WriteString(quoted(text(args[0])) + " : ")
	}
	if !json.Valid([]byte(value)) {
		return notJSON()
	}
	a.b.WriteString(value)
	if a.b.Len() > maxText {
		return tooLong()
	}
	return nil
}

func (a *jsonList) Final() (any, error) {
	if a.b.Len() == 0 {
		return nil, nil //nolint:nilnil // NULL
	}
	s := a.b.String() + map[bool]string{false: "]", true: "}"}[a.object]
	if a.object && a.typ.OID == sqltype.JSON.OID {
		s = "{ " + strings.TrimSuffix(s[1:], "}") + " }"
	}
	return a.typ.Input(s)
}

// deviation computes variances exactly, and rounds at the end.
type deviation struct {
	n                   int64
	sum, squares        big.Rat
	exact, root, sample bool
}

func (a *deviation) Step(args []any) error {
	if args[0] == nil {
		return nil
	}
	r := rational(args[0])
	if r == nil {
		return fail(stateOutOfRange, "a value is no finite number")
	}
	a.n++
	a.sum.Add(&a.sum, r)
	a.squares.Add(&a.squares, new(big.Rat).Mul(r, r))
	return nil
}

func (a *deviation) Final() (any, error) {
	divisor := a.n
	if a.sample {
		divisor--
	}
	if divisor <= 0 {
		return nil, nil //nolint:nilnil // NULL
	}
	mean := new(big.Rat).Quo(new(big.Rat).Mul(&a.sum, &a.sum), new(big.Rat).SetInt64(a.n))
	v := new(big.Rat).Quo(mean.Sub(&a.squares, mean), new(big.Rat).SetInt64(divisor))
	f, _ := v.Float64()
	if a.root {
		root, err := analysis("sqrt", f)
		if err != nil || !a.exact {
			return root, err
		}
		return fromFloat(root)
	}
	if a.exact {
		return numericOf(v)
	}
	return f, nil
}
