package directory

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// A checkpoint is these keys, of which each is written when it changed:
//
//	m            savedMeta, JSON
//	c, o         the CA bundle, the operators: document, JSON
//	n <id, 8>    Node, JSON          s <id, 8>   Shard, JSON
//	k <id>       Token, JSON         x <name>    a setting's value
//	r <place, 4> a past command: its number, 8; its id, 16; its outcome, JSON
//	t <id, 8>    a tenant: state, 1; then as uvarints: epoch, shard, other
//	             shard of a move, number of the region; then the name
//
// Numbers in keys, and that of a past command, are big endian.
const (
	keyMeta      = "m"
	keyCA        = "c"
	keyOperators = "o"

	prefixNode    = 'n'
	prefixShard   = 's'
	prefixToken   = 'k'
	prefixSetting = 'x'
	prefixPast    = 'r'
	prefixTenant  = 't'

	savedFormat = 1
)

func numberKey(prefix byte, n uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte{prefix}, n))
}

func nodeKey(id ident.NodeID) string   { return numberKey(prefixNode, id.Uint64()) }
func shardKey(id ident.ShardID) string { return numberKey(prefixShard, id.Uint64()) }
func tenantKey(id uint64) string       { return numberKey(prefixTenant, id) }
func tokenKey(id string) string        { return string(prefixToken) + id }
func settingKey(name string) string    { return string(prefixSetting) + name }
func pastKey(place uint32) []byte      { return binary.BigEndian.AppendUint32([]byte{prefixPast}, place) }
func tail(key []byte) ([]byte, byte)   { return key[1:], key[0] }
func number(b []byte) (n uint64, ok bool) {
	if len(b) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

// savedMeta is what there is one of.
type savedMeta struct {
	Format      int            `json:"format"`
	Deployment  Deployment     `json:"deployment"`
	Clock       int64          `json:"clock"`
	NextNode    uint64         `json:"next_node"`
	NextShard   uint64         `json:"next_shard"`
	NextReplica uint64         `json:"next_replica"`
	Past        uint64         `json:"past"`
	Regions     []ident.Region `json:"regions"`
}

// changes returns the keys of what is dirty, in order.
func (s *state) changes(d dirty) ([]replication.KV, error) {
	kvs := make([]replication.KV, 0, len(d.keys)+len(d.tenants)+len(d.past))
	for key := range d.keys {
		value, err := s.value(key)
		if err != nil {
			return nil, fault.Wrap("directory", fault.Internal, err, "the directory does not encode")
		}
		kvs = append(kvs, replication.KV{Key: []byte(key), Value: value})
	}
	for id := range d.tenants {
		kvs = append(kvs, replication.KV{Key: []byte(tenantKey(id)), Value: s.tenantValue(id)})
	}
	for place := range d.past {
		kvs = append(kvs, replication.KV{Key: pastKey(place), Value: s.past.value(place)})
	}
	slices.SortFunc(kvs, func(a, b replication.KV) int { return bytes.Compare(a.Key, b.Key) })
	return kvs, nil
}

// value returns what is saved under a key but a tenant's, nil for nothing.
func (s *state) value(key string) ([]byte, error) {
	switch key[0] {
	case keyMeta[0]:
		return json.Marshal(savedMeta{
			Format: savedFormat, Deployment: s.deployment, Clock: s.clock, NextNode: s.nextNode, NextShard: s.nextShard,
			NextReplica: s.nextReplica, Past: s.past.seq, Regions: s.regions,
		})
	case keyCA[0]:
		return json.Marshal(s.ca)
	case keyOperators[0]:
		return json.Marshal(s.operators)
	case prefixSetting:
		if v, ok := s.settings[key[1:]]; ok {
			return []byte(v), nil
		}
	case prefixToken:
		if t := s.tokens[key[1:]]; t != nil {
			return json.Marshal(t)
		}
	case prefixNode:
		n, _ := number([]byte(key[1:]))
		return json.Marshal(s.nodes[ident.NewNodeID(n)])
	case prefixShard:
		n, _ := number([]byte(key[1:]))
		if h := s.shards[ident.NewShardID(n)]; h != nil {
			return json.Marshal(h)
		}
	}
	return nil, nil
}

func (s *state) tenantValue(id uint64) []byte {
	var p placement
	name := ""
	if r := s.tenants.get(id); r != nil {
		p, name = r.placement(), s.tenants.names.get(r.name())
	} else if shard, region, ok := s.tenants.erasedAt(id); ok {
		p = placement{shard: shard, region: region, state: TenantErased}
	} else {
		return nil
	}
	b := make([]byte, 0, 24+len(name))
	b = append(b, byte(p.state))
	b = binary.AppendUvarint(b, p.epoch)
	b = binary.AppendUvarint(b, uint64(p.shard))
	b = binary.AppendUvarint(b, uint64(p.other))
	b = binary.AppendUvarint(b, uint64(p.region))
	return append(b, name...)
}

func (p *past) value(place uint32) []byte {
	c := p.ring[place]
	b := binary.BigEndian.AppendUint64(nil, c.seq)
	b = append(b, c.id[:]...)
	return append(b, c.outcome...)
}

// load takes one key of a checkpoint; check follows the last one.
func (s *state) load(key, value []byte) error {
	if len(key) == 0 {
		return damaged("it has an empty key")
	}
	rest, prefix := tail(key)
	var ok bool
	var err error
	switch prefix {
	case prefixTenant:
		ok = s.loadTenant(rest, value)
	case prefixPast:
		ok = s.loadPast(rest, value)
	case prefixSetting:
		s.settings[string(rest)] = string(value)
		ok = true
	default:
		ok, err = s.loadJSON(string(key), value)
	}
	if err != nil {
		return fault.Wrap("directory", fault.Corruption, err, "the directory's checkpoint has a value under %q that does not decode", prefix)
	}
	if !ok {
		return damaged("it has a key that begins with %q and does not decode", prefix)
	}
	return nil
}

func damaged(format string, args ...any) *fault.Error {
	e := fault.New("directory", fault.Corruption, format, args...)
	e.Message = "the directory's checkpoint is damaged: " + e.Message
	return e
}

func (s *state) loadJSON(key string, value []byte) (bool, error) {
	switch key[0] {
	case keyMeta[0]:
		var m savedMeta
		if err := json.Unmarshal(value, &m); err != nil {
			return false, err
		}
		if m.Format != savedFormat {
			return false, fault.New("directory", fault.Incompatible, "it has format %d and this program knows %d: use the version that wrote it", m.Format, savedFormat)
		}
		s.deployment, s.clock, s.regions = m.Deployment, m.Clock, m.Regions
		s.nextNode, s.nextShard, s.nextReplica, s.past.seq = m.NextNode, m.NextShard, m.NextReplica, m.Past
		return len(key) == 1, nil
	case keyCA[0]:
		return len(key) == 1, decodeStrict(value, &s.ca)
	case keyOperators[0]:
		return len(key) == 1, decodeStrict(value, &s.operators)
	case prefixToken:
		var t Token
		err := decodeStrict(value, &t)
		s.tokens[t.ID] = &t
		return tokenKey(t.ID) == key, err
	case prefixNode:
		var n Node
		err := decodeStrict(value, &n)
		s.nodes[n.ID] = &n
		return nodeKey(n.ID) == key, err
	case prefixShard:
		var h Shard
		err := decodeStrict(value, &h)
		s.shards[h.ID] = &h
		return shardKey(h.ID) == key, err
	}
	return false, nil
}

func (s *state) loadTenant(key, value []byte) bool {
	id, ok := number(key)
	if !ok || id == 0 || len(value) == 0 || s.tenants.get(id) != nil {
		return false
	}
	state, b := TenantState(value[0]), value[1:]
	var f [4]uint64
	for i := range f {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		f[i], b = v, b[n:]
	}
	if f[1] > maxShards || f[2] > maxShards || f[3] >= maxRegions {
		return false
	}
	p := placement{epoch: f[0], shard: uint32(f[1]), other: uint32(f[2]), region: uint16(f[3]), state: state}
	name := string(b)
	switch {
	case state == TenantErased && name == "":
		s.tenants.putErased(id, p.shard, p.region)
		return true
	case state < TenantCreating || state > TenantReleasing, badName(name), s.tenants.named(name) != nil:
		return false
	}
	s.tenants.add(id, name, p)
	return true
}

func (s *state) loadPast(key, value []byte) bool {
	const head = 8 + 16
	if len(key) != 4 || len(value) < head {
		return false
	}
	place := binary.BigEndian.Uint32(key)
	c := pastCommand{seq: binary.BigEndian.Uint64(value), id: commandID(value[8:head]), outcome: bytes.Clone(value[head:])}
	if place >= pastCommands || uint64(place) != c.seq%pastCommands {
		return false
	}
	if _, err := decodeOutcome(c.outcome); err != nil {
		return false
	}
	if _, twice := s.past.index[c.id]; twice {
		return false
	}
	s.past.put(place, c)
	return true
}

// check holds what was loaded against the rules that commands are held to.
func (s *state) check() error {
	for id, n := range s.nodes {
		if _, ok := s.region(n.Region); !ok || id.IsZero() || id.Uint64() > s.nextNode {
			return damaged("node %s has an id that was not allotted, or no region", id)
		}
	}
	for id, h := range s.shards {
		if err := s.checkShard(h); err != nil || id.IsDirectory() || id.Uint64() > s.nextShard {
			return damaged("shard %s has an id that was not allotted, or stands outside of its region", id)
		}
	}
	for id := range s.tenants.erased {
		if _, region, _ := s.tenants.erasedAt(id); int(region) >= len(s.regions) || s.tenants.get(id) != nil {
			return damaged("tenant %d was erased in no region, or is there", id)
		}
	}
	misplaced := uint64(0)
	s.tenants.ids.from(0, func(id uint64) bool {
		if !s.placed(s.tenants.get(id)) {
			misplaced = id
		}
		return misplaced == 0
	})
	if misplaced != 0 {
		return damaged("tenant %d is on a shard that is not there, or outside of its region", misplaced)
	}
	return s.past.check()
}

func (p *past) check() error {
	if kept := min(p.seq, pastCommands); uint64(len(p.index)) != kept || uint64(len(p.ring)) != kept {
		return damaged("%d past commands are kept, and not %d", len(p.index), kept)
	}
	for _, c := range p.ring {
		if c.seq >= p.seq || p.seq-c.seq > pastCommands {
			return damaged("past command %d is kept, and %d is the next", c.seq, p.seq)
		}
	}
	return nil
}

func (s *state) checkShard(h *Shard) error {
	for _, r := range slices.Concat(h.Initial, h.Want) {
		n := s.nodes[r.Node]
		if n == nil || n.Region != h.Region || r.ID.IsZero() || r.ID.Uint64() > s.nextReplica {
			return damaged("shard %s", h.ID)
		}
	}
	return nil
}

// placed says whether a tenant's shards are there and in its region.
func (s *state) placed(r *record) bool {
	in := func(shard uint32) bool {
		h := s.shards[shardID(shard)]
		return h != nil && h.Region == s.regions[r.region]
	}
	moves := r.state == TenantMoving || r.state == TenantReleasing
	return int(r.region) < len(s.regions) && in(r.shard) && (r.other != 0) == moves && (!moves || in(r.other))
}
