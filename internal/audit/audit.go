// Package audit says what an entry of a tenant's audit trail is, and gathers
// entries that an attacker could cause at will into few.
//
// It guarantees that an entry has one encoding, that it has room for no row
// and no SQL text, and that a flood of refusals becomes a bounded number of
// entries with counts. It must not know where the trail is kept: that is an
// internal stream of the tenant's own log, see package tenant. Times are
// passed in.
package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"kimberlite/internal/fault"
)

// The actions. The list is append-only.
const (
	TenantCreated     = "tenant.create"
	QuotaChanged      = "tenant.set"
	Login             = "login"
	CredentialCreated = "credential.create"
	CredentialRevoked = "credential.revoke"
	CredentialExpired = "credential.expire"
	SchemaChanged     = "schema.change"
	StreamCreated     = "stream.create"
	Denied            = "access.deny"
	KeyRotated        = "key.rotate"
	Rebuilt           = "projection.rebuild"
)

// The outcomes.
const (
	OK      = "ok"
	Refused = "refused"
)

// Entry is one thing that happened. Its time is the record's that holds it.
type Entry struct {
	// Principal is who acted: a credential's or an operator's name,
	// "embedded" for the program that embeds the database, "system" for the
	// database itself, "" for one who proved nothing.
	Principal string `json:"principal,omitempty"`
	// Role is the principal's: owner, writer, reader, auditor, or operator.
	Role string `json:"role,omitempty"`
	// Remote is the address that it came from, or "".
	Remote  string `json:"remote,omitempty"`
	Action  string `json:"action"`
	Object  string `json:"object,omitempty"`
	Outcome string `json:"outcome"`
	// Detail has more, by fixed names: never SQL text, never a row.
	Detail map[string]any `json:"detail,omitempty"`
}

// maxText bounds each text of an entry, in bytes.
const maxText = 255

// Encode returns the entry as it is kept: one JSON object.
func (e Entry) Encode() []byte {
	for _, s := range []*string{&e.Principal, &e.Role, &e.Remote, &e.Action, &e.Object, &e.Outcome} {
		*s = clean(*s)
	}
	b, err := json.Marshal(e)
	if err != nil { // a detail that JSON cannot hold is a bug of the caller's
		e.Detail = nil
		b, _ = json.Marshal(e) // texts always encode
	}
	return b
}

func clean(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}

// Decode reads what Encode wrote; fields of a newer version are passed over.
func Decode(b []byte) (Entry, error) {
	var e Entry
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&e); err != nil || e.Action == "" {
		return Entry{}, fault.New("audit", fault.Corruption, "an entry of the audit trail is malformed")
	}
	return e, nil
}

// DetailJSON returns the detail as a JSON object, or "".
func (e *Entry) DetailJSON() string {
	if len(e.Detail) == 0 {
		return ""
	}
	b, err := json.Marshal(e.Detail)
	if err != nil {
		return ""
	}
	return string(b)
}
