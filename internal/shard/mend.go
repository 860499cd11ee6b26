package shard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/tenantlog"
)

// mendAgain is how long a log that no replica could mend waits for the next
// attempt.
const mendAgain = time.Second

// ReportDamage is told of an error that somebody met in a tenant's log. If it
// says that the log's files are damaged, and there are other replicas, nothing
// of the tenant is served here from now on until they are fetched again. It
// returns err.
func (s *Shard) ReportDamage(id ident.TenantID, err error) error {
	if !s.replicated || !fault.Is(err, fault.Corruption) {
		return err
	}
	e, entryErr := s.entry(id)
	if entryErr != nil {
		return err
	}
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		_ = s.damaged(e, s.applied+1, err)
	}
	return err
}

// mendLoop fetches damaged logs again until Close.
func (s *Shard) mendLoop() {
	again := time.NewTimer(mendAgain)
	defer again.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.mendWake:
		case <-again.C:
		}
		left := false
		for _, e := range s.damagedEntries() {
			if err := s.mend(s.ctx, e); err != nil && s.ctx.Err() == nil {
				left = true
				s.o.Logger.Warn("a damaged log is not mended yet", "shard", s.o.ID.String(), "tenant", e.id.String(), "error", err.Error())
			}
		}
		if left {
			again.Reset(mendAgain)
		}
	}
}

func (s *Shard) damagedEntries() []*entry {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	all := make([]*entry, 0, len(s.damagedAt))
	for e := range s.damagedAt {
		all = append(all, e)
	}
	return all
}

// mend fetches a damaged log from the first replica that can give it.
func (s *Shard) mend(ctx context.Context, e *entry) error {
	e.mending.Lock()
	defer e.mending.Unlock()
	var errs []error
	for _, node := range s.sources() {
		err := s.mendFrom(ctx, e, node, nil)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("from node %s: %w", node, err))
	}
	if len(errs) == 0 {
		return fault.New("mend", fault.Unavailable, "no other replica of shard %s is known", s.o.ID)
	}
	return errors.Join(errs...)
}

// sources are the nodes to fetch from, the leader's first.
func (s *Shard) sources() []ident.NodeID {
	st := s.group.Status()
	var nodes []ident.NodeID
	add := func(n ident.NodeID) {
		if n != s.o.Node && n != (ident.NodeID{}) {
			nodes = append(nodes, n)
		}
	}
	add(st.Leader.Node)
	for _, m := range st.Members {
		if m.Node != st.Leader.Node {
			add(m.Node)
		}
	}
	return nodes
}

// mendFrom brings the files of a damaged log up to where the tenant's log is
// and takes them into use. With a target, they are brought up to that and held
// against nothing else: the state becomes the target's soon. The caller holds
// e.mending.
func (s *Shard) mendFrom(ctx context.Context, e *entry, node ident.NodeID, target *tenantlog.Position) error {
	e.mu.Lock()
	id, to, broken := e.id, e.state.Log, e.err
	if e.released {
		broken = nil
	}
	e.mu.Unlock()
	if broken == nil {
		return nil
	}
	if target != nil {
		to = *target
	}
	log, err := s.openCopy(id, broken)
	if err != nil {
		return err
	}
	for {
		if log, err = s.bringUp(ctx, node, id, log, to); err != nil {
			return errors.Join(err, log.Close())
		}
		at, done, err := s.install(e, log, target != nil)
		if err != nil {
			return errors.Join(err, log.Close())
		}
		if done {
			return nil
		}
		to = at
	}
}

// install takes a mended log into use, if it reaches as far as the tenant's
// log; otherwise it returns how far that is now.
func (s *Shard) install(e *entry, log *tenantlog.Log, restoring bool) (at tenantlog.Position, done bool, err error) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.released {
		return at, false, fault.New("mend", fault.Misrouted, "tenant %s has moved away", e.id).ForTenant(e.id)
	}
	files := log.Position()
	if files.Next.Before(e.state.Log.Next) && !restoring {
		return e.state.Log, false, nil
	}
	if err := diverged(files, e.state.Log, e.state.ID); err != nil && !restoring {
		return at, false, err
	}
	if !restoring {
		s.o.Logger.Info("a tenant's log is whole again", "shard", s.o.ID.String(), "tenant", e.id.String(), "records", files.Next.String())
	}
	e.log, e.err = log, nil
	delete(s.damagedAt, e)
	return at, true, s.logs.added(e)
}

// openCopy opens what a log's files hold, to be brought up from another
// replica. Files that are damaged are put aside.
func (s *Shard) openCopy(id ident.TenantID, why error) (*tenantlog.Log, error) {
	log, whole, err := tenantlog.OpenPrefix(s.logOptions(id))
	if err != nil || whole {
		return log, err
	}
	if err := s.setAside(id, why); err != nil {
		return nil, err
	}
	return tenantlog.Open(s.logOptions(id), tenantlog.Start(id))
}

// setAside renames the directory of a log whose files are of no use, so that
// they can still be looked at.
func (s *Shard) setAside(id ident.TenantID, why error) error {
	dir := s.LogDir(id)
	reason := "its files are not a whole chain"
	if why != nil {
		reason = why.Error()
	}
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.damaged-%d", dir, n)
		if _, err := s.o.FS.Stat(aside); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fault.Wrap("mend", fault.Unavailable, err, "cannot look at %s", aside)
		}
		err := s.o.FS.Rename(dir, aside)
		if err == nil {
			err = s.o.FS.SyncDir(filepath.Dir(dir))
		}
		if err != nil {
			return fault.Wrap("mend", fault.Unavailable, err, "cannot put %s aside", dir)
		}
		s.o.Logger.Error("a tenant's log was put aside and is fetched again", "shard", s.o.ID.String(), "tenant", id.String(), "dir", aside, "reason", reason)
		s.copying.noteAside(aside)
		return nil
	}
}

// bringUp fetches what a log lacks up to a position. Files that turn out to be
// of another chain are put aside, once. The log it returns is open, and holds
// what came, also beside an error.
func (s *Shard) bringUp(ctx context.Context, node ident.NodeID, id ident.TenantID, log *tenantlog.Log, to tenantlog.Position) (*tenantlog.Log, error) {
	err := s.copyRecords(ctx, node, id, log, to)
	if !fault.Is(err, fault.Conflict) {
		return log, err
	}
	if err := log.Close(); err != nil {
		return log, err
	}
	if err := s.setAside(id, err); err != nil {
		return log, err
	}
	fresh, openErr := tenantlog.Open(s.logOptions(id), tenantlog.Start(id))
	if openErr != nil {
		return log, openErr
	}
	return fresh, s.copyRecords(ctx, node, id, fresh, to)
}
