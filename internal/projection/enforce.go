package projection

import (
	"errors"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
	"kimberlite/internal/sqltype"
)

// Columns that were declared through the PostgreSQL door hold stored forms of
// their type and nothing else, whatever door a row comes through: the capture
// hook sees them all. Events that are replayed were checked when they were
// made.

// enforced is a column whose values are checked.
type enforced struct {
	place int // in a row's values
	name  string
	t     sqltype.Type
}

// enforcedColumns lists the columns to check; nil where there are none.
func enforcedColumns(columns []record.Column) []enforced {
	var all []enforced
	for i, c := range columns {
		if t, ok := sqltype.FromDeclared(c.Type); ok {
			all = append(all, enforced{i, c.Name, t})
		}
	}
	return all
}

// check looks at a row that is about to be stored.
func (t *table) check(values []record.Value) error {
	for i := range t.enforced {
		col := &t.enforced[i]
		if err := col.t.Check(values[col.place]); err != nil {
			return misfit(t.name, col.name, err)
		}
	}
	return nil
}

// misfit names the column that a value does not fit.
func misfit(table, column string, err error) error {
	state := fault.StateOf(err)
	var e *fault.Error
	text := "the value does not fit"
	if errors.As(err, &e) {
		text = e.Message
	}
	return fault.New("sql", fault.Constraint, "column %q of table %q: %s", clip(column), clip(table), text).
		WithState(state).WithConstraint(table, column, "")
}
