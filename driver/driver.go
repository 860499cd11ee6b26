// Package driver makes one tenant of an embedded Kimberlite database a
// database/sql database.
//
//	import _ "kimberlite/driver"
//
//	db, err := sql.Open("kimberlite", "data?tenant=1")
//
// The tenant is part of the data source and nothing in SQL can leave it; see
// [ParseDSN]. The data directory and the tenant must exist. All sql.DB values
// of a process share one opening of a data directory, which is closed with the
// last connection; they must name the same master key.
//
// Transactions are serialisable: other isolation levels that promise less are
// served as such, a read-only one refuses to write. Rows of a query outside a
// transaction are those committed when it began. Errors are *kimberlite.Error
// values, but for those of database/sql itself.
//
// Values come back as nil, int64, float64, string or []byte; what a time.Time
// was written as comes back as time.Time where the column is declared DATE,
// DATETIME or TIMESTAMP.
package driver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"

	"kimberlite"
)

func init() { sql.Register("kimberlite", Driver{}) }

// Driver implements driver.Driver and driver.DriverContext.
type Driver struct{}

// Open implements driver.Driver.
func (d Driver) Open(dsn string) (driver.Conn, error) {
	c, err := d.OpenConnector(dsn)
	if err != nil {
		return nil, err
	}
	return c.Connect(context.Background())
}

// OpenConnector implements driver.DriverContext; see [ParseDSN].
func (d Driver) OpenConnector(dsn string) (driver.Connector, error) {
	config, err := ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	return &connector{config}, nil
}

type connector struct{ config Config }

func (c *connector) Driver() driver.Driver { return Driver{} }

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	db, err := openings.take(ctx, c.config)
	if err != nil {
		return nil, err
	}
	t, err := c.config.tenant(db.DB)
	if err != nil {
		return nil, errors.Join(err, db.release())
	}
	return &conn{t: t, opening: db}, nil
}

// opening is one data directory that this process has open.
type opening struct {
	*kimberlite.DB
	dir       string
	masterKey string
	refs      int // connections; guarded by openings.mu
	stopped   atomic.Bool
}

// stop notes that the disk failed: nothing more can be written until the
// directory is opened again.
func (o *opening) stop()            { o.stopped.Store(true) }
func (o *opening) hasStopped() bool { return o.stopped.Load() }

// openingSet shares openings by directory.
type openingSet struct {
	mu   sync.Mutex // guards open, every refs, and opening and closing
	open map[string]*opening
}

var openings = openingSet{open: map[string]*opening{}}

func (s *openingSet) take(ctx context.Context, c Config) (*opening, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, invalid("the data source's directory has no absolute path")
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.open[dir]; o != nil {
		return o, o.share(c)
	}
	db, err := kimberlite.OpenContext(ctx, dir, kimberlite.Options{MasterKey: c.MasterKey, MustExist: true})
	if err != nil {
		return nil, err
	}
	o := &opening{DB: db, dir: dir, masterKey: c.MasterKey, refs: 1}
	s.open[dir] = o
	return o, nil
}

// share counts one more connection. The caller holds openings.mu.
func (o *opening) share(c Config) error {
	switch {
	case o.hasStopped():
		return &kimberlite.Error{Op: "open", Kind: kimberlite.Unavailable, Message: "the data directory stopped since its disk failed: it is opened again once every connection to it is closed"}
	case o.masterKey != c.MasterKey:
		// Its key is not looked at again, so a wrong one would pass.
		return &kimberlite.Error{Op: "open", Kind: kimberlite.KeyInvalid, Message: "this process has the data directory open under another master key URL: name the same one in every data source"}
	}
	o.refs++
	return nil
}

func (o *opening) release() error {
	openings.mu.Lock()
	defer openings.mu.Unlock()
	o.refs--
	if o.refs > 0 {
		return nil
	}
	delete(openings.open, o.dir)
	return o.Close()
}
