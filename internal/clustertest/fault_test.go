package clustertest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// schedule puts faults into a deployment, one after another, as a seed says.
// What it hits depends on who leads at the time, so that the same seed gives
// the same faults and not always the same victims.
type schedule struct {
	d       *deployment
	tenants []*resident
	random  *rand.Rand
	hold    time.Duration // how long a fault lasts
	kinds   []faultKind
	// ran counts faults by name.
	ran map[string]int
}

// faultKind is a fault that hits a node of a region, and what ends it.
type faultKind struct {
	name string
	do   func(s *schedule, victim *member) (heal func())
}

// processFaults hit a node's process.
var processFaults = []faultKind{
	{"kill", func(s *schedule, m *member) func() {
		m.stop(syscall.SIGKILL)
		return func() { s.d.start(m) }
	}},
	{"terminate", func(s *schedule, m *member) func() {
		m.stop(syscall.SIGTERM)
		return func() { s.d.start(m) }
	}},
	{"pause", func(_ *schedule, m *member) func() {
		m.signal(syscall.SIGSTOP)
		return func() { m.signal(syscall.SIGCONT) }
	}},
	{"kill all of the region", func(s *schedule, m *member) func() {
		var all sync.WaitGroup
		members := s.d.in(m.region)
		for _, other := range members {
			all.Go(func() { other.stop(syscall.SIGKILL) })
		}
		all.Wait()
		return func() {
			for _, other := range members {
				s.d.start(other)
			}
		}
	}},
}

// linkFaults hit a node's links.
var linkFaults = []faultKind{
	{"cut off", func(s *schedule, m *member) func() { return s.links(m, faults{cut: true}, faults{cut: true}) }},
	{"cut what it sends", func(s *schedule, m *member) func() { return s.links(m, faults{cut: true}, faults{}) }},
	{"cut what it receives", func(s *schedule, m *member) func() { return s.links(m, faults{}, faults{cut: true}) }},
	{"slow its links", func(s *schedule, m *member) func() {
		slow := faults{delay: time.Duration(20+s.random.IntN(200)) * time.Millisecond}
		return s.links(m, slow, slow)
	}},
}

// diskFaults hit what a node has on its disk.
var diskFaults = []faultKind{
	{"flip bytes of", func(s *schedule, m *member) func() {
		m.stop(syscall.SIGTERM) // so that files hold what the node had
		files, err := segments(m.dir)
		if err != nil {
			s.d.tb.Error(err)
		}
		for range min(2, len(files)) {
			where, err := flip(files[s.random.IntN(len(files))], s.random)
			s.d.tb.Logf("flipped: %s (%v)", where, err)
			// Without its tables the node has to read the log.
			tables, err := filepath.Glob(filepath.Join(m.dir, "shards", "*", "tenants", "*", "projection*"))
			if err != nil {
				s.d.tb.Error(err)
			}
			for _, file := range tables {
				if err := os.RemoveAll(file); err != nil {
					s.d.tb.Error(err)
				}
			}
		}
		return func() { s.d.start(m) }
	}},
	{"wipe", func(s *schedule, m *member) func() {
		if m.id == 1 { // it holds the authority's key, of which operators keep a copy
			return func() {}
		}
		m.stop(syscall.SIGKILL)
		if err := os.RemoveAll(m.dir); err != nil {
			s.d.tb.Error(err)
		}
		return func() {
			s.d.forget(m)
			s.d.until("the nodes that are left", patience, s.d.allLed)
			s.d.join(m.region, m.zone)
			s.d.run("node", "remove", strconv.Itoa(m.id), "--force")
			s.d.settle()
		}
	}},
}

// operations are what operators do, with a node killed meanwhile.
var operations = []faultKind{
	{"rotate keys, and kill", func(s *schedule, m *member) func() {
		r := s.tenants[s.random.IntN(len(s.tenants))]
		done := s.operating("key", "rotate", "--tenant", r.name, "--level", []string{"dek", "kek"}[s.random.IntN(2)])
		return s.killDuring(m, done)
	}},
	{"move a tenant, and kill", func(s *schedule, m *member) func() {
		shards, err := s.d.shards()
		if err != nil {
			return func() {}
		}
		r := s.tenants[s.random.IntN(len(s.tenants))]
		var choice []int
		for _, shard := range shards {
			if shard.Region == r.region {
				choice = append(choice, shard.Shard)
			}
		}
		if len(choice) == 0 {
			return func() {}
		}
		to := choice[s.random.IntN(len(choice))]
		done := s.operating("tenant", "move", strconv.Itoa(r.id), "--shard", strconv.Itoa(to))
		return s.killDuring(m, done)
	}},
}

// operating runs an operator's command, and tells when it has ended and how.
func (s *schedule) operating(args ...string) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := s.d.operate(args...)
		done <- err
	}()
	return done
}

// killDuring kills a node a moment after a command has begun. That the command
// fails is no fault; what it leaves behind would be.
func (s *schedule) killDuring(m *member, done <-chan error) func() {
	<-time.After(time.Duration(s.random.IntN(400)) * time.Millisecond)
	m.stop(syscall.SIGKILL)
	return func() {
		s.d.start(m)
		err := <-done
		s.d.tb.Logf("the command ended with: %v", err)
	}
}

// links puts faults on all links of a node.
func (s *schedule) links(m *member, out, in faults) func() {
	for _, other := range s.d.all() {
		if other != m {
			s.d.net.set(m.id, other.id, out)
			s.d.net.set(other.id, m.id, in)
		}
	}
	return s.d.net.heal
}

// run puts faults in until the deadline; the last is healed when it returns.
func (s *schedule) run(until time.Time) {
	s.ran = map[string]int{}
	for time.Now().Before(until) {
		kind := s.kinds[s.random.IntN(len(s.kinds))]
		victim := s.victim()
		if victim == nil {
			continue
		}
		s.d.say(fmt.Sprintf("%s node %d", kind.name, victim.id))
		heal := kind.do(s, victim)
		s.ran[kind.name]++
		<-time.After(s.hold/2 + time.Duration(s.random.Int64N(int64(s.hold))))
		heal()
		<-time.After(s.hold / 2)
	}
	s.d.net.heal()
	s.d.say("no more faults")
	for _, m := range s.d.all() {
		m.signal(syscall.SIGCONT)
		s.d.start(m)
	}
}

// victim is the leader of a shard, or now and then any node.
func (s *schedule) victim() *member {
	members := s.d.all()
	any := members[s.random.IntN(len(members))]
	which := s.random.IntN(100)
	if which < 30 {
		return any
	}
	shards, err := s.d.shards()
	if err != nil || len(shards) == 0 {
		return any
	}
	shard := shards[which%len(shards)]
	for _, m := range members {
		if shard.Leader != nil && m.id == *shard.Leader {
			return m
		}
	}
	return any
}

// seedOf is the run's seed: KIMBERLITE_SEED, or another each time.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano()) % 1_000_000
	if text := os.Getenv("KIMBERLITE_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("KIMBERLITE_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("KIMBERLITE_SEED=%d repeats the schedule", seed)
	return seed
}

// soak is how long the random runs go on.
func soak(t *testing.T, short time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("KIMBERLITE_SOAK_MINUTES")
	if text == "" {
		return short
	}
	minutes, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatalf("KIMBERLITE_SOAK_MINUTES: %v", err)
	}
	return time.Duration(minutes * float64(time.Minute))
}

// segments are the files of tenants' logs below a node's directory.
func segments(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(dir, "shards", "*", "tenants", "*", "log", "*.segment"))
}

// flip changes one byte in the first half of what a file holds, which a
// checkpoint has covered, and says where.
func flip(file string, random *rand.Rand) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	held := len(strings.TrimRight(string(data), "\x00"))
	if held < 1024 {
		return "", fmt.Errorf("%s holds %d bytes", file, held)
	}
	at := 128 + random.IntN(held/2-128)
	data[at] ^= 1 << random.IntN(8)
	return fmt.Sprintf("%s, byte %d", file, at), os.WriteFile(file, data, 0o600)
}
