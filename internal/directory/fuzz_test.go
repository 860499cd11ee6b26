package directory

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/replication"
)

// FuzzCommand hands anything to the decoder, and what decodes to a deployment:
// it is refused or applied, on two replicas alike, and what the state is then
// is a checkpoint that loads.
func FuzzCommand(f *testing.F) {
	g := &generator{Rand: rand.New(rand.NewPCG(1, 1)), m: newModel()}
	for i := range 300 {
		e := g.next()
		g.m.apply(uint64(i+1), e)
		if data, err := e.encode(); err == nil {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decodeEnvelope(data)
		if err != nil {
			if !fault.Is(err, fault.Corruption) && !fault.Is(err, fault.Incompatible) {
				t.Fatalf("kind %s: %v", fault.KindOf(err), err)
			}
			return
		}
		again, err := e.encode()
		if err == nil && e.command.validate() == nil {
			_, err = decodeEnvelope(again)
		}
		if err != nil && e.command.validate() == nil {
			t.Fatalf("what may be proposed does not decode again: %v", err)
		}
		a, b := small(t), small(t)
		if err := sameAnswer(a.applyData(t, 1000, data), b.applyData(t, 1000, data)); err != nil {
			t.Fatal(err)
		}
		a.checkpoint(t)
		b.checkpoint(t)
		if err := sameKVs(a.copy().KVs, b.copy().KVs); err != nil {
			t.Fatal(err)
		}
		restart(t, a)
	})
}

// FuzzCheckpoint changes a part of a checkpoint: it is refused, or it loads and
// can be looked through.
func FuzzCheckpoint(f *testing.F) {
	r := small(f)
	e := r.state.tenants.get(1).epoch
	must(f, r, BeginMove{r.state.tenants.tenant(r.state.tenants.get(1), r.state.regions).ID, e, shardID(3)})
	must(f, r, SetOperators{0, []byte("ops")})
	must(f, r, SetSetting{"a", "b"})
	r.checkpoint(f)
	good := r.copy()
	for _, kv := range good.KVs {
		f.Add(kv.Key, kv.Value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		c := good
		c.KVs = nil
		for _, kv := range good.KVs {
			if !bytes.Equal(kv.Key, key) {
				c.KVs = append(c.KVs, kv)
			}
		}
		c.KVs = append(c.KVs, replication.KV{Key: key, Value: value})
		d := New(Options{})
		if err := d.Restored(c); err != nil {
			if !fault.Is(err, fault.Corruption) {
				t.Fatalf("kind %s: %v", fault.KindOf(err), err)
			}
			return
		}
		for _, tenant := range d.Tenants(Tenant{}.ID, 100) {
			if got, ok := d.TenantNamed(tenant.Name); !ok || got != tenant {
				t.Errorf("%+v is found as %+v by its name", tenant, got)
			}
			h, ok := d.Shard(tenant.Shard)
			if !ok || h.Region != tenant.Region {
				t.Errorf("a tenant of %s is on shard %+v", tenant.Region, h)
			}
		}
	})
}
