package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// core translates a SELECT, with the ORDER BY of the query around it.
func (t *translator) core(c *selectCore, q *query) (*body, error) {
	if t.scope == nil {
		t.scope = &scope{}
	}
	s := t.scope
	b := &body{at: c.at(), head: "SELECT ", items: []value{}}
	if err := t.liftRows(c); err != nil {
		return nil, err
	}
	from, err := t.from(c.from)
	if err != nil {
		return nil, err
	}
	if from != "" {
		b.rest = " FROM " + from
	}
	if c.where != nil {
		s.noAgg, s.noWin = "WHERE", "WHERE"
		v, err := t.condition(c.where, "WHERE")
		if err != nil {
			return nil, err
		}
		s.noAgg, s.noWin = "", ""
		b.rest += " WHERE " + v.sql
		s.refs = s.refs[:0]
	}
	group, err := t.groupBy(c)
	if err != nil {
		return nil, err
	}
	b.rest += group
	s.windows = map[string]bool{}
	for i := range c.windows {
		s.windows[c.windows[i].name] = true
	}
	if err := t.items(c, b); err != nil {
		return nil, err
	}
	if c.having != nil {
		s.noWin = "HAVING"
		v, err := t.condition(c.having, "HAVING")
		if err != nil {
			return nil, err
		}
		s.noWin = ""
		b.rest += " HAVING " + v.sql
	}
	if err := t.namedWindows(c, b); err != nil {
		return nil, err
	}
	b.one = s.hasAgg && len(c.groupBy) == 0
	return b, t.finish(c, q, b)
}

// finish translates DISTINCT and ORDER BY, and checks the grouping.
func (t *translator) finish(c *selectCore, q *query, b *body) error {
	if c.distinct && c.distinctOn == nil {
		b.head = "SELECT DISTINCT "
	}
	var keys []sortText
	if q != nil && len(q.orderBy) > 0 {
		var err error
		if keys, err = t.order(c, q, b); err != nil {
			return err
		}
	}
	if err := t.checkGrouping(c); err != nil {
		return err
	}
	if c.distinctOn != nil {
		return t.distinctOn(c, b, keys)
	}
	if len(keys) > 0 {
		texts := make([]string, len(keys))
		for i, k := range keys {
			texts[i] = k.sql + k.direction
			if k.output >= 0 && b.items[k.output].typ.OID == sqltype.Interval.OID {
				texts[i] = "pg_interval_key(" + b.items[k.output].sql + ")" + k.direction
			}
		}
		b.tail = " ORDER BY " + strings.Join(texts, ", ")
	}
	return nil
}

// items translates the result columns.
func (t *translator) items(c *selectCore, b *body) error {
	if len(c.items) == 0 {
		b.add(noColumns(c.at()), "?column?")
	}
	for _, item := range c.items {
		if ref, ok := item.x.(*columnRef); ok && ref.star {
			if err := t.star(ref, b); err != nil {
				return err
			}
			continue
		}
		v, err := t.expr(item.x)
		if err != nil {
			return err
		}
		if v.row {
			return t.fail(v.at, stateUnsupported, "a row as a result column is not supported: name its columns, or use row_to_json()")
		}
		if v.list == nil || v.typ.OID != sqltype.AnyArray.OID {
			if v, err = t.single(v); err != nil {
				return err
			}
		} else if v, err = t.materialise(v); err != nil {
			return err
		}
		name := item.alias
		if name == "" {
			if name = v.name; name == "" {
				name = "?column?"
			}
		}
		b.add(v, name)
	}
	return nil
}

func (b *body) add(v value, name string) {
	b.items = append(b.items, v)
	b.cols = append(b.cols, bodyColumn{name: name, typ: v.typ, notNull: v.notNull})
}

// star expands * and table.*.
func (t *translator) star(ref *columnRef, b *body) error {
	s := t.scope
	var rels []*relation
	if len(ref.parts) == 0 {
		rels = s.rels
		if len(rels) == 0 {
			return t.fail(ref.at(), stateSyntax, "SELECT * with no tables specified is not valid")
		}
	} else {
		r := s.relation(ref.parts[len(ref.parts)-1])
		if r == nil {
			return t.fail(ref.at(), stateNoTable, "missing FROM-clause entry for table %q", ref.parts[len(ref.parts)-1])
		}
		rels = []*relation{r}
	}
	merged := map[string]bool{}
	if len(ref.parts) == 0 {
		for _, name := range s.mergedOrder() {
			b.add(t.columnValue(s, s.merged[name], ref.at()), name)
			merged[name] = true
		}
	}
	for _, r := range rels {
		if r.open {
			return t.fail(ref.at(), stateUnsupported, "* is not supported for %q, whose columns are not known: name them", r.name)
		}
		for i := range r.cols {
			col := &r.cols[i]
			if col.hidden || len(ref.parts) == 0 && merged[col.name] {
				continue
			}
			b.add(t.columnValue(s, col, ref.at()), col.name)
		}
	}
	return nil
}

// mergedOrder are the names that USING merged, as the tables have them.
func (s *scope) mergedOrder() []string {
	if len(s.merged) == 0 {
		return nil
	}
	var names []string
	seen := map[string]bool{}
	for _, r := range s.rels {
		for i := range r.cols {
			if n := r.cols[i].name; s.merged[n] != nil && !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		}
	}
	return names
}

// groupBy translates GROUP BY.
func (t *translator) groupBy(c *selectCore) (string, error) {
	if len(c.groupBy) == 0 {
		return "", nil
	}
	s := t.scope
	texts := make([]string, 0, len(c.groupBy))
	s.noAgg, s.noWin = "GROUP BY", "GROUP BY"
	groups := map[string]bool{}
	for _, x := range c.groupBy {
		if r, ok := x.(*rowExpr); ok && len(r.elems) == 0 {
			continue // GROUP BY ()
		}
		target, err := t.groupTarget(c, x)
		if err != nil {
			return "", err
		}
		v, err := t.scalar(target)
		if err != nil {
			return "", err
		}
		if v, err = t.asText(v); err != nil {
			return "", err
		}
		groups[v.sql] = true
		if strings.Trim(v.sql, "0123456789") == "" {
			v.sql = "+" + v.sql // a number would count a column
		}
		texts = append(texts, v.sql)
	}
	s.noAgg, s.noWin = "", ""
	s.refs = s.refs[:0]
	s.groups = groups
	s.hasAgg = true
	if len(texts) == 0 {
		return "", nil
	}
	return " GROUP BY " + strings.Join(texts, ", "), nil
}

// groupTarget is what a key of GROUP BY or DISTINCT ON means: a column of a
// table, or else a result column by name, or one by number.
func (t *translator) groupTarget(c *selectCore, x expr) (expr, error) {
	switch x := x.(type) {
	case *literal:
		if x.kind != litInteger {
			return x, nil
		}
		for i := range c.items {
			if itoa(i+1) == x.text {
				if ref, ok := c.items[i].x.(*columnRef); ok && ref.star {
					return nil, t.fail(x.at(), stateUnsupported, "a position in GROUP BY that counts * is not supported: name the column")
				}
				return c.items[i].x, nil
			}
		}
		return nil, t.fail(x.at(), stateColumnRef, "GROUP BY position %s is not in select list", x.text)
	case *columnRef:
		if len(x.parts) != 1 {
			return x, nil
		}
		if found, _ := t.scope.lookup(x.parts[0]); len(found) > 0 {
			return x, nil
		}
		for i := range c.items {
			if c.items[i].alias == x.parts[0] {
				return c.items[i].x, nil
			}
		}
	}
	return x, nil
}

// checkGrouping refuses columns that are neither grouped nor aggregated.
func (t *translator) checkGrouping(c *selectCore) error {
	s := t.scope
	if !s.hasAgg && c.having == nil {
		return nil
	}
	for _, ref := range s.refs {
		if s.grouped(ref.col) {
			continue
		}
		return t.fail(ref.at, stateGrouping, "column \"%s.%s\" must appear in the GROUP BY clause or be used in an aggregate function", ref.col.rel.name, ref.col.name)
	}
	return nil
}

// grouped reports whether a column is grouped by, or depends on a primary key
// that is.
func (s *scope) grouped(col *relColumn) bool {
	in := func(c *relColumn) bool {
		sql := quoteName(c.sql)
		return s.groups[sql] || s.groups[quoteName(c.rel.sql)+"."+sql]
	}
	if in(col) {
		return true
	}
	if col.rel.table == nil {
		return false
	}
	keys := 0
	for i := range col.rel.table.Columns {
		if col.rel.table.Columns[i].PrimaryKey > 0 {
			keys++
			if !in(&col.rel.cols[i]) {
				return false
			}
		}
	}
	return keys > 0
}

// sortText is a translated sort key.
type sortText struct {
	sql, direction string
	output         int // the result column that it is, or -1
}

// order translates the ORDER BY of a SELECT: a result column by name or
// number, or an expression over the tables' columns.
func (t *translator) order(c *selectCore, q *query, b *body) ([]sortText, error) {
	keys := make([]sortText, 0, len(q.orderBy))
	for _, k := range q.orderBy {
		n, ok := t.outputColumn(b, k.x)
		if n < 0 {
			return nil, t.fail(k.x.at(), stateColumnRef, "ORDER BY position is not in select list")
		}
		if ok {
			keys = append(keys, sortText{itoa(n + 1), direction(k, b.cols[n].notNull), n})
			continue
		}
		v, err := t.scalar(k.x)
		if err != nil {
			return nil, err
		}
		if v, err = t.asText(v); err != nil {
			return nil, err
		}
		out := -1
		for i := range b.items {
			if b.items[i].sql == v.sql && !strings.HasPrefix(v.sql, "?") {
				out = i
			}
		}
		if out < 0 && c.distinct && c.distinctOn == nil {
			return nil, t.fail(k.x.at(), stateColumnRef, "for SELECT DISTINCT, ORDER BY expressions must appear in select list")
		}
		sql := v.sql
		switch {
		case v.typ.OID == sqltype.Interval.OID:
			sql = "pg_interval_key(" + sql + ")"
		case v.typ.OID == sqltype.JSON.OID:
			return nil, t.fail(k.x.at(), stateNoFunction, "could not identify an ordering operator for type json")
		case out >= 0:
			sql = itoa(out + 1)
		case strings.Trim(sql, "0123456789") == "":
			sql = "+" + sql
		}
		keys = append(keys, sortText{sql, direction(k, v.notNull), out})
	}
	return keys, nil
}
