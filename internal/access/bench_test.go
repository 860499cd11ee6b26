package access

import (
	"testing"
	"time"

	"kimberlite/internal/credential"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/tenant"
)

// BenchmarkLogin measures what a login costs the server: the client's PBKDF2
// is part of "scram", since the two run in one process.
func BenchmarkLogin(b *testing.B) {
	n, err := node.Open(ctx, node.Config{Dir: b.TempDir(), ReserveBytes: -1, CheckpointInterval: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = n.Close(ctx) }()
	region, _ := ident.NewRegion("local")
	if err := n.Tenants().Create(ctx, tenant.Config{ID: one, Name: "a", Region: region}); err != nil {
		b.Fatal(err)
	}
	a, err := New(Config{Node: n, Floor: -1})
	if err != nil {
		b.Fatal(err)
	}
	secret, _, err := a.Create(ctx, one, "app", credential.Owner, time.Time{})
	if err != nil {
		b.Fatal(err)
	}
	token := func(b *testing.B) {
		s, err := a.Token(ctx, secret, home)
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
	b.Run("token first", func(b *testing.B) {
		for b.Loop() {
			a.recent.forget(sessionKey{one, 1})
			token(b)
		}
	})
	b.Run("token again", func(b *testing.B) {
		for b.Loop() {
			token(b)
		}
	})
	b.Run("token first, 64 at a time", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				a.recent.forget(sessionKey{one, 1})
				token(b)
			}
		})
	})
	b.Run("wrong token", func(b *testing.B) {
		wrong := secret[:len(secret)-1] + "!"
		for b.Loop() {
			if _, err := a.Token(ctx, wrong, home); err == nil {
				b.Fatal("accepted")
			}
		}
	})
}
