package pgwire

import (
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/schema"
)

func TestViolatedConstraintsAreNamedAsPostgreSQLDoes(t *testing.T) {
	t.Parallel()
	tables := schema.New(1, []*schema.Table{{
		Name: "visit", Kind: schema.KindTable,
		Indexes: []schema.Index{
			{Name: "visit_pkey", Unique: true, Primary: true, Columns: []string{"id"}},
			{Name: "some", Unique: true, Columns: []string{"ward", "day"}, Where: "day IS NOT NULL"},
			{Name: "once", Unique: true, Columns: []string{"ward", "day"}},
		},
		Checks: []schema.Check{{Name: "visit_day_check"}},
	}}, nil)
	violated := func(state, message, table, column, constraint string) *fault.Error {
		return fault.New("sql", fault.Constraint, "%s", message).WithState(state).WithConstraint(table, column, constraint)
	}
	for _, c := range []struct {
		e                          *fault.Error
		message, table, constraint string
	}{
		{violated("23505", "UNIQUE constraint failed: visit.id", "visit", "id", ""), `duplicate key value violates unique constraint "visit_pkey"`, "visit", "visit_pkey"},
		{violated("23505", "UNIQUE constraint failed: visit.ward, visit.day", "visit", "", ""), `duplicate key value violates unique constraint "once"`, "visit", "once"},
		{violated("23505", "UNIQUE constraint failed: index 'some'", "", "", "some"), `duplicate key value violates unique constraint "some"`, "visit", "some"},
		{violated("23502", "NOT NULL constraint failed: visit.day", "visit", "day", ""), `null value in column "day" of relation "visit" violates not-null constraint`, "visit", ""},
		{violated("23514", "CHECK constraint failed: visit_day_check", "", "", "visit_day_check"), `new row for relation "visit" violates check constraint "visit_day_check"`, "visit", "visit_day_check"},
	} {
		got := constraintWords(*c.e, tables)
		if got == nil || got.Message != c.message || got.Table != c.table || got.Constraint != c.constraint || fault.StateOf(got) != c.e.State {
			t.Errorf("%s became %+v", c.e.Message, got)
		}
	}
	if got := constraintWords(*violated("23505", "UNIQUE constraint failed: visit.other", "visit", "other", ""), tables); got != nil {
		t.Errorf("what no index has became %+v", got)
	}
}
