package peer

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/replication"
)

const (
	// maxQueued and maxQueuedBytes bound what waits for one node. At the bound
	// the newest message is refused: those before it are what the other node
	// needs first, and the engine sends again what is missing.
	maxQueued      = 8192
	maxQueuedBytes = maxFrame
	// writeBytes is how much is written at a time, each time within
	// Pace.Silence.
	writeBytes = 256 << 10
)

// link carries messages to one node. Its goroutine starts with the first
// message, connects when there is something to send, and keeps the connection
// until it fails.
type link struct {
	n    *Network
	r    *remote
	wake chan struct{} // one slot: there is something for the goroutine
	soon chan struct{} // one slot: do not wait out the pause

	drops atomic.Uint64
	rtt   atomic.Int64
	up    atomic.Bool
	// since is when a link that is needed went down, in nanoseconds of Unix
	// time; 0 when it is up or not needed.
	since  atomic.Int64
	needed atomic.Bool // by streams: it is kept up when there are no messages

	mu      sync.Mutex // guards all below
	started bool
	paused  bool // the last attempt failed: messages are dropped until the next
	lost    bool // a message was dropped that Lost has not heard of
	queue   []replication.Message
	bytes   int
}

func newLink(n *Network, r *remote) *link {
	return &link{n: n, r: r, wake: make(chan struct{}, 1), soon: make(chan struct{}, 1)}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (l *link) send(m replication.Message) {
	size := lengthBytes + messageBytes + len(m.Data)
	l.mu.Lock()
	fits := size <= maxFrame && len(l.queue) < maxQueued && l.bytes+size <= maxQueuedBytes
	switch {
	case l.paused:
		l.drops.Add(1)
	case !fits:
		l.drops.Add(1)
		l.lost = true
	default:
		l.queue = append(l.queue, m)
		l.bytes += size
	}
	l.mu.Unlock()
	l.start()
}

// start has the goroutine look.
func (l *link) start() {
	l.mu.Lock()
	first := !l.started
	l.started = true
	l.mu.Unlock()
	if first {
		l.n.run(l.run)
	}
	poke(l.wake)
}

// watch keeps the link up while needed, and returns for how long it has been
// down.
func (l *link) watch(needed bool) time.Duration {
	l.needed.Store(needed)
	if !needed {
		l.since.Store(0)
		return 0
	}
	now := time.Now()
	if !l.up.Load() {
		l.start()
		l.since.CompareAndSwap(0, now.UnixNano())
	}
	if since := l.since.Load(); since != 0 {
		return now.Sub(time.Unix(0, since))
	}
	return 0
}

// kick ends the pause after a failure: the node has shown that it is there.
func (l *link) kick() { poke(l.soon) }

// takeAll empties the queue, and says whether a message was lost at it.
func (l *link) takeAll(into []replication.Message) (queue []replication.Message, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue, lost = l.queue, l.lost
	l.queue, l.bytes, l.lost = into[:0], 0, false
	return queue, lost
}

// pause drops what is queued, and what comes until resume.
func (l *link) pause() {
	l.mu.Lock()
	l.paused = true
	l.drops.Add(uint64(len(l.queue)))
	l.queue, l.bytes, l.lost = nil, 0, false
	l.mu.Unlock()
}

func (l *link) resume() {
	l.mu.Lock()
	l.paused = false
	l.mu.Unlock()
}

func (l *link) waiting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) > 0 || l.lost
}

func (l *link) describe(d *Link) {
	l.mu.Lock()
	d.Queue = len(l.queue)
	l.mu.Unlock()
	d.Drops, d.Connected, d.RTT = l.drops.Load(), l.up.Load(), time.Duration(l.rtt.Load())
}

// run is the link's goroutine; it ends with the network.
func (l *link) run() {
	backoff := l.n.o.Pace.Backoff
	for {
		select {
		case <-l.n.ctx.Done():
			return
		case <-l.wake:
		}
		if !l.waiting() && !l.needed.Load() {
			continue
		}
		worked, err := l.carry()
		if l.n.ctx.Err() != nil {
			return
		}
		var r *refusal
		if errors.As(err, &r) {
			l.n.refused(l.r.id.String(), err)
		}
		if worked {
			backoff = l.n.o.Pace.Backoff
			l.n.o.Logger.Info("peer: the link to a node was lost", "node", l.r.id, "error", err)
		} else {
			l.n.o.Logger.Debug("peer: no link to a node", "node", l.r.id, "error", err)
		}
		l.pause()
		l.tellLost()
		l.rest(backoff)
		backoff = min(2*backoff, l.n.o.Pace.MaxBackoff)
		l.resume()
	}
}

func (l *link) tellLost() {
	if l.n.o.Lost != nil {
		l.n.o.Lost(l.r.id)
	}
}

// rest waits for half of d and up to as much again, or until the node shows
// up.
func (l *link) rest(d time.Duration) {
	select { // a kick from before the failure says nothing
	case <-l.soon:
	default:
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	jitter := time.Duration(binary.LittleEndian.Uint64(random[:]) % uint64(d/2+1))
	timer := time.NewTimer(d/2 + jitter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.soon:
	case <-l.n.ctx.Done():
	}
}

// carry connects and sends messages until the connection fails. It says
// whether the other node ever answered.
func (l *link) carry() (worked bool, err error) {
	c, err := l.n.dial(l.n.ctx, l.r, Raft)
	if err != nil {
		return false, err
	}
	defer c.end()
	s := &sending{link: l, c: c, pongs: make(chan uint64, 1), ended: make(chan error, 1), over: make(chan struct{})}
	defer close(s.over)
	if !l.n.run(s.listen) {
		return false, errClosed
	}
	// A peer that refuses the certificate says so only now: a link is one when
	// the first probe came back.
	if err := s.first(); err != nil {
		return false, err
	}
	l.up.Store(true)
	l.since.Store(0)
	defer l.up.Store(false)
	l.n.o.Logger.Debug("peer: a link to a node is made", "node", l.r.id, "rtt", time.Duration(l.rtt.Load()))
	return true, s.loop()
}

var (
	errClosed = fault.New("peer", fault.Closed, "the network is closed")
	errSilent = fault.New("peer", fault.Unavailable, "the node does not answer")
)

// sending is one connection's life. All but listen is the link's goroutine's.
type sending struct {
	link  *link
	c     *conn
	pongs chan uint64
	ended chan error
	over  chan struct{} // closed when nobody takes pongs any more

	nonce   uint64    // of the last probe
	probed  time.Time // when it went out
	waiting bool      // for its answer
	buffer  []byte
	batch   []replication.Message
}

// listen reads the answers to probes until the connection ends.
func (s *sending) listen() {
	r := bufio.NewReaderSize(s.c, 512)
	for {
		f, err := readFrame(r)
		if err == nil && f.kind != framePong {
			err = fault.New("peer", fault.Invalid, "a frame of kind %d came where only pongs belong", f.kind)
		}
		if err != nil {
			s.ended <- err
			return
		}
		select {
		case s.pongs <- f.nonce:
		case <-s.over:
			return
		}
	}
}

func (s *sending) probe() error {
	s.nonce++
	s.waiting = true
	s.buffer = appendProbe(s.buffer[:0], framePing, s.nonce)
	s.probed = time.Now()
	return s.write(s.buffer)
}

func (s *sending) answered(nonce uint64) {
	if nonce == s.nonce && s.waiting {
		s.waiting = false
		s.link.rtt.Store(int64(time.Since(s.probed)))
	}
}

func (s *sending) first() error {
	if err := s.probe(); err != nil {
		return err
	}
	timer := time.NewTimer(s.link.n.o.Pace.Silence)
	defer timer.Stop()
	select {
	case nonce := <-s.pongs:
		s.answered(nonce)
		return nil
	case err := <-s.ended:
		return err
	case <-timer.C:
		return errSilent
	case <-s.link.n.ctx.Done():
		return errClosed
	}
}

func (s *sending) loop() error {
	tick := time.NewTicker(s.link.n.o.Pace.Ping)
	defer tick.Stop()
	poke(s.link.wake) // for what was queued while it connected
	for {
		select {
		case <-s.link.n.ctx.Done():
			return errClosed
		case err := <-s.ended:
			return err
		case nonce := <-s.pongs:
			s.answered(nonce)
		case <-tick.C:
			select { // an answer may have come while a write took its time
			case nonce := <-s.pongs:
				s.answered(nonce)
			default:
			}
			if s.waiting && time.Since(s.probed) > s.link.n.o.Pace.Silence {
				return errSilent
			}
			if !s.waiting {
				if err := s.probe(); err != nil {
					return err
				}
			}
		case <-s.link.wake:
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
}

// flush writes all that is queued, many messages at a time.
func (s *sending) flush() error {
	queue, lost := s.link.takeAll(s.batch)
	if lost {
		s.link.tellLost()
	}
	s.buffer = s.buffer[:0]
	for i, m := range queue {
		s.buffer = appendMessage(s.buffer, m)
		queue[i] = replication.Message{}
		if len(s.buffer) >= writeBytes {
			if err := s.write(s.buffer); err != nil {
				s.link.drops.Add(uint64(len(queue) - i))
				return err
			}
			s.buffer = s.buffer[:0]
		}
	}
	s.batch = queue
	if cap(s.buffer) > 4*writeBytes {
		defer func() { s.buffer = nil }() // a long message is rare
	}
	return s.write(s.buffer)
}

// write writes b in pieces, each of which must get through within
// Pace.Silence.
func (s *sending) write(b []byte) error {
	for len(b) > 0 {
		piece := b[:min(len(b), writeBytes)]
		if err := s.c.SetWriteDeadline(time.Now().Add(s.link.n.o.Pace.Silence)); err != nil {
			return err
		}
		if _, err := s.c.Write(piece); err != nil {
			return err
		}
		b = b[len(piece):]
	}
	return nil
}
