package pgcatalog

import (
	_ "embed" // the facts below
	"strconv"
	"strings"
	"sync"

	"kimberlite/internal/sqltype"
)

//go:embed facts/tables.txt
var tableFacts string

//go:embed facts/types.txt
var typeFacts string

// factLines are the lines of a file of facts without its comments.
func factLines(text string) [][]string {
	var lines [][]string
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0][0] != '#' {
			lines = append(lines, fields)
		}
	}
	return lines
}

// number reads a number of a file of facts, which the tests have read through.
func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic("pgcatalog: a number in the facts: " + s)
	}
	return n
}

// registry is every table. It is filled once and read-only from then on.
var registry struct {
	once   sync.Once
	all    []*Table
	byName map[string]*Table
}

// lazy is a value that is made when it is first asked for, once for all, and
// read-only from then on.
type lazy[T any] struct {
	once  sync.Once
	value T
}

func (l *lazy[T]) get(make func() T) T {
	l.once.Do(func() { l.value = make() })
	return l.value
}

// load reads the facts.
func load() {
	registry.byName = map[string]*Table{}
	for _, fields := range factLines(tableFacts) {
		t := &Table{
			Name: fields[0], name: strings.TrimPrefix(fields[0], informationPrefix),
			oid: uint32(number(fields[1])), view: fields[2] == "v", //nolint:gosec // PostgreSQL's numbers
			byID: map[string]int{}, make: makers()[fields[0]],
		}
		for n, f := range fields[3:] {
			name, kind, _ := strings.Cut(f, ":")
			kind, notNull := strings.CutSuffix(kind, "!")
			c := Column{Name: name, Type: factType(kind), notNull: notNull}
			t.Columns = append(t.Columns, c)
			t.byID[name] = n
			t.zero = append(t.zero, zeroOf(c))
		}
		t.Rows = func(e *Env) [][]any { return e.scan(t).rows }
		registry.all = append(registry.all, t)
		registry.byName[t.Name] = t
	}
}

// informationPrefix begins the names of information_schema's tables.
const informationPrefix = "information_schema_"

// Tables returns every table, sorted by schema and name. The tables are shared:
// they are not to be changed. It may be called at any time, by anybody.
func Tables() []*Table {
	registry.once.Do(load)
	return registry.all
}

// table returns a table by its name.
func table(name string) *Table {
	registry.once.Do(load)
	return registry.byName[name]
}

// information says that the table is of information_schema.
func (t *Table) information() bool { return strings.HasPrefix(t.Name, informationPrefix) }

// factType returns the type of a typname; one that Kimberlite has not got is
// text, and its column is always NULL.
func factType(typname string) sqltype.Type {
	switch typname {
	case "char":
		return sqltype.Char
	case "_char":
		return sqltype.CharArray
	}
	if t, ok := sqltype.Parse(typname); ok {
		return t
	}
	return sqltype.Text
}

// zeroOf is a column's value in a row that says nothing of it.
func zeroOf(c Column) any {
	if !c.notNull {
		return nil
	}
	switch c.Type {
	case sqltype.Bool, sqltype.Int2, sqltype.Int4, sqltype.Int8, sqltype.OIDType, sqltype.XID:
		return int64(0)
	case sqltype.Float4, sqltype.Float8:
		return float64(0)
	case sqltype.Regproc:
		return "-"
	}
	return ""
}

// row makes a row from names and values; columns that are not named say
// nothing.
func (t *Table) row(pairs ...any) []any {
	row := make([]any, len(t.zero))
	copy(row, t.zero)
	for i := 0; i < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		n, ok := t.byID[name]
		if !ok {
			panic("pgcatalog: " + t.Name + " has no column " + name)
		}
		row[n] = stored(pairs[i+1])
	}
	return row
}

// stored returns a value in the form that SQLite keeps.
func stored(v any) any {
	switch v := v.(type) {
	case bool:
		if v {
			return int64(1)
		}
		return int64(0)
	case int:
		return int64(v)
	case int16:
		return int64(v)
	case int32:
		return int64(v)
	case uint32:
		return int64(v)
	case byte:
		return string(rune(v))
	case []int:
		return intArray(v)
	case []string:
		return textArray(v)
	case optional:
		if v == "" {
			return nil
		}
		return string(v)
	}
	return v
}

// optional is a text that is NULL when it is empty.
type optional string
