package directory

import (
	"bytes"
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// model is the state machine again, written to be read: lists that are searched
// from the start, nothing kept twice.
type model struct {
	made     bool
	node     uint64
	shard    uint64
	replica  uint64
	clock    int64
	nodes    []Node
	shards   []Shard
	tenants  []Tenant // erased ones, too
	tokens   []Token
	docs     map[string]document
	settings map[string]string
	answers  map[commandID]outcome
}

func newModel() *model {
	return &model{docs: map[string]document{}, settings: map[string]string{}, answers: map[commandID]outcome{}}
}

func refuse(k fault.Kind) outcome { return outcome{Err: fault.New("", k, "refused")} }

func find[T any](list []T, match func(*T) bool) *T {
	for i := range list {
		if match(&list[i]) {
			return &list[i]
		}
	}
	return nil
}

func (m *model) apply(index uint64, e *envelope) outcome {
	if o, ok := m.answers[e.id]; ok {
		return o
	}
	m.clock = e.time
	m.tokens = slices.DeleteFunc(m.tokens, func(t Token) bool { return m.clock >= t.Expires.UnixNano() })
	o := m.run(index, e.command)
	if o.Err == nil {
		o.Result.Index = index
	}
	m.answers[e.id] = o
	return o
}

func (m *model) run(index uint64, c Command) outcome {
	if b, ok := c.(Bootstrap); ok {
		return m.bootstrap(b)
	}
	if !m.made {
		return refuse(fault.NotFound)
	}
	switch c := c.(type) {
	case AddNode:
		return m.addNode(c)
	case UpdateNode:
		n := m.byNode(c.Node)
		if n == nil {
			return refuse(fault.NotFound)
		}
		if n.State == NodeRemoved || n.Region != c.Region {
			return refuse(fault.Denied)
		}
		n.Zone, n.PeerAddr, n.PGAddr, n.RPCAddr, n.Version, n.HoldsCA = c.Zone, c.PeerAddr, c.PGAddr, c.RPCAddr, c.Version, c.HoldsCA
		return outcome{Result: Result{Node: n.ID}}
	case SetNodeState:
		return m.nodeState(c)
	case CreateShard:
		want := []replication.Replica{}
		for _, n := range c.Nodes {
			want = append(want, replication.Replica{Node: n})
		}
		if k, bad := m.badReplicas(c.Region, want, nil); bad {
			return refuse(k)
		}
		m.allot(want)
		m.shard++
		h := Shard{ID: ident.NewShardID(m.shard), Region: c.Region, Initial: want, Want: want, Generation: 1}
		m.shards = append(m.shards, h)
		return outcome{Result: Result{Shard: h.ID, Generation: 1, Replicas: want}}
	case SetReplicas:
		h := m.byShard(c.Shard)
		if h == nil {
			return refuse(fault.NotFound)
		}
		if h.Generation != c.Generation {
			return refuse(fault.Conflict)
		}
		want := slices.Clone(c.Want)
		if k, bad := m.badReplicas(h.Region, want, h.Want); bad {
			return refuse(k)
		}
		m.allot(want)
		h.Want = want
		h.Generation++
		return outcome{Result: Result{Shard: h.ID, Generation: h.Generation, Replicas: want}}
	case SetShardState:
		h := m.byShard(c.Shard)
		if h == nil {
			return refuse(fault.NotFound)
		}
		if h.Generation != c.Generation {
			return refuse(fault.Conflict)
		}
		h.State = c.State
		h.Generation++
		return outcome{Result: Result{Shard: h.ID, Generation: h.Generation}}
	case RemoveShard:
		return m.removeShard(c)
	case CreateToken, RevokeToken, SetOperators, SetCA, SetSetting:
		return m.admin(c)
	}
	return m.tenant(index, c)
}

func (m *model) bootstrap(c Bootstrap) outcome {
	if m.made && m.docs["id"].Data != nil && string(m.docs["id"].Data) != c.Deployment {
		return refuse(fault.AlreadyExists)
	}
	if !m.made {
		m.made, m.node = true, 1
		m.docs["id"] = document{Data: []byte(c.Deployment)}
		m.docs["ca"] = document{1, c.CA}
		m.nodes = append(m.nodes, m.newNode(1, c.Region, c.NodeAddresses))
	}
	return outcome{Result: Result{Node: ident.NewNodeID(1), Generation: m.docs["ca"].Generation}}
}

func (m *model) newNode(id uint64, region ident.Region, a NodeAddresses) Node {
	return Node{
		ID: ident.NewNodeID(id), Region: region, Zone: a.Zone, PeerAddr: a.PeerAddr, PGAddr: a.PGAddr,
		RPCAddr: a.RPCAddr, Version: a.Version, HoldsCA: a.HoldsCA, Joined: time.Unix(0, m.clock).UTC(),
	}
}

func (m *model) addNode(c AddNode) outcome {
	t := find(m.tokens, func(t *Token) bool { return t.ID == c.Proof.ID })
	switch {
	case t == nil, !bytes.Equal(t.Hash, c.Proof.Hash):
		return refuse(fault.Unauthenticated)
	case !t.Used.IsZero() && len(c.Request) > 0 && bytes.Equal(c.Request, t.Request):
		return outcome{Result: Result{Node: t.Used}}
	case !t.Used.IsZero():
		return refuse(fault.Unauthenticated)
	case t.Region != c.Region:
		return refuse(fault.Denied)
	}
	m.node++
	m.nodes = append(m.nodes, m.newNode(m.node, c.Region, c.NodeAddresses))
	t.Used, t.Request = ident.NewNodeID(m.node), c.Request
	return outcome{Result: Result{Node: t.Used}}
}

func (m *model) nodeState(c SetNodeState) outcome {
	n := m.byNode(c.Node)
	if n == nil {
		return refuse(fault.NotFound)
	}
	if n.State == c.State {
		return outcome{Result: Result{Node: n.ID}}
	}
	if n.State == NodeRemoved {
		return refuse(fault.Denied)
	}
	if c.State == NodeRemoved {
		for _, h := range m.shards {
			for _, r := range h.Want {
				if r.Node == n.ID {
					return refuse(fault.Conflict)
				}
			}
		}
		if find(m.nodes, func(o *Node) bool { return o.ID != n.ID && o.State != NodeRemoved }) == nil {
			return refuse(fault.Conflict)
		}
	}
	n.State = c.State
	return outcome{Result: Result{Node: n.ID}}
}

func (m *model) byNode(id ident.NodeID) *Node {
	return find(m.nodes, func(n *Node) bool { return n.ID == id })
}

func (m *model) byShard(id ident.ShardID) *Shard {
	return find(m.shards, func(h *Shard) bool { return h.ID == id })
}

func (m *model) byTenant(id ident.TenantID) *Tenant {
	return find(m.tenants, func(t *Tenant) bool { return t.ID == id })
}

func (m *model) byName(name string) *Tenant {
	return find(m.tenants, func(t *Tenant) bool { return t.State != TenantErased && t.Name == name })
}

func (m *model) allot(want []replication.Replica) {
	for i := range want {
		if want[i].ID.IsZero() {
			m.replica++
			want[i].ID = ident.NewReplicaID(m.replica)
		}
	}
}

func (m *model) badReplicas(region ident.Region, want, have []replication.Replica) (fault.Kind, bool) {
	seen := map[ident.NodeID]bool{}
	voters := 0
	for _, r := range want {
		n := m.byNode(r.Node)
		switch {
		case n == nil:
			return fault.NotFound, true
		case n.Region != region:
			return fault.Denied, true
		case seen[r.Node]:
			return fault.Invalid, true
		}
		seen[r.Node] = true
		if !r.ID.IsZero() {
			if find(have, func(o *replication.Replica) bool { return o.ID == r.ID && o.Node == r.Node }) == nil {
				return fault.Conflict, true
			}
		} else if n.State == NodeDraining {
			return fault.Conflict, true
		} else if n.State == NodeRemoved {
			return fault.Denied, true
		}
		if !r.Learner {
			voters++
		}
	}
	return fault.Invalid, voters == 0
}

func (m *model) removeShard(c RemoveShard) outcome {
	h := m.byShard(c.Shard)
	if h == nil {
		return refuse(fault.NotFound)
	}
	used := find(m.tenants, func(t *Tenant) bool {
		return t.State != TenantErased && (t.Shard == h.ID || t.Target == h.ID || t.Source == h.ID)
	})
	if h.Generation != c.Generation || used != nil {
		return refuse(fault.Conflict)
	}
	m.shards = slices.DeleteFunc(m.shards, func(h Shard) bool { return h.ID == c.Shard })
	return outcome{Result: Result{Shard: c.Shard}}
}

func (m *model) admin(c Command) outcome {
	switch c := c.(type) {
	case CreateToken:
		if m.clock >= c.Token.Expires.UnixNano() {
			return refuse(fault.Invalid)
		}
		if find(m.tokens, func(t *Token) bool { return t.ID == c.Token.ID }) != nil {
			return refuse(fault.AlreadyExists)
		}
		t := c.Token
		t.Created = time.Unix(0, m.clock).UTC()
		m.tokens = append(m.tokens, t)
	case RevokeToken:
		t := find(m.tokens, func(t *Token) bool { return t.ID == c.ID })
		if t == nil {
			return refuse(fault.NotFound)
		}
		if !t.Used.IsZero() {
			return refuse(fault.Conflict)
		}
		m.tokens = slices.DeleteFunc(m.tokens, func(t Token) bool { return t.ID == c.ID })
	case SetOperators:
		return m.setDocument("operators", c.Generation, c.Document)
	case SetCA:
		return m.setDocument("ca", c.Generation, c.PEM)
	case SetSetting:
		m.settings[c.Name] = c.Value
		maps.DeleteFunc(m.settings, func(_, v string) bool { return v == "" })
	}
	return outcome{}
}

func (m *model) setDocument(name string, generation uint64, data []byte) outcome {
	if m.docs[name].Generation != generation {
		return refuse(fault.Conflict)
	}
	m.docs[name] = document{generation + 1, data}
	return outcome{Result: Result{Generation: generation + 1}}
}

func (m *model) hasShard(region ident.Region) bool {
	return find(m.shards, func(h *Shard) bool { return h.Region == region }) != nil
}

func (m *model) badPlace(region ident.Region, id ident.ShardID) (fault.Kind, bool) {
	h := m.byShard(id)
	switch {
	case h == nil:
		return fault.NotFound, true
	case h.Region != region:
		if !m.hasShard(region) {
			return fault.Denied, true
		}
		return fault.Denied, true
	case h.State == ShardClosed:
		return fault.Conflict, true
	}
	return 0, false
}

func (m *model) tenant(index uint64, c Command) outcome {
	switch c := c.(type) {
	case ReserveTenant:
		if m.byTenant(c.Tenant) != nil || m.byName(c.Name) != nil {
			return refuse(fault.AlreadyExists)
		}
		if k, bad := m.badPlace(c.Region, c.Shard); bad {
			return refuse(k)
		}
		m.tenants = append(m.tenants, Tenant{ID: c.Tenant, Name: c.Name, Region: c.Region, Shard: c.Shard, Epoch: index, State: TenantCreating})
		return outcome{Result: Result{Shard: c.Shard, Epoch: index}}
	case RenameTenant:
		t := m.byTenant(c.Tenant)
		if t == nil || t.State == TenantErased {
			return refuse(fault.NotFound)
		}
		if t.State == TenantCreating {
			return refuse(fault.Conflict)
		}
		if o := m.byName(c.Name); o != nil && o != t {
			return refuse(fault.AlreadyExists)
		}
		t.Name = c.Name
		return outcome{Result: Result{Shard: t.Shard, Epoch: t.Epoch}}
	}
	return m.step(c)
}

// step is what the steps of making, moving and erasing a tenant do.
func (m *model) step(c Command) outcome {
	type rule struct {
		tenant ident.TenantID
		epoch  uint64
		from   TenantState
		done   func(t *Tenant) bool // it was done before
		do     func(t *Tenant) outcome
	}
	ok := func(t *Tenant) outcome { return outcome{Result: Result{Shard: t.Shard, Epoch: t.Epoch}} }
	var r rule
	switch c := c.(type) {
	case ActivateTenant:
		r = rule{c.Tenant, c.Epoch, TenantCreating,
			func(t *Tenant) bool { return t.State == TenantActive && t.Epoch == c.Epoch },
			func(t *Tenant) outcome { t.State = TenantActive; return ok(t) }}
	case AbandonTenant:
		r = rule{c.Tenant, c.Epoch, TenantCreating, nil, func(t *Tenant) outcome {
			m.tenants = slices.DeleteFunc(m.tenants, func(t Tenant) bool { return t.ID == c.Tenant })
			return outcome{}
		}}
	case BeginMove:
		r = rule{c.Tenant, c.Epoch, TenantActive,
			func(t *Tenant) bool { return t.State == TenantMoving && t.Epoch == c.Epoch && t.Target == c.Target },
			func(t *Tenant) outcome {
				if k, bad := m.badPlace(t.Region, c.Target); bad {
					return refuse(k)
				}
				if t.Shard == c.Target {
					return refuse(fault.Invalid)
				}
				t.State, t.Target = TenantMoving, c.Target
				return ok(t)
			}}
	case FlipMove:
		r = rule{c.Tenant, c.Epoch, TenantMoving,
			func(t *Tenant) bool { return t.State == TenantReleasing && t.Epoch == c.Epoch+1 },
			func(t *Tenant) outcome {
				t.State, t.Source, t.Shard, t.Target = TenantReleasing, t.Shard, t.Target, ident.ShardID{}
				t.Epoch++
				return ok(t)
			}}
	case AbortMove:
		r = rule{c.Tenant, c.Epoch, TenantMoving, nil, func(t *Tenant) outcome {
			t.State, t.Target = TenantActive, ident.ShardID{}
			t.Epoch++
			return ok(t)
		}}
	case EndMove:
		r = rule{c.Tenant, c.Epoch, TenantReleasing,
			func(t *Tenant) bool { return t.State == TenantActive && t.Epoch == c.Epoch },
			func(t *Tenant) outcome { t.State, t.Source = TenantActive, ident.ShardID{}; return ok(t) }}
	case EraseTenant:
		r = rule{c.Tenant, c.Epoch, TenantActive, nil, func(t *Tenant) outcome {
			t.State, t.Name, t.Epoch = TenantErased, "", 0
			return outcome{}
		}}
	}
	t := m.byTenant(r.tenant)
	_, erase := c.(EraseTenant)
	switch {
	case t != nil && t.State == TenantErased && erase:
		return outcome{}
	case t == nil, t.State == TenantErased:
		return refuse(fault.NotFound)
	case r.done != nil && r.done(t):
		return ok(t)
	case t.State != r.from, t.Epoch != r.epoch:
		return refuse(fault.Conflict)
	}
	return r.do(t)
}

// generator draws commands that are often right, and often nearly.
type generator struct {
	*rand.Rand
	m    *model
	sent []*envelope
}

var testRegions = []ident.Region{region("us-east"), region("eu-west"), region("ap-south")}

func region(name string) ident.Region {
	r, err := ident.NewRegion(name)
	if err != nil {
		panic(err)
	}
	return r
}

func (g *generator) region() ident.Region { return testRegions[g.IntN(len(testRegions))] }

func pick[T any](g *generator, list []T) (out T, ok bool) {
	if len(list) == 0 {
		return out, false
	}
	return list[g.IntN(len(list))], true
}

func (g *generator) addresses() NodeAddresses {
	return NodeAddresses{Zone: string(rune('a' + g.IntN(3))), PeerAddr: "10.0.0.1:7433", Version: "v1", HoldsCA: g.IntN(2) == 0}
}

// near returns n, and now and then another number.
func (g *generator) near(n uint64) uint64 {
	if g.IntN(8) == 0 {
		return n + uint64(g.IntN(3))
	}
	return n
}

func (g *generator) next() *envelope {
	if len(g.sent) > 0 && g.IntN(10) == 0 {
		e, _ := pick(g, g.sent)
		again := *e
		again.time += int64(g.IntN(1000))
		return &again
	}
	e := &envelope{time: g.m.clock + int64(g.IntN(2000)) - 500, command: g.command()}
	for i := range e.id {
		e.id[i] = byte(g.IntN(256))
	}
	g.sent = append(g.sent, e)
	return e
}

func (g *generator) command() Command {
	if !g.m.made {
		return Bootstrap{Deployment: "d1", Region: testRegions[0], NodeAddresses: g.addresses(), CA: []byte("ca")}
	}
	switch g.IntN(40) {
	case 0:
		return Bootstrap{Deployment: "d" + string(rune('1'+g.IntN(2))), Region: g.region(), NodeAddresses: g.addresses(), CA: []byte("x")}
	case 1, 2, 3, 4:
		return g.join()
	case 5, 6, 7, 8, 9, 10, 11, 12:
		return g.nodesAndShards()
	case 13:
		return SetOperators{Generation: g.near(g.m.docs["operators"].Generation), Document: []byte{byte(g.IntN(256))}}
	case 14:
		return SetCA{Generation: g.near(g.m.docs["ca"].Generation), PEM: []byte{byte(g.IntN(256))}}
	case 15:
		return SetSetting{Name: string(rune('a' + g.IntN(4))), Value: []string{"", "1", "2"}[g.IntN(3)]}
	}
	return g.tenantCommand()
}

func (g *generator) join() Command {
	t, ok := pick(g, g.m.tokens)
	if !ok || g.IntN(3) == 0 {
		id := string(rune('a' + g.IntN(12)))
		return CreateToken{Token{ID: id, Region: g.region(), Expires: time.Unix(0, g.m.clock+int64(g.IntN(30000))-100).UTC(), Salt: []byte("salt"), Hash: []byte(id)}}
	}
	if g.IntN(8) == 0 {
		return RevokeToken{ID: t.ID}
	}
	r, hash := t.Region, t.Hash
	if g.IntN(6) == 0 {
		r = g.region()
	}
	if g.IntN(8) == 0 {
		hash = []byte("wrong")
	}
	return AddNode{Proof: TokenProof{ID: t.ID, Hash: hash}, Region: r, NodeAddresses: g.addresses(), Request: []byte{byte(g.IntN(3))}}
}

func (g *generator) nodesAndShards() Command {
	n, _ := pick(g, g.m.nodes)
	if g.IntN(12) == 0 {
		n.ID = ident.NewNodeID(g.m.node + 1)
	}
	h, some := pick(g, g.m.shards)
	h.Generation = g.near(h.Generation)
	switch k := g.IntN(8); {
	case k == 0:
		r := n.Region
		if g.IntN(3) == 0 {
			r = g.region()
		}
		return UpdateNode{Node: n.ID, Region: r, NodeAddresses: g.addresses()}
	case k == 1:
		return SetNodeState{Node: n.ID, State: NodeState(g.IntN(3))}
	case k <= 3 || !some:
		c := CreateShard{Region: g.region()}
		for range 1 + g.IntN(3) {
			c.Nodes = append(c.Nodes, g.nodeIn(c.Region))
		}
		return c
	case k == 4:
		return SetShardState{Shard: h.ID, Generation: h.Generation, State: ShardState(g.IntN(3) / 2)}
	case k == 5:
		return RemoveShard{Shard: h.ID, Generation: h.Generation}
	}
	want := slices.Clone(h.Want)
	if g.IntN(2) == 0 {
		want = want[:len(want)-1]
	}
	if g.IntN(2) == 0 {
		want = append(want, replication.Replica{Node: g.nodeIn(h.Region), Learner: g.IntN(2) == 0})
	}
	if len(want) > 0 && g.IntN(8) == 0 {
		want[0].ID = ident.NewReplicaID(g.m.replica + 1)
	}
	return SetReplicas{Shard: h.ID, Generation: h.Generation, Want: want}
}

// nodeIn returns a node, most often one of a region.
func (g *generator) nodeIn(r ident.Region) ident.NodeID {
	for range 6 {
		if n, ok := pick(g, g.m.nodes); ok && n.Region == r {
			return n.ID
		}
	}
	n, _ := pick(g, g.m.nodes)
	return n.ID
}

func (g *generator) shardIn(r ident.Region) ident.ShardID {
	for range 6 {
		if h, ok := pick(g, g.m.shards); ok && h.Region == r {
			return h.ID
		}
	}
	return ident.NewShardID(uint64(g.IntN(int(g.m.shard) + 2)))
}

func (g *generator) tenantCommand() Command {
	t, ok := pick(g, g.m.tenants)
	if !ok || g.IntN(4) == 0 {
		r := g.region()
		return ReserveTenant{Tenant: ident.MustTenantID(1 + g.Uint64N(400)), Name: g.name(), Region: r, Shard: g.shardIn(r)}
	}
	if g.IntN(30) == 0 {
		t.ID = ident.MustTenantID(1 + g.Uint64N(400))
	}
	epoch := g.near(t.Epoch)
	if g.IntN(4) != 0 { // the step that is next
		switch t.State {
		case TenantCreating:
			return ActivateTenant{t.ID, epoch}
		case TenantMoving:
			if g.IntN(3) == 0 {
				return AbortMove{t.ID, epoch}
			}
			return FlipMove{t.ID, epoch}
		case TenantReleasing:
			return EndMove{t.ID, epoch}
		}
	}
	switch g.IntN(10) {
	case 0:
		return ActivateTenant{t.ID, epoch}
	case 1:
		return AbandonTenant{t.ID, epoch}
	case 2:
		return RenameTenant{t.ID, g.name()}
	case 3:
		return FlipMove{t.ID, epoch - uint64(g.IntN(2))}
	case 4:
		return AbortMove{t.ID, epoch}
	case 5:
		return EndMove{t.ID, epoch}
	case 6:
		return EraseTenant{t.ID, epoch}
	}
	return BeginMove{t.ID, epoch, g.shardIn(t.Region)}
}

func (g *generator) name() string {
	return "tenant-" + string(rune('a'+g.IntN(26))) + string(rune('a'+g.IntN(12)))
}

func sortedTenants(all []Tenant) []Tenant {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Tenant) int { return cmp.Compare(a.ID.Uint64(), b.ID.Uint64()) })
	return all
}
