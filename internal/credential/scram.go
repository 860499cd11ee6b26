package credential

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"strings"

	"github.com/xdg-go/scram"

	"kimberlite/internal/fault"
)

// The mechanisms, as SASL names them.
const (
	SCRAM     = "SCRAM-SHA-256"
	SCRAMPlus = "SCRAM-SHA-256-PLUS"
)

// iterations of PBKDF2. The secret has 256 random bits, so that nothing is
// gained by more; clients refuse fewer.
const iterations = 4096

// Verifier is what a server stores to check SCRAM-SHA-256. It does not let
// anybody log in.
type Verifier struct {
	Salt                 []byte
	Iterations           int
	StoredKey, ServerKey []byte
}

func (v *Verifier) valid() bool {
	return len(v.Salt) == saltBytes && v.Iterations >= iterations && v.Iterations <= 1<<20 &&
		len(v.StoredKey) == sha256.Size && len(v.ServerKey) == sha256.Size
}

// NewVerifier makes the verifier of a secret, with a salt from random.
func NewVerifier(secret string, random io.Reader) (Verifier, error) {
	salt := make([]byte, saltBytes)
	if _, err := io.ReadFull(random, salt); err != nil {
		return Verifier{}, fault.Wrap(op, fault.Unavailable, err, "no random bytes")
	}
	client, err := scram.SHA256.NewClient("", secret, "")
	if err != nil {
		return Verifier{}, fault.New(op, fault.Invalid, "the secret cannot be used as a password")
	}
	c, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
	if err != nil {
		return Verifier{}, fault.New(op, fault.Internal, "the verifier cannot be computed")
	}
	return Verifier{Salt: salt, Iterations: iterations, StoredKey: c.StoredKey, ServerKey: c.ServerKey}, nil
}

// FakeVerifier returns what an unknown user is answered with: it looks like a
// stored one, is the same at every attempt of that user, and nobody knows a
// password of it. key is 32 random bytes that stay in the process.
func FakeVerifier(key []byte, user string) Verifier {
	part := func(what string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(what))
		m.Write([]byte(user))
		return m.Sum(nil)
	}
	return Verifier{Salt: part("salt\x00")[:saltBytes], Iterations: iterations, StoredKey: part("stored\x00"), ServerKey: part("server\x00")}
}

// maxMessage is the longest message of a client that is looked at.
const maxMessage = 4 << 10

// Conversation is the server's side of one SCRAM exchange. It is used by one
// goroutine, once.
type Conversation struct {
	c *scram.ServerConversation
	// plain says that the mechanism has no channel binding: the client's
	// first message must not ask for one.
	plain   bool
	started bool
}

// NewConversation begins an exchange by a mechanism. binding is the data of
// tls-server-end-point when the server offered SCRAMPlus, nil when it did not.
// nonce gives the server's random bytes.
func NewConversation(v Verifier, mechanism string, binding []byte, nonce io.Reader) (*Conversation, error) {
	var drawn [24]byte
	if _, err := io.ReadFull(nonce, drawn[:]); err != nil {
		return nil, fault.Wrap(op, fault.Unavailable, err, "no random bytes")
	}
	lookup := func(string) (scram.StoredCredentials, error) {
		return scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(v.Salt), Iters: v.Iterations}, StoredKey: v.StoredKey, ServerKey: v.ServerKey,
		}, nil
	}
	server, err := scram.SHA256.NewServer(lookup)
	if err != nil {
		return nil, fault.New(op, fault.Internal, "SCRAM is not available")
	}
	server = server.WithNonceGenerator(func() string { return base64.StdEncoding.EncodeToString(drawn[:]) })
	bound := scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint, Data: binding}
	switch {
	case mechanism == SCRAMPlus && binding != nil:
		return &Conversation{c: server.NewConversationWithChannelBindingRequired(bound)}, nil
	case mechanism == SCRAM && binding != nil:
		return &Conversation{c: server.NewConversationWithChannelBinding(bound), plain: true}, nil
	case mechanism == SCRAM:
		return &Conversation{c: server.NewConversation(), plain: true}, nil
	}
	return nil, fault.New(op, fault.Unauthenticated, "the mechanism is not offered")
}

// Step takes a client's message and returns the answer to it. ok says that
// the client has proven the secret; the answer is then the last one. Any error
// ends the exchange and says nothing about the reason.
func (c *Conversation) Step(message []byte) (answer []byte, ok bool, err error) {
	first := !c.started
	c.started = true
	refused := fault.New(op, fault.Unauthenticated, "the proof does not hold")
	if len(message) > maxMessage || first && c.plain && strings.HasPrefix(string(message), "p=") {
		return nil, false, refused
	}
	text, err := c.c.Step(string(message))
	if err != nil {
		return nil, false, refused
	}
	return []byte(text), c.c.Valid(), nil
}
