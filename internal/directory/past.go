package directory

// pastCommands is how many commands are remembered: one that is proposed again
// within so many others takes effect once.
const pastCommands = 1 << 15

// commandID tells a command from all others.
type commandID [16]byte

// past is the outcomes of the last commands, in a ring.
type past struct {
	seq   uint64 // how many there ever were
	ring  []pastCommand
	index map[commandID]uint32 // place in ring
}

type pastCommand struct {
	seq uint64 // the command's number, from 0
	id  commandID
	// outcome is encoded: most are short.
	outcome []byte
}

func newPast() past { return past{index: map[commandID]uint32{}} }

func (p *past) find(id commandID) (outcome, bool) {
	i, ok := p.index[id]
	if !ok {
		return outcome{}, false
	}
	o, err := decodeOutcome(p.ring[i].outcome)
	if err != nil {
		// It was encoded here, or decoded once when it was loaded.
		panic("directory: an outcome that was kept does not decode: " + err.Error())
	}
	return o, true
}

// add remembers an outcome and returns its place.
func (p *past) add(id commandID, o outcome) uint32 {
	i := uint32(p.seq % pastCommands)
	p.put(i, pastCommand{p.seq, id, encodeOutcome(o)})
	p.seq++
	return i
}

func (p *past) put(i uint32, c pastCommand) {
	for int(i) >= len(p.ring) {
		p.ring = append(p.ring, pastCommand{})
	}
	if old := p.ring[i]; old.outcome != nil {
		delete(p.index, old.id)
	}
	p.ring[i] = c
	p.index[c.id] = i
}
