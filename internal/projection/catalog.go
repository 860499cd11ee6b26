package projection

import (
	"slices"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/pgcatalog"
	"kimberlite/internal/schema"
)

// Identity is what the catalog says of the tenant besides its schema.
type Identity struct {
	// Name is the tenant's name: the database's, to PostgreSQL's clients.
	Name string
	// Roles are the names of its credentials.
	Roles []string
}

// catalogEnv returns what the catalog's tables and functions answer from, for
// the statement that runs on a connection.
func (d *DB) catalogEnv(c *conn) (*pgcatalog.Env, error) {
	s, err := d.schemaFor(c)
	if err != nil {
		return nil, err
	}
	var id Identity
	if d.identity != nil {
		id = d.identity()
	}
	if c.env == nil || c.env.Schema != s || c.env.Name != id.Name || !slices.Equal(c.env.Roles, id.Roles) {
		c.env = &pgcatalog.Env{Tenant: d.tenant, Name: id.Name, Roles: id.Roles, Schema: s}
	}
	return c.env, nil
}

// schemaFor returns the schema that a connection's statement sees. It is
// called while the statement runs.
func (d *DB) schemaFor(c *conn) (*schema.Schema, error) {
	seen := d.schemaVersion.Load()
	if c.w != nil && c.w.changes != 0 || c.w == nil && c.schemaSeen != seen {
		return d.readWhileRunning(c, uncommitted|d.epoch|d.schemas.serial.Add(1))
	}
	if s := d.schemas.current.Load(); s != nil && s.Version == d.epoch+seen {
		return s, nil
	}
	s, err := d.readWhileRunning(c, d.epoch+seen)
	if err == nil && d.schemaVersion.Load() == seen {
		d.schemas.current.Store(s)
	}
	return s, err
}

// readWhileRunning builds the schema inside another statement of the same
// connection.
func (d *DB) readWhileRunning(c *conn, version uint64) (*schema.Schema, error) {
	if c.env != nil && version&uncommitted != 0 && c.w != nil && c.envChanges == c.w.changes {
		return c.env.Schema, nil
	}
	defer c.db.SetInterrupt(c.db.GetInterrupt())
	s, err := buildSchema(c, version)
	if c.w != nil {
		c.envChanges = c.w.changes
	}
	return s, err
}

// registerTable makes a table of the catalog known to a connection. It comes
// into being when a statement names it.
func (c *conn) registerTable(t *pgcatalog.Table, declare string) error {
	connect := func(db *sqlite3.Conn, _, _, _ string, _ ...string) (*catalogTable, error) {
		if err := db.VTabConfig(sqlite3.VTAB_INNOCUOUS); err != nil {
			return nil, err
		}
		return &catalogTable{t: t, d: c.d, c: c}, db.DeclareVTab(declare)
	}
	//nolint:staticcheck // the generic method needs a newer Go than ours
	return c.fail("sql", "", sqlite3.CreateModule(c.db, t.Name, nil, connect))
}

// catalogTable is a table of the catalog on one connection.
type catalogTable struct {
	t *pgcatalog.Table
	d *DB
	c *conn
}

// Costs of reading a whole table of the catalog, and of looking one value up.
const (
	catalogScan = 1000
	catalogFind = 10
)

// BestIndex implements [sqlite3.VTab]: it makes use of one column = value.
// SQLite checks the condition again.
func (v *catalogTable) BestIndex(info *sqlite3.IndexInfo) error {
	info.EstimatedCost, info.EstimatedRows = catalogScan, catalogScan
	for i, k := range info.Constraint {
		if k.Usable && k.Op == sqlite3.INDEX_CONSTRAINT_EQ && k.Column >= 0 {
			info.ConstraintUsage[i].ArgvIndex = 1
			info.IdxNum = k.Column + 1
			info.EstimatedCost, info.EstimatedRows = catalogFind, catalogFind
			return nil
		}
	}
	return nil
}

// Open implements [sqlite3.VTab].
func (v *catalogTable) Open() (sqlite3.VTabCursor, error) { return &catalogCursor{v: v}, nil }

// catalogCursor walks over a table of the catalog.
type catalogCursor struct {
	v    *catalogTable
	rows [][]any
	at   int
}

// Filter implements [sqlite3.VTabCursor].
func (cc *catalogCursor) Filter(plan int, _ string, arg ...sqlite3.Value) error {
	v, err := safely(cc.v.t.Name, func() (any, error) {
		env, err := cc.v.d.catalogEnv(cc.v.c)
		if err != nil {
			return nil, err
		}
		if plan > 0 && len(arg) == 1 {
			return cc.v.t.Find(env, plan-1, goValue(arg[0])), nil
		}
		return cc.v.t.Rows(env), nil
	})
	if err != nil {
		if cc.v.c.file.kept == nil {
			cc.v.c.file.kept = err
		}
		return err
	}
	cc.rows, _ = v.([][]any)
	cc.at = 0
	return nil
}

// Next implements [sqlite3.VTabCursor].
func (cc *catalogCursor) Next() error {
	cc.at++
	return nil
}

// EOF implements [sqlite3.VTabCursor].
func (cc *catalogCursor) EOF() bool { return cc.at >= len(cc.rows) }

// Column implements [sqlite3.VTabCursor].
func (cc *catalogCursor) Column(ctx sqlite3.Context, n int) error {
	if row := cc.rows[cc.at]; n < len(row) {
		cc.v.c.result(ctx, row[n], nil)
	}
	return nil
}

// RowID implements [sqlite3.VTabCursor].
func (cc *catalogCursor) RowID() (int64, error) { return int64(cc.at), nil }
