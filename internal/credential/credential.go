// Package credential decides what a credential is: its secret, what is stored
// of it, how a proof is checked, when it has ended, and how long someone who
// guesses has to wait.
//
// It guarantees that what is stored does not give a secret back (a SCRAM
// verifier for the PostgreSQL protocol, a salted hash for tokens), that
// secrets are compared in constant time, and that the memory of failed logins
// is bounded. It must not know where records are kept, who asks over which
// door, nor what time it is: times and random bytes are passed in. Package
// tenant keeps the records, package access logs in with them.
package credential

import (
	"bytes"
	"encoding/json"
	"time"

	"kimberlite/internal/fault"
)

const op = "credential"

// Role says what a tenant's credential may do. The list is append-only; an
// operator's credential has none.
type Role uint8

// The roles.
const (
	// Owner may do everything within the tenant.
	Owner Role = iota + 1
	// Writer reads and changes rows and appends events, and defines nothing.
	Writer
	// Reader only reads.
	Reader
	// Auditor reads the audit trail and the catalogs, and no row.
	Auditor
)

var roleNames = map[Role]string{Owner: "owner", Writer: "writer", Reader: "reader", Auditor: "auditor"}

// String returns the role's name, or "" for no role.
func (r Role) String() string { return roleNames[r] }

// ParseRole reads a role's name.
func ParseRole(name string) (Role, error) {
	for r, n := range roleNames {
		if n == name {
			return r, nil
		}
	}
	return 0, fault.New(op, fault.Invalid, "a role is owner, writer, reader or auditor")
}

// MaxName is the longest name of a principal, in bytes.
const MaxName = 63

// CheckName refuses names that a user name cannot carry: a name has 1 to
// MaxName ASCII letters, digits, dots, dashes and underscores, and begins with
// a letter or digit. The error does not repeat the name.
func CheckName(name string) error {
	ok := name != "" && len(name) <= MaxName
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '-' || c == '_'):
		default:
			ok = false
		}
	}
	if !ok {
		return fault.New(op, fault.Invalid, "a credential's name has 1 to %d letters, digits, dots, dashes and underscores, and begins with a letter or digit", MaxName)
	}
	return nil
}

// Record is what is kept of a credential. It holds no secret.
type Record struct {
	// ID is unique within the tenant, or among the operators, from 1.
	ID   uint64
	Name string
	// Role is 0 for an operator.
	Role Role
	// Verifier checks SCRAM-SHA-256; an operator has none.
	Verifier Verifier
	// TokenSalt and TokenHash check a bearer token.
	TokenSalt, TokenHash []byte
	Created              time.Time
	// Expires and Revoked are zero for never.
	Expires, Revoked time.Time
}

// State says whether a record can be used.
type State uint8

// The states.
const (
	Active State = iota
	Expired
	Revoked
)

// String returns the state's name.
func (s State) String() string { return [...]string{"active", "expired", "revoked"}[s] }

// State returns what the record is at a time. It ends in the instant that
// Expires names.
func (r *Record) State(now time.Time) State {
	switch {
	case !r.Revoked.IsZero():
		return Revoked
	case !r.Expires.IsZero() && !now.Before(r.Expires):
		return Expired
	}
	return Active
}

// stored is a record as JSON, the one form in which it is kept:
//
//	{"v":1,"id":1,"name":"app","role":"owner",
//	 "scram":{"salt":…,"iterations":4096,"stored_key":…,"server_key":…},
//	 "token_salt":…,"token_hash":…,"created":…,"expires":…,"revoked":…}
//
// Bytes are base64, times RFC 3339 in UTC; what is absent is left out.
type stored struct {
	V         int          `json:"v"`
	ID        uint64       `json:"id"`
	Name      string       `json:"name"`
	Role      string       `json:"role,omitempty"`
	SCRAM     *storedSCRAM `json:"scram,omitempty"`
	TokenSalt []byte       `json:"token_salt"`
	TokenHash []byte       `json:"token_hash"`
	Created   time.Time    `json:"created"`
	Expires   *time.Time   `json:"expires,omitempty"`
	Revoked   *time.Time   `json:"revoked,omitempty"`
}

type storedSCRAM struct {
	Salt       []byte `json:"salt"`
	Iterations int    `json:"iterations"`
	StoredKey  []byte `json:"stored_key"`
	ServerKey  []byte `json:"server_key"`
}

// recordVersion is the version of stored.
const recordVersion = 1

// Encode returns the record as it is kept.
func (r *Record) Encode() ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	s := stored{
		V: recordVersion, ID: r.ID, Name: r.Name, Role: r.Role.String(), TokenSalt: r.TokenSalt, TokenHash: r.TokenHash,
		Created: r.Created.UTC(), Expires: timePointer(r.Expires), Revoked: timePointer(r.Revoked),
	}
	if v := &r.Verifier; v.Iterations != 0 {
		s.SCRAM = &storedSCRAM{v.Salt, v.Iterations, v.StoredKey, v.ServerKey}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fault.Wrap(op, fault.Internal, err, "cannot write a credential")
	}
	return b, nil
}

func timePointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// maxRecord bounds what Decode reads.
const maxRecord = 4 << 10

// Decode reads what Encode wrote. Corruption says that it is something else,
// Incompatible that a newer version wrote it.
func Decode(b []byte) (*Record, error) {
	var s stored
	if len(b) > maxRecord {
		return nil, damaged()
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var version struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return nil, damaged()
	}
	if version.V != recordVersion {
		return nil, fault.New(op, fault.Incompatible, "a credential of format version %d: this program reads version %d, use a newer kimberlite", version.V, recordVersion)
	}
	if err := d.Decode(&s); err != nil || d.More() {
		return nil, damaged()
	}
	return s.record()
}

func (s *stored) record() (*Record, error) {
	r := &Record{ID: s.ID, Name: s.Name, TokenSalt: s.TokenSalt, TokenHash: s.TokenHash, Created: s.Created.UTC()}
	if s.Expires != nil {
		r.Expires = s.Expires.UTC()
	}
	if s.Revoked != nil {
		r.Revoked = s.Revoked.UTC()
	}
	if s.SCRAM != nil {
		r.Verifier = Verifier{s.SCRAM.Salt, s.SCRAM.Iterations, s.SCRAM.StoredKey, s.SCRAM.ServerKey}
	}
	if s.Role != "" {
		var err error
		if r.Role, err = ParseRole(s.Role); err != nil {
			return nil, fault.New(op, fault.Incompatible, "a credential has a role that this program does not know: use a newer kimberlite")
		}
	}
	if r.validate() != nil {
		return nil, damaged()
	}
	return r, nil
}

func damaged() error {
	return fault.New(op, fault.Corruption, "a stored credential is malformed")
}

// validate refuses records that nothing could log in with.
func (r *Record) validate() error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	tenants := r.Role != 0
	switch {
	case r.ID == 0, r.Role > Auditor, r.Created.IsZero():
	case len(r.TokenSalt) != saltBytes || len(r.TokenHash) != hashBytes:
	case tenants != r.Verifier.valid():
	default:
		return nil
	}
	return fault.New(op, fault.Invalid, "a credential lacks an id, a time or what checks its secret")
}
