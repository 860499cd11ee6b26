package disk

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// sectorSize is what a disk writes whole, mostly: a torn sector is possible.
const sectorSize = 512

// fate says how a power loss treats a list of unsynced changes. Real disks do
// all of these; a mixture of them alone would hardly ever yield "all but the
// last", which is what recovery meets most.
type fate int

const (
	dropAll fate = iota
	keepAll
	keepPrefix // in order up to a change, which is torn
	scatter    // each on its own
	fates
)

func drawFate(rng *rand.Rand) fate {
	if rng == nil {
		return dropAll
	}
	return fate(rng.IntN(int(fates)))
}

// CrashClone returns a new filesystem as a power loss right now could leave
// m, which goes on unharmed. What was synced is there. Of what was not, rng
// decides: each 512-byte sector of each write kept, dropped or torn; a file's
// length one of those that it had since its last Sync; each change of a name
// kept or dropped. A nil rng drops everything unsynced. In the clone all is
// durable; it has m's capacity and no hooks.
//
// It costs a pointer per 4 KiB and a copy of what is unsynced. rng is used by
// this call alone while it runs.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := cloner{rng: rng, files: map[*inode]*inode{}, path: map[*inode]bool{}}
	clone := &Mem{root: c.dir(m.root), capacity: m.capacity}
	for _, f := range c.files {
		clone.used += f.size
	}
	return clone
}

// cloner makes one crash clone.
type cloner struct {
	rng   *rand.Rand
	files map[*inode]*inode // clones made; a file can survive under two names
	path  map[*inode]bool   // directories from the root to here, against cycles of half-done moves
}

func (c *cloner) dir(n *inode) *inode {
	c.path[n] = true
	defer delete(c.path, n)
	clone := newDir(n.mode)
	names := c.survivors(n)
	for _, name := range slices.Sorted(maps.Keys(names)) { // sorted: one seed, one clone
		switch child := names[name]; {
		case child.names == nil:
			clone.names[name] = c.file(child)
		case !c.path[child]:
			clone.names[name] = c.dir(child)
		}
	}
	clone.durable = maps.Clone(clone.names)
	return clone
}

// survivors returns the names of a directory that the power loss leaves.
func (c *cloner) survivors(n *inode) map[string]*inode {
	names := maps.Clone(n.durable)
	if len(n.changes) == 0 {
		return names
	}
	switch drawFate(c.rng) {
	case keepAll:
		applyChanges(names, n.changes)
	case keepPrefix:
		applyChanges(names, n.changes[:c.rng.IntN(len(n.changes)+1)])
	case scatter:
		for i := range n.changes {
			if c.rng.IntN(2) == 0 {
				applyChanges(names, n.changes[i:i+1])
			}
		}
	}
	return names
}

func (c *cloner) file(n *inode) *inode {
	if done, ok := c.files[n]; ok {
		done.links++
		return done
	}
	clone := &inode{mode: n.mode, links: 1}
	clone.live = append(blocks(nil), n.synced...)
	clone.size = n.syncedSize
	if len(n.pending) > 0 {
		c.replay(&clone.content, n.pending)
	}
	// The cut also clears what survived of writes behind the surviving length.
	clone.live.cut(clone.size)
	for _, b := range clone.live {
		if b != nil && !b.frozen {
			b.frozen = true
		}
	}
	clone.synced, clone.syncedSize = append(blocks(nil), clone.live...), clone.size
	c.files[n] = clone
	return clone
}

// replay lets the power loss choose from unsynced writes.
func (c *cloner) replay(to *content, pending []write) {
	switch drawFate(c.rng) {
	case keepAll:
		for _, w := range pending {
			to.keep(w, len(w.data))
		}
	case keepPrefix:
		last := c.rng.IntN(len(pending))
		for _, w := range pending[:last] {
			to.keep(w, len(w.data))
		}
		if w := pending[last]; w.data != nil {
			to.keep(w, c.rng.IntN(len(w.data)+1))
		}
	case scatter:
		c.scatter(to, pending)
	}
}

// keep applies the first n bytes of a write, or a truncate, length included.
func (c *content) keep(w write, n int) {
	if w.data == nil {
		c.live.cut(w.off)
		c.size = w.off
		return
	}
	c.live.write(w.data[:n], w.off)
	if n > 0 {
		c.size = max(c.size, w.off+int64(n))
	}
}

// scatter gives every sector its own fate. The length is a value that the
// file really had at some moment since its last Sync: filesystems write it
// as one number, apart from the data, so that a tail can read as zeros.
func (c *cloner) scatter(to *content, pending []write) {
	lengths := c.rng.IntN(len(pending) + 1)
	for i, w := range pending {
		if w.data == nil {
			if i < lengths {
				to.live.cut(w.off)
			}
		} else {
			c.scatterSectors(to, w)
		}
		if i < lengths {
			to.size = w.size
		}
	}
}

func (c *cloner) scatterSectors(to *content, w write) {
	for data, off := w.data, w.off; len(data) > 0; {
		n := min(len(data), int(sectorSize-off%sectorSize))
		switch c.rng.IntN(5) {
		case 0, 1: // dropped
		case 2: // torn: its first bytes are new
			to.live.write(data[:c.rng.IntN(n)], off)
		default:
			to.live.write(data[:n], off)
		}
		data, off = data[n:], off+int64(n)
	}
}
