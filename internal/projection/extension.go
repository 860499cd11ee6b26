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

// extension is what can be registered on a connection, listed once. There are
// hundreds of functions and tables, and a connection meets a few of them: each
// becomes known to it when a text does not compile without. Those that stand
// in for a function of SQLite itself are known from the start: no text fails
// for want of them.
func extension() *extensions {
	listOnce.Do(func() { listed = listExtensions() })
	return listed
}

var (
	listOnce sync.Once // makes listed
	listed   *extensions
)

func listExtensions() *extensions {
	x := &extensions{functions: map[string][]registration{}, tables: map[string][]registration{}}
	add := func(name string, r registration) {
		name = lower(name)
		x.functions[name] = append(x.functions[name], r)
		if allowedFunctions[name] {
			x.replacing = append(x.replacing, r)
		}
	}
	for _, f := range sqlfunc.Functions() {
		add(f.Name, func(c *conn) error { return c.registerFunction(&f) })
	}
	for _, a := range sqlfunc.Aggregates() {
		add(a.Name, func(c *conn) error { return c.registerAggregate(&a) })
	}
	for _, f := range pgcatalog.Functions() {
		add(f.Name, func(c *conn) error { return c.registerCatalog(&f) })
	}
	for _, f := range sequenceFunctions {
		add(f.name, func(c *conn) error {
			call := func(args []any) (any, error) { return f.call(c, c.session(), args) }
			return c.registerScalar(f.name, f.args, sqlite3.INNOCUOUS, call)
		})
	}
	for _, t := range pgcatalog.Tables() {
		declare := declareTable(t)
		x.tables[lower(t.Name)] = []registration{func(c *conn) error { return c.registerTable(t, declare) }}
	}
	return x
}

// registration makes one function or table known to a connection.
type registration func(c *conn) error

type extensions struct {
	// functions and tables are by folded name; a function has a registration
	// for each number of arguments.
	functions, tables map[string][]registration
	// replacing are those that stand in for functions of SQLite.
	replacing []registration
}

// isExtension says whether a folded name is that of a function of ours.
func isExtension(name string) bool { return extension().functions[name] != nil }

// isCatalogTable says whether a name is that of a table of pgcatalog.
func isCatalogTable(name string) bool { return extension().tables[lower(name)] != nil }

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

// replaceFunctions registers what stands in for functions of SQLite.
func (c *conn) replaceFunctions() error {
	for _, register := range extension().replacing {
		if err := register(c); err != nil {
			return err
		}
	}
	return nil
}

// extendBy makes the functions and the table of a name known to the connection.
// It returns false when that brings nothing new.
func (c *conn) extendBy(name string) (bool, error) {
	x := extension()
	name = lower(name)
	all := append(slices.Clone(x.functions[name]), x.tables[name]...)
	if len(all) == 0 || c.extended[name] {
		return false, nil
	}
	if c.extended == nil {
		c.extended = map[string]bool{}
	}
	c.extended[name] = true
	for _, register := range all {
		if err := register(c); err != nil {
			return false, err
		}
	}
	return true, nil
}

// schemaNames are the functions and tables of ours that a schema's texts name.
type schemaNames struct {
	version uint64
	names   []string
}

// extendForSchema makes known what the texts of the schema name. It comes
// before a connection's first statement: what a view, a default, an index or a
// trigger lacks, SQLite misses at places that are not in the client's text,
// and the driver cannot tell of those.
func (c *conn) extendForSchema(version uint64) error {
	known := c.d.names.Load()
	if known == nil || known.version != version {
		known = &schemaNames{version: version}
		err := c.each(`SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND substr(tbl_name,1,12)<>'_kimberlite_'`, func(s *sqlite3.Stmt) error {
			known.names = append(known.names, namesIn(s.ColumnText(0))...)
			return nil
		})
		if err != nil {
			return err
		}
		c.d.names.Store(known)
	}
	return c.extendByAll(known.names)
}

// extendForText makes known what a text names that becomes part of the schema.
func (c *conn) extendForText(text string) error { return c.extendByAll(namesIn(text)) }

func (c *conn) extendByAll(names []string) error {
	for _, name := range names {
		if _, err := c.extendBy(name); err != nil {
			return err
		}
	}
	return nil
}

// namesIn lists the words of a text that are names of functions or tables of
// ours.
func namesIn(text string) []string {
	var all []string
	for _, t := range scanTokens(text) {
		if name := lower(t.text); isExtension(name) || isCatalogTable(name) {
			all = append(all, name)
		}
	}
	return all
}

// missing are SQLite's messages about names that it does not know, up to the
// name.
var missing = []string{"no such function: ", "unknown function: ", "no such table: ", "no such module: ", "no such table-valued function: "}

// extending runs something that compiles, and again with what it lacked, as
// long as it fails for want of a name of ours.
func (c *conn) extending(compile func() error) error {
	for {
		err := compile()
		if err == nil {
			return nil
		}
		text := err.Error()
		more := false
		for _, m := range missing {
			_, name, ok := strings.Cut(text, m)
			if !ok {
				continue
			}
			name = strings.TrimPrefix(strings.TrimSuffix(name, "()"), "main.")
			if at := strings.IndexAny(name, " ,("); at >= 0 {
				name = name[:at]
			}
			var failed error
			if more, failed = c.extendBy(name); failed != nil {
				return failed
			}
			break
		}
		if !more {
			return err
		}
	}
}

func (c *conn) registerScalar(name string, args int, flag sqlite3.FunctionFlag, call func(args []any) (any, error)) error {
	return c.fail("sql", "", c.db.CreateFunction(name, args, flag, c.scalar(name, call)))
}

func (c *conn) registerFunction(f *sqlfunc.Function) error {
	flag := sqlite3.INNOCUOUS
	if f.Deterministic {
		flag |= sqlite3.DETERMINISTIC
	}
	return c.registerScalar(f.Name, f.Args, flag, func(args []any) (any, error) { return f.Call(c.functionContext(), args) })
}

func (c *conn) registerCatalog(f *pgcatalog.Function) error {
	return c.registerScalar(f.Name, f.Args, sqlite3.INNOCUOUS, func(args []any) (any, error) {
		env, err := c.d.catalogEnv(c)
		if err != nil {
			return nil, err
		}
		return f.Call(env, args)
	})
}

func (c *conn) registerAggregate(a *sqlfunc.Aggregate) error {
	construct := func() sqlite3.AggregateFunction { return &aggregate{c: c, of: a.New(), name: a.Name} }
	return c.fail("sql", "", c.db.CreateWindowFunction(a.Name, a.Args, sqlite3.DETERMINISTIC|sqlite3.INNOCUOUS, construct))
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
