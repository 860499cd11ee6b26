package shard

import (
	"crypto/sha256"
	"errors"
	"path/filepath"
	"sync"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
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
	if s.replicated && e.err != nil {
		return e.err // its files are being mended
	}
	if e.released {
		return fault.New("open", fault.Misrouted, "tenant %s has moved away", e.state.ID).ForTenant(e.state.ID)
	}
	if err := s.checkHead(e); err != nil {
		return err
	}
	if e.log != nil {
		return nil
	}
	open := tenantlog.Open
	if s.replicated {
		open = tenantlog.OpenAhead
	}
	log, err := open(s.logOptions(e.state.ID), e.state.Log)
	if err != nil {
		return err
	}
	e.log, e.err = log, nil
	return s.logs.added(e)
}

func (s *Shard) logOptions(id ident.TenantID) tenantlog.Options {
	return tenantlog.Options{FS: s.o.FS, Dir: s.LogDir(id), Tenant: id, SegmentBytes: s.o.SegmentBytes}
}

// dropLog closes a log whose files are not to be used any more. Who reads it
// is told that it is closed. The caller holds e.mu.
func (s *Shard) dropLog(e *entry) {
	if e.log == nil {
		return
	}
	_ = e.log.Close() // nothing in it is wanted
	e.log = nil
	s.logs.mu.Lock()
	defer s.logs.mu.Unlock()
	delete(s.logs.open, e)
}

// checkHead refuses a tenant whose signed head covers records that the
// replicated log does not know. A head is written only once its records are in
// the replicated log, so that one is a copy from earlier, and opening the
// tenant's log at the position that it knows would cut acknowledged records
// off. A head that does not read is for the verifier to report. With several
// replicas the others hold what one's files lost. The caller holds e.mu.
func (s *Shard) checkHead(e *entry) error {
	if s.replicated || e.headSeen || !s.replayed.Load() {
		return nil
	}
	dir := s.LogDir(e.state.ID)
	h, there, err := tenantlog.ReadHead(s.o.FS, dir)
	env, envErr := keyring.DecodeEnvelope(e.state.Envelope)
	if err != nil || envErr != nil || !there {
		e.headSeen = true
		return nil //nolint:nilerr // see above; a damaged envelope is said when keys are opened
	}
	if h.Tenant == e.state.ID && h.PublicKey.Equal(env.Signing.Public) && e.state.Log.Next.Before(h.Next) {
		return fault.Corrupt("open", filepath.Join(dir, tenantlog.HeadName), 0,
			"the log's signed head covers %s records, and the replicated log knows of %s: it is an older copy, restore the right one; nothing was cut off", h.Next, e.state.Log.Next).ForTenant(e.state.ID)
	}
	e.headSeen = true
	return nil
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

// PinLog opens a tenant's log for reading and keeps it open until release is
// called. Corruption names what is damaged.
func (s *Shard) PinLog(id ident.TenantID) (log *tenantlog.Log, release func(), err error) {
	e, err := s.entry(id)
	if err != nil {
		return nil, nil, err
	}
	log, err = s.pin(e)
	return log, e.unpin, err
}

func (s *Shard) pin(e *entry) (*tenantlog.Log, error) {
	e.mu.Lock()
	if e.err != nil {
		defer e.mu.Unlock()
		return nil, e.err
	}
	err := s.openLog(e)
	if err != nil {
		e.mu.Unlock()
		return nil, s.ReportDamage(e.state.ID, err)
	}
	defer e.mu.Unlock()
	e.pins++
	return e.log, nil
}

// unpin ends a pin.
func (e *entry) unpin() {
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
