package projection

import (
	"context"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/pagestore"
)

// readerSettings and writerSettings are run on each new connection.
//
// The page cache is small: a miss costs a microsecond or two, and a thousand
// open tenants should fit in memory. Nothing is synced: the page store is
// flushed by its owner. Temporary data stays in the connection's memory.
const (
	// pageSettings must come before a new file's first page, and before the
	// reserved bytes, which belong to the page store.
	pageSettings   = `PRAGMA main.page_size=4096;`
	commonSettings = `PRAGMA temp_store=MEMORY; PRAGMA synchronous=OFF; PRAGMA trusted_schema=OFF;
		PRAGMA cell_size_check=ON; PRAGMA recursive_triggers=OFF;`
	readerSettings = commonSettings + `PRAGMA cache_size=-256; PRAGMA query_only=ON;`
	writerSettings = commonSettings + `PRAGMA cache_size=-256; PRAGMA foreign_keys=ON; PRAGMA main.locking_mode=EXCLUSIVE;`
)

// defences are the switches of SQLite that are on or off for good.
var defences = map[sqlite3.DBConfig]bool{
	sqlite3.DBCONFIG_DEFENSIVE:             true,
	sqlite3.DBCONFIG_TRUSTED_SCHEMA:        false,
	sqlite3.DBCONFIG_WRITABLE_SCHEMA:       false,
	sqlite3.DBCONFIG_ENABLE_FTS3_TOKENIZER: false,
	sqlite3.DBCONFIG_ENABLE_LOAD_EXTENSION: false,
	sqlite3.DBCONFIG_DQS_DML:               false,
	sqlite3.DBCONFIG_DQS_DDL:               false,
	sqlite3.DBCONFIG_LEGACY_ALTER_TABLE:    false,
}

// connect opens a connection to the projection, with its rules in place
// before any text of a client can reach it.
func (d *DB) connect(writer bool) (c *conn, err error) {
	f := &file{src: &d.src, writer: writer}
	name := theFileSystem.offer(f)
	defer theFileSystem.take(name) // an opening that failed leaves no name behind
	c = &conn{d: d, schemaSeen: neverSeen, file: f, tenant: d.tenant, limits: &d.limits, pageLimit: &d.limitBytes}
	ctx := sqlite3.WithMaxMemory(context.Background(), d.limits.MaxMemoryBytes)
	c.db, err = sqlite3.OpenContext(ctx, "file:"+name+"?vfs="+vfsName)
	if err != nil {
		return nil, openError(c, err)
	}
	defer func() {
		if err != nil {
			c.close()
			c = nil
		}
	}()
	defer c.protect("projection open", &err)
	if err := d.configure(c, writer); err != nil {
		return c, err
	}
	c.auth.mode = client
	return c, nil
}

func openError(c *conn, err error) error {
	if kept := c.file.takeError(); kept != nil {
		return kept
	}
	return fault.Wrap("projection open", fault.Internal, err, "SQLite cannot be opened").ForTenant(c.tenant)
}

func (d *DB) configure(c *conn, writer bool) error {
	c.auth.mode = ourselves
	c.auth.isTable = func(name string) bool { return d.streams.Load().named(name) != nil }
	if err := c.db.SetAuthorizer(c.auth.authorize); err != nil {
		return c.fail("projection open", "", err)
	}
	if err := c.script(pageSettings); err != nil {
		return err
	}
	if _, err := c.db.FileControl("main", sqlite3.FCNTL_RESERVE_BYTES, pagestore.Reserved); err != nil {
		return c.fail("projection open", "", err)
	}
	c.db.HardHeapLimit(d.limits.MaxMemoryBytes - d.limits.MaxMemoryBytes/8)
	if err := registerFunctions(c); err != nil {
		return err
	}
	if err := c.replaceFunctions(); err != nil {
		return err
	}
	if err := attachSystem(c, d); err != nil {
		return err
	}
	settings := readerSettings
	if writer {
		settings = writerSettings
	}
	if err := c.script(settings); err != nil {
		return err
	}
	for setting, on := range defences {
		if _, err := c.db.Config(setting, on); err != nil {
			return c.fail("projection open", "", err)
		}
	}
	d.limits.apply(c.db)
	return nil
}
