package tenant

import (
	"context"
	"errors"

	"kimberlite/internal/audit"
	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
)

// Actor is who a handle's calls are made for.
type Actor struct {
	// Name is the principal's, as the audit trail has it.
	Name string
	// Access bounds every call of the handle.
	Access projection.Access
	// Remote is the address that the principal came from, or "".
	Remote string
	// Operator says that it is an operator of the deployment and no
	// credential of the tenant.
	Operator bool
}

// reason is an error's message without its cause.
func reason(err error) string {
	var e *fault.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return ""
}

// embedded is the program that holds a handle of its own.
var embedded = Actor{Name: "embedded"}

// As returns a handle on the same tenant whose calls have the actor's rights
// and are noted in the audit trail as the actor's. What is refused to it is
// noted there, too.
func (t *Tenant) As(a Actor) *Tenant {
	c := *t
	c.actor = &a
	return &c
}

// Actor returns who the handle's calls are made for.
func (t *Tenant) Actor() Actor {
	if t.actor == nil {
		return embedded
	}
	return *t.actor
}

type actorKey struct{}

// WithActor returns a context under which the Manager's calls are noted in
// the audit trail as the actor's. It gives no rights.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

func actorOf(ctx context.Context) Actor {
	if a, ok := ctx.Value(actorKey{}).(Actor); ok {
		return a
	}
	return embedded
}

// entryBy is an entry of the audit trail about what an actor does.
func entryBy(a Actor, action, object, outcome string) audit.Entry {
	role := a.Access.String()
	if a.Operator {
		role = "operator"
	}
	return audit.Entry{Principal: a.Name, Role: role, Remote: a.Remote, Action: action, Object: object, Outcome: outcome}
}

// access is the handle's; a handle without an actor is the owner's.
func (t *Tenant) access() projection.Access {
	if t.actor == nil {
		return projection.AccessOwner
	}
	return t.actor.Access
}

// require refuses a call that takes a right which the handle lacks.
func (t *Tenant) require(need projection.Right) error {
	if refused := t.access().Require(need); refused != nil {
		return t.refused(refused.ForTenant(t.slot.id))
	}
	return nil
}

// refused notes in the audit trail that something was denied to an actor,
// gathered with its like, and returns err. Anything else passes through.
func (t *Tenant) refused(err error) error {
	if t.actor == nil || !fault.Is(err, fault.Denied) {
		return err
	}
	e := t.entry(audit.Denied, "", audit.Refused)
	e.Detail = map[string]any{"reason": reason(err)}
	t.slot.gather(e)
	return err
}

// entry is an entry of the audit trail about what the handle's actor does.
func (t *Tenant) entry(action, object, outcome string) audit.Entry {
	return entryBy(t.Actor(), action, object, outcome)
}

// act makes a group's statements the handle's actor's.
func (t *Tenant) act(g *projection.Group) {
	g.Act(t.access(), func(change, object string) []byte {
		e := t.entry(audit.SchemaChanged, object, audit.OK)
		e.Detail = map[string]any{"change": change}
		return e.Encode()
	})
}

// do runs a write as the handle's actor.
func (t *Tenant) do(rt *Runtime, r *request) (res record.Result, err error) {
	run := r.run
	r.run = func(ctx context.Context, g *projection.Group) (record.Result, error) {
		t.act(g)
		return run(ctx, g)
	}
	res, err = rt.writer.do(r)
	return res, t.refused(err)
}
