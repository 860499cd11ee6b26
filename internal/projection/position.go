package projection

import (
	"encoding/binary"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

// Applied says how far a projection has followed its log.
type Applied struct {
	// Next is how many records have been applied: the offset of the next one.
	Next ident.Offset
	// LastHash is the hash of the last applied record; zero before the first.
	LastHash record.Hash
	// Segment and Byte are where in the log's files the last applied record
	// starts. They are handed back as they were given.
	Segment uint64
	Byte    int64
	// Time is the last applied record's. Group.Prepare needs it when the
	// group holds idempotency keys: their age is counted from it.
	Time time.Time
}

// streamCount is the next offset of a stream.
type streamCount struct{ stream, next uint64 }

// maxRecent is how many streams' counters stand beside the position.
const maxRecent = 24

// position is what changes with every record: where the projection stands,
// and the counters of the streams that moved last, the last one at the end.
// It is the meta data of the page store's version, so that a commit writes no
// page for it, and yet the two are one: published, flushed and recovered
// together. Counters of other streams are rows of _kimberlite_meta; one that
// is here holds, whatever its row says.
//
// Its bytes, big-endian:
//
//	offset size
//	     0    8  next: how many records have been applied
//	     8   32  hash of the last applied record
//	    40    8  segment of the last applied record
//	    48    8  byte in the segment where it starts
//	    56    8  its time, nanoseconds since 1970, 0 for none
//	    64       up to 24 times: stream (8), its next offset (8)
type position struct {
	applied Applied
	recent  []streamCount
}

const (
	appliedBytes = 64
	countBytes   = 16
)

func (p *position) encode() []byte {
	a := &p.applied
	b := make([]byte, 0, appliedBytes+countBytes*len(p.recent))
	b = binary.BigEndian.AppendUint64(b, a.Next.Uint64())
	b = append(b, a.LastHash[:]...)
	b = binary.BigEndian.AppendUint64(b, a.Segment)
	b = binary.BigEndian.AppendUint64(b, uint64(a.Byte)) //nolint:gosec // read back the same way
	var at int64
	if !a.Time.IsZero() {
		at = a.Time.UnixNano()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(at)) //nolint:gosec // likewise
	for _, c := range p.recent {
		b = binary.BigEndian.AppendUint64(b, c.stream)
		b = binary.BigEndian.AppendUint64(b, c.next)
	}
	return b
}

// decodePosition reads a position; a projection without one has applied
// nothing.
func decodePosition(b []byte) (position, error) {
	var p position
	if len(b) == 0 {
		return p, nil
	}
	counts := len(b) - appliedBytes
	if counts < 0 || counts%countBytes != 0 || counts > maxRecent*countBytes {
		return p, fault.New("projection", fault.Corruption, "the projection's position has %d bytes: remove its file, it is rebuilt from the log", len(b))
	}
	a := &p.applied
	a.Next = ident.NewOffset(binary.BigEndian.Uint64(b))
	a.Segment = binary.BigEndian.Uint64(b[40:])
	a.Byte = int64(binary.BigEndian.Uint64(b[48:])) //nolint:gosec // written from one
	copy(a.LastHash[:], b[8:])
	if at := int64(binary.BigEndian.Uint64(b[56:])); at != 0 { //nolint:gosec // likewise
		a.Time = time.Unix(0, at).UTC()
	}
	for b = b[appliedBytes:]; len(b) > 0; b = b[countBytes:] {
		c := streamCount{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
		if _, twice := p.find(c.stream); twice {
			return p, fault.New("projection", fault.Corruption, "the projection's position counts stream %d twice: remove its file, it is rebuilt from the log", c.stream)
		}
		p.recent = append(p.recent, c)
	}
	return p, nil
}

func (p *position) find(stream uint64) (at int, ok bool) {
	for i := len(p.recent) - 1; i >= 0; i-- {
		if p.recent[i].stream == stream {
			return i, true
		}
	}
	return 0, false
}

// count notes a stream's next offset. When there are too many it returns the
// one that moved the longest ago, which needs its row from now on.
func (p *position) count(stream, next uint64) (out streamCount, evicted bool) {
	if at, ok := p.find(stream); ok {
		copy(p.recent[at:], p.recent[at+1:])
		p.recent[len(p.recent)-1] = streamCount{stream, next}
		return out, false
	}
	if evicted = len(p.recent) == maxRecent; evicted {
		out = p.recent[0]
		p.recent = append(p.recent[:0], p.recent[1:]...)
	}
	p.recent = append(p.recent, streamCount{stream, next})
	return out, evicted
}

// copyFrom makes p equal to another position, with counters of its own.
func (p *position) copyFrom(from *position) {
	p.applied, p.recent = from.applied, append(p.recent[:0], from.recent...)
}

const upsertMeta = `INSERT INTO _kimberlite_meta(k, v) VALUES(?1,?2) ON CONFLICT(k) DO UPDATE SET v=?2`

// settle finishes a record inside the writer's transaction: position, stream
// counters, sparse index and idempotency keys. The leader and those who
// follow call it with the same arguments, so that it leaves the same content.
func (w *writer) settle(p *record.Payload, at Applied) error {
	pos := &w.st.position
	if at.Next != pos.applied.Next.Next() {
		return fault.New("projection", fault.Invalid, "record %s does not follow position %s", at.Next, pos.applied.Next).ForTenant(w.c.tenant)
	}
	for _, s := range spans(p) {
		if out, evicted := pos.count(s.stream, s.next); evicted {
			if err := w.c.exec(upsertMeta, int64(out.stream), int64(out.next)); err != nil { //nolint:gosec // read back the same way
				return err
			}
		}
		if isInternal(s.stream) {
			w.st.next[s.stream] = s.next // capture gives their offsets out later
		}
		if err := w.indexSpan(s, at); err != nil {
			return err
		}
	}
	if err := w.keepKeys(p, at); err != nil {
		return err
	}
	pos.applied = at
	w.st.settled = true
	return nil
}

// commit ends the open transaction and publishes its pages and the position
// that it settled, both or neither. A connection that could not is not to be
// used again: SQLite's idea of the pages may not be the store's.
func (w *writer) commit() error {
	if w.st.settled {
		w.c.file.meta = w.st.position.encode()
	}
	err := w.c.exec(`COMMIT`)
	if err == nil {
		err = w.c.file.publishMeta()
	}
	if err != nil {
		w.c.dead = true
	}
	return err
}
