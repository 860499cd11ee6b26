package pgwire

import (
	"context"
	"encoding/binary"
	"math"

	"kimberlite/internal/dialect"
	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
)

// A cursor of DECLARE is a portal whose rows FETCH asks for, each time in the
// formats of its own. So its rows, where they have to be held, are held as
// values and not as messages.

func errNoCursor(name string) error {
	return fault.New("sql", fault.NotFound, "cursor %q does not exist", name).WithState("34000")
}

// runDeclare runs DECLARE. The query begins here, so that what is written
// after it is not among its rows.
func (s *session) runDeclare(ctx context.Context, p *plan, args []any) (outcome, error) {
	name := p.st.Name
	if !s.tx.open() {
		return outcome{}, fault.New("sql", fault.SQL, "DECLARE CURSOR can only be used in transaction blocks").WithState("25P01")
	}
	if s.portals[name] != nil {
		return outcome{}, fault.New("sql", fault.AlreadyExists, "cursor %q already exists", name).WithState("42P03")
	}
	declared := &portal{
		name: name, plan: p.query, args: args, declared: true, level: len(s.tx.savepoints),
		held: portalOverhead + len(name) + p.query.bytes(),
	}
	for _, a := range args {
		declared.held += valueBytes(a)
	}
	var err error
	if declared.cursor, err = s.openCursor(ctx, declared); err != nil {
		return outcome{}, err
	}
	declared.cursor.asValues = true
	if err := s.keepPortal(declared); err != nil {
		declared.cursor.stop()
		return outcome{}, err
	}
	unwatch := context.AfterFunc(ctx, func() { declared.cursor.cancel(context.Cause(ctx)) })
	defer unwatch()
	declared.cursor.more() // an error is told to whoever fetches
	return outcome{p.st.Tag, -1}, nil
}

// runFetch runs FETCH, and MOVE, which sends no rows.
func (s *session) runFetch(ctx context.Context, st *dialect.Statement, w *rowWriter) (outcome, error) {
	p := s.declared(st.Name)
	if p == nil {
		return outcome{}, errNoCursor(st.Name)
	}
	w.columns, w.discard = p.plan.columns, st.Kind == dialect.Move
	limit := st.Move.Count
	if st.Move.All {
		limit = 0
	}
	if !p.finished {
		if _, _, err := s.readPortal(ctx, p, limit, w); err != nil {
			return outcome{}, err
		}
	}
	if w.discard {
		return outcome{st.Tag, w.rows}, nil
	}
	return outcome{st.Tag, w.rows}, w.begin()
}

// runClose runs CLOSE.
func (s *session) runClose(st *dialect.Statement) (outcome, error) {
	if st.Name != "" {
		if s.declared(st.Name) == nil {
			return outcome{}, errNoCursor(st.Name)
		}
		s.dropPortal(st.Name)
		return outcome{st.Tag, -1}, nil
	}
	for name, p := range s.portals {
		if p.declared {
			s.dropPortal(name)
		}
	}
	return outcome{st.Tag, -1}, nil
}

// declared returns the cursor of a name, or nil.
func (s *session) declared(name string) *portal {
	if p := s.portals[name]; p != nil && p.declared {
		return p
	}
	return nil
}

// cursorColumns are the columns of FETCH; nil when there is no such cursor.
func (s *session) cursorColumns(name string) []column {
	if p := s.declared(name); p != nil {
		return p.plan.columns
	}
	return nil
}

// dropPortalsSince closes what lasts no longer than the savepoint of a level:
// cursors of DECLARE that were opened before it go on, and are read ahead,
// lest they see what is undone.
func (s *session) dropPortalsSince(level int) {
	for name, p := range s.portals {
		if !p.declared || p.level > level {
			s.dropPortal(name)
		} else if p.cursor != nil && !p.cursor.spooled {
			_ = s.spoolPortal(p) // the portal remembers
		}
	}
}

func valueBytes(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []byte:
		return len(v)
	}
	return 16
}

// Kinds of a value that is held.
const (
	heldNull = iota
	heldInteger
	heldFloat
	heldText
	heldBlob
)

// appendHeld appends a row as its stored values, framed as a message is.
func appendHeld(dst []byte, row *projection.Row, columns int) []byte {
	start := len(dst)
	dst = header(dst, 'D')
	for i := range columns {
		switch v := row.Value(i).(type) {
		case nil:
			dst = append(dst, heldNull)
		case int64:
			dst = binary.BigEndian.AppendUint64(append(dst, heldInteger), uint64(v)) //nolint:gosec // two's complement
		case float64:
			dst = binary.BigEndian.AppendUint64(append(dst, heldFloat), math.Float64bits(v))
		case string:
			dst = binary.BigEndian.AppendUint32(append(dst, heldText), uint32(len(v))) //nolint:gosec // values are bounded
			dst = append(dst, v...)
		case []byte:
			dst = binary.BigEndian.AppendUint32(append(dst, heldBlob), uint32(len(v))) //nolint:gosec // values are bounded
			dst = append(dst, v...)
		}
	}
	return finish(dst, start)
}

// heldValues reads what appendHeld wrote.
func heldValues(b []byte, columns int) []any {
	values := make([]any, columns)
	b = b[5:]
	for i := range values {
		kind := b[0]
		b = b[1:]
		switch kind {
		case heldInteger:
			values[i] = int64(binary.BigEndian.Uint64(b)) //nolint:gosec // two's complement
			b = b[8:]
		case heldFloat:
			values[i] = math.Float64frombits(binary.BigEndian.Uint64(b))
			b = b[8:]
		case heldText, heldBlob:
			n := binary.BigEndian.Uint32(b)
			v := b[4 : 4+n]
			if values[i] = string(v); kind == heldBlob {
				values[i] = append([]byte{}, v...)
			}
			b = b[4+n:]
		}
	}
	return values
}
