package torture

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"sync"

	"kimberlite/internal/fault"
)

// status is what is known of an operation from outside.
type status byte

const (
	// begun was called and has not returned, or nobody knows its outcome: it
	// may have taken effect.
	begun status = 'b'
	// acked was acknowledged, or seen after a restart: it must be there.
	acked status = 'a'
	// refused returned an error that promises no effect, or was not there
	// after a restart: it must never be there.
	refused status = 'r'
)

// opState is what the ledger knows of one operation. None is numbered higher
// than the last of its writer.
type opState struct {
	status status
	// first is what an append was told, when it was acknowledged.
	first uint64
	told  bool
}

// ledger notes, outside of the database, what it was asked and what it
// answered. With a file, each note is written before the next step: a process
// that is killed loses none. It is safe for concurrent use.
type ledger struct {
	mu   sync.Mutex // guards all below
	ops  map[writerID][]opState
	file *os.File
}

func newLedger() *ledger { return &ledger{ops: map[writerID][]opState{}} }

// openLedger reads a ledger's file, and makes it when there is none. A note
// that the kill cut short was never made.
func openLedger(path string) (*ledger, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	whole := bytes.LastIndexByte(data, '\n') + 1
	if err := f.Truncate(int64(whole)); err != nil {
		return nil, err
	}
	l := newLedger()
	for _, line := range bytes.Split(data[:whole], []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var id opID
		var s opState
		if _, err := fmt.Sscanf(string(line), "%c %d %d %d %d %t", &s.status, &id.tenant, &id.writer, &id.n, &s.first, &s.told); err != nil {
			return nil, fmt.Errorf("ledger line %q: %w", line, err)
		}
		if err := l.note(id, s); err != nil {
			return nil, err
		}
	}
	l.file = f
	return l, nil
}

func (l *ledger) note(id opID, s opState) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	ops := l.ops[id.writerID]
	switch {
	case id.n == len(ops):
		ops = append(ops, s)
	case id.n < len(ops):
		ops[id.n] = s
	default:
		return fmt.Errorf("operation %v noted before %d", id, len(ops))
	}
	l.ops[id.writerID] = ops
	if l.file == nil {
		return nil
	}
	_, err := fmt.Fprintf(l.file, "%c %d %d %d %d %t\n", s.status, id.tenant, id.writer, id.n, s.first, s.told)
	return err
}

func (l *ledger) begin(id opID) error { return l.note(id, opState{status: begun}) }

// end notes an outcome: only OutcomeUnknown leaves it open what happened.
func (l *ledger) end(id opID, first uint64, err error) error {
	switch {
	case err == nil:
		return l.note(id, opState{status: acked, first: first, told: true})
	case fault.Is(err, fault.OutcomeUnknown):
		return nil
	}
	return l.note(id, opState{status: refused})
}

// next returns the number of the writer's next operation, and whether the one
// before it is still open.
func (l *ledger) next(w writerID) (n int, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ops := l.ops[w]
	return len(ops), len(ops) > 0 && ops[len(ops)-1].status == begun
}

func (l *ledger) state(id opID) (opState, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id.n >= len(l.ops[id.writerID]) {
		return opState{}, false
	}
	return l.ops[id.writerID][id.n], true
}

// acked says whether an operation was acknowledged.
func (l *ledger) acked(id opID) bool {
	s, _ := l.state(id)
	return s.status == acked
}

// mentioned says whether an operation was begun at all.
func (l *ledger) mentioned(id opID) bool {
	_, ok := l.state(id)
	return ok
}

// writers returns the writers of a tenant, and of them the operations.
func (l *ledger) writers(tenant uint64) map[int][]opState {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[int][]opState{}
	for w, ops := range l.ops {
		if w.tenant == tenant {
			all[w.writer] = append([]opState(nil), ops...)
		}
	}
	return all
}

// copy returns the ledger as it is now, without its file.
func (l *ledger) copy() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &ledger{ops: maps.Clone(l.ops)}
	for w, ops := range c.ops {
		c.ops[w] = append([]opState(nil), ops...)
	}
	return c
}

// between returns what must and may be found in a copy of the files that was
// taken after l was copied and before later was: what was acknowledged by
// then must be there, what was begun until after it may.
func (l *ledger) between(later *ledger) *ledger {
	c := later.copy()
	for w, ops := range c.ops {
		for n := range ops {
			if n >= len(l.ops[w]) || l.ops[w][n].status == begun {
				if ops[n].status == acked {
					ops[n] = opState{status: begun}
				}
			}
		}
	}
	return c
}

// count returns how many operations have a status.
func (l *ledger) count(s status) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	total := 0
	for _, ops := range l.ops {
		for _, o := range ops {
			if o.status == s {
				total++
			}
		}
	}
	return total
}
