package directory

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

const (
	// proposeTimeout is how long Propose tries when its caller says nothing.
	proposeTimeout = 15 * time.Second
	// attemptTimeout bounds one try: whoever leads then may have been paused or
	// cut off, and another one elected.
	attemptTimeout = 3 * time.Second
	// The pauses between two tries.
	minPause = 20 * time.Millisecond
	maxPause = 500 * time.Millisecond
)

// Propose has a command take effect, from whatever node, and returns once this
// node's copy shows it, or 3 s later: a copy may lag. It follows changes of leader and tries again until ctx
// ends, or for 15 s when ctx has no deadline. Errors: what the command is
// refused with; Unavailable, Timeout and Canceled, when it did not take effect;
// OutcomeUnknown.
func (d *Directory) Propose(ctx context.Context, c Command) (Result, error) {
	if err := c.validate(); err != nil {
		return Result{}, err
	}
	e := envelope{command: c}
	if _, err := rand.Read(e.id[:]); err != nil {
		return Result{}, fault.Wrap("directory", fault.Internal, err, "no randomness")
	}
	data, err := e.encode()
	if err != nil {
		return Result{}, err
	}
	if len(data) > maxCommandBytes {
		return Result{}, fault.New("directory", fault.TooLarge, "the command has %d bytes, and may have %d", len(data), maxCommandBytes)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, proposeTimeout)
		defer cancel()
	}
	o, err := d.insist(ctx, data)
	if err != nil {
		return Result{}, err
	}
	if o.Err != nil {
		return Result{}, o.Err
	}
	// It took effect: that this copy does not show it yet is no failure.
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	_ = d.WaitApplied(ctx, o.Result.Index)
	return o.Result, nil
}

// insist proposes a command until its outcome is known, or ctx ends.
func (d *Directory) insist(ctx context.Context, data []byte) (outcome, error) {
	const op = "directory"
	var (
		last  error        // why the last try came to nothing
		doubt bool         // whether one of them may have taken effect
		ask   ident.NodeID // who is said to lead, when this node does not know it
		pause = minPause
	)
	for ctx.Err() == nil {
		o, asked, err := d.try(ctx, data, ask)
		if err == nil {
			return o, nil
		}
		kind := fault.KindOf(err)
		doubt = doubt || kind == fault.OutcomeUnknown
		last = err
		if !passes(kind) {
			break
		}
		ask = leaderOf(err)
		if !ask.IsZero() && ask != asked && pause == minPause {
			pause *= 2 // at most one try follows at once
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, maxPause)
	}
	switch {
	case doubt:
		return outcome{}, fault.Wrap(op, fault.OutcomeUnknown, last, "it is not known whether the change took effect: look, then repeat it if it did not")
	case last == nil:
		return outcome{}, fault.OfContext(op, ctx)
	case errors.Is(ctx.Err(), context.Canceled):
		return outcome{}, fault.OfContext(op, ctx)
	case ctx.Err() != nil:
		return outcome{}, fault.Wrap(op, fault.Unavailable, last, "the directory's leader could not be reached in time, and nothing was changed")
	}
	return outcome{}, last
}

// passes says whether an error is one that passes by itself.
func passes(k fault.Kind) bool {
	switch k {
	case fault.Misrouted, fault.Unavailable, fault.OutcomeUnknown, fault.Timeout, fault.Canceled:
		return true
	}
	return false
}

func leaderOf(err error) ident.NodeID {
	var e *fault.Error
	if errors.As(err, &e) {
		return e.Leader
	}
	return ident.NodeID{}
}

// try proposes a command once: here when this node leads, and else where the
// leader is, or is said to be. It returns whom it asked.
func (d *Directory) try(ctx context.Context, data []byte, said ident.NodeID) (outcome, ident.NodeID, error) {
	const op = "directory"
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	g := d.group.Load()
	if g == nil {
		return outcome{}, said, fault.New(op, fault.Unavailable, "this node's copy of the directory is not open")
	}
	if _, ok := g.Lead(); ok {
		o, err := d.lead(ctx, data)
		return o, d.o.Node, err
	}
	to := g.Status().Leader.Node
	if to.IsZero() || to == d.o.Node {
		to = said
	}
	if to.IsZero() || to == d.o.Node || d.o.Forward == nil {
		return outcome{}, to, fault.New(op, fault.Unavailable, "the directory has no leader now")
	}
	answer, err := d.o.Forward.Forward(ctx, to, data)
	if err != nil {
		return outcome{}, to, fault.Wrap(op, fault.OutcomeUnknown, err, "node %s, which leads the directory, did not answer", to)
	}
	o, err := decodeOutcome(answer)
	if err == nil && o.Err != nil && fromServe(o.Err.Kind) {
		err = o.Err
	}
	return o, to, err
}

// fromServe says whether an error in an answer is about the way, and not what
// the command was refused with: commands are refused with other kinds.
func fromServe(k fault.Kind) bool {
	switch k {
	case fault.Stopped, fault.Closed, fault.DiskFull:
		return true
	}
	return passes(k)
}

// lead proposes a command on this node, which leads.
func (d *Directory) lead(ctx context.Context, data []byte) (outcome, error) {
	stamped := append([]byte(nil), data...)
	stamp(stamped, d.o.Now().UnixNano())
	result, err := d.group.Load().Propose(ctx, stamped)
	if err != nil {
		return outcome{}, err
	}
	return result.(outcome), nil
}

// Serve takes a command that another node forwarded. Its answer holds
// refusals, too.
func (d *Directory) Serve(ctx context.Context, command []byte) []byte {
	o, err := d.serve(ctx, command)
	if err != nil {
		var e *fault.Error
		if !errors.As(err, &e) {
			e = fault.Wrap("directory", fault.KindOf(err), err, "the command failed")
		}
		o = outcome{Err: e}
	}
	return encodeOutcome(o)
}

func (d *Directory) serve(ctx context.Context, command []byte) (outcome, error) {
	const op = "directory"
	e, err := decodeEnvelope(command)
	if err != nil {
		return outcome{}, fault.Wrap(op, fault.Invalid, err, "a node forwarded a command that this node does not understand: run the same version on both")
	}
	if err := e.command.validate(); err != nil {
		return outcome{}, err
	}
	g := d.group.Load()
	if g == nil {
		return outcome{}, fault.New(op, fault.Misrouted, "this node's copy of the directory is not open")
	}
	if _, ok := g.Lead(); !ok {
		return outcome{}, fault.New(op, fault.Misrouted, "another node leads the directory").WithLeader(g.Status().Leader.Node)
	}
	return d.lead(ctx, command)
}
