package projection

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// The internal streams of a tenant: messages in its own log, sealed, chained
// and replayed like all others, that no client reads or appends to by name.
// Their numbers are fixed and larger than those of any other stream; no event
// creates them.
const (
	// AuditStream holds the audit trail, an entry a message.
	AuditStream uint64 = 1 << 62
	// CredentialStream holds the credentials: each message is a credential as
	// it is from then on, and the last one of an id is in force.
	CredentialStream uint64 = AuditStream + 1
)

// unnumbered stands for the offset of an audit message in a group that is not
// logged yet: entries that are logged while the group is open come first.
const unnumbered uint64 = math.MaxUint64

// isInternal says whether a stream is one of ours.
func isInternal(number uint64) bool { return number >= AuditStream }

// newStreamSet returns the streams of an empty projection.
func newStreamSet() *streamSet {
	set := &streamSet{byNumber: map[uint64]*stream{}, byName: map[string]*stream{}}
	for number, name := range map[uint64]string{AuditStream: "_kimberlite_audit", CredentialStream: "_kimberlite_credential"} {
		set.byNumber[number] = &stream{next: new(atomic.Uint64), StreamInfo: StreamInfo{Number: number, Name: name, Kind: record.EventStream}}
	}
	return set
}

// loadInternalStreams reads how long the internal streams are.
func loadInternalStreams(c *conn, set *streamSet) error {
	return c.each(`SELECT k, v FROM _kimberlite_meta WHERE k>=?1`, func(s *sqlite3.Stmt) error {
		if n := set.byNumber[uint64(s.ColumnInt64(0))]; n != nil { //nolint:gosec // written from one
			n.next.Store(uint64(s.ColumnInt64(1))) //nolint:gosec // likewise
		}
		return nil
	}, int64(AuditStream))
}

// InternalStream describes an internal stream, as far as the projection has
// followed the log.
func (d *DB) InternalStream(number uint64) StreamInfo {
	return d.streams.Load().byNumber[number].info()
}

// Credential is a stored credential: what it says is not this package's
// matter.
type Credential struct {
	ID   uint64
	Data []byte
}

// Credentials returns the credentials by id.
func (d *DB) Credentials() (all []Credential, err error) {
	err = d.ownRead(func(c *conn) error {
		return c.each(`SELECT id, data FROM _kimberlite_credential ORDER BY id`, func(s *sqlite3.Stmt) error {
			all = append(all, Credential{uint64(s.ColumnInt64(0)), s.ColumnBlob(1, []byte{})}) //nolint:gosec // written from one
			return nil
		})
	})
	return all, err
}

// CredentialEvent is the event that puts a credential.
func CredentialEvent(c Credential, offset uint64) record.Event {
	return record.Event{Kind: record.Message, Stream: CredentialStream, StreamOffset: offset, ContentType: credentialType(c.ID), Data: c.Data}
}

// replayInternal carries out a message of an internal stream.
func (w *writer) replayInternal(e *record.Event) error {
	if e.Stream != CredentialStream {
		return nil
	}
	id, ok := credentialID(e.ContentType)
	if !ok {
		return w.diverged("a credential has no id")
	}
	return w.c.exec(`INSERT INTO _kimberlite_credential(id, data) VALUES(?1,?2) ON CONFLICT(id) DO UPDATE SET data=?2`, id, e.Data)
}

// Act says who the statements from now on are run for: what they may do, and
// what is written into the audit trail, in the same record, when one changes
// the schema. note is given the change, such as "create table", and the name
// of what was changed; nil writes nothing.
func (g *Group) Act(access Access, note func(change, object string) []byte) {
	g.access, g.note = access, note
}

// AddAudit adds an entry of the audit trail to the transaction under way.
func (g *Group) AddAudit(entry []byte) error {
	if err := g.inTxn(); err != nil {
		return err
	}
	g.w.capture.add(record.Event{
		Kind: record.Message, Stream: AuditStream, StreamOffset: unnumbered, ContentType: "application/json", Data: entry,
	}, len(entry))
	return nil
}

// noteChange adds the entry of a change of the schema.
func (g *Group) noteChange(change, object string) error {
	if g.note == nil {
		return nil
	}
	return g.AddAudit(g.note(change, clip(object)))
}

// NumberAudit gives the audit entries of the group their offsets, from next
// on, and returns the one after. origin is put first into a trail that has no
// entry yet. It is called once, after all that was logged before the group is
// known and before Payload is encoded.
func (g *Group) NumberAudit(next uint64, origin []byte) uint64 {
	for i := range g.payload.Txns {
		t := &g.payload.Txns[i]
		at := slices.IndexFunc(t.Events, func(e record.Event) bool { return e.Stream == AuditStream && e.StreamOffset == unnumbered })
		if at < 0 {
			continue
		}
		if next == 0 && origin != nil {
			t.Events = slices.Insert(t.Events, at, record.Event{
				Kind: record.Message, Stream: AuditStream, StreamOffset: unnumbered, ContentType: "application/json", Data: origin,
			})
		}
		for j := at; j < len(t.Events); j++ {
			if e := &t.Events[j]; e.Stream == AuditStream && e.StreamOffset == unnumbered {
				e.StreamOffset = next
				next++
			}
		}
	}
	return next
}

// Absorb carries out, in front of the group's own record, records that were
// logged while the group was open. They hold messages of internal streams
// only, so that nothing in the group depends on them. After it only Prepare,
// Commit and Rollback are possible.
func (g *Group) Absorb(records []ApplyRecord) (err error) {
	if err := g.usable(); err != nil {
		return err
	}
	if g.txn != nil {
		return fault.New("write", fault.Internal, "a transaction is under way").ForTenant(g.d.tenant)
	}
	if len(records) == 0 {
		return nil
	}
	defer g.w.c.protect("write", &err)
	g.w.capture = nil
	if err := g.liftLimit(); err != nil {
		return err
	}
	for i := range records {
		if err := g.w.applyOne(&records[i]); err != nil {
			return err
		}
	}
	return nil
}

// Version counts the commits that changed more than internal streams: what a
// transaction has read is as it was while the version is.
func (d *DB) Version() uint64 { return d.version.Load() }

// credentialType carries a credential's id beside its data.
func credentialType(id uint64) string { return "credential/" + strconv.FormatUint(id, 10) }

func credentialID(contentType string) (int64, bool) {
	text, ok := strings.CutPrefix(contentType, "credential/")
	id, err := strconv.ParseInt(text, 10, 64)
	return id, ok && err == nil && id > 0
}
