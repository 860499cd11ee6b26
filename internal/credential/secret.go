package credential

import (
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"math/big"
	"strconv"
	"strings"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// A secret is shown once and never stored:
//
//	kmb_<tenant id>_<credential id>_<43 digits of base 62: 32 random bytes>
//	kmb_op_<operator id>_<43 digits>
//
// It is the password of the PostgreSQL protocol and the bearer token of the
// RPC door, whole in both: who puts another tenant's id into it has another
// secret.
const (
	prefix       = "kmb"
	operatorMark = "op"
	secretBytes  = 32
	secretDigits = 43
	saltBytes    = 16
	hashBytes    = sha256.Size
	// MaxSecret is longer than any secret; longer tokens are refused unread.
	MaxSecret = 128
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// NewSecret draws the secret of a credential from random. The zero tenant
// makes an operator's.
func NewSecret(tenant ident.TenantID, id uint64, random io.Reader) (string, error) {
	var raw [secretBytes]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", fault.Wrap(op, fault.Unavailable, err, "no random bytes")
	}
	whose := operatorMark
	if !tenant.IsZero() {
		whose = tenant.String()
	}
	return strings.Join([]string{prefix, whose, strconv.FormatUint(id, 10), digits(raw[:])}, "_"), nil
}

// digits writes 32 bytes as 43 digits of base 62.
func digits(raw []byte) string {
	n, rest, base := new(big.Int).SetBytes(raw), new(big.Int), big.NewInt(int64(len(base62)))
	var out [secretDigits]byte
	for i := secretDigits - 1; i >= 0; i-- {
		n.QuoRem(n, base, rest)
		out[i] = base62[rest.Int64()]
	}
	return string(out[:])
}

// Token is a secret taken apart. That it parses proves nothing.
type Token struct {
	// Tenant is zero for an operator's token.
	Tenant ident.TenantID
	ID     uint64
	secret string
}

// Operator says whether the token is an operator's.
func (t Token) Operator() bool { return t.Tenant.IsZero() }

// String hides the secret.
func (t Token) String() string { return "token of credential " + strconv.FormatUint(t.ID, 10) }

// GoString hides the secret from %#v.
func (t Token) GoString() string { return t.String() }

// ParseToken takes a secret apart. The error never repeats it.
func ParseToken(s string) (Token, error) {
	bad := fault.New(op, fault.Unauthenticated, "this is no token of Kimberlite")
	if len(s) > MaxSecret {
		return Token{}, bad
	}
	parts := strings.Split(s, "_")
	if len(parts) != 4 || parts[0] != prefix || len(parts[3]) != secretDigits || strings.Trim(parts[3], base62) != "" {
		return Token{}, bad
	}
	t := Token{secret: s}
	var err error
	if t.ID, err = number(parts[2]); err != nil {
		return Token{}, bad
	}
	if parts[1] == operatorMark {
		return t, nil
	}
	n, err := number(parts[1])
	if err != nil {
		return Token{}, bad
	}
	t.Tenant = ident.MustTenantID(n)
	return t, nil
}

// number reads a number from 1 on in its one spelling.
func number(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return 0, fault.New(op, fault.Invalid, "not a number from 1 on")
	}
	return n, nil
}

// SetSecret fills in what checks a secret: the salted hash of the token, and
// with a role the SCRAM verifier.
func (r *Record) SetSecret(secret string, random io.Reader) error {
	salt := make([]byte, saltBytes)
	if _, err := io.ReadFull(random, salt); err != nil {
		return fault.Wrap(op, fault.Unavailable, err, "no random bytes")
	}
	r.TokenSalt, r.TokenHash = salt, tokenHash(salt, secret)
	if r.Role == 0 {
		return nil
	}
	var err error
	r.Verifier, err = NewVerifier(secret, random)
	return err
}

func tokenHash(salt []byte, secret string) []byte {
	h := sha256.New()
	h.Write(salt)
	h.Write([]byte(secret))
	return h.Sum(nil)
}

// Matches says whether a token is the record's, in the same time either way.
func (r *Record) Matches(t Token) bool {
	return subtle.ConstantTimeCompare(tokenHash(r.TokenSalt, t.secret), r.TokenHash) == 1
}

// decoy is a record that no token matches.
var decoy = Record{TokenSalt: make([]byte, saltBytes), TokenHash: make([]byte, hashBytes)}

// MatchNothing takes the time of Matches, where there is no record.
func MatchNothing(t Token) { decoy.Matches(t) }
