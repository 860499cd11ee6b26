package pgwire

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
	"kimberlite/internal/tenant"
)

// workHash is a running hash of what a transaction wrote, to tell a retry of
// it from other work under the same idempotency key. It covers what came after
// the key was set, so that who sets none does not pay for it.
type workHash struct{ h hash.Hash }

// add notes a statement that writes.
func (w *workHash) add(sql string, args []any) {
	if w.h == nil {
		w.h = sha256.New()
	}
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(sql))) //nolint:gosec // a length
	w.h.Write(n[:])
	w.h.Write([]byte(sql))
	for _, a := range args {
		fmt.Fprintf(w.h, "%T %q,", a, fmt.Sprint(a))
	}
}

func (w *workHash) sum() (fp [16]byte) {
	if w.h != nil {
		copy(fp[:], w.h.Sum(nil))
	}
	return fp
}

// commitTx commits, under the idempotency key that the session has been given.
func (s *session) commitTx(ctx context.Context, tx *tenant.Tx) (record.Result, error) {
	if s.idempotencyKey == "" || !s.tx.wrote {
		return tx.Commit(ctx)
	}
	return tx.CommitOnce(ctx, tenant.Request{IdempotencyKey: s.takeKey()}, s.tx.work.sum())
}

// stateDoneBefore is the SQLSTATE of errDoneBefore, in a class of our own: no
// statement fails with it otherwise.
const stateDoneBefore = "KL004"

// doneBefore replaces the error of a statement that failed because its
// transaction took effect before, under the idempotency key that the session
// has been given: work that is repeated may be impossible to do twice, and then
// COMMIT, which would answer with the first outcome, is never reached.
func (s *session) doneBefore(err error) error {
	if err == nil || s.idempotencyKey == "" || s.tx.tx == nil || !s.tx.wrote || !s.tx.tx.TookEffect(s.idempotencyKey) {
		return err
	}
	return fault.Wrap("sql", fault.AlreadyExists, err, "a transaction under this idempotency key took effect before, and this one was not done").WithState(stateDoneBefore)
}

// tenantName returns the name of the session's tenant.
func (s *session) tenantName(id ident.TenantID) string {
	state, _, err := s.srv.c.Node.State(id)
	if err != nil {
		return id.String()
	}
	return state.Name
}

// takeKey returns the idempotency key that names this write, and forgets it.
func (s *session) takeKey() string {
	key := s.idempotencyKey
	s.idempotencyKey = ""
	return key
}

// nameNextWrite stores the idempotency key of the next write.
func (s *session) nameNextWrite(key string) error {
	if len(key) > record.MaxIdempotencyKey {
		return fault.New("set", fault.Invalid, "an idempotency key has at most %d bytes", record.MaxIdempotencyKey)
	}
	s.idempotencyKey = key
	return nil
}
