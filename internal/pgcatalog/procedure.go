package pgcatalog

import (
	_ "embed" // the facts below
	"strings"
)

//go:embed facts/functions.txt
var functionFacts string

// proc is a function as PostgreSQL numbers it.
type proc struct {
	oid        uint32
	name       string
	kind       string // f function, a aggregate, w window function
	volatility string
	strict     bool
	set        bool
	variadic   uint32
	result     uint32
	arguments  []int
}

type procCatalog struct {
	byOID  map[uint32]*proc
	byName map[string]*proc // the first of a name
	list   []*proc
	rows   [][]any
}

// procedures are the functions that work here, as PostgreSQL lists them. The
// facts say so: a test compares them with what there is to call.
func procedures() *procCatalog { return procedureCatalog.get(makeProcedures) }

// procedureCatalog is what procedures returns.
var procedureCatalog lazy[*procCatalog]

func makeProcedures() *procCatalog {
	c := &procCatalog{byOID: map[uint32]*proc{}, byName: map[string]*proc{}}
	t := table("pg_proc")
	for _, f := range factLines(functionFacts) {
		p := &proc{
			oid: uint32(number(f[0])), name: f[1], kind: f[2], volatility: f[3], strict: f[4] == "1", set: f[5] == "1", //nolint:gosec // PostgreSQL's numbers
			variadic: uint32(number(f[6])), result: uint32(number(f[7])), //nolint:gosec // PostgreSQL's numbers
		}
		for _, a := range f[8:] {
			p.arguments = append(p.arguments, int(number(a)))
		}
		c.list = append(c.list, p)
		c.byOID[p.oid] = p
		if c.byName[p.name] == nil {
			c.byName[p.name] = p
		}
		rows := 0.0
		if p.set {
			rows = 1000
		}
		c.rows = append(c.rows, t.row("oid", p.oid, "proname", p.name, "pronamespace", catalogOID, "proowner", ownerOID,
			"prolang", 12, "procost", 1.0, "prorows", rows, "provariadic", p.variadic, "prokind", p.kind,
			"proisstrict", p.strict, "proretset", p.set, "provolatile", p.volatility, "proparallel", "s",
			"pronargs", len(p.arguments), "prorettype", p.result, "proargtypes", vector(p.arguments), "prosrc", p.name))
	}
	return c
}

func rowsFunction(*Env, *Table) [][]any { return procedures().rows }

// procedure returns a function by its number, nil for none.
func procedure(oid uint32) *proc { return procedures().byOID[oid] }

// argumentText writes the types of the arguments.
func (p *proc) argumentText() string {
	parts := make([]string, len(p.arguments))
	for i, a := range p.arguments {
		parts[i] = formatType(uint32(a), -1, false) //nolint:gosec // PostgreSQL's numbers
		if p.variadic != 0 && i == len(p.arguments)-1 {
			parts[i] = "VARIADIC " + parts[i]
		}
	}
	return strings.Join(parts, ", ")
}

// resultText writes the type of the result.
func (p *proc) resultText() string {
	s := formatType(p.result, -1, false)
	if p.set {
		return "SETOF " + s
	}
	return s
}
