package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// body is a translated query whose result columns can still be converted.
type body struct {
	cols []bodyColumn
	// One of these is set: the columns of a SELECT, the rows of VALUES, or the
	// two sides of a set operation.
	items       []value
	rows        [][]value
	left, right *body
	// with, head and rest are the text around a SELECT's columns; op is of a
	// set operation.
	with, head, rest, op string
	// tail is ORDER BY and LIMIT.
	tail string
	// outer wraps the whole: DISTINCT ON.
	wrap func(inner string) string
	// offset is how many columns at the end are not results.
	extra []string
	// one says that it is an aggregate of all rows: one row.
	one bool
	at  int
}

// bodyColumn is a result column.
type bodyColumn struct {
	name    string
	typ     sqltype.Type
	notNull bool
}

// columnValue is a result column as a value, whose text stands for nothing.
func (b *body) columnValue(i int) value {
	if b.items != nil {
		return b.items[i]
	}
	v := value{typ: b.cols[i].typ, sql: "x", atom: true, notNull: b.cols[i].notNull, at: b.at}
	if v.unknown() {
		v.leaf = b.leafOf(i)
	}
	return v
}

// leafOf finds what an unknown column of VALUES or of a set operation was
// written as.
func (b *body) leafOf(i int) expr {
	switch {
	case b.items != nil:
		return b.items[i].leaf
	case b.rows != nil:
		return b.rows[0][i].leaf
	case b.left != nil:
		return b.left.leafOf(i)
	}
	return nil
}

// coerce converts a result column.
func (b *body) coerce(t *translator, i int, to sqltype.Type, kind castKind, what string) error {
	var err error
	switch {
	case b.items != nil:
		name := b.items[i].name
		if b.items[i], err = t.convert(b.items[i], to, kind, what); err != nil {
			return err
		}
		b.items[i].name = name
		b.cols[i].typ = b.items[i].typ
	case b.rows != nil:
		for _, row := range b.rows {
			if row[i].sql == defaultMark {
				continue
			}
			if row[i], err = t.convert(row[i], to, kind, what); err != nil {
				return err
			}
		}
		b.cols[i].typ = to
	case b.left != nil:
		if err = b.left.coerce(t, i, to, kind, what); err != nil {
			return err
		}
		err = b.right.coerce(t, i, to, kind, what)
		b.cols[i].typ = to
	}
	return err
}

// defaultMark stands for DEFAULT in VALUES.
const defaultMark = "\x00default"

// settle gives text to the columns whose type nothing tells.
func (b *body) settle(t *translator) error {
	for i := range b.cols {
		if b.columnValue(i).unknown() {
			if err := b.coerce(t, i, sqltype.Text, implicit, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// render writes the query.
func (b *body) render(t *translator) string {
	var s strings.Builder
	b.write(t, &s)
	return s.String()
}

func (b *body) write(t *translator, s *strings.Builder) {
	s.WriteString(b.with)
	switch {
	case b.wrap != nil:
		var inner strings.Builder
		b.writeCore(&inner)
		s.WriteString(b.wrap(inner.String()))
	case b.left != nil:
		b.writeArm(t, s, b.left, true)
		s.WriteString(" " + b.op + " ")
		b.writeArm(t, s, b.right, false)
	case b.rows != nil:
		b.writeRows(s)
	default:
		b.writeCore(s)
	}
	s.WriteString(b.tail)
}

// writeArm writes one side of a set operation. SQLite reads them from the
// left, without parentheses, and orders only the whole.
func (b *body) writeArm(t *translator, s *strings.Builder, arm *body, left bool) {
	if arm.with == "" && arm.tail == "" && arm.wrap == nil && (arm.left == nil || left) {
		arm.write(t, s)
		return
	}
	s.WriteString("SELECT * FROM (")
	arm.write(t, s)
	s.WriteString(")")
}

func (b *body) writeCore(s *strings.Builder) {
	s.WriteString(b.head)
	for i, v := range b.items {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(v.sql)
		name := b.cols[i].name
		if v.column == nil || v.column.sql != name || v.sql == "" {
			s.WriteString(" AS ")
			s.WriteString(quoteName(name))
		}
	}
	for i, x := range b.extra {
		if i > 0 || len(b.items) > 0 {
			s.WriteString(", ")
		}
		s.WriteString(x)
	}
	if len(b.items)+len(b.extra) == 0 {
		s.WriteString("NULL")
	}
	s.WriteString(b.rest)
}

func (b *body) writeRows(s *strings.Builder) {
	s.WriteString("VALUES ")
	for i, row := range b.rows {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteByte('(')
		for j, v := range row {
			if j > 0 {
				s.WriteString(", ")
			}
			s.WriteString(v.sql)
		}
		s.WriteByte(')')
	}
}
