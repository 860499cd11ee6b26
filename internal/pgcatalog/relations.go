package pgcatalog

import (
	"slices"
	"strings"

	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// systemCatalog is PostgreSQL's own tables as pg_class and pg_attribute list
// them. It is the same for everybody.
type systemCatalog struct {
	byOID      map[uint32]*relation
	byName     map[string]*relation // of pg_catalog
	classes    [][]any
	attributes [][]any
	// attributesOf are the same by relation.
	attributesOf map[uint32][][]any
}

// systemRelations is made once and read-only from then on.
func systemRelations() *systemCatalog { return systemCatalogs.get(makeSystemRelations) }

// systemCatalogs is what systemRelations returns.
var systemCatalogs lazy[*systemCatalog]

func makeSystemRelations() *systemCatalog {
	s := &systemCatalog{byOID: map[uint32]*relation{}, byName: map[string]*relation{}, attributesOf: map[uint32][][]any{}}
	class, attribute := table("pg_class"), table("pg_attribute")
	for _, t := range Tables() {
		r := &relation{oid: t.oid, name: t.name, namespace: catalogOID, kind: 'r', system: t}
		if t.view {
			r.kind = 'v'
		}
		if t.information() {
			r.namespace = informationOID
		} else {
			s.byName[r.name] = r
		}
		s.byOID[r.oid] = r
		s.classes = append(s.classes, classRow(class, r, len(t.Columns)))
		start := len(s.attributes)
		for i, c := range t.Columns {
			s.attributes = append(s.attributes, attributeRow(attribute, r.oid, i+1, c.Name, c.Type,
				"attnotnull", c.notNull))
		}
		s.attributesOf[r.oid] = slices.Clone(s.attributes[start:])
	}
	return s
}

// classRow is a row of pg_class with what every kind of relation has, and
// more pairs.
func classRow(t *Table, r *relation, columns int, pairs ...any) []any {
	stores := r.kind == 'r' || r.kind == 'i' || r.kind == 'S'
	method, filenode, identity := 0, uint32(0), "n"
	switch r.kind {
	case 'r':
		method, identity = heapOID, "d"
		if r.system != nil {
			identity = "n"
		}
	case 'i':
		method = btreeOID
	}
	if stores {
		filenode = r.oid
	}
	return t.row(append([]any{
		"oid", r.oid, "relname", r.name, "relnamespace", r.namespace, "relowner", ownerOID, "relam", method,
		"relfilenode", filenode, "reltuples", float64(-1), "relpersistence", "p", "relkind", r.kind,
		"relnatts", columns, "relispopulated", true, "relreplident", identity, "relhasrules", r.kind == 'v',
	}, pairs...)...)
}

func rowsClass(e *Env, t *Table) [][]any {
	c := e.catalog()
	system := systemRelations().classes
	rows := make([][]any, 0, len(c.relations)+len(system))
	for _, r := range c.relations {
		switch {
		case r.index != nil:
			rows = append(rows, classRow(t, r, len(r.index.Columns)))
		case r.sequence != nil:
			rows = append(rows, classRow(t, r, len(sequenceColumns), "relhasindex", false))
		default:
			rows = append(rows, classRow(t, r, len(r.table.Columns),
				"relhasindex", len(r.table.Indexes) > 0, "relchecks", len(r.table.Checks),
				"relhastriggers", len(r.table.Triggers) > 0 || len(r.table.ForeignKeys) > 0 || c.referenced[r.table]))
		}
	}
	return append(rows, system...)
}

// attributeRow is a row of pg_attribute with what follows from its type, and
// more pairs.
func attributeRow(t *Table, relation uint32, place int, name string, kind sqltype.Type, pairs ...any) []any {
	f := typeFact(kind.OID)
	dimensions := 0
	if _, ok := kind.Element(); ok {
		dimensions = 1
	}
	return t.row(append([]any{
		"attrelid", relation, "attname", name, "atttypid", kind.OID, "attstattarget", -1, "attlen", f.length,
		"attnum", place, "attndims", dimensions, "attcacheoff", -1, "atttypmod", kind.Mod, "attbyval", f.byValue,
		"attalign", f.align, "attstorage", f.storage, "attislocal", true, "attcollation", f.collation,
	}, pairs...)...)
}

// sequenceColumns are the columns of every sequence.
var sequenceColumns = []Column{
	{Name: "last_value", Type: sqltype.Int8}, {Name: "log_cnt", Type: sqltype.Int8}, {Name: "is_called", Type: sqltype.Bool},
}

func rowsAttribute(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, r := range e.catalog().relations {
		rows = append(rows, relationAttributes(t, r)...)
	}
	return append(rows, systemRelations().attributes...)
}

// attributesOf returns the rows of one relation, without making the others:
// clients ask for one after the other.
func (e *Env) attributesOf(t *Table, oid uint32) [][]any {
	r := e.catalog().byOID[oid]
	if r == nil {
		return systemRelations().attributesOf[oid]
	}
	rows, ok := e.attributes[oid]
	if !ok {
		rows = relationAttributes(t, r)
		if e.attributes == nil {
			e.attributes = map[uint32][][]any{}
		}
		e.attributes[oid] = rows
	}
	return rows
}

// relationAttributes are the rows of pg_attribute of one of the tenant's
// relations.
func relationAttributes(t *Table, r *relation) [][]any {
	switch {
	case r.index != nil:
		return indexAttributes(t, r)
	case r.sequence != nil:
		rows := make([][]any, len(sequenceColumns))
		for i, k := range sequenceColumns {
			rows[i] = attributeRow(t, r.oid, i+1, k.Name, k.Type, "attnotnull", true)
		}
		return rows
	}
	rows := make([][]any, len(r.table.Columns))
	for i := range r.table.Columns {
		k := &r.table.Columns[i]
		generated := ""
		if k.Generated {
			generated = "s"
		}
		rows[i] = attributeRow(t, r.oid, i+1, k.Name, k.Type,
			"attnotnull", notNull(k), "atthasdef", defaultText(k) != "",
			"attidentity", k.Identity, "attgenerated", generated)
	}
	return rows
}

// notNull says that a column refuses NULL, in PostgreSQL's eyes.
func notNull(c *schema.Column) bool { return c.NotNull || c.PrimaryKey > 0 || c.Identity != "" }

func indexAttributes(t *Table, r *relation) [][]any {
	var rows [][]any
	parts := keyParts(r.index)
	for i, name := range r.index.Columns {
		kind := sqltype.Text
		if c, _, ok := r.table.Column(name); ok {
			kind = c.Type
		} else if name = "expr"; i < len(parts) {
			name = expressionName(clientText(parts[i].text))
		}
		rows = append(rows, attributeRow(t, r.oid, i+1, name, kind))
	}
	return rows
}

// expressionName is what PostgreSQL calls an expression in an index: the
// function that it calls, or "expr".
func expressionName(text string) string {
	if isCall(text) {
		return tokens(text)[0].text
	}
	return "expr"
}

func rowsAttrdef(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, d := range e.catalog().defaults {
		rows = append(rows, t.row("oid", d.oid, "adrelid", d.table.OID, "adnum", d.column, "adbin", d.text))
	}
	return rows
}

func rowsIndex(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, r := range e.catalog().relations {
		if r.index == nil {
			continue
		}
		x, columns := r.index, places(r.table, r.index.Columns)
		collations, classes, options := indexVectors(r.table, x)
		rows = append(rows, t.row(
			"indexrelid", r.oid, "indrelid", r.table.OID, "indnatts", len(columns), "indnkeyatts", len(columns),
			"indisunique", x.Unique || x.Primary, "indisprimary", x.Primary, "indimmediate", true, "indisvalid", true,
			"indisready", true, "indislive", true, "indkey", vector(columns), "indcollation", vector(collations),
			"indclass", vector(classes), "indoption", vector(options),
			"indexprs", optional(strings.Join(indexExpressions(x), ", ")), "indpred", optional(clientText(x.Where))))
	}
	return rows
}

// indexVectors returns the collation, operator class and options of each
// element of an index's key.
func indexVectors(t *schema.Table, x *schema.Index) (collations, classes, options []int) {
	parts := keyParts(x)
	for i, name := range x.Columns {
		kind := sqltype.Text
		if c, _, ok := t.Column(name); ok {
			kind = c.Type
		}
		option := 0
		if i < len(parts) {
			if parts[i].descending {
				option |= 1
			}
			if parts[i].nullsFirst {
				option |= 2
			}
		}
		collations = append(collations, typeFact(kind.OID).collation)
		classes = append(classes, operatorClass(kind.OID))
		options = append(options, option)
	}
	return collations, classes, options
}

// indexExpressions returns the texts of the key's elements that are no columns.
func indexExpressions(x *schema.Index) []string {
	var list []string
	parts := keyParts(x)
	for i, name := range x.Columns {
		if name == "" && i < len(parts) {
			list = append(list, clientText(parts[i].text))
		}
	}
	return list
}
