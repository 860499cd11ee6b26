package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"kimberlite/internal/fault"
)

// sameWish is how long after the first signal another one counts as the same.
const sameWish = 250 * time.Millisecond

// signals turns SIGINT and SIGTERM into the end of a context, so that the
// database is closed as always. A second signal, a moment later, ends the
// process at once.
type signals struct {
	mu sync.Mutex // guards all below
	// got is the first signal that ended the context, or nil.
	got os.Signal
	// onInterrupt takes SIGINT instead, or is nil.
	onInterrupt func()
	// hangup takes SIGHUP instead, or is nil.
	hangup chan<- struct{}
}

// start begins to listen; stop ends it and the goroutine that listens.
func (s *signals) start() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	incoming := make(chan os.Signal, 2)
	signal.Notify(incoming, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case sig := <-incoming:
				if s.take(sig) {
					continue
				}
				cancel()
				// Who tells a whole process group, as timeout(1) does, tells
				// this one twice: that is one wish, not two.
				select {
				case <-done:
					return
				case <-time.After(sameWish):
				}
				signal.Stop(incoming)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(incoming)
		close(done)
		cancel()
	}
}

// take notes a signal, or gives it to who asked for it.
func (s *signals) take(sig os.Signal) (taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sig == os.Interrupt && s.onInterrupt != nil {
		s.onInterrupt()
		return true
	}
	if sig == syscall.SIGHUP && s.hangup != nil {
		select {
		case s.hangup <- struct{}{}:
		default: // one is under way already
		}
		return true
	}
	s.got = sig
	return false
}

// capture gives SIGINT to fn until release is called.
func (s *signals) capture(fn func()) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.onInterrupt
	s.onInterrupt = fn
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.onInterrupt = before
	}
}

// onHangup gives SIGHUP to a channel until release is called.
func (s *signals) onHangup(to chan<- struct{}) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangup = to
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hangup = nil
	}
}

// status returns the exit status for an error: the kind's own, or 128 and the
// signal that made it.
func (s *signals) status(err error) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := fault.KindOf(err)
	number, ok := s.got.(syscall.Signal)
	if ok && kind == fault.Canceled {
		return 128 + int(number)
	}
	return kind.ExitStatus()
}
