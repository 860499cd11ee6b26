package pgwire

import (
	"context"

	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/fault"
)

// authenticate has the client prove its credential by SCRAM. Whatever is wrong
// (no such tenant, no such name, revoked, a wrong password) looks the same.
func (s *session) authenticate(ctx context.Context, user string) error {
	x, err := s.srv.c.Authority.SCRAM(ctx, user, s.remote, s.binding)
	if err != nil {
		return err
	}
	m := &pgproto3.AuthenticationSASL{AuthMechanisms: x.Mechanisms()}
	if err := s.w.send(m); err != nil {
		return err
	}
	body, err := s.password()
	if err != nil {
		return err
	}
	var first pgproto3.SASLInitialResponse
	if err := first.Decode(body); err != nil {
		return protocolError("the SASL message is not well formed")
	}
	mechanism, data := first.AuthMechanism, first.Data
	for {
		reply, done, err := x.Step(data, mechanism)
		if err != nil {
			return err
		}
		if done {
			if err := s.w.send(&pgproto3.AuthenticationSASLFinal{Data: reply}); err != nil {
				return err
			}
			break
		}
		if err := s.w.send(&pgproto3.AuthenticationSASLContinue{Data: reply}); err != nil {
			return err
		}
		if data, err = s.password(); err != nil {
			return err
		}
	}
	s.proof = x.Session()
	p := s.proof.Principal()
	s.tenantID, s.user = p.Tenant, user
	if p.Operator {
		return fault.New("login", fault.Denied, "an operator has no tables: use the kimberlite command").WithState("28000")
	}
	s.tenant, err = s.proof.Tenant()
	return err
}

// password waits for the client's next message of the login.
func (s *session) password() ([]byte, error) {
	if err := s.w.flush(); err != nil {
		return nil, err
	}
	kind, body, err := s.r.next()
	if err != nil {
		return nil, err
	}
	if kind != 'p' {
		return nil, protocolError("a SASL message was expected, not type 0x%02x", kind)
	}
	return body, nil
}

// errNoDatabase is the same whatever exists.
func errNoDatabase() error {
	return fault.New("login", fault.NotFound, "there is no such database for this user: leave the database out, or name the user's own tenant").WithState("3D000")
}

// chooseDatabase checks the database that the client asks for.
func (s *session) chooseDatabase(asked string) error {
	name := s.tenantName(s.tenantID)
	if asked != "" && asked != s.user && asked != name && asked != s.tenantID.String() {
		return errNoDatabase()
	}
	s.database = name
	return nil
}

// greet tells a client that has logged in what it needs to know.
func (s *session) greet(_ context.Context, rq *startupRequest) error {
	if err := s.chooseDatabase(rq.params["database"]); err != nil {
		return err
	}
	if err := s.settings.start(s, rq.params); err != nil {
		return err
	}
	s.key = newCancelKey(rq.minor)
	if err := s.srv.register(s); err != nil {
		return err
	}
	if err := s.w.send(&pgproto3.AuthenticationOk{}); err != nil {
		return err
	}
	if err := s.reportSettings(); err != nil {
		return err
	}
	if err := s.w.send(&pgproto3.BackendKeyData{ProcessID: s.pid, SecretKey: s.key}); err != nil {
		return err
	}
	if err := s.w.readyForQuery(s.tx.status()); err != nil {
		return err
	}
	go s.watch()
	s.log.Debug("pgwire: logged in", "tenant", s.tenantID.String())
	return s.w.flush()
}
