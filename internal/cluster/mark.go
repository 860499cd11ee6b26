package cluster

import (
	"encoding/json"
	"path/filepath"
	"sync"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// marksFile says which replicas this node has, or has not finished to remove:
//
//	{"format": 1, "replicas": {"<shard>": {"replica": 5, "leaving": true}}}
//
// It is written before a group is opened for the first time. A node that
// lost its replicated log but not this file would open its groups empty and
// vote again on what it has voted on before.
const (
	marksFile   = "replicas.json"
	marksFormat = 1
)

type mark struct {
	Replica ident.ReplicaID `json:"replica"`
	Leaving bool            `json:"leaving,omitempty"`
}

type marksDocument struct {
	Format   int             `json:"format"`
	Replicas map[string]mark `json:"replicas"`
}

type marks struct {
	files files

	mu  sync.Mutex // guards all, and the order of writes
	all map[ident.ShardID]mark
}

func (m *marks) load(f files) error {
	m.files, m.all = f, map[ident.ShardID]mark{}
	data, err := f.read(marksFile)
	if err != nil || data == nil {
		return err
	}
	var d marksDocument
	if json.Unmarshal(data, &d) != nil {
		return fault.Corrupt("open", filepath.Join(f.dir, marksFile), 0, "the list of this node's replicas is damaged: put it back from a copy")
	}
	if d.Format != marksFormat {
		return fault.New("open", fault.Incompatible, "%s has format %d: this program reads format %d, use a newer one", marksFile, d.Format, marksFormat)
	}
	for text, one := range d.Replicas {
		id, err := ident.ParseShardID(text)
		if err != nil {
			return fault.Corrupt("open", filepath.Join(f.dir, marksFile), 0, "the list of this node's replicas is damaged: put it back from a copy")
		}
		m.all[id] = one
	}
	return nil
}

func (m *marks) get(id ident.ShardID) (mark, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one, ok := m.all[id]
	return one, ok
}

// list returns the shards with a mark.
func (m *marks) list() map[ident.ShardID]mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[ident.ShardID]mark, len(m.all))
	for id, one := range m.all {
		all[id] = one
	}
	return all
}

// set makes a mark durable; nil removes it.
func (m *marks) set(id ident.ShardID, one *mark) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if have, ok := m.all[id]; one != nil && ok && have == *one || one == nil && !ok {
		return nil
	}
	d := marksDocument{Format: marksFormat, Replicas: map[string]mark{}}
	for other, o := range m.all {
		if other != id {
			d.Replicas[other.String()] = o
		}
	}
	if one != nil {
		d.Replicas[id.String()] = *one
	}
	data, err := json.Marshal(d)
	if err != nil {
		return fault.Wrap("cluster", fault.Internal, err, "the list of replicas cannot be encoded")
	}
	if err := m.files.write(marksFile, append(data, '\n')); err != nil {
		return err
	}
	if one != nil {
		m.all[id] = *one
	} else {
		delete(m.all, id)
	}
	return nil
}

// Hosted says whether a node has, or had, replicas of shards, so that its
// replicated log must be there.
func (n *Node) Hosted() bool { return len(n.marks.list()) > 0 }
