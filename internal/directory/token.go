package directory

import (
	"io"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// TokenProof says which token a node has proved to know.
type TokenProof struct {
	ID   string `json:"id"`
	Hash []byte `json:"hash"`
}

// NewToken makes a join token: the secret to hand out, and what CreateToken
// takes.
func NewToken(region ident.Region, created, expires time.Time, random io.Reader) (secret string, t Token, err error) {
	return "", Token{}, fault.New("token create", fault.Unavailable, "no tokens yet")
}

// ProveToken looks up what a joining node presented, so that its secret goes
// no further than the node that was asked. Errors: Unauthenticated.
func (d *Directory) ProveToken(secret string, now time.Time) (TokenProof, Token, error) {
	return TokenProof{}, Token{}, fault.New("node join", fault.Unauthenticated, "the join token is not valid: make a new one")
}

// Tokens returns the tokens that are kept, by id.
func (d *Directory) Tokens() []Token { return nil }
