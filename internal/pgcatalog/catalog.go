package pgcatalog

import (
	"strings"

	"kimberlite/internal/schema"
)

// Numbers that PostgreSQL gives its own objects.
const (
	ownerOID       = 10
	catalogOID     = 11
	publicOID      = 2200
	informationOID = 13207
	kimberliteOID  = 13000 // ours: the namespace of Kimberlite's system tables
	databaseOID    = 5
	tablespaceOID  = 1663
	heapOID        = 2
	btreeOID       = 403

	classClass      = 1259 // pg_class in pg_depend.classid
	constraintClass = 2606
	attrdefClass    = 2604
	namespaceClass  = 2615
)

// firstConstraintOID begins the numbers of what a schema does not number:
// constraints, defaults, triggers and rules. They are far above those it does.
const firstConstraintOID = 1 << 30

// ownerName is the role that owns every object of a tenant.
const ownerName = "owner"

// relation is a row of pg_class.
type relation struct {
	oid       uint32
	name      string
	namespace uint32
	kind      byte // PostgreSQL's relkind
	table     *schema.Table
	index     *schema.Index    // of an index, whose table is table
	sequence  *schema.Sequence // of a sequence
	system    *Table           // of a table of PostgreSQL's
}

// constraint is a row of pg_constraint.
type constraint struct {
	oid     uint32
	name    string
	kind    byte // PostgreSQL's contype
	table   *schema.Table
	index   *schema.Index // of a key, and the referenced one of a foreign key
	foreign *schema.ForeignKey
	target  *schema.Table // of a foreign key
	check   string
	columns []int // places from 1
	refers  []int
}

// fallback is a column's default.
type fallback struct {
	oid    uint32
	table  *schema.Table
	column int // place from 1
	text   string
}

// trigger is a row of pg_trigger; rule one of pg_rewrite.
type trigger struct {
	oid     uint32
	table   *schema.Table
	trigger *schema.Trigger
}

type rule struct {
	oid  uint32
	view *schema.Table
}

// catalog is a schema as PostgreSQL numbers and names it.
type catalog struct {
	of          *schema.Schema
	relations   []*relation
	byOID       map[uint32]*relation
	byName      map[string]*relation // of public
	constraints []*constraint
	constraint  map[uint32]*constraint
	defaults    []*fallback
	triggers    []*trigger
	rules       []*rule
	referenced  map[*schema.Table]bool // by a foreign key
}

// catalog returns the schema's catalog, made the first time.
func (e *Env) catalog() *catalog {
	if e.built == nil || e.built.of != e.Schema {
		e.built, e.scanned, e.attributes = newCatalog(e.Schema), nil, nil
	}
	return e.built
}

func newCatalog(s *schema.Schema) *catalog {
	c := &catalog{
		of: s, byOID: map[uint32]*relation{}, byName: map[string]*relation{},
		constraint: map[uint32]*constraint{}, referenced: map[*schema.Table]bool{},
	}
	if s == nil {
		return c
	}
	next := uint32(firstConstraintOID)
	number := func() uint32 {
		next++
		return next
	}
	for _, t := range s.Tables {
		c.addTable(t)
		for i := range t.Indexes {
			c.addIndex(t, &t.Indexes[i])
		}
	}
	for _, q := range s.Sequences {
		c.add(&relation{oid: q.OID, name: q.Name, namespace: publicOID, kind: 'S', sequence: q})
	}
	for _, t := range s.Tables {
		c.addConstraints(s, t, number)
		c.addRest(t, number)
	}
	return c
}

func (c *catalog) add(r *relation) {
	c.relations = append(c.relations, r)
	c.byOID[r.oid] = r
	if r.namespace == publicOID {
		c.byName[r.name] = r
	}
}

// systemPrefix begins the names of Kimberlite's own tables.
const systemPrefix = "kimberlite."

func (c *catalog) addTable(t *schema.Table) {
	r := &relation{oid: t.OID, name: t.Name, namespace: publicOID, kind: 'r', table: t}
	switch t.Kind {
	case schema.KindView:
		r.kind = 'v'
	case schema.KindSystem:
		r.kind, r.namespace, r.name = 'v', kimberliteOID, strings.TrimPrefix(t.Name, systemPrefix)
	}
	c.add(r)
}

func (c *catalog) addIndex(t *schema.Table, x *schema.Index) {
	c.add(&relation{oid: x.OID, name: x.Name, namespace: publicOID, kind: 'i', table: t, index: x})
}

// addConstraints lists a table's constraints.
func (c *catalog) addConstraints(s *schema.Schema, t *schema.Table, number func() uint32) {
	put := func(k *constraint) {
		k.oid, k.table = number(), t
		c.constraints = append(c.constraints, k)
		c.constraint[k.oid] = k
	}
	for i := range t.Indexes {
		x := &t.Indexes[i]
		switch {
		case x.Primary:
			put(&constraint{name: x.Name, kind: 'p', index: x, columns: places(t, x.Columns)})
		case x.Constraint:
			put(&constraint{name: x.Name, kind: 'u', index: x, columns: places(t, x.Columns)})
		}
	}
	for _, k := range t.Checks {
		put(&constraint{name: k.Name, kind: 'c', check: k.Expr, columns: mentioned(t, k.Expr)})
	}
	for i := range t.ForeignKeys {
		f := &t.ForeignKeys[i]
		k := &constraint{name: f.Name, kind: 'f', foreign: f, columns: places(t, f.Columns)}
		if target, ok := s.Table(f.RefTable); ok {
			names := f.RefColumns
			if len(names) == 0 {
				names = keyColumns(target)
			}
			k.target, k.refers, k.index = target, places(target, names), keyIndex(target, names)
			c.referenced[target] = true
		}
		put(k)
	}
}

// addRest lists a table's defaults and triggers, and a view's rule.
func (c *catalog) addRest(t *schema.Table, number func() uint32) {
	for i := range t.Columns {
		if text := defaultText(&t.Columns[i]); text != "" {
			c.defaults = append(c.defaults, &fallback{oid: number(), table: t, column: i + 1, text: text})
		}
	}
	for i := range t.Triggers {
		c.triggers = append(c.triggers, &trigger{oid: number(), table: t, trigger: &t.Triggers[i]})
	}
	if t.Kind == schema.KindView {
		c.rules = append(c.rules, &rule{oid: number(), view: t})
	}
}

// places returns the places, from 1, of columns of a table; 0 is an expression.
func places(t *schema.Table, names []string) []int {
	list := make([]int, len(names))
	for i, name := range names {
		if name == "" {
			continue
		}
		if _, at, ok := t.Column(name); ok {
			list[i] = at + 1
		}
	}
	return list
}

// keyColumns returns the columns of a table's primary key in order.
func keyColumns(t *schema.Table) []string {
	for i := range t.Indexes {
		if t.Indexes[i].Primary {
			return t.Indexes[i].Columns
		}
	}
	return nil
}

// keyIndex returns the unique index over exactly these columns.
func keyIndex(t *schema.Table, names []string) *schema.Index {
	want := places(t, names)
	for i := range t.Indexes {
		x := &t.Indexes[i]
		if !x.Unique && !x.Primary || x.Where != "" || len(x.Columns) != len(want) {
			continue
		}
		if sameSet(places(t, x.Columns), want) {
			return x
		}
	}
	return nil
}

func sameSet(a, b []int) bool {
	for _, n := range a {
		found := false
		for _, m := range b {
			found = found || n == m
		}
		if !found {
			return false
		}
	}
	return true
}

// find returns the relation of an OID, the tenant's or PostgreSQL's.
func (c *catalog) find(oid uint32) *relation {
	if r := c.byOID[oid]; r != nil {
		return r
	}
	return systemRelations().byOID[oid]
}

// tableOf returns the tenant's table or view of an OID.
func (c *catalog) tableOf(oid uint32) *schema.Table {
	if r := c.byOID[oid]; r != nil && r.index == nil {
		return r.table
	}
	return nil
}
