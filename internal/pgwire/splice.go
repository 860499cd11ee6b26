package pgwire

import (
	"bytes"
	"encoding/binary"
	"net"
	"sync"
	"time"

	"kimberlite/internal/fault"
)

// spliceBytes is the buffer of one direction of a session that is passed on.
const spliceBytes = 16 << 10

// splice copies bytes between a client and the node that serves it. It keeps
// nothing but two buffers, and looks at nothing but where messages begin, what
// types they have, and whether an error is the session's last: so that it
// knows, when the node is lost, whether a statement was under way.
type splice struct {
	s      *session
	leader net.Conn

	mu sync.Mutex // guards all below
	// greeted says that the login is done.
	greeted bool
	// awaited counts the messages sent that are answered by ReadyForQuery, less
	// those answers; unsynced says that others were sent since.
	awaited  int
	unsynced bool
	// left says that the client said good-bye or is gone, dismissed that the
	// other node has told it why the session ends.
	left, dismissed bool
	// ending says that the session ends once no statement is under way.
	ending bool
}

// splice passes the session on until either side ends it.
func (s *session) splice(leader net.Conn) {
	p := &splice{s: s, leader: leader}
	s.loginDone() // the other node has its own clock
	s.passTo(p.end)
	up := make(chan struct{})
	go func() {
		defer close(up)
		p.up()
	}()
	whole := p.down()
	_ = leader.Close() // it is of no further use
	p.tell(whole)
	_ = s.raw.SetReadDeadline(time.Unix(1, 0)) // ends up; a closed one has ended already
	<-up
}

// end is called when the server shuts down.
func (p *splice) end(cancelRunning bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = true
	if cancelRunning || !p.busy() {
		_ = p.leader.Close() // down sees it, and says why
	}
}

// busy says whether a statement may be under way. mu is held.
func (p *splice) busy() bool { return p.awaited > 0 || p.unsynced }

// up copies what the client says until it, or the other node, has ended.
func (p *splice) up() {
	gone := p.copyUp()
	p.mu.Lock()
	p.left = p.left || gone && p.s.reason() == nil
	p.mu.Unlock()
	_ = p.leader.Close() // down sees it
}

// copyUp says whether the client is why it ended. Writing has no time limit: a
// node that runs a long statement reads nothing meanwhile, and one that is lost
// is noticed by package peer.
func (p *splice) copyUp() (gone bool) {
	cut := cutter{note: p.asked}
	pending := bytes.Clone(p.s.r.take(p.s.r.buffered())) // what came right behind the startup packet
	buf := make([]byte, spliceBytes)
	for {
		if len(pending) > 0 {
			if cut.pass(pending) != nil {
				return true // the other node would not listen either
			}
			if _, err := p.leader.Write(pending); err != nil {
				return false
			}
		}
		n, err := p.s.conn.Read(buf)
		if n == 0 && err != nil {
			return true
		}
		pending = buf[:n]
	}
}

// asked notes a message of the client.
func (p *splice) asked(kind byte, _ []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case kind == 'X':
		p.left = true
	case !p.greeted: // the login's
	case kind == 'Q', kind == 'S', kind == 'F':
		p.awaited++
		p.unsynced = false
	case kind == 'd', kind == 'c', kind == 'f': // part of what was counted
	default:
		p.unsynced = true
	}
}

// answered notes a message of the node.
func (p *splice) answered(kind byte, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dismissed = kind == 'E' && bytes.HasPrefix(body, []byte("SFATAL\x00"))
	if kind == 'Z' {
		p.greeted = true
		p.awaited = max(p.awaited-1, 0)
	}
}

// down copies what the node answers, whole messages at a time as far as they
// fit the buffer. It says whether the client has seen nothing but whole ones:
// then it can be told more.
func (p *splice) down() (whole bool) {
	cut := cutter{note: p.answered}
	buf := make([]byte, spliceBytes)
	held := 0 // bytes of a message that is not whole yet
	for {
		n, err := p.leader.Read(buf[held:])
		held += n
		ready, bad := cut.whole(buf[:held], len(buf))
		if ready > 0 {
			p.s.writeAtMost(p.s.srv.limits.WriteTimeout)
			if _, err := p.s.conn.Write(buf[:ready]); err != nil {
				p.mu.Lock()
				p.left = true
				p.mu.Unlock()
				return false
			}
			held = copy(buf, buf[ready:held])
			p.endIfIdle()
		}
		if bad != nil || n == 0 && err != nil {
			return cut.rest == 0
		}
	}
}

func (p *splice) endIfIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending && !p.busy() {
		_ = p.leader.Close() // the next read sees it
	}
}

// tell says to the client why its session ended, unless it knows.
func (p *splice) tell(whole bool) {
	p.mu.Lock()
	silent, busy := p.left || p.dismissed || !whole, p.busy()
	p.mu.Unlock()
	reason := p.s.reason()
	switch {
	case silent:
	case busy:
		p.s.fatal(errLostBusy())
	case reason != nil:
		p.s.fatal(reason)
	default:
		p.s.fatal(fault.New("session", fault.Closed, "the node that served the session was lost while it ran no statement: connect again").WithState("57P01"))
	}
}

func errLostBusy() *fault.Error {
	e := fault.New("session", fault.OutcomeUnknown, "the node that served the session was lost while a statement ran: whether it took effect is not known")
	e.Hint = "Connect again and look; or SET kimberlite.idempotency_key before a write, and again before the same write on a new connection: it then takes effect once."
	return e
}

// cutter finds where messages begin in a stream of them: one byte of type, and
// a length that counts itself. It notes each when its first five bytes are
// there, with as much of its body as is at hand.
type cutter struct {
	note func(kind byte, body []byte)
	rest int64 // bytes to come of the message that has begun
	head [5]byte
	have int // of head
}

// pass notes the messages that begin in b, all of which is passed on.
func (c *cutter) pass(b []byte) error {
	for len(b) > 0 {
		if c.rest > 0 {
			n := min(c.rest, int64(len(b)))
			b, c.rest = b[n:], c.rest-n
			continue
		}
		n := copy(c.head[c.have:], b)
		b, c.have = b[n:], c.have+n
		if c.have < len(c.head) {
			return nil
		}
		length, err := messageLength(c.head[:])
		if err != nil {
			return err
		}
		c.have, c.rest = 0, length-int64(len(c.head))
		c.note(c.head[0], nil)
	}
	return nil
}

// whole returns how much of b can be passed on so that a message is cut only
// when it is longer than limit. What is left comes again, at the start of the
// next b.
func (c *cutter) whole(b []byte, limit int) (int, error) {
	ready := int(min(c.rest, int64(len(b))))
	c.rest -= int64(ready)
	for len(b)-ready >= len(c.head) {
		length, err := messageLength(b[ready:])
		if err != nil {
			return ready, err
		}
		if there := int64(len(b) - ready); length > there && length <= int64(limit) {
			break
		} else if length > there {
			c.note(b[ready], b[ready+len(c.head):])
			c.rest = length - there
			return len(b), nil
		}
		c.note(b[ready], b[ready+len(c.head):ready+int(length)])
		ready += int(length)
	}
	return ready, nil
}

// messageLength returns the length of a message, its type included.
func messageLength(b []byte) (int64, error) {
	n := int64(binary.BigEndian.Uint32(b[1:]))
	if n < 4 {
		return 0, protocolError("a message's length is out of range")
	}
	return n + 1, nil
}
