package directory

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// replica is a state machine with the checkpoint that it would have saved.
type replica struct {
	*Directory
	saved map[string][]byte
	index uint64
}

func newReplica() *replica {
	return &replica{Directory: New(Options{}), saved: map[string][]byte{}}
}

// apply hands an encoded command to the state machine as the group would.
func (r *replica) apply(t testing.TB, index uint64, e *envelope) outcome {
	t.Helper()
	data, err := e.encode()
	if err != nil {
		t.Fatal(err)
	}
	return r.applyData(t, index, data)
}

func (r *replica) applyData(t testing.TB, index uint64, data []byte) outcome {
	t.Helper()
	entries := []replication.Entry{{Index: index, Data: data}}
	if err := r.Apply(entries); err != nil {
		t.Fatalf("entry %d: %v", index, err)
	}
	return entries[0].Result.(outcome)
}

// checkpoint saves what changed, as the store would.
func (r *replica) checkpoint(t testing.TB) {
	t.Helper()
	kvs, err := r.state.changes(r.state.dirty)
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range kvs {
		if kv.Value == nil {
			delete(r.saved, string(kv.Key))
		} else {
			r.saved[string(kv.Key)] = kv.Value
		}
	}
	r.state.dirty = newDirty()
	r.index = r.Applied()
}

// copy returns the saved checkpoint.
func (r *replica) copy() replication.Checkpoint {
	c := replication.Checkpoint{Index: r.index}
	for key, value := range r.saved {
		c.KVs = append(c.KVs, replication.KV{Key: []byte(key), Value: value})
	}
	slices.SortFunc(c.KVs, func(a, b replication.KV) int { return bytes.Compare(a.Key, b.Key) })
	return c
}

func sameKVs(a, b []replication.KV) error {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a) || i >= len(b):
			return fmt.Errorf("%d keys and %d", len(a), len(b))
		case !bytes.Equal(a[i].Key, b[i].Key) || !bytes.Equal(a[i].Value, b[i].Value):
			return fmt.Errorf("%q = %q and %q = %q", a[i].Key, a[i].Value, b[i].Key, b[i].Value)
		}
	}
	return nil
}

// sameAnswer compares what a command did with what the model says.
func sameAnswer(got, want outcome) error {
	switch {
	case (got.Err == nil) != (want.Err == nil):
		return fmt.Errorf("got error %v, want %v", got.Err, want.Err)
	case got.Err != nil && got.Err.Kind != want.Err.Kind:
		return fmt.Errorf("got error %v of kind %s, want kind %s", got.Err, got.Err.Kind, want.Err.Kind)
	case got.Err == nil && !reflect.DeepEqual(got.Result, want.Result):
		return fmt.Errorf("got %+v, want %+v", got.Result, want.Result)
	}
	return nil
}

// sameState compares every look-up with the model.
func sameState(d *Directory, m *model) error {
	if got, want := d.Nodes(), m.nodes; !reflect.DeepEqual(got, want) && len(want) > 0 {
		return fmt.Errorf("nodes %+v, want %+v", got, want)
	}
	if got, want := d.Shards(), m.shards; !reflect.DeepEqual(got, want) && len(want) > 0 {
		return fmt.Errorf("shards %+v, want %+v", got, want)
	}
	ids, erased := map[ident.ShardID][]Tenant{}, 0
	var live, open []Tenant
	for _, want := range sortedTenants(m.tenants) {
		if got, ok := d.Tenant(want.ID); !ok || got != want {
			return fmt.Errorf("tenant %+v (%v), want %+v", got, ok, want)
		}
		if want.State == TenantErased {
			erased++
			continue
		}
		if got, ok := d.TenantNamed(want.Name); !ok || got != want {
			return fmt.Errorf("by name %+v (%v), want %+v", got, ok, want)
		}
		live = append(live, want)
		ids[want.Shard] = append(ids[want.Shard], want)
		if want.State != TenantActive {
			open = append(open, want)
		}
	}
	if got := d.Tenants(ident.TenantID{}, 1000); !slices.Equal(got, live) {
		return fmt.Errorf("list %+v, want %+v", got, live)
	}
	if got := d.Unsettled(); !slices.Equal(got, open) {
		return fmt.Errorf("unsettled %+v, want %+v", got, open)
	}
	if n, e := d.Counts(); n != len(live) || e != erased {
		return fmt.Errorf("%d tenants and %d erased, want %d and %d", n, e, len(live), erased)
	}
	for n := range m.shard + 2 {
		id := ident.NewShardID(n)
		var got []Tenant
		d.TenantsOf(id, func(t Tenant) bool { got = append(got, t); return true })
		if !slices.Equal(sortedTenants(got), ids[id]) && len(got)+len(ids[id]) > 0 {
			return fmt.Errorf("tenants of shard %s: %+v, want %+v", id, got, ids[id])
		}
	}
	for i := range 26 * 12 {
		name := fmt.Sprintf("tenant-%c%c", 'a'+i%26, 'a'+i/26)
		if _, ok := d.TenantNamed(name); ok != (m.byName(name) != nil) {
			return fmt.Errorf("a tenant called %s: %v", name, ok)
		}
	}
	return nil
}

// rounds is how many commands a seed tries.
const rounds = 4000

// TestTheStateMachineDoesWhatANaiveModelDoes runs random commands, duplicates
// among them, on the state machine and on the model; on a second replica that
// is made anew from a checkpoint and the commands after it; and on a third.
func TestTheStateMachineDoesWhatANaiveModelDoes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			run(t, seed)
		})
	}
}

func run(t *testing.T, seed uint64) {
	m := newModel()
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 4)), m: m}
	first, second, third := newReplica(), newReplica(), newReplica()
	kinds, done := map[commandKind]int{}, map[commandKind]int{}
	for i := range rounds {
		index := uint64(i)*2 + 3
		e := g.next()
		want := m.apply(index, e)
		got := first.apply(t, index, e)
		if err := sameAnswer(got, want); err != nil {
			t.Fatalf("seed %d, command %d, %T%+v: %v", seed, i, e.command, e.command, err)
		}
		kinds[e.command.kind()]++
		if got.Err == nil {
			done[e.command.kind()]++
		}
		second.apply(t, index, e)
		if again := third.apply(t, index, e); sameAnswer(again, got) != nil {
			t.Fatalf("seed %d, command %d: replicas differ: %+v and %+v", seed, i, got, again)
		}
		if g.IntN(40) == 0 {
			first.checkpoint(t)
		}
		if g.IntN(100) == 0 {
			second.checkpoint(t)
			restart(t, second)
		}
		if i%97 == 0 || i == rounds-1 {
			if err := sameState(first.Directory, m); err != nil {
				t.Fatalf("seed %d, after command %d: %v", seed, i, err)
			}
		}
	}
	for k, decode := range decoders {
		if decode != nil && commandKind(k) != kindBarrier && (done[commandKind(k)] == 0 || kinds[commandKind(k)] == done[commandKind(k)] && commandKind(k) != kindSetSetting) {
			t.Errorf("kind %d: %d of %d commands did something: the generator tries nothing", k, done[commandKind(k)], kinds[commandKind(k)])
		}
	}
	for _, r := range []*replica{first, second, third} {
		r.checkpoint(t)
	}
	for _, other := range []*replica{second, third} {
		if err := sameKVs(first.copy().KVs, other.copy().KVs); err != nil {
			t.Errorf("seed %d: replicas' checkpoints differ: %v", seed, err)
		}
	}
}

// restart has a replica forget all but its checkpoint.
func restart(t *testing.T, r *replica) {
	t.Helper()
	c := r.copy()
	r.Directory = New(Options{})
	if err := r.Restored(c); err != nil {
		t.Fatal(err)
	}
	// What is loaded encodes as it was.
	all := newDirty()
	for key := range r.saved {
		switch key[0] {
		case prefixTenant:
			id, _ := number([]byte(key[1:]))
			all.tenants[id] = struct{}{}
		case prefixPast:
			all.past[uint32(len(all.past))] = struct{}{}
		default:
			all.keys[key] = struct{}{}
		}
	}
	kvs, err := r.state.changes(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := sameKVs(kvs, c.KVs); err != nil {
		t.Fatalf("a checkpoint does not encode as it was: %v", err)
	}
}

func TestOnlyWhatChangedIsWrittenToACheckpoint(t *testing.T) {
	t.Parallel()
	r := small(t)
	r.checkpoint(t)
	must(t, r, RenameTenant{ident.MustTenantID(2), "other"})
	kvs, err := r.state.changes(r.state.dirty)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, kv := range kvs {
		keys = append(keys, string(kv.Key[:1]))
	}
	if got := fmt.Sprint(keys); got != "[m r t]" {
		t.Errorf("a renaming writes the keys %s, want meta, the past command and the tenant", got)
	}
}

// small returns a deployment of two regions with two nodes each, a shard in
// each and a second one in the first, and tenants 1 to 4 on shard 1, active.
func small(t testing.TB) *replica {
	t.Helper()
	r := newReplica()
	must(t, r, Bootstrap{Deployment: "d", Region: testRegions[0], NodeAddresses: NodeAddresses{PeerAddr: "h:1"}})
	for i := range 3 {
		id := fmt.Sprint(i)
		where := testRegions[(i+1)/2]
		must(t, r, CreateToken{Token{ID: id, Region: where, Expires: r.state.now().Add(1e12), Hash: []byte(id)}})
		must(t, r, AddNode{Proof: TokenProof{ID: id, Hash: []byte(id)}, Region: where})
	}
	for _, nodes := range [][]uint64{{1, 2}, {3, 4}, {2}} {
		c := CreateShard{Region: r.state.nodes[ident.NewNodeID(nodes[0])].Region}
		for _, n := range nodes {
			c.Nodes = append(c.Nodes, ident.NewNodeID(n))
		}
		must(t, r, c)
	}
	for n := range uint64(4) {
		id := ident.MustTenantID(n + 1)
		made := must(t, r, ReserveTenant{Tenant: id, Name: "t" + id.String(), Region: testRegions[0], Shard: ident.NewShardID(1)})
		must(t, r, ActivateTenant{id, made.Epoch})
	}
	return r
}

// do applies a command with an id and an index of its own.
func do(t testing.TB, r *replica, c Command) outcome {
	t.Helper()
	index := r.Applied() + 1
	return r.apply(t, index, &envelope{id: commandID{byte(index), byte(index >> 8), byte(index >> 16), 1}, time: int64(index), command: c})
}

func must(t testing.TB, r *replica, c Command) Result {
	t.Helper()
	o := do(t, r, c)
	if o.Err != nil {
		t.Fatalf("%T: %v", c, o.Err)
	}
	return o.Result
}

// TestWhatWouldLeaveARegionIsRefused holds Apply to the rule that nothing else
// can be relied on for.
func TestWhatWouldLeaveARegionIsRefused(t *testing.T) {
	t.Parallel()
	us, eu, ap := testRegions[0], testRegions[1], testRegions[2]
	node, shard, tenant := ident.NewNodeID, ident.NewShardID, ident.MustTenantID
	for _, tt := range []struct {
		name    string
		command func(r *replica) Command
		kind    fault.Kind
		because string
	}{
		{"a shard over two regions", func(*replica) Command { return CreateShard{us, []ident.NodeID{node(1), node(3)}} },
			fault.Denied, "node 3 is in region eu-west and the shard is in us-east"},
		{"a replica in another region", func(r *replica) Command {
			return SetReplicas{shard(1), 1, append(slices.Clone(r.state.shards[shard(1)].Want), replication.Replica{Node: node(4), Learner: true})}
		}, fault.Denied, "node 4 is in region eu-west and the shard is in us-east"},
		{"a tenant on a shard of another region", func(*replica) Command { return ReserveTenant{tenant(9), "nine", us, shard(2)} },
			fault.Denied, "shard 2 is in region eu-west and the tenant belongs to us-east"},
		{"a tenant in a region without shards", func(*replica) Command { return ReserveTenant{tenant(9), "nine", ap, shard(9)} },
			fault.NotFound, "region ap-south has no shard"},
		{"a move across regions", func(r *replica) Command {
			return BeginMove{tenant(1), r.state.tenants.get(1).epoch, shard(2)}
		}, fault.Denied, "a tenant's data never leaves its region"},
		{"a node that comes back with another region", func(*replica) Command { return UpdateNode{Node: node(2), Region: eu} },
			fault.Denied, "node 2 belongs to region us-east and says now that it is in eu-west"},
		{"a token of another region", func(r *replica) Command {
			must(t, r, CreateToken{Token{ID: "x", Region: us, Expires: r.state.now().Add(1e9), Hash: []byte("x")}})
			return AddNode{Proof: TokenProof{"x", []byte("x")}, Region: eu}
		}, fault.Denied, "a node joins the region that its token was made for"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := small(t)
			c := tt.command(r)
			r.checkpoint(t)
			before := r.copy()
			o := do(t, r, c)
			if o.Err == nil || o.Err.Kind != tt.kind || !bytes.Contains([]byte(o.Err.Message), []byte(tt.because)) {
				t.Fatalf("%T: %v (%v), want %s: …%s…", c, o.Err, o.Result, tt.kind, tt.because)
			}
			r.checkpoint(t)
			after := r.copy()
			rest := func(kvs []replication.KV) []replication.KV {
				return slices.DeleteFunc(kvs, func(kv replication.KV) bool { return kv.Key[0] == prefixPast || kv.Key[0] == keyMeta[0] })
			}
			if err := sameKVs(rest(before.KVs), rest(after.KVs)); err != nil {
				t.Errorf("a refusal changed something: %v", err)
			}
		})
	}
}

func TestAnErasedTenantKeepsItsIDForEverAndGivesItsNameBack(t *testing.T) {
	t.Parallel()
	r := small(t)
	id := ident.MustTenantID(3)
	must(t, r, EraseTenant{id, r.state.tenants.get(3).epoch})
	for range 2 {
		if got, ok := r.Tenant(id); !ok || got.State != TenantErased || got.Name != "" || got.Shard != ident.NewShardID(1) || got.Region != testRegions[0] {
			t.Errorf("an erased tenant looks like %+v (%v)", got, ok)
		}
		if o := do(t, r, ReserveTenant{id, "again", testRegions[0], ident.NewShardID(1)}); !fault.Is(o.Err, fault.AlreadyExists) {
			t.Errorf("the id of an erased tenant is given out again: %v", o.Err)
		}
		r.checkpoint(t)
		restart(t, r)
	}
	must(t, r, RenameTenant{ident.MustTenantID(1), "t3"})
}

func TestAMoveHasOneOwnerAtEveryStep(t *testing.T) {
	t.Parallel()
	r := small(t)
	id, from, to := ident.MustTenantID(1), ident.NewShardID(1), ident.NewShardID(3)
	at := func(shard ident.ShardID, epoch uint64, state TenantState) {
		t.Helper()
		if got, _ := r.Tenant(id); got.Shard != shard || got.Epoch != epoch || got.State != state {
			t.Fatalf("tenant is %+v, want shard %s, epoch %d, %s", got, shard, epoch, state)
		}
	}
	refused := func(c Command) {
		t.Helper()
		if o := do(t, r, c); !fault.Is(o.Err, fault.Conflict) {
			t.Errorf("%T%+v: %v, want a conflict", c, c, o.Err)
		}
	}
	e := r.state.tenants.get(1).epoch
	refused(FlipMove{id, e})
	refused(BeginMove{id, e + 1, to})
	must(t, r, BeginMove{id, e, to})
	at(from, e, TenantMoving)
	must(t, r, BeginMove{id, e, to}) // again
	refused(EraseTenant{id, e})
	refused(RemoveShard{to, 1})
	must(t, r, AbortMove{id, e})
	at(from, e+1, TenantActive)
	refused(FlipMove{id, e}) // of the move that was broken off
	e++
	must(t, r, BeginMove{id, e, to})
	refused(FlipMove{id, e - 1})
	must(t, r, FlipMove{id, e})
	at(to, e+1, TenantReleasing)
	must(t, r, FlipMove{id, e})
	refused(AbortMove{id, e})
	refused(BeginMove{id, e + 1, from})
	if got, _ := r.Tenant(id); got.Source != from {
		t.Errorf("the source is %s, want %s", got.Source, from)
	}
	must(t, r, EndMove{id, e + 1})
	at(to, e+1, TenantActive)
	must(t, r, EndMove{id, e + 1})
}

func TestATokenLetsOneNodeJoinOnce(t *testing.T) {
	t.Parallel()
	r := small(t)
	us := testRegions[0]
	secret, token, err := NewToken(us, r.state.now(), r.state.now().Add(1000), zeroes{})
	if err != nil {
		t.Fatal(err)
	}
	must(t, r, CreateToken{token})
	proof, _, err := r.ProveToken(secret, r.state.now())
	if err != nil {
		t.Fatal(err)
	}
	if TokenID(secret) != token.ID {
		t.Error("a secret does not say which token it is of")
	}
	join := AddNode{Proof: proof, Region: us, Request: []byte("key 1")}
	first := must(t, r, join).Node
	if again := must(t, r, join).Node; again != first {
		t.Errorf("asked again the node became %s, and was %s", again, first)
	}
	join.Request = []byte("key 2")
	if o := do(t, r, join); !fault.Is(o.Err, fault.Unauthenticated) {
		t.Errorf("a used token: %v", o.Err)
	}
	for _, bad := range []string{"", "kj1_", secret[:len(secret)-1], secret[:20] + "A" + secret[21:], "kj1_00000000000x" + secret[16:]} {
		if _, _, err := r.ProveToken(bad, r.state.now()); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("secret %q: %v", bad, err)
		}
	}
	if _, _, err := r.ProveToken(secret, token.Expires); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("an expired token: %v", err)
	}
	for _, kv := range func() []replication.KV { r.checkpoint(t); return r.copy().KVs }() {
		if bytes.Contains(kv.Value, []byte(secret[len(tokenPrefix)+tokenIDLen+1:])) {
			t.Error("the directory keeps a token's secret")
		}
	}
}

type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(i * 7)
	}
	return len(b), nil
}

func TestATimeThatGoesBackRevivesNoToken(t *testing.T) {
	t.Parallel()
	r := small(t)
	us := testRegions[0]
	now := r.state.now()
	must(t, r, CreateToken{Token{ID: "x", Region: us, Expires: now.Add(1000), Hash: []byte("x")}})
	index := r.Applied() + 1
	r.apply(t, index, &envelope{id: commandID{9}, time: now.UnixNano() + 1000, command: SetSetting{Name: "a", Value: "b"}})
	o := r.apply(t, index+1, &envelope{id: commandID{8}, time: now.UnixNano(), command: AddNode{Proof: TokenProof{"x", []byte("x")}, Region: us}})
	if !fault.Is(o.Err, fault.Unauthenticated) {
		t.Errorf("a token was used after its end: %v", o.Err)
	}
}

func TestAReservationOfBeforeDoesNothingToTheOneOfNow(t *testing.T) {
	t.Parallel()
	r := small(t)
	id, us := ident.MustTenantID(7), testRegions[0]
	old := must(t, r, ReserveTenant{id, "seven", us, ident.NewShardID(1)})
	must(t, r, AbandonTenant{id, old.Epoch})
	now := must(t, r, ReserveTenant{id, "seven", us, ident.NewShardID(3)})
	for _, c := range []Command{ActivateTenant{id, old.Epoch}, AbandonTenant{id, old.Epoch}} {
		if o := do(t, r, c); !fault.Is(o.Err, fault.Conflict) {
			t.Errorf("%T of an abandoned reservation: %v", c, o.Err)
		}
	}
	must(t, r, ActivateTenant{id, now.Epoch})
}
