package pgwire

import (
	"context"
	"errors"
	"slices"
	"strings"

	"kimberlite/internal/fault"
	"kimberlite/internal/schema"
)

// inPostgreSQLsWords gives the error of a violated constraint the words and
// the names that PostgreSQL has for it: SQLite names columns where clients
// read a constraint's name.
func (s *session) inPostgreSQLsWords(ctx context.Context, err error) error {
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != fault.Constraint || s.tenant == nil {
		return err
	}
	switch fault.StateOf(e) {
	case "23502", "23503", "23505", "23514":
	default:
		return err
	}
	read := s.tenant.Schema
	if s.tx.tx != nil && s.tx.ddl {
		read = s.tx.tx.Schema
	}
	tables, schemaErr := read(ctx)
	if schemaErr != nil {
		return err // it is right as it is, if bare
	}
	if named := constraintWords(*e, tables); named != nil {
		return named
	}
	return err
}

// constraintWords returns e in other words, or nil when they are not known.
func constraintWords(e fault.Error, tables *schema.Schema) *fault.Error {
	switch e.State {
	case "23502":
		if e.Table == "" {
			return nil
		}
		e.Message = `null value in column "` + e.Column + `" of relation "` + e.Table + `" violates not-null constraint`
	case "23503":
		e.Message = "insert, update or delete violates a foreign key constraint: the row that is referred to is not there, or is still referred to"
	case "23505":
		if !nameUnique(&e, tables) {
			return nil
		}
		e.Message = `duplicate key value violates unique constraint "` + e.Constraint + `"`
	case "23514":
		for _, t := range tables.Tables {
			if e.Table == "" && slices.ContainsFunc(t.Checks, func(c schema.Check) bool { return c.Name == e.Constraint }) {
				e.Table = t.Name
			}
		}
		if e.Table == "" {
			return nil
		}
		e.Message = `new row for relation "` + e.Table + `" violates check constraint "` + e.Constraint + `"`
	}
	return &e
}

// nameUnique finds the index that an error names by its columns, such as
// "UNIQUE constraint failed: t.a, t.b", or by its own name.
func nameUnique(e *fault.Error, tables *schema.Schema) bool {
	_, text, _ := strings.Cut(e.Message, " failed: ")
	var columns []string
	for part := range strings.SplitSeq(text, ", ") {
		_, column, _ := strings.Cut(part, ".")
		columns = append(columns, column)
	}
	for _, t := range tables.Tables {
		for _, index := range t.Indexes {
			byName := e.Constraint != "" && index.Name == e.Constraint
			byColumns := e.Constraint == "" && index.Unique && strings.EqualFold(t.Name, e.Table) && index.Where == "" &&
				slices.EqualFunc(index.Columns, columns, strings.EqualFold)
			if byName || byColumns {
				e.Table, e.Constraint = t.Name, index.Name
				return true
			}
		}
	}
	return false
}
