package verify

import (
	"errors"
	"io/fs"
	"path/filepath"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/record"
	"kimberlite/internal/replication"
	"kimberlite/internal/shard"
)

// dataDirectory checks every tenant of a data directory against the state
// that its shards have agreed on.
func (v *verifier) dataDirectory(dir string) error {
	expected, err := v.expectations(filepath.Join(dir, "replication"))
	if err != nil {
		return err
	}
	if err := v.keyring(filepath.Join(dir, "keyring"), expected); err != nil {
		return err
	}
	root := filepath.Join(dir, "shards")
	shards, err := v.fs.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap("verify", fault.Unavailable, err, "cannot read %s", root)
	}
	for _, name := range shards {
		if err := v.shardDirectory(filepath.Join(root, name, "tenants"), expected[name]); err != nil {
			return err
		}
	}
	for name, tenants := range expected {
		v.missing(filepath.Join(root, name, "tenants"), tenants)
	}
	sortReports(v.report.Tenants)
	return nil
}

// keyring reports damaged slots of wrapped KEKs, which need no key to be seen.
// A KEK that no envelope names is left of a creation or rotation that a crash
// interrupted, and destroyed at the next opening.
func (v *verifier) keyring(dir string, expected map[string]shardTenants) error {
	damage, err := keyring.Inspect(v.fs, dir)
	if err != nil {
		return err
	}
	for _, d := range damage {
		if d.Harmless || !d.Tenant.IsZero() && !named(expected, d.Tenant, d.Generation) {
			continue
		}
		v.report.Problems = append(v.report.Problems, Problem{
			Tenant: d.Tenant, File: d.Fault.File, Offset: d.Fault.Position, Message: d.Fault.Message,
		})
	}
	return nil
}

// named says whether a tenant's envelope names a KEK.
func named(expected map[string]shardTenants, id ident.TenantID, kek ident.KeyGeneration) bool {
	for _, tenants := range expected {
		if e := tenants[id]; e != nil && e.kek == kek {
			return true
		}
	}
	return false
}

// shardTenants are the expectations of one shard; those found on disk are
// taken out.
type shardTenants map[ident.TenantID]*expectation

func (v *verifier) shardDirectory(dir string, expected shardTenants) error {
	names, err := v.fs.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.Wrap("verify", fault.Unavailable, err, "cannot read %s", dir)
	}
	for _, name := range names {
		id, err := ident.ParseTenantID(name)
		if err != nil {
			v.report.Problems = append(v.report.Problems, Problem{File: filepath.Join(dir, name), Message: "this is no tenant's directory"})
			continue
		}
		logDir := filepath.Join(dir, name, "log")
		e := expected[id]
		if e == nil {
			v.report.Problems = append(v.report.Problems, Problem{Tenant: id, File: filepath.Join(dir, name), Message: "the shard knows no tenant with this id"})
			continue
		}
		delete(expected, id)
		if err := v.tenant(logDir, id, *e); err != nil {
			return err
		}
	}
	return nil
}

// missing reports tenants whose checkpointed log has no files at all.
func (v *verifier) missing(dir string, left shardTenants) {
	for id, e := range left {
		out := TenantReport{Tenant: id, Pending: uint64(len(e.pending)), LastHash: e.at.LastHash}
		if e.at.Next.Uint64() > 0 {
			out.Problems = []Problem{{
				Tenant: id, File: filepath.Join(dir, id.String(), "log"), Message: "the log is missing: its directory is not there",
			}}
		}
		v.report.Tenants = append(v.report.Tenants, out)
	}
}

// expectations reads what the shards' checkpoints and the replicated logs
// after them say of every tenant.
func (v *verifier) expectations(dir string) (map[string]shardTenants, error) {
	all := map[string]shardTenants{}
	of := func(id ident.ShardID) shardTenants {
		if all[id.String()] == nil {
			all[id.String()] = shardTenants{}
		}
		return all[id.String()]
	}
	err := replication.InspectCheckpoint(v.fs, dir, func(id ident.ShardID, key, value []byte) error {
		if id.IsDirectory() || !shard.IsTenantKey(key) {
			return nil
		}
		st, err := shard.DecodeState(value)
		if err != nil {
			return err
		}
		return addState(of(id), st)
	})
	if err != nil {
		return nil, err
	}
	err = replication.InspectStore(v.fs, dir, func(id ident.ShardID, _ uint64, data []byte) error {
		if id.IsDirectory() {
			return nil
		}
		return addCommand(of(id), data)
	})
	return all, err
}

func addState(tenants shardTenants, st *shard.TenantState) error {
	e := &expectation{known: true, offline: true, at: st.Log, next: st.Log.Next, last: st.Log.LastHash}
	tenants[st.ID] = e
	return e.setEnvelope(st.Envelope)
}

func (e *expectation) setEnvelope(envelope []byte) error {
	env, err := keyring.DecodeEnvelope(envelope)
	if err != nil {
		return err
	}
	e.envelope, e.public, e.kek = envelope, env.Signing.Public, env.KEK
	return nil
}

// addCommand takes what a command after the checkpoint adds.
func addCommand(tenants shardTenants, data []byte) error {
	cmd, err := shard.DecodeCommand(data)
	if err != nil {
		return err
	}
	switch {
	case cmd.Created != nil && tenants[cmd.Created.ID] == nil:
		return addState(tenants, cmd.Created)
	case cmd.Keys != nil:
		if e := tenants[cmd.Keys.Tenant]; e != nil && cmd.Keys.Replaces(e.envelope) {
			return e.setEnvelope(cmd.Keys.Envelope)
		}
	case cmd.Imported != nil && tenants[cmd.Imported.ID] == nil:
		return addState(tenants, cmd.Imported)
	case cmd.Imported != nil:
		return tenants[cmd.Imported.ID].setEnvelope(cmd.Imported.Envelope)
	case !cmd.Released.IsZero():
		delete(tenants, cmd.Released)
	case cmd.Record != nil:
		return addRecord(tenants, cmd.Record)
	}
	for _, rec := range cmd.Records {
		if err := addRecord(tenants, rec); err != nil {
			return err
		}
	}
	return nil
}

// addRecord takes a record that continues its tenant's chain. Others the shard
// refused: several leaders, one after another, may have proposed for one place.
func addRecord(tenants shardTenants, rec []byte) error {
	h, _, hash, err := record.CheckRecord(rec)
	if err != nil {
		return err
	}
	if e := tenants[h.Tenant]; e != nil && h.Offset == e.next && h.PrevHash == e.last {
		e.pending = append(e.pending, pendingRecord{h.Offset, hash, int64(len(rec))})
		e.next, e.last = h.Offset.Next(), hash
	}
	return nil
}
