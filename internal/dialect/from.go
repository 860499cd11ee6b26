package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// from translates FROM, and puts what it names into the scope.
func (t *translator) from(items []fromItem) (string, error) {
	texts := make([]string, len(items))
	for i, f := range items {
		text, _, err := t.fromItem(f)
		if err != nil {
			return "", err
		}
		texts[i] = text
	}
	if len(texts) > 1 {
		return strings.Join(texts, " CROSS JOIN "), nil
	}
	return strings.Join(texts, ""), nil
}

// fromItem translates one item and returns the relations in it.
func (t *translator) fromItem(f fromItem) (string, []*relation, error) {
	switch f := f.(type) {
	case *tableRef:
		r, sql, err := t.lookupTable(f)
		if err != nil {
			return "", nil, err
		}
		if err := t.rename(r, f.columns, f.at()); err != nil {
			return "", nil, err
		}
		if sql != quoteName(r.name) {
			sql += " AS " + quoteName(r.name)
		}
		if len(f.columns) > 0 {
			return t.renamed(r, sql, f)
		}
		return sql, []*relation{r}, t.addRelation(r, f.at())
	case *queryRef:
		return t.queryRef(f)
	case *callRef:
		return t.callRef(f)
	case *joinRef:
		return t.join(f)
	}
	return "", nil, t.fail(f.at(), stateUnsupported, "this is not supported in FROM")
}

func (t *translator) addRelation(r *relation, at int) error {
	for _, other := range t.scope.rels {
		if other.name == r.name {
			return t.fail(at, stateAliasTwice, "table name %q specified more than once", r.name)
		}
	}
	t.scope.rels = append(t.scope.rels, r)
	return nil
}

// rename gives the columns of a relation other names.
func (t *translator) rename(r *relation, names []string, at int) error {
	if len(names) > len(r.cols) && !r.open {
		return t.fail(at, stateColumnRef, "table %q has %d columns available but %d columns specified", r.name, len(r.cols), len(names))
	}
	for i, n := range names {
		if i < len(r.cols) {
			r.cols[i].name = n
		}
	}
	return nil
}

// renamed writes a table whose columns have other names as a subquery.
func (t *translator) renamed(r *relation, sql string, f *tableRef) (string, []*relation, error) {
	if r.open {
		return "", nil, t.fail(f.at(), stateUnsupported, "column aliases of this table are not supported")
	}
	cols := make([]string, 0, len(r.cols))
	for i := range r.cols {
		c := &r.cols[i]
		cols = append(cols, quoteName(c.sql)+" AS "+quoteName(c.name))
		c.sql = c.name
	}
	text := "(SELECT " + strings.Join(cols, ", ") + " FROM " + sql + ") AS " + quoteName(r.name)
	r.table = nil
	return text, []*relation{r}, t.addRelation(r, f.at())
}

func (t *translator) queryRef(f *queryRef) (string, []*relation, error) {
	outer := t.scope
	// What stands beside it in FROM cannot be seen inside.
	t.scope = &scope{parent: outer.parent}
	b, err := t.query(f.q)
	t.scope = outer
	if err != nil {
		return "", nil, err
	}
	if err := b.settle(t); err != nil {
		return "", nil, err
	}
	r := &relation{name: f.alias, sql: f.alias}
	r.cols = b.relColumns(nil)
	for i := range r.cols {
		r.cols[i].rel = r
	}
	if err := t.rename(r, f.columns, f.at()); err != nil {
		return "", nil, err
	}
	text := "(" + b.render(t) + ")"
	if b.rows != nil || len(f.columns) > 0 || duplicates(b.cols) {
		text = t.namedColumns(r, text)
	}
	return text + " AS " + quoteName(f.alias), []*relation{r}, t.addRelation(r, f.at())
}

func duplicates(cols []bodyColumn) bool {
	seen := map[string]bool{}
	for _, c := range cols {
		if seen[c.name] {
			return true
		}
		seen[c.name] = true
	}
	return false
}

// namedColumns writes a query so that its columns have the relation's names.
func (t *translator) namedColumns(r *relation, text string) string {
	name := t.fresh()
	names := make([]string, len(r.cols))
	for i := range r.cols {
		names[i] = quoteName(r.cols[i].name)
		r.cols[i].sql = r.cols[i].name
	}
	return "(WITH " + name + "(" + strings.Join(names, ", ") + ") AS " + text + " SELECT * FROM " + name + ")"
}

// callRef translates the functions that make rows.
func (t *translator) callRef(f *callRef) (string, []*relation, error) {
	name := f.alias
	if name == "" {
		name = f.call.name
	}
	r := &relation{name: name, sql: name, scalar: true}
	sql, typ, err := t.rowFunction(f.call)
	if err != nil {
		return "", nil, err
	}
	if sql.cols != nil {
		r.scalar = false
		for _, c := range sql.cols {
			r.cols = append(r.cols, relColumn{name: c.name, sql: c.name, typ: c.typ, rel: r})
		}
	} else {
		r.cols = []relColumn{{name: name, sql: "value", typ: typ, rel: r}}
		if sql.places {
			r.cols[0].sql, r.cols[0].counted = "key", sql.first == 1
		}
		if strings.Contains(f.call.name, "_array_elements") {
			r.cols[0].name = "value" // the name of its result, whatever its alias
		}
	}
	if f.ordinality {
		r.scalar = false
		sql.text = countRows(r, sql)
	}
	if err := t.rename(r, f.columns, f.at()); err != nil {
		return "", nil, err
	}
	return sql.text + " AS " + quoteName(name), []*relation{r}, t.addRelation(r, f.at())
}

// countRows adds the column of WITH ORDINALITY. Elements of an array know
// their place; other rows are counted, which a subquery does.
func countRows(r *relation, source rowSource) string {
	c := relColumn{name: "ordinality", sql: "ordinality", typ: sqltype.Int8, rel: r}
	text := source.text
	if strings.HasPrefix(text, "json_each(") {
		c.sql, c.counted = "key", true
	} else {
		text = "(SELECT *, row_number() OVER () AS ordinality FROM " + text + ")"
	}
	r.cols = append(r.cols, c)
	return text
}

// join translates a join.
func (t *translator) join(j *joinRef) (string, []*relation, error) {
	left, leftRels, err := t.fromItem(j.left)
	if err != nil {
		return "", nil, err
	}
	right, rightRels, err := t.fromItem(j.right)
	if err != nil {
		return "", nil, err
	}
	if _, nested := j.right.(*joinRef); nested {
		right = "(" + right + ")"
	}
	all := append(append([]*relation(nil), leftRels...), rightRels...)
	if j.kind == "left" || j.kind == "full" {
		nullable(rightRels)
	}
	if j.kind == "right" || j.kind == "full" {
		nullable(leftRels)
	}
	word := map[string]string{"": "JOIN", "left": "LEFT JOIN", "right": "RIGHT JOIN", "full": "FULL JOIN", "cross": "CROSS JOIN"}[j.kind]
	text := left + " " + word + " " + right
	switch {
	case j.on != nil:
		on, err := t.on(j.on, all)
		return text + " ON " + on, all, err
	case j.natural:
		j.using = commonNames(leftRels, rightRels)
		if len(j.using) == 0 {
			return text, all, nil
		}
		fallthrough
	case len(j.using) > 0:
		names, err := t.using(j, leftRels, rightRels)
		return text + " USING (" + names + ")", all, err
	}
	return text, all, nil
}

func nullable(rels []*relation) {
	for _, r := range rels {
		r.nullable = true
	}
}

// on translates the condition of a join, which sees what is joined.
func (t *translator) on(x expr, rels []*relation) (string, error) {
	outer := t.scope
	inner := *outer
	inner.rels, inner.refs, inner.noAgg, inner.noWin = rels, nil, "JOIN conditions", "JOIN conditions"
	inner.groups = nil
	t.scope = &inner
	v, err := t.condition(x, "JOIN/ON")
	t.scope = outer
	return v.sql, err
}

// commonNames are the columns that both sides of a natural join have.
func commonNames(left, right []*relation) []string {
	var names []string
	for _, l := range left {
		for i := range l.cols {
			for _, r := range right {
				if n := l.cols[i].name; r.column(n) != nil && !l.cols[i].hidden && !contains(names, n) {
					names = append(names, n)
				}
			}
		}
	}
	return names
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// using checks and merges the columns of USING.
func (t *translator) using(j *joinRef, left, right []*relation) (string, error) {
	if t.scope.merged == nil {
		t.scope.merged = map[string]*relColumn{}
	}
	texts := make([]string, len(j.using))
	for i, name := range j.using {
		l, r := t.sideColumn(name, left), t.sideColumn(name, right)
		if l == nil || r == nil {
			return "", t.fail(j.at(), stateNoColumn, "column %q specified in USING clause does not exist in both tables", name)
		}
		x := value{typ: l.typ, sql: "x", column: l, at: j.at()}
		y := value{typ: r.typ, sql: "y", column: r, at: j.at()}
		a, b, err := t.comparable(j.at(), "=", x, y)
		if err != nil {
			return "", err
		}
		if a.sql != x.sql || b.sql != y.sql {
			return "", t.fail(j.at(), stateUnsupported, "USING of columns of different types is not supported: use ON with a cast")
		}
		m := t.scope.merged[name]
		if m == nil {
			c := *l
			if j.kind == "right" {
				c = *r
			}
			if j.kind == "full" {
				c.rel = &relation{name: l.rel.name, sql: l.rel.sql, nullable: true}
				c.notNull = false
			}
			m = &c
			t.scope.merged[name] = m
		}
		texts[i] = quoteName(l.sql)
	}
	return strings.Join(texts, ", "), nil
}

func (t *translator) sideColumn(name string, rels []*relation) *relColumn {
	for _, r := range rels {
		if c := r.column(name); c != nil {
			return c
		}
	}
	return nil
}

func (t *translator) subquery(e *subquery) (value, error) {
	b, err := t.subqueryBody(e.q)
	if err != nil {
		return value{}, err
	}
	if e.kind == "exists" {
		if err := b.settle(t); err != nil {
			return value{}, err
		}
		return value{typ: sqltype.Bool, sql: "EXISTS (" + b.render(t) + ")", atom: true, notNull: true, name: "exists", at: e.at()}, nil
	}
	if len(b.cols) != 1 {
		return value{}, t.fail(e.at(), stateSyntax, "subquery must return only one column")
	}
	if err := b.settle(t); err != nil {
		return value{}, err
	}
	if e.kind == "array" {
		return t.arrayQuery(e, b)
	}
	text := b.render(t)
	if !b.one && !t.oneRow(e.q) {
		text = t.only(text)
	}
	return value{typ: b.cols[0].typ, sql: "(" + text + ")", atom: true, name: b.cols[0].name, at: e.at()}, nil
}

// arrayQuery translates ARRAY(SELECT …).
func (t *translator) arrayQuery(e *subquery, b *body) (value, error) {
	elem := b.cols[0].typ
	typ, ok := base(elem).Array()
	if !ok {
		typ = sqltype.TextArray
	}
	name := t.fresh()
	return value{
		typ: typ, sql: "(SELECT json_group_array(" + jsonElement("x", elem) + ") FROM (WITH " + name + "(x) AS (" + b.render(t) + ") SELECT x FROM " + name + "))",
		atom: true, notNull: true, name: "array", at: e.at(),
	}, nil
}
