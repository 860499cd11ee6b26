package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

func boolean(sql string) value { return value{typ: sqltype.Bool, sql: sql, name: "?column?"} }

func (t *translator) is(e *isExpr) (value, error) {
	not := ""
	if e.not {
		not = "NOT "
	}
	x, err := t.expr(e.x)
	if err != nil {
		return x, err
	}
	if e.what == "distinct" {
		return t.distinct(e, x, not)
	}
	if x.row {
		return t.rowIsNull(e, x)
	}
	if x, err = t.materialise(x); err != nil {
		return x, err
	}
	if e.what == "null" {
		if x, err = t.asText(x); err != nil {
			return x, err
		}
		v := boolean(x.operand() + " IS " + not + "NULL")
		v.notNull = true
		return v, nil
	}
	if x, err = t.resolve(x, sqltype.Bool); err != nil {
		return x, err
	}
	if x.known() && x.typ.OID != sqltype.Bool.OID {
		return x, t.fail(e.at(), stateMismatch, "argument of IS %s must be type boolean, not type %s", strings.ToUpper(e.what), base(x.typ).SQL())
	}
	v := boolean(x.operand() + " IS " + not + strings.ToUpper(e.what))
	if e.what == "unknown" {
		v.sql = x.operand() + " IS " + not + "NULL"
	}
	v.notNull = true
	return v, nil
}

// rowIsNull translates (a, b) IS NULL: all of them are; NOT NULL: none is.
func (t *translator) rowIsNull(e *isExpr, x value) (value, error) {
	if e.what != "null" || len(x.list) == 0 {
		return x, t.fail(e.at(), stateMismatch, "a row is tested with IS NULL only")
	}
	texts := make([]string, len(x.list))
	for i, v := range x.list {
		texts[i] = v.operand() + " IS NULL"
		if e.not {
			texts[i] = v.operand() + " IS NOT NULL"
		}
	}
	v := boolean(strings.Join(texts, " AND "))
	v.notNull = true
	return v, nil
}

func (t *translator) distinct(e *isExpr, x value, not string) (value, error) {
	y, err := t.expr(e.y)
	if err != nil {
		return y, err
	}
	if x, err = t.single(x); err != nil {
		return x, err
	}
	if y, err = t.single(y); err != nil {
		return y, err
	}
	if x, y, err = t.comparable(e.at(), "is", x, y); err != nil {
		return x, err
	}
	v := boolean(x.operand() + " IS " + not + "DISTINCT FROM " + y.operand())
	v.notNull = true
	return v, nil
}

func (t *translator) between(e *betweenExpr) (value, error) {
	values := make([]value, 3)
	for i, x := range []expr{e.x, e.low, e.high} {
		var err error
		if values[i], err = t.scalar(x); err != nil {
			return value{}, err
		}
	}
	x, low, err := t.comparable(e.at(), ">=", values[0], values[1])
	if err != nil {
		return x, err
	}
	first := values[0]
	if first.unknown() {
		first = x
	}
	x2, high, err := t.comparable(e.at(), "<=", first, values[2])
	if err != nil {
		return x, err
	}
	not := ""
	if e.not {
		not = "NOT "
	}
	switch {
	case e.symmetric:
		return boolean(not + "((" + x.operand() + " BETWEEN " + low.operand() + " AND " + high.operand() + ") OR (" +
			x.operand() + " BETWEEN " + high.operand() + " AND " + low.operand() + "))"), nil
	case x.sql != x2.sql: // the two sides compare as different types
		return boolean(not + "(" + x.operand() + " >= " + low.operand() + " AND " + x2.operand() + " <= " + high.operand() + ")"), nil
	}
	return boolean(x.operand() + " " + not + "BETWEEN " + low.operand() + " AND " + high.operand()), nil
}

func (t *translator) in(e *inExpr) (value, error) {
	not := ""
	if e.not {
		not = "NOT "
	}
	x, err := t.expr(e.x)
	if err != nil {
		return x, err
	}
	if e.sub != nil {
		return t.inQuery(e.at(), x, e.sub, not)
	}
	if x.row {
		return t.inRows(e, x, not)
	}
	if x, err = t.materialise(x); err != nil {
		return x, err
	}
	list := make([]value, len(e.list))
	for i, item := range e.list {
		if list[i], err = t.scalar(item); err != nil {
			return x, err
		}
	}
	return t.inList(e.at(), x, list, not)
}

// inList translates x IN (list) of values.
func (t *translator) inList(at int, x value, list []value, not string) (value, error) {
	if x.unknown() {
		to, err := t.common(append([]value{x}, list...), "IN")
		if err != nil {
			return x, err
		}
		if x, err = t.resolve(x, base(to)); err != nil {
			return x, err
		}
	}
	texts := make([]string, len(list))
	left := x
	for i := range list {
		a, b, err := t.comparable(at, "=", x, list[i])
		if err != nil {
			return x, err
		}
		if i > 0 && a.sql != left.sql { // a conversion that the others do not have
			return t.inEach(at, x, list, not)
		}
		left, texts[i] = a, b.sql
	}
	return boolean(left.operand() + " " + not + "IN (" + strings.Join(texts, ", ") + ")"), nil
}

// inEach compares with each of a list.
func (t *translator) inEach(at int, x value, list []value, not string) (value, error) {
	texts := make([]string, len(list))
	for i := range list {
		v, err := t.compare(at, "=", x, list[i])
		if err != nil {
			return v, err
		}
		texts[i] = v.operand()
	}
	return boolean(not + "(" + balanced(texts, " OR ") + ")"), nil
}

// inRows translates (a, b) IN ((1, 2), (3, 4)).
func (t *translator) inRows(e *inExpr, x value, not string) (value, error) {
	texts := make([]string, len(e.list))
	for i, item := range e.list {
		y, err := t.expr(item)
		if err != nil {
			return y, err
		}
		v, err := t.compareRows(e.at(), "=", x, y)
		if err != nil {
			return v, err
		}
		texts[i] = v.operand()
	}
	return boolean(not + "(" + balanced(texts, " OR ") + ")"), nil
}

// inQuery translates x IN (query).
func (t *translator) inQuery(at int, x value, q *query, not string) (value, error) {
	b, err := t.subqueryBody(q)
	if err != nil {
		return x, err
	}
	list := []value{x}
	if x.row {
		list = x.list
	}
	if len(b.cols) != len(list) {
		return x, t.fail(at, stateSyntax, "subquery has %d columns where %d are compared", len(b.cols), len(list))
	}
	left := make([]string, len(list))
	for i := range list {
		a, c, err := t.comparable(at, "=", list[i], b.columnValue(i))
		if err != nil {
			return x, err
		}
		if b.columnValue(i).unknown() {
			if err := b.coerce(t, i, base(c.typ), implicit, ""); err != nil {
				return x, err
			}
		} else if c.sql != b.columnValue(i).sql {
			if err := b.coerce(t, i, base(c.typ), implicit, ""); err != nil {
				return x, err
			}
			if c.typ.OID == sqltype.Interval.OID {
				return x, t.fail(at, stateUnsupported, "IN (SELECT …) of intervals is not supported: use EXISTS")
			}
		}
		left[i] = a.operand()
	}
	text := left[0]
	if x.row {
		text = "(" + strings.Join(left, ", ") + ")"
	}
	return boolean(text + " " + not + "IN (" + b.render(t) + ")"), nil
}

func (t *translator) caseExpr(e *caseExpr) (value, error) {
	var operand value
	var err error
	if e.operand != nil {
		if operand, err = t.scalar(e.operand); err != nil {
			return operand, err
		}
		if operand, err = t.asText(operand); err != nil {
			return operand, err
		}
	}
	conds := make([]string, len(e.whens))
	results := make([]value, 0, len(e.whens)+1)
	for i, w := range e.whens {
		var cond value
		if e.operand == nil {
			cond, err = t.condition(w.cond, "CASE/WHEN")
		} else {
			var right value
			if right, err = t.scalar(w.cond); err == nil {
				cond, err = t.compare(w.cond.at(), "=", operand, right)
			}
		}
		if err != nil {
			return cond, err
		}
		conds[i] = cond.sql
		v, err := t.scalar(w.then)
		if err != nil {
			return v, err
		}
		results = append(results, v)
	}
	if e.other != nil {
		v, err := t.scalar(e.other)
		if err != nil {
			return v, err
		}
		results = append(results, v)
	}
	typ, err := t.unify(results, "CASE")
	if err != nil {
		return value{}, err
	}
	var b strings.Builder
	b.WriteString("CASE")
	notNull := e.other != nil
	for i := range conds {
		b.WriteString(" WHEN " + conds[i] + " THEN " + results[i].sql)
		notNull = notNull && results[i].notNull
	}
	if e.other != nil {
		b.WriteString(" ELSE " + results[len(results)-1].sql)
		notNull = notNull && results[len(results)-1].notNull
	}
	b.WriteString(" END")
	name := "case"
	if e.other != nil {
		if last := results[len(results)-1]; last.column != nil {
			name = last.name
		}
	}
	return value{typ: typ, sql: b.String(), atom: true, notNull: notNull, name: name, at: e.at()}, nil
}

func (t *translator) collate(e *collateExpr) (value, error) {
	v, err := t.scalar(e.x)
	if err != nil {
		return v, err
	}
	if v, err = t.asText(v); err != nil {
		return v, err
	}
	switch strings.ToLower(e.collation) {
	case "default", "c", "posix", "ucs_basic", "c.utf-8", "c.utf8":
		return v, nil // SQLite compares bytes too
	}
	if v.known() && !isString(v.typ) {
		return v, t.fail(e.at(), stateMismatch, "collations are not supported by type %s", base(v.typ).SQL())
	}
	return v, t.fail(e.at(), stateUnsupported, "collation %q is not supported: text is compared by code points, which is \"C\"", e.collation)
}

// rowValue translates (a, b) and ROW(a, b).
func (t *translator) rowValue(e *rowExpr) (value, error) {
	v := value{typ: sqltype.Record, row: true, name: "row", at: e.at()}
	for _, x := range e.elems {
		elem, err := t.scalar(x)
		if err != nil {
			return v, err
		}
		v.list = append(v.list, elem)
	}
	return v, nil
}
