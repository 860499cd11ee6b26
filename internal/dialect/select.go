package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// query translates a query in a scope of its own inside the present one.
func (t *translator) query(q *query) (*body, error) {
	if t.depth++; t.depth > maxDepth {
		return nil, tooComplex(t.text, q.at(), "the statement nests deeper than %d levels", maxDepth)
	}
	defer func() { t.depth-- }()
	known := len(t.ctes)
	defer func() { t.ctes = t.ctes[:known] }()
	with, err := t.with(q)
	if err != nil {
		return nil, err
	}
	var b *body
	if core, ok := q.body.(*selectCore); ok {
		b, err = t.core(core, q)
	} else {
		if b, err = t.queryBody(q.body); err == nil {
			err = t.orderOfResult(b, q)
		}
	}
	if err != nil {
		return nil, err
	}
	b.with = with + b.with
	limit, err := t.limits(q)
	if err != nil {
		return nil, err
	}
	if b.tail != "" && limit != "" && strings.Contains(b.tail, " LIMIT ") || b.tail != "" && q.orderBy != nil && b.left == nil && b.items == nil && b.rows == nil {
		return nil, t.fail(q.at(), stateUnsupported, "LIMIT around a query in parentheses that has one is not supported: use a subquery in FROM")
	}
	b.tail += limit
	b.at = q.at()
	return b, nil
}

// subqueryBody translates a query that stands in an expression.
func (t *translator) subqueryBody(q *query) (*body, error) {
	outer := t.scope
	t.scope = &scope{parent: outer}
	defer func() { t.scope = outer }()
	return t.query(q)
}

// queryBody translates what is no plain SELECT.
func (t *translator) queryBody(b queryBody) (*body, error) {
	switch b := b.(type) {
	case *selectCore:
		return t.core(b, nil)
	case *valuesList:
		return t.valuesBody(b)
	case *setOperation:
		return t.setOperation(b)
	case *query:
		return t.query(b)
	}
	return nil, t.fail(b.at(), stateUnsupported, "this query is not supported")
}

// with translates WITH and makes its queries known.
func (t *translator) with(q *query) (string, error) {
	if len(q.with) == 0 {
		return "", nil
	}
	var s strings.Builder
	s.WriteString("WITH ")
	if q.recursive {
		s.WriteString("RECURSIVE ")
	}
	for i := range q.with {
		c := &q.with[i]
		text, err := t.cte(c, q.recursive)
		if err != nil {
			return "", err
		}
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(text)
	}
	s.WriteString(" ")
	return s.String(), nil
}

// cte translates one query of WITH.
func (t *translator) cte(c *cte, recursive bool) (string, error) {
	table := &commonTable{name: c.name, sql: c.name}
	var b *body
	var err error
	op, selfish := c.q.body.(*setOperation)
	if recursive && selfish && op.op == "union" {
		b, err = t.recursive(c, op, table)
	} else if b, err = t.subqueryBody(c.q); err == nil {
		if err = b.settle(t); err == nil {
			err = table.take(t, c, b)
			t.ctes = append(t.ctes, table)
		}
	}
	if err != nil {
		return "", err
	}
	names := make([]string, len(table.cols))
	for i := range table.cols {
		names[i] = quoteName(table.cols[i].sql)
	}
	return quoteName(c.name) + "(" + strings.Join(names, ", ") + ") AS " + c.materialized + "(" + b.render(t) + ")", nil
}

// take gives a common table the columns of its query.
func (table *commonTable) take(t *translator, c *cte, b *body) error {
	if len(c.columns) > len(b.cols) {
		return t.fail(c.at(), "42P10", "WITH query %q has %d columns available but %d columns specified", c.name, len(b.cols), len(c.columns))
	}
	table.cols = b.relColumns(c.columns)
	return nil
}

// relColumns are the result columns as a relation has them, under other names
// if there are any.
func (b *body) relColumns(names []string) []relColumn {
	cols := make([]relColumn, len(b.cols))
	for i, c := range b.cols {
		cols[i] = relColumn{name: c.name, sql: c.name, typ: c.typ, notNull: c.notNull}
		if i < len(names) {
			cols[i].name, cols[i].sql = names[i], names[i]
		}
	}
	return cols
}

// recursive translates a query that may refer to itself: the first part gives
// the columns.
func (t *translator) recursive(c *cte, op *setOperation, table *commonTable) (*body, error) {
	outer := t.scope
	t.scope = &scope{parent: outer}
	defer func() { t.scope = outer }()
	if len(c.q.with) > 0 {
		return nil, t.fail(c.at(), stateUnsupported, "WITH inside a recursive query is not supported")
	}
	left, err := t.queryBody(op.left)
	if err != nil {
		return nil, err
	}
	if err := left.settle(t); err != nil {
		return nil, err
	}
	if err := table.take(t, c, left); err != nil {
		return nil, err
	}
	for i := range table.cols {
		table.cols[i].notNull = false
	}
	t.ctes = append(t.ctes, table)
	t.scope = &scope{parent: outer}
	right, err := t.queryBody(op.right)
	if err != nil {
		return nil, err
	}
	b, err := t.combine(op, left, right)
	if err != nil {
		return nil, err
	}
	if err := t.orderOfResult(b, c.q); err != nil {
		return nil, err
	}
	limit, err := t.limits(c.q)
	b.tail += limit
	return b, err
}

func (t *translator) valuesBody(v *valuesList) (*body, error) {
	b := &body{at: v.at(), cols: make([]bodyColumn, len(v.rows[0]))}
	for _, row := range v.rows {
		values := make([]value, len(row))
		for i, x := range row {
			var err error
			if values[i], err = t.scalar(x); err != nil {
				return nil, err
			}
		}
		b.rows = append(b.rows, values)
	}
	for i := range b.cols {
		column := make([]value, len(b.rows))
		unknown := true
		for j := range b.rows {
			column[j] = b.rows[j][i]
			unknown = unknown && column[j].unknown()
		}
		b.cols[i] = bodyColumn{name: "column" + itoa(i+1), typ: sqltype.Unknown}
		if unknown {
			continue
		}
		typ, err := t.unify(column, "VALUES")
		if err != nil {
			return nil, err
		}
		b.cols[i].typ, b.cols[i].notNull = typ, true
		for j := range b.rows {
			b.rows[j][i] = column[j]
			b.cols[i].notNull = b.cols[i].notNull && column[j].notNull
		}
	}
	return b, nil
}

func (t *translator) setOperation(s *setOperation) (*body, error) {
	outer := t.scope
	defer func() { t.scope = outer }()
	sides := [2]*body{}
	for i, side := range []queryBody{s.left, s.right} {
		var parent *scope
		if outer != nil {
			parent = outer.parent
		}
		t.scope = &scope{parent: parent}
		var err error
		if sides[i], err = t.queryBody(side); err != nil {
			return nil, err
		}
	}
	return t.combine(s, sides[0], sides[1])
}

// combine makes the columns of both sides of a set operation the same.
func (t *translator) combine(s *setOperation, left, right *body) (*body, error) {
	if len(left.cols) != len(right.cols) {
		return nil, t.fail(s.at(), stateSyntax, "each %s query must have the same number of columns", strings.ToUpper(s.op))
	}
	b := &body{left: left, right: right, op: strings.ToUpper(s.op), at: s.at(), cols: make([]bodyColumn, len(left.cols))}
	if s.all {
		if s.op != "union" {
			return nil, t.fail(s.at(), stateUnsupported, "%s ALL is not supported: number the rows with row_number() and use %s", b.op, b.op)
		}
		b.op += " ALL"
	}
	for i := range b.cols {
		x, y := left.columnValue(i), right.columnValue(i)
		x.at, y.at = left.at, right.at
		b.cols[i] = bodyColumn{name: left.cols[i].name, typ: sqltype.Unknown, notNull: left.cols[i].notNull && right.cols[i].notNull}
		if x.unknown() && y.unknown() {
			if s.all {
				continue
			}
		}
		typ, err := t.common([]value{x, y}, b.op)
		if err != nil {
			return nil, err
		}
		b.cols[i].typ = typ
		if typ.OID == 0 {
			typ = sqltype.Text
			if !x.unknown() && !y.unknown() {
				continue
			}
		}
		for side, v := range map[*body]value{left: x, right: y} {
			if v.unknown() || v.typ.OID != typ.OID {
				if err := side.coerce(t, i, base(typ), implicit, ""); err != nil {
					return nil, err
				}
			}
		}
	}
	return b, nil
}

// orderOfResult translates the ORDER BY of a set operation or VALUES, which
// names result columns only.
func (t *translator) orderOfResult(b *body, q *query) error {
	if len(q.orderBy) == 0 {
		return nil
	}
	texts := make([]string, len(q.orderBy))
	for i, k := range q.orderBy {
		n, ok := t.outputColumn(b, k.x)
		if n < 0 {
			return t.fail(k.x.at(), stateColumnRef, "ORDER BY position is not in select list")
		}
		if !ok {
			return t.fail(k.x.at(), stateUnsupported, "ORDER BY of %s takes names and numbers of result columns only: use a subquery in FROM", "a set operation")
		}
		texts[i] = itoa(n+1) + direction(k, b.cols[n].notNull)
	}
	b.tail += " ORDER BY " + strings.Join(texts, ", ")
	return nil
}

// outputColumn finds the result column that a sort key names or counts; -1 is
// a number that is out of range.
func (t *translator) outputColumn(b *body, x expr) (int, bool) {
	switch x := x.(type) {
	case *literal:
		if x.kind == litInteger {
			for i := range b.cols {
				if itoa(i+1) == x.text {
					return i, true
				}
			}
			return -1, false
		}
	case *columnRef:
		if len(x.parts) == 1 && !x.star {
			for i := range b.cols {
				if b.cols[i].name == x.parts[0] {
					return i, true
				}
			}
		}
	}
	return 0, false
}

// direction writes how a key sorts. PostgreSQL has NULL after everything,
// SQLite before.
func direction(k sortKey, notNull bool) string {
	s := ""
	if k.desc {
		s = " DESC"
	}
	nulls := k.nulls
	if nulls == "" && !notNull {
		nulls = "last"
		if k.desc {
			nulls = "first"
		}
	}
	if nulls == "" || notNull || nulls == map[bool]string{false: "first", true: "last"}[k.desc] {
		return s
	}
	return s + " NULLS " + strings.ToUpper(nulls)
}

// limits writes LIMIT and OFFSET.
func (t *translator) limits(q *query) (string, error) {
	if q.limit == nil && q.offset == nil {
		return "", nil
	}
	limit, err := t.limit(q.limit, "LIMIT")
	if err != nil {
		return "", err
	}
	if q.offset == nil {
		if limit == "-1" {
			return "", nil
		}
		return " LIMIT " + limit, nil
	}
	offset, err := t.limit(q.offset, "OFFSET")
	if offset == "-1" {
		offset = "0"
	}
	return " LIMIT " + limit + " OFFSET " + offset, err
}

func (t *translator) limit(x expr, what string) (string, error) {
	if x == nil {
		return "-1", nil
	}
	outer := t.scope
	t.scope = &scope{}
	defer func() { t.scope = outer }()
	v, err := t.scalar(x)
	if err != nil {
		return "", err
	}
	if v, err = t.resolve(v, sqltype.Int8); err != nil {
		return "", err
	}
	switch {
	case v.known() && v.typ.OID == sqltype.Numeric.OID:
		v = t.castCall(v, v.typ, sqltype.Int8)
	case v.known() && !isInteger(v.typ):
		return "", t.fail(x.at(), stateMismatch, "argument of %s must be type bigint, not type %s", what, base(v.typ).SQL())
	case v.sql == "NULL":
		return "-1", nil
	case strings.Trim(v.sql, "0123456789") == "":
		return v.sql, nil
	}
	return "pg_" + strings.ToLower(what) + "(" + v.sql + ")", nil
}
