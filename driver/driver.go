// Package driver makes one tenant of an embedded Kimberlite database a
// database/sql database.
//
//	import _ "kimberlite/driver"
//
//	db, err := sql.Open("kimberlite", "data?tenant=1")
//
// The tenant is part of the data source and nothing in SQL can leave it. All
// sql.DB values of a process share one opening of a data directory, which is
// closed with the last connection. Transactions are serialisable: other
// isolation levels that promise less are served as such, a read-only one
// refuses to write.
package driver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"path/filepath"
	"sync"

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
	dir  string
	refs int
}

// openingSet shares openings by directory.
type openingSet struct {
	mu   sync.Mutex // guards open and every refs
	open map[string]*opening
}

var openings = openingSet{open: map[string]*opening{}}

func (s *openingSet) take(ctx context.Context, c Config) (*opening, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.open[dir]; o != nil {
		o.refs++
		return o, nil
	}
	db, err := kimberlite.OpenContext(ctx, dir, kimberlite.Options{MasterKey: c.MasterKey, MustExist: true})
	if err != nil {
		return nil, err
	}
	o := &opening{DB: db, dir: dir, refs: 1}
	s.open[dir] = o
	return o, nil
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
