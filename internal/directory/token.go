package directory

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// A join token's secret is "kj1_", the token's id, a dot, and 32 random bytes
// in base64. The id finds the token; HMAC-SHA-256 of the random bytes under
// the token's salt is what is kept of them.
const (
	tokenPrefix = "kj1_"
	secretBytes = 32
	saltBytes   = 16
	hashBytes   = sha256.Size
	tokenIDLen  = 12
)

// TokenProof says which token a node has proved to know.
type TokenProof struct {
	ID   string `json:"id"`
	Hash []byte `json:"hash"`
}

// NewToken makes a join token: the secret to hand out, and what CreateToken
// takes, which sets Created by the directory's clock.
func NewToken(region ident.Region, created, expires time.Time, random io.Reader) (secret string, t Token, err error) {
	b := make([]byte, tokenIDLen/2+saltBytes+secretBytes)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", Token{}, fault.Wrap("token create", fault.Unavailable, err, "no random bytes")
	}
	id, salt, key := b[:tokenIDLen/2], b[tokenIDLen/2:][:saltBytes], b[tokenIDLen/2+saltBytes:]
	t = Token{ID: hex.EncodeToString(id), Region: region, Created: created.UTC(), Expires: expires.UTC(), Salt: bytes.Clone(salt)}
	t.Hash = t.proof(key)
	return tokenPrefix + t.ID + "." + base64.RawURLEncoding.EncodeToString(key), t, nil
}

func (t *Token) proof(key []byte) []byte {
	h := hmac.New(sha256.New, t.Salt)
	h.Write(key)
	return h.Sum(nil)
}

// TokenID returns the id of the token with a secret, "" when it is none.
func TokenID(secret string) string {
	id, _, _ := splitToken(secret)
	return id
}

func splitToken(secret string) (id string, key []byte, ok bool) {
	rest, ok := strings.CutPrefix(secret, tokenPrefix)
	if !ok {
		return "", nil, false
	}
	id, text, ok := strings.Cut(rest, ".")
	if !ok || len(id) != tokenIDLen {
		return "", nil, false
	}
	key, err := base64.RawURLEncoding.DecodeString(text)
	return id, key, err == nil && len(key) == secretBytes
}

// ProveToken looks up what a joining node presented, so that its secret goes
// no further than the node that was asked: AddNode takes the proof, and checks
// it again. Errors: Unauthenticated, also of one that has expired.
func (d *Directory) ProveToken(secret string, now time.Time) (TokenProof, Token, error) {
	id, key, ok := splitToken(secret)
	if !ok {
		return TokenProof{}, Token{}, invalidToken()
	}
	d.mu.RLock()
	t := d.state.tokens[id]
	d.mu.RUnlock()
	if t == nil {
		return TokenProof{}, Token{}, invalidToken()
	}
	hash := t.proof(key)
	if !hmac.Equal(hash, t.Hash) {
		return TokenProof{}, Token{}, invalidToken()
	}
	if !now.Before(t.Expires) {
		return TokenProof{}, Token{}, fault.New("node join", fault.Unauthenticated, "the join token has expired: make a new one with `kimberlite node token create`")
	}
	return TokenProof{ID: id, Hash: hash}, *t, nil
}

// Tokens returns the tokens that are kept, by the time they were made: used
// ones too, until they have expired.
func (d *Directory) Tokens() []Token {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]Token, 0, len(d.state.tokens))
	for _, t := range d.state.tokens {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b Token) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return all
}
