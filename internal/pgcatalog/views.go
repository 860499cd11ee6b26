package pgcatalog

import (
	"math"

	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// maxSequence and minSequence bound a sequence by its type and direction.
func sequenceBounds(kind sqltype.Type, increment int64) (low, high int64) {
	low, high = 1, math.MaxInt64
	switch kind.OID {
	case sqltype.Int4.OID:
		high = math.MaxInt32
	case sqltype.Int2.OID:
		high = math.MaxInt16
	}
	if increment < 0 {
		return -high - 1, -1
	}
	return low, high
}

// sequenceType returns the type of a sequence: that of its column.
func (e *Env) sequenceType(q *schema.Sequence) sqltype.Type {
	if t, ok := e.Schema.Table(q.Table); ok {
		if c, _, ok := t.Column(q.Column); ok && (c.Type.OID == sqltype.Int4.OID || c.Type.OID == sqltype.Int2.OID) {
			return c.Type
		}
	}
	return sqltype.Int8
}

// sequences returns the tenant's sequences.
func (e *Env) sequences() []*schema.Sequence {
	if e.Schema == nil {
		return nil
	}
	return e.Schema.Sequences
}

func rowsSequence(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, q := range e.sequences() {
		kind := e.sequenceType(q)
		low, high := sequenceBounds(kind, q.Increment)
		rows = append(rows, t.row("seqrelid", q.OID, "seqtypid", kind.OID, "seqstart", q.Start, "seqincrement", q.Increment,
			"seqmax", high, "seqmin", low, "seqcache", 1))
	}
	return rows
}

func rowsSequences(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, q := range e.sequences() {
		kind := e.sequenceType(q)
		low, high := sequenceBounds(kind, q.Increment)
		rows = append(rows, t.row("schemaname", "public", "sequencename", q.Name, "sequenceowner", ownerName,
			"data_type", kind.SQL(), "start_value", q.Start, "min_value", low, "max_value", high,
			"increment_by", q.Increment, "cycle", false, "cache_size", 1))
	}
	return rows
}

// rowsDepend lists what goes when something else is dropped.
func rowsDepend(e *Env, t *Table) [][]any {
	c := e.catalog()
	var rows [][]any
	put := func(class int, object uint32, refers uint32, column int, kind string) {
		rows = append(rows, t.row("classid", class, "objid", object, "refclassid", classClass, "refobjid", refers,
			"refobjsubid", column, "deptype", kind))
	}
	for _, q := range e.sequences() {
		owner, ok := e.Schema.Table(q.Table)
		if !ok {
			continue
		}
		if column, at, ok := owner.Column(q.Column); ok {
			kind := "a"
			if column.Identity != "" {
				kind = "i"
			}
			put(classClass, q.OID, owner.OID, at+1, kind)
		}
	}
	for _, d := range c.defaults {
		put(attrdefClass, d.oid, d.table.OID, d.column, "a")
	}
	for _, k := range c.constraints {
		for _, at := range k.columns {
			put(constraintClass, k.oid, k.table.OID, at, "a")
		}
		switch k.kind {
		case 'p', 'u':
			rows = append(rows, t.row("classid", classClass, "objid", k.index.OID, "refclassid", constraintClass,
				"refobjid", k.oid, "deptype", "i"))
		case 'f':
			if k.target != nil {
				for _, at := range k.refers {
					put(constraintClass, k.oid, k.target.OID, at, "n")
				}
			}
		}
	}
	for _, r := range c.relations {
		if r.index == nil || r.index.Constraint || r.index.Primary {
			continue
		}
		for _, at := range places(r.table, r.index.Columns) {
			put(classClass, r.oid, r.table.OID, at, "a")
		}
	}
	return rows
}

// tables returns the tenant's tables, views and system tables of a kind of
// pg_class: 'r' or 'v'.
func (e *Env) tables(kind byte) []*relation {
	var list []*relation
	for _, r := range e.catalog().relations {
		if r.kind == kind && r.index == nil && r.table != nil {
			list = append(list, r)
		}
	}
	return list
}

func rowsTables(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, r := range e.tables('r') {
		rows = append(rows, t.row("schemaname", namespaceName(r.namespace), "tablename", r.name, "tableowner", ownerName,
			"hasindexes", len(r.table.Indexes) > 0, "hasrules", false, "hastriggers", len(r.table.Triggers) > 0, "rowsecurity", false))
	}
	for _, s := range Tables() {
		if !s.view && !s.information() {
			rows = append(rows, t.row("schemaname", "pg_catalog", "tablename", s.name, "tableowner", ownerName,
				"hasindexes", false, "hasrules", false, "hastriggers", false, "rowsecurity", false))
		}
	}
	return rows
}

func rowsViews(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, r := range e.tables('v') {
		text, _ := viewText(r.table)
		rows = append(rows, t.row("schemaname", namespaceName(r.namespace), "viewname", r.name, "viewowner", ownerName,
			"definition", optional(text)))
	}
	for _, s := range Tables() {
		if s.view {
			name := "pg_catalog"
			if s.information() {
				name = "information_schema"
			}
			rows = append(rows, t.row("schemaname", name, "viewname", s.name, "viewowner", ownerName))
		}
	}
	return rows
}

func rowsIndexes(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, r := range e.catalog().relations {
		if r.index != nil {
			rows = append(rows, t.row("schemaname", "public", "tablename", r.table.Name, "indexname", r.name,
				"indexdef", indexText(r.table, r.index, false)))
		}
	}
	return rows
}

// rowsStatistics names the tables; nothing counts how they are used.
func rowsStatistics(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, r := range e.tables('r') {
		rows = append(rows, t.row("relid", r.oid, "schemaname", namespaceName(r.namespace), "relname", r.name))
	}
	return rows
}
