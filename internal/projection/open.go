package projection

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/pagestore"
)

// pageBytes is the size of a page of the projection.
const pageBytes = pagestore.PageSize

// Options says what to open.
type Options struct {
	// Store holds the pages. It stays the caller's: Close does not close it.
	Store *pagestore.Store
	// Tenant is whose tables they are.
	Tenant ident.TenantID
	// Limits bound statements; zero fields mean the defaults.
	Limits Limits
	// MaxReaders is how many readers may be at work at a time; default 8.
	MaxReaders int
	// System gives the rows of the system tables; nil for none.
	System SystemTables
	// Identity says whose the catalog is, each time that it is asked; nil for
	// nobody's. It is called by readers, concurrently, while a statement runs,
	// and must not call back into the DB.
	Identity func() Identity
}

const defaultMaxReaders = 8

// DB is one tenant's open projection.
type DB struct {
	tenant ident.TenantID
	limits Limits
	system SystemTables
	src    source
	// limitBytes is the projection's limit in bytes, 0 for none.
	limitBytes atomic.Int64
	streams    atomic.Pointer[streamSet]
	applied    atomic.Pointer[Applied]
	// schemaVersion counts the commits that changed the schema.
	schemaVersion atomic.Uint64
	version       atomic.Uint64 // see Version
	versions      sync.Map      // versionKey to []record.Column
	readers       pool
	readOnly      readOnlyCache
	descriptions  descriptionCache
	names         atomic.Pointer[schemaNames]
	identity      func() Identity
	schemas       schemaCache
	epoch         uint64 // of the versions of schemas, see opened

	// w and position belong to the one writer: its connection, nil until it is
	// needed, and what is committed.
	w        *writer
	position position
}

// Open opens the projection in a page store, and makes it when the store is
// empty. Incompatible says that another version of this package made it:
// remove the file and rebuild it from the log.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Store == nil || o.Tenant.IsZero() || o.MaxReaders < 0 {
		return nil, fault.New("projection open", fault.Invalid, "a projection needs a page store and a tenant")
	}
	if ctx.Err() != nil {
		return nil, fault.OfContext("projection open", ctx).ForTenant(o.Tenant)
	}
	if o.MaxReaders == 0 {
		o.MaxReaders = defaultMaxReaders
	}
	d := &DB{tenant: o.Tenant, limits: o.Limits.withDefaults(), system: o.System, identity: o.Identity, epoch: opened.Add(1) << versionBits}
	d.src.store = o.Store
	d.limitBytes.Store(o.Limits.MaxProjectionBytes)
	d.readers.init(o.MaxReaders)
	d.streams.Store(newStreamSet())
	d.applied.Store(&Applied{})
	if o.Store.Pages() == 0 {
		if err := d.create(); err != nil {
			d.dropWriter()
			return nil, err
		}
		return d, nil
	}
	if err := d.load(); err != nil {
		return nil, err
	}
	return d, nil
}

// create makes our own tables in an empty store.
func (d *DB) create() (err error) {
	w, err := d.writer()
	if err != nil {
		return err
	}
	defer w.c.protect("projection open", &err)
	return w.c.script("BEGIN;" + internalSchema + "PRAGMA application_id=0x4b696d62;" +
		"PRAGMA user_version=" + strconv.Itoa(internalVersion) + ";COMMIT")
}

// load reads position and streams with a reader, which stays in the pool.
func (d *DB) load() error {
	return d.ownRead(func(c *conn) error {
		if err := checkVersion(c); err != nil {
			return err
		}
		at := d.src.store.Snapshot() // nobody writes yet: it is the reader's version
		defer at.Release()
		pos, err := decodePosition(at.Meta())
		if err != nil {
			return err
		}
		set, err := loadStreams(c)
		if err != nil {
			return err
		}
		for _, n := range pos.recent {
			if s := set.byNumber[n.stream]; s != nil {
				s.next.Store(n.next)
			}
		}
		d.position = pos
		d.applied.Store(&pos.applied)
		d.streams.Store(set)
		return nil
	})
}

// Applied returns how far the projection has followed its log.
func (d *DB) Applied() Applied { return *d.applied.Load() }

// SetProjectionLimit sets how many bytes the tables may take; 0 is no limit.
// It holds from the next group on. Tables that are larger already can be read
// and shrunk, and do not grow.
func (d *DB) SetProjectionLimit(bytes int64) { d.limitBytes.Store(bytes) }

// Err returns the damage that put the projection in doubt, or nil. Every call
// fails with it from then on.
func (d *DB) Err() error { return d.src.err() }

// Close closes the connections, and not the page store. Nobody may use the
// DB, its readers or groups any more.
func (d *DB) Close() error {
	d.dropWriter()
	d.readers.close()
	return nil
}

// writer returns the writing connection, opened when needed.
func (d *DB) writer() (*writer, error) {
	if err := d.src.err(); err != nil {
		return nil, err
	}
	if d.w != nil {
		return d.w, nil
	}
	c, err := d.connect(true)
	if err != nil {
		return nil, err
	}
	if err := d.extendWriter(c); err != nil {
		c.close()
		return nil, err
	}
	w := &writer{c: c, schemas: &d.schemas}
	c.w = w
	c.db.PreUpdateHook(w.onPreUpdate)
	w.reset(d)
	d.w = w
	return w, nil
}

// extendWriter makes known to the writing connection what the schema names.
// Later changes of the schema are its own.
func (d *DB) extendWriter(c *conn) (err error) {
	if d.src.store.Pages() == 0 {
		return nil // there is no schema yet
	}
	defer c.protect("projection open", &err)
	return c.extendForSchema(d.schemaVersion.Load())
}

// dropWriter closes the writing connection; what it had open is rolled back.
func (d *DB) dropWriter() {
	if d.w != nil {
		d.w.c.close()
		d.w = nil
	}
}

// retire closes the writing connection after large work, so that its memory
// is given back; the next group opens another.
func (d *DB) retire(w *writer) {
	if w == d.w && w.c.worn {
		d.dropWriter()
	}
}
