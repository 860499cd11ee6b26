package shard

import (
	"crypto/sha256"
	"errors"
	"sync"

	"kimberlite/internal/ident"
	"kimberlite/internal/quota"
	"kimberlite/internal/tenantlog"
)

// TenantLimits are a tenant's quotas.
type TenantLimits = quota.Limits

// logCache bounds the open log handles.
type logCache struct {
	mu    sync.Mutex // guards open
	open  map[*entry]struct{}
	limit int
}

// openLog makes sure that e.log is open. The caller holds e.mu.
func (s *Shard) openLog(e *entry) error {
	if e.log != nil {
		return nil
	}
	log, err := tenantlog.Open(tenantlog.Options{
		FS: s.o.FS, Dir: s.LogDir(e.state.ID), Tenant: e.state.ID, SegmentBytes: s.o.SegmentBytes,
	}, e.state.Log)
	if err != nil {
		return err
	}
	e.log, e.err = log, nil
	return s.logs.added(e)
}

// added notes an open log and, over the limit, closes one that nobody uses.
func (c *logCache) added(e *entry) error {
	c.mu.Lock()
	if c.open == nil {
		c.open = map[*entry]struct{}{}
	}
	c.open[e] = struct{}{}
	var victims []*entry
	for over := len(c.open) - c.limit; over > 0; over-- {
		v := c.victim(e)
		if v == nil {
			break
		}
		delete(c.open, v)
		victims = append(victims, v)
	}
	c.mu.Unlock()
	var err error
	for _, v := range victims {
		err = errors.Join(err, v.closeLog())
		v.mu.Unlock()
	}
	return err
}

// victim returns an open, unpinned entry other than keep with its lock held,
// or nil. Map order makes the choice random.
func (c *logCache) victim(keep *entry) *entry {
	for e := range c.open {
		if e == keep || !e.mu.TryLock() {
			continue
		}
		if e.pins == 0 {
			return e
		}
		e.mu.Unlock()
	}
	return nil
}

// closeLog syncs and closes the log, so that a later checkpoint need not
// open it again. The caller holds e.mu.
func (e *entry) closeLog() error {
	if e.log == nil {
		return nil
	}
	err := e.log.Sync()
	err = errors.Join(err, e.log.Close())
	e.log = nil
	return err
}

// PinLog opens a tenant's log for reading and keeps it open until UnpinLog.
// Corruption names what is damaged.
func (s *Shard) PinLog(id ident.TenantID) (*tenantlog.Log, error) {
	e, err := s.entry(id)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return nil, e.err
	}
	if err := s.openLog(e); err != nil {
		return nil, err
	}
	e.pins++
	return e.log, nil
}

// UnpinLog ends a PinLog.
func (s *Shard) UnpinLog(id ident.TenantID) {
	e, err := s.entry(id)
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pins--
}

func (s *Shard) closeLogs() error {
	s.logs.mu.Lock()
	defer s.logs.mu.Unlock()
	var err error
	for e := range s.logs.open {
		e.mu.Lock()
		if e.log != nil {
			err = errors.Join(err, e.log.Close())
			e.log = nil
		}
		e.mu.Unlock()
	}
	s.logs.open = nil
	return err
}

func digest(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}
