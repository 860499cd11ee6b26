package access

import (
	"context"
	"net/netip"

	"kimberlite/internal/credential"
)

// Exchange is one login by SCRAM-SHA-256. It is used by one goroutine, once.
type Exchange struct {
	ctx      context.Context
	at       *attempt
	verifier credential.Verifier
	binding  []byte
	talk     *credential.Conversation
	over     bool
	session  *Session
}

// SCRAM begins a login of a user such as app@1 or app@hospital-a. binding is
// the data of tls-server-end-point on a connection under TLS, nil on others.
// It fails when ctx ends, which bounds the whole exchange, and with Misrouted
// or Unavailable when the tenant's credentials cannot be asked here now.
func (a *Authority) SCRAM(ctx context.Context, user string, remote netip.Addr, binding []byte) (*Exchange, error) {
	at := a.attempt(remote, "scram")
	at.findUser(ctx, user)
	if at.elsewhere != nil {
		return nil, at.elsewhere
	}
	at.judge()
	x := &Exchange{ctx: ctx, at: at, binding: binding}
	if at.record != nil {
		x.verifier = at.record.Verifier
	} else {
		x.verifier = credential.FakeVerifier(a.operators.loginKey(), user)
	}
	return x, at.floor(ctx)
}

// Mechanisms returns the names of the mechanisms that the server offers, the
// best one first.
func (x *Exchange) Mechanisms() []string {
	if x.binding != nil {
		return []string{credential.SCRAMPlus, credential.SCRAM}
	}
	return []string{credential.SCRAM}
}

// Step takes a client's message and returns what to answer. mechanism is the
// one that the client chose, given with its first message and not looked at
// afterwards. done says that the client is logged in: the reply is the
// server's last message, and Session has the session. After an error the
// exchange is over; all that are Unauthenticated are the same.
func (x *Exchange) Step(message []byte, mechanism string) (reply []byte, done bool, err error) {
	if x.over {
		return nil, false, refusal()
	}
	if x.talk == nil {
		if x.talk, err = credential.NewConversation(x.verifier, mechanism, x.binding, x.at.a.c.Random); err != nil {
			return nil, false, x.fail()
		}
	}
	reply, proven, err := x.talk.Step(message)
	if err != nil {
		return nil, false, x.fail()
	}
	if !proven {
		return reply, false, nil
	}
	x.over = true
	if x.session, err = x.at.admit(x.ctx, false); err != nil {
		return nil, false, err
	}
	return reply, true, nil
}

func (x *Exchange) fail() error {
	x.over = true
	return x.at.refuse("secret")
}

// Session returns the session of an exchange that is done, nil before.
func (x *Exchange) Session() *Session { return x.session }
