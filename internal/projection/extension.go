package projection

import (
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/pgcatalog"
	"kimberlite/internal/sqlfunc"
)

// Functions and tables that are written in Go: those of sqlfunc and
// pgcatalog, and the functions over sequences.

// extension is what is registered on each connection, listed once.
var extension = sync.OnceValue(func() *extensions {
	x := &extensions{
		functions: sqlfunc.Functions(), aggregates: sqlfunc.Aggregates(),
		catalog: pgcatalog.Functions(), tables: pgcatalog.Tables(),
		functionNames: map[string]bool{}, tableNames: map[string]bool{},
	}
	for i := range x.functions {
		x.functionNames[lower(x.functions[i].Name)] = true
	}
	for i := range x.aggregates {
		x.functionNames[lower(x.aggregates[i].Name)] = true
	}
	for i := range x.catalog {
		x.functionNames[lower(x.catalog[i].Name)] = true
	}
	for i := range sequenceFunctions {
		x.functionNames[sequenceFunctions[i].name] = true
	}
	for _, t := range x.tables {
		x.tableNames[lower(t.Name)] = true
		x.declare = append(x.declare, declareTable(t))
	}
	return x
})

type extensions struct {
	functions  []sqlfunc.Function
	aggregates []sqlfunc.Aggregate
	catalog    []pgcatalog.Function
	tables     []*pgcatalog.Table
	declare    []string
	// functionNames and tableNames are folded.
	functionNames, tableNames map[string]bool
}

// isCatalogTable says whether a name is that of a table of pgcatalog.
func isCatalogTable(name string) bool { return extension().tableNames[lower(name)] }

// declareTable is the text that tells SQLite of a virtual table's columns.
func declareTable(t *pgcatalog.Table) string {
	var b strings.Builder
	b.WriteString("CREATE TABLE x(")
	for i, c := range t.Columns {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quoteName(c.Name) + " " + c.Type.Declared())
	}
	b.WriteByte(')')
	return b.String()
}

// extend makes the functions and tables known to a connection, once. Most
// connections never meet one of their names, and to register hundreds takes
// as long as a good part of opening one; so a connection is extended when a
// text does not compile without, and before the schema changes.
func (c *conn) extend() error {
	if c.extended {
		return nil
	}
	c.extended = true
	x := extension()
	for i := range x.functions {
		if f := &x.functions[i]; !allowedFunctions[lower(f.Name)] {
			if err := c.registerFunction(f); err != nil {
				return err
			}
		}
	}
	for i := range x.catalog {
		f := &x.catalog[i]
		call := func(args []any) (any, error) {
			env, err := c.d.catalogEnv(c)
			if err != nil {
				return nil, err
			}
			return f.Call(env, args)
		}
		if err := c.db.CreateFunction(f.Name, f.Args, sqlite3.INNOCUOUS, c.scalar(f.Name, call)); err != nil {
			return c.fail("projection open", "", err)
		}
	}
	for i := range sequenceFunctions {
		f := &sequenceFunctions[i]
		call := func(args []any) (any, error) { return f.call(c, c.session(), args) }
		if err := c.db.CreateFunction(f.name, f.args, sqlite3.INNOCUOUS, c.scalar(f.name, call)); err != nil {
			return c.fail("projection open", "", err)
		}
	}
	for i := range x.aggregates {
		if a := &x.aggregates[i]; !allowedFunctions[lower(a.Name)] {
			if err := c.registerAggregate(a); err != nil {
				return err
			}
		}
	}
	return attachCatalog(c, c.d)
}

// replaceFunctions registers those of sqlfunc that stand in for functions of
// SQLite itself: no text fails for want of them.
func (c *conn) replaceFunctions() error {
	x := extension()
	for i := range x.functions {
		if f := &x.functions[i]; allowedFunctions[lower(f.Name)] {
			if err := c.registerFunction(f); err != nil {
				return err
			}
		}
	}
	for i := range x.aggregates {
		if a := &x.aggregates[i]; allowedFunctions[lower(a.Name)] {
			if err := c.registerAggregate(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// missing are parts of SQLite's messages about names that it does not know.
var missing = []string{"no such function", "unknown function", "no such table", "no such module"}

// extending runs something of SQLite's compiler, and once more, with the
// connection extended, when it fails for want of a name.
func (c *conn) extending(compile func() error) error {
	err := compile()
	if err == nil || c.extended {
		return err
	}
	text := err.Error()
	if !slices.ContainsFunc(missing, func(part string) bool { return strings.Contains(text, part) }) {
		return err
	}
	if err := c.extend(); err != nil {
		return err
	}
	return compile()
}

func (c *conn) registerFunction(f *sqlfunc.Function) error {
	flag := sqlite3.INNOCUOUS
	if f.Deterministic {
		flag |= sqlite3.DETERMINISTIC
	}
	call := func(args []any) (any, error) { return f.Call(c.functionContext(), args) }
	return c.fail("projection open", "", c.db.CreateFunction(f.Name, f.Args, flag, c.scalar(f.Name, call)))
}

func (c *conn) registerAggregate(a *sqlfunc.Aggregate) error {
	construct := func() sqlite3.AggregateFunction { return &aggregate{c: c, of: a.New(), name: a.Name} }
	return c.fail("projection open", "", c.db.CreateWindowFunction(a.Name, a.Args, sqlite3.DETERMINISTIC|sqlite3.INNOCUOUS, construct))
}

// functionContext is what functions may know of a statement of the connection.
func (c *conn) functionContext() sqlfunc.Context {
	if g, ok := c.db.GetInterrupt().(*guard); ok {
		return sqlfunc.Context{Now: g.now(), Random: rand.Reader}
	}
	return sqlfunc.Context{Now: time.Now(), Random: rand.Reader}
}

// session is the session whose statement runs, or nil.
func (c *conn) session() *Session { return sessionOf(c.db.GetInterrupt()) }

// scalar makes a function of ours one of SQLite's. Its error is kept beside
// the connection: SQLite carries a text only.
func (c *conn) scalar(name string, call func(args []any) (any, error)) sqlite3.ScalarFunction {
	return func(ctx sqlite3.Context, arg ...sqlite3.Value) {
		v, err := safely(name, func() (any, error) { return call(goValues(arg)) })
		c.result(ctx, v, err)
	}
}

// safely runs a function of ours: a bug in it fails the statement, and not the
// process.
func safely(name string, call func() (any, error)) (v any, err error) {
	defer func() {
		if p := recover(); p != nil {
			if e, ok := p.(error); ok && e.Error() == outOfMemory {
				panic(p) // the connection's, which protect deals with
			}
			err = fault.New("sql", fault.Internal, "the function %s broke down: report it", name)
		}
	}()
	return call()
}

// result hands a value or an error to SQLite.
func (c *conn) result(ctx sqlite3.Context, v any, err error) {
	if err != nil {
		if c.file.kept == nil {
			c.file.kept = err
		}
		ctx.ResultError(err)
		return
	}
	switch v := v.(type) {
	case nil:
	case int64:
		ctx.ResultInt64(v)
	case float64:
		ctx.ResultFloat(v)
	case string:
		ctx.ResultText(v)
	case []byte:
		ctx.ResultBlob(v)
	case bool:
		ctx.ResultBool(v)
	case int:
		ctx.ResultInt(v)
	default:
		ctx.ResultError(fault.New("sql", fault.Internal, "a function returned a %T", v))
	}
}

// goValues copies arguments.
func goValues(arg []sqlite3.Value) []any {
	values := make([]any, len(arg))
	for i, a := range arg {
		values[i] = goValue(a)
	}
	return values
}

func goValue(a sqlite3.Value) any {
	switch a.Type() {
	case sqlite3.INTEGER:
		return a.Int64()
	case sqlite3.FLOAT:
		return a.Float()
	case sqlite3.TEXT:
		return a.Text()
	case sqlite3.BLOB:
		return a.Blob([]byte{})
	case sqlite3.NULL:
	}
	return nil
}

// aggregate is an accumulator of sqlfunc over one group.
type aggregate struct {
	c    *conn
	of   sqlfunc.Accumulator
	name string
	err  error
}

// Step implements [sqlite3.AggregateFunction].
func (a *aggregate) Step(ctx sqlite3.Context, arg ...sqlite3.Value) {
	if a.err != nil {
		return
	}
	_, a.err = safely(a.name, func() (any, error) { return nil, a.of.Step(goValues(arg)) })
	if a.err != nil {
		a.c.result(ctx, nil, a.err)
	}
}

// Value implements [sqlite3.AggregateFunction].
func (a *aggregate) Value(ctx sqlite3.Context) {
	if a.err != nil {
		a.c.result(ctx, nil, a.err)
		return
	}
	v, err := safely(a.name, a.of.Final)
	a.c.result(ctx, v, err)
}
