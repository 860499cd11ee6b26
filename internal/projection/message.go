package projection

import (
	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

// Append appends messages to an event stream and returns the stream offset of
// the first. NotFound says that there is no such stream, Invalid that it is a
// table.
func (g *Group) Append(name string, messages []Message) (ident.Offset, error) {
	var none ident.Offset
	if err := g.inTxn(); err != nil {
		return none, err
	}
	s := g.w.st.streams.named(name)
	switch {
	case s == nil:
		return none, fault.New("append", fault.NotFound, "there is no stream %q", clip(name)).ForTenant(g.d.tenant)
	case s.Kind != record.EventStream:
		return none, fault.New("append", fault.Invalid, "%q is a table: insert into it instead", clip(name)).ForTenant(g.d.tenant)
	case len(messages) == 0:
		return none, fault.New("append", fault.Invalid, "no message was given").ForTenant(g.d.tenant)
	}
	before := g.w.mark()
	first := g.w.st.offset(s.Number)
	for _, m := range messages {
		if len(m.Data) > g.d.limits.MaxValueBytes || len(m.ContentType) > maxName {
			g.w.forget(before)
			return none, fault.New("append", fault.TooLarge, "a message has at most %d bytes, its content type %d", g.d.limits.MaxValueBytes, maxName).ForTenant(g.d.tenant)
		}
		g.w.capture.add(record.Event{
			Kind: record.Message, Stream: s.Number, StreamOffset: g.w.takeOffset(s.Number),
			ContentType: m.ContentType, Data: append([]byte{}, m.Data...),
		}, len(m.ContentType)+len(m.Data))
	}
	if g.w.capture.full() {
		err := g.w.capture.err
		g.w.forget(before)
		return none, err
	}
	return ident.NewOffset(first), nil
}

// Message is one message of an event stream.
type Message struct {
	// ContentType says what Data is, such as "application/json"; "" for bytes.
	ContentType string
	Data        []byte
}

// CreateStream makes an event stream. AlreadyExists says that a stream, table
// or view has the name.
func (g *Group) CreateStream(name string) (info StreamInfo, err error) {
	if err := g.inTxn(); err != nil {
		return info, err
	}
	if err := checkStreamName(name); err != nil {
		return info, err.ForTenant(g.d.tenant)
	}
	w := g.w
	defer w.c.protect("stream create", &err)
	taken := w.st.streams.named(name) != nil
	if !taken {
		err := w.c.each(`SELECT 1 FROM sqlite_schema WHERE name=?1 COLLATE NOCASE`, func(*sqlite3.Stmt) error {
			taken = true
			return errStop
		}, name)
		if err != nil {
			return info, err
		}
	}
	if taken {
		return info, fault.New("stream create", fault.AlreadyExists, "there is a stream, table, view or index %q already", clip(name)).ForTenant(g.d.tenant)
	}
	number := w.st.streams.top + 1
	err = w.emitStream(record.Event{Kind: record.StreamCreated, Stream: number, Name: name, StreamKind: record.EventStream})
	if err != nil {
		return info, err
	}
	g.txn.statements++
	return w.st.streams.byNumber[number].info(), nil
}
