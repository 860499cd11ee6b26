package sqlfunc

// single is the one value of a subquery that stands for a value: a second row
// is an error, no row is NULL.
type single struct {
	value any
	rows  int
}

func (a *single) Step(args []any) error {
	if a.rows++; a.rows > 1 {
		return fail("21000", "more than one row returned by a subquery used as an expression")
	}
	a.value = args[0]
	if b, ok := a.value.([]byte); ok {
		a.value = append([]byte{}, b...)
	}
	return nil
}

func (a *single) Final() (any, error) { return a.value, nil }
