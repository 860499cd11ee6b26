package kimberlite

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"unicode"

	"kimberlite/internal/fault"
)

// Insert inserts a struct, a pointer to one, or a slice of either into a
// table, as one transaction. The field's column is its `kimberlite:"name"`
// tag, or its name in snake_case; `kimberlite:"-"` leaves a field out,
// `kimberlite:"name,omitzero"` leaves it out when it is zero, so that the
// column's default applies. Unexported fields are left out.
func (t *Tenant) Insert(ctx context.Context, table string, rows any) (Result, error) {
	groups, err := insertGroups(table, rows)
	if err != nil {
		return Result{}, err
	}
	if len(groups) == 1 {
		return t.ExecBatch(ctx, groups[0].sql, groups[0].rows)
	}
	tx, err := t.Begin(ctx)
	if err != nil {
		return Result{}, err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it only says so
	for _, g := range groups {
		for _, args := range g.rows {
			if _, err := tx.Exec(ctx, g.sql, args...); err != nil {
				return Result{}, err
			}
		}
	}
	return tx.Commit(ctx)
}

// insertGroup is a run of rows that set the same columns.
type insertGroup struct {
	sql  string
	rows [][]any
}

func insertGroups(table string, rows any) ([]insertGroup, error) {
	v := reflect.Indirect(reflect.ValueOf(rows))
	var items []reflect.Value
	switch {
	case v.IsValid() && v.Kind() == reflect.Slice:
		for i := range v.Len() {
			items = append(items, reflect.Indirect(v.Index(i)))
		}
	default:
		items = []reflect.Value{v}
	}
	if len(items) == 0 {
		return nil, fault.New("insert", fault.Invalid, "there is nothing to insert: the slice is empty")
	}
	var groups []insertGroup
	for _, item := range items {
		if !item.IsValid() || item.Kind() != reflect.Struct {
			return nil, fault.New("insert", fault.Invalid, "want a struct, a pointer to one, or a slice of them, not %T", rows)
		}
		sql, args, err := insertStatement(table, item)
		if err != nil {
			return nil, err
		}
		if n := len(groups); n > 0 && groups[n-1].sql == sql {
			groups[n-1].rows = append(groups[n-1].rows, args)
			continue
		}
		groups = append(groups, insertGroup{sql, [][]any{args}})
	}
	return groups, nil
}

// column is a struct field that is stored.
type column struct {
	index    []int
	name     string
	omitZero bool
}

var columnCache sync.Map // reflect.Type → []column

func columnsOf(t reflect.Type) []column {
	if c, ok := columnCache.Load(t); ok {
		return c.([]column)
	}
	var columns []column
	for _, f := range reflect.VisibleFields(t) {
		if !f.IsExported() || f.Anonymous {
			continue
		}
		name, option, _ := strings.Cut(f.Tag.Get("kimberlite"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			name = snakeCase(f.Name)
		}
		columns = append(columns, column{f.Index, name, option == "omitzero"})
	}
	columnCache.Store(t, columns)
	return columns
}

func insertStatement(table string, item reflect.Value) (string, []any, error) {
	var names, places []string
	var args []any
	for _, c := range columnsOf(item.Type()) {
		field, err := item.FieldByIndexErr(c.index)
		if err != nil || (c.omitZero && field.IsZero()) {
			continue
		}
		names = append(names, quoteName(c.name))
		places = append(places, "?")
		args = append(args, argument(field))
	}
	if len(names) == 0 {
		return "", nil, fault.New("insert", fault.Invalid, "%s has no field to insert", item.Type())
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", quoteName(table),
		strings.Join(names, ", "), strings.Join(places, ", ")), args, nil
}

// argument returns a field's value; a pointer stands for its target or NULL.
func argument(v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	return v.Interface()
}

// quoteName makes any text a name in SQL.
func quoteName(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// snakeCase turns PatientID into patient_id.
func snakeCase(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i, r := range runes {
		if unicode.IsUpper(r) {
			startsWord := i > 0 && (unicode.IsLower(runes[i-1]) || unicode.IsDigit(runes[i-1]) ||
				(i+1 < len(runes) && unicode.IsLower(runes[i+1])))
			if startsWord {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
