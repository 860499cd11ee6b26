package rpc

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"kimberlite/client"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/quota"
)

func TestRefusalsArePacedAndStillSayWhy(t *testing.T) {
	b := newBench(t, Limits{})
	one := int64(1)
	must(b.client("operator").SetTenant(t.Context(), ident.MustTenantID(1), client.TenantChange{MaxOpsPerSec: &one}))(t)
	h := b.tenant("owner1", 1)
	refused, start := 0, time.Now()
	for refused < 24 {
		_, err := h.Query(t.Context(), "SELECT 1")
		if err == nil {
			continue // a second has passed
		}
		refused++
		var e *client.Error
		if !errors.As(err, &e) || e.Kind != fault.RateLimited || e.Quota == nil || e.Quota.Limit != quota.OpsPerSec || e.Quota.Value != 1 || e.Quota.RetryAfter <= 0 {
			t.Fatal(err)
		}
	}
	// Some are told at once, the others 20 ms apart.
	if took := time.Since(start); took < 200*time.Millisecond {
		t.Fatalf("%d refusals took %v", refused, took)
	}
	must(b.tenant("owner2", 2).Query(t.Context(), "SELECT 1"))(t)
}

func TestAPausedRefusalEndsWithItsRequestAndItsSession(t *testing.T) {
	b := newBench(t, Limits{})
	tn, err := b.node.Tenant(ident.MustTenantID(1))
	if err != nil {
		t.Fatal(err)
	}
	refusal := fault.New("test", fault.RateLimited, "refused")
	for tn.PauseBeforeRefusal(refusal) < quota.MaxPause {
		continue
	}
	session := func(who string) *call {
		s, err := b.authority.Token(t.Context(), b.secrets[who], netip.MustParseAddr("127.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return &call{session: s}
	}
	d := &door{}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	revoked := session("writer1")
	if err := b.authority.Revoke(t.Context(), ident.MustTenantID(1), "writer"); err != nil {
		t.Fatal(err)
	}
	const rounds = 10
	start := time.Now()
	for range rounds {
		d.pause(cancelled, session("owner1"), refusal)
		d.pause(t.Context(), revoked, refusal)
		d.pause(t.Context(), session("operator"), refusal)
	}
	if took := time.Since(start); took > rounds*quota.MaxPause/2 {
		t.Fatalf("the pauses took %v", took)
	}
}
