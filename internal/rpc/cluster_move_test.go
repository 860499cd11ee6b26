package rpc

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/deployment"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// moving is a cluster whose one move takes its time.
type moving struct {
	ClusterMoves
	last  deployment.Move
	tells []deployment.Move
	takes time.Duration
	err   error
}

func (m *moving) MoveTenant(ctx context.Context, _ ident.TenantID, _ ident.ShardID, progress func(deployment.Move)) (*deployment.Move, error) {
	for _, one := range m.tells {
		progress(one)
	}
	select {
	case <-time.After(m.takes):
	case <-ctx.Done():
		return nil, fault.OfContext("tenant move", ctx)
	}
	return &m.last, m.err
}

func TestAMoveIsToldOfUntilItsEndAndWhileNothingChanges(t *testing.T) {
	id, to := ident.MustTenantID(7), ident.NewShardID(3)
	at := func(phase string, copied int64) deployment.Move {
		return deployment.Move{Tenant: id, To: to, Phase: phase, Copied: copied}
	}
	synctest.Test(t, func(t *testing.T) {
		var phases []string
		tell := func(m *v1.Move) error {
			phases = append(phases, m.GetPhase())
			return nil
		}
		c := &moving{takes: 25 * time.Second, last: at(deployment.Done, 5), tells: []deployment.Move{
			at(deployment.Copying, 1), at(deployment.Copying, 1), at(deployment.Copying, 5), at(deployment.Releasing, 5),
		}}
		if err := follow(t.Context(), c, id, to, tell); err != nil {
			t.Fatal(err)
		}
		want := "copying copying releasing releasing releasing done" // twice again, once in ten seconds
		got := ""
		for i, p := range phases {
			if i > 0 {
				got += " "
			}
			got += p
		}
		if got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		c = &moving{last: deployment.Move{Tenant: id, To: to, Phase: deployment.Aborted, Problem: "no room"}}
		if err := follow(t.Context(), c, id, to, tell); !fault.Is(err, fault.Unavailable) {
			t.Errorf("an aborted move: %v", err)
		}
		// Whoever does not listen any more ends the telling and not the move.
		gone := fault.New("rpc", fault.Canceled, "gone")
		c = &moving{takes: time.Hour, tells: []deployment.Move{at(deployment.Copying, 1), at(deployment.Copying, 2)}}
		if err := follow(t.Context(), c, id, to, func(*v1.Move) error { return gone }); !errors.Is(err, gone) {
			t.Errorf("nobody listens: %v", err)
		}
	})
}
