package clustertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kimberlite/internal/testbed"
)

// patience is how long a healthy cluster may take for anything it is asked.
const patience = 90 * time.Second

// member is one node: its process and its directory.
type member struct {
	id     int // in the deployment
	region string
	zone   string
	dir    string
	peer   string // where it listens; others dial its proxy
	proxy  string
	pg     string
	rpc    string
	health string
	log    string

	mu     sync.Mutex // guards cmd and paused
	cmd    *exec.Cmd  // nil while it is down
	ended  chan struct{}
	paused bool
}

// deployment is a running cluster.
type deployment struct {
	tb      testing.TB
	bin     string
	dir     string
	net     *network
	mu      sync.Mutex // guards members and joined
	members []*member
	joined  int    // nodes that ever were
	token   string // the operator's
	ca      string
}

// newDeployment starts a cluster with so many nodes in each region, in zones of
// their own, and a number of shards in each.
func newDeployment(tb testing.TB, regions []string, nodes, shards int) *deployment {
	tb.Helper()
	dir := tb.TempDir()
	if keep := os.Getenv("KIMBERLITE_CLUSTER_KEEP"); keep != "" {
		dir = filepath.Join(keep, tb.Name())
		if err := os.MkdirAll(dir, 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	d := &deployment{tb: tb, bin: testbed.Binary(tb), dir: dir}
	d.net = newNetwork(d.pids, d.ownerOf)
	tb.Cleanup(d.end)
	for i := range nodes {
		for _, region := range regions {
			d.join(region, fmt.Sprintf("zone-%d", i+1))
		}
	}
	for range shards {
		for _, region := range regions {
			d.run("shard", "create", "--region", region, "--replicas", strconv.Itoa(min(nodes, 3)))
		}
	}
	d.settle()
	return d
}

// say logs how far the test is, with the time as the nodes' logs have it.
func (d *deployment) say(what string) {
	d.tb.Helper()
	d.tb.Logf("%s  %s", time.Now().UTC().Format(clock), what)
}

// join makes a node and starts it; the first begins the deployment.
func (d *deployment) join(region, zone string) *member {
	d.tb.Helper()
	d.mu.Lock()
	d.joined++
	id := d.joined
	d.mu.Unlock()
	m := &member{
		id: id, region: region, zone: zone, dir: filepath.Join(d.dir, fmt.Sprintf("node-%d", id)),
		peer: freeAddress(d.tb), pg: freeAddress(d.tb), rpc: freeAddress(d.tb), health: freeAddress(d.tb),
		log: filepath.Join(d.dir, fmt.Sprintf("node-%d.log", id)),
	}
	m.proxy = d.net.proxy(d.tb, id, m.peer)
	key := filepath.Join(d.dir, region+".key")
	if _, err := os.Stat(key); err != nil {
		if err := os.WriteFile(key, bytes.Repeat([]byte{byte(len(region)), 7}, 16), 0o600); err != nil {
			d.tb.Fatal(err)
		}
	}
	if id == 1 {
		file := filepath.Join(d.dir, "operator.token")
		d.command(m, "cluster", "init", "--region", region, "--token-file", file)
		secret, err := os.ReadFile(file)
		if err != nil {
			d.tb.Fatal(err)
		}
		ca, err := os.ReadFile(filepath.Join(m.dir, "cluster", "ca.pem"))
		if err != nil {
			d.tb.Fatal(err)
		}
		d.token, d.ca = strings.TrimSpace(string(secret)), filepath.Join(d.dir, "ca.pem")
		if err := os.WriteFile(d.ca, ca, 0o600); err != nil {
			d.tb.Fatal(err)
		}
	} else {
		file := filepath.Join(d.dir, fmt.Sprintf("join-%d.token", id))
		if err := os.WriteFile(file, []byte(d.run("node", "token", "create", "--region", region)), 0o600); err != nil {
			d.tb.Fatal(err)
		}
		d.command(m, "node", "join", "--token-file", file)
	}
	d.mu.Lock()
	d.members = append(d.members, m)
	d.mu.Unlock()
	d.start(m)
	d.ready(m)
	return m
}

func (d *deployment) all() []*member {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]*member(nil), d.members...)
}

// forget leaves a node out that is gone for good.
func (d *deployment) forget(m *member) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.members = slices.DeleteFunc(d.members, func(other *member) bool { return other == m })
}

// in returns the nodes of a region.
func (d *deployment) in(region string) []*member {
	var found []*member
	for _, m := range d.all() {
		if m.region == region {
			found = append(found, m)
		}
	}
	return found
}

func (d *deployment) pids() []int {
	var pids []int
	for _, m := range d.all() {
		if pid := m.pid(); pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (d *deployment) ownerOf(pid int) int {
	for _, m := range d.all() {
		if m.pid() == pid {
			return m.id
		}
	}
	return 0
}

func (m *member) pid() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd == nil {
		return 0
	}
	return m.cmd.Process.Pid
}

// environment is all that a node's process is told.
func (d *deployment) environment(m *member) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir, "TMPDIR=" + d.dir,
		"KIMBERLITE_DATA_DIR=" + m.dir,
		"KIMBERLITE_DATA_MASTER_KEY=file://" + filepath.Join(d.dir, m.region+".key"),
		"KIMBERLITE_PG_ADDR=" + m.pg, "KIMBERLITE_RPC_ADDR=" + m.rpc, "KIMBERLITE_OPERATOR_ADDR=" + m.health,
		"KIMBERLITE_CLUSTER_LISTEN=" + m.peer, "KIMBERLITE_CLUSTER_ADVERTISE_PEER=" + m.proxy,
		"KIMBERLITE_CLUSTER_ZONE=" + m.zone, "KIMBERLITE_SERVER_SHUTDOWN_TIMEOUT=2s",
	}
}

// command runs the program on a node's directory.
func (d *deployment) command(m *member, args ...string) string {
	d.tb.Helper()
	out, err := d.try(d.environment(m), args...)
	if err != nil {
		d.tb.Fatal(err)
	}
	return out
}

// run runs the program as the operator, at the first node that is up.
func (d *deployment) run(args ...string) string {
	d.tb.Helper()
	out, err := d.operate(args...)
	if err != nil {
		d.tb.Fatal(err)
	}
	return out
}

func (d *deployment) operate(args ...string) (string, error) {
	for _, m := range d.all() {
		if m.up() {
			return d.try([]string{
				"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir, "KIMBERLITE_SERVER=https://" + m.rpc,
				"KIMBERLITE_CA=" + d.ca, "KIMBERLITE_TOKEN=" + d.token,
			}, args...)
		}
	}
	return "", fmt.Errorf("no node is up")
}

func (d *deployment) try(env []string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.bin, args...)
	cmd.Env = env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("kimberlite %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out), err
}

func (m *member) up() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cmd != nil && !m.paused
}

// start starts a node's process and does not wait for it.
func (d *deployment) start(m *member) {
	d.tb.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd != nil {
		return
	}
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.tb.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(d.bin, "serve")
	cmd.Env, cmd.Stdout, cmd.Stderr = d.environment(m), log, log
	if err := cmd.Start(); err != nil {
		d.tb.Fatal(err)
	}
	ended := make(chan struct{})
	m.cmd, m.ended, m.paused = cmd, ended, false
	go func() {
		_ = cmd.Wait()
		m.mu.Lock()
		if m.cmd == cmd {
			m.cmd, m.paused = nil, false
		}
		m.mu.Unlock()
		close(ended)
	}()
}

// signal sends a signal to a node that is up; it reports whether it was.
func (m *member) signal(s syscall.Signal) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd == nil || m.cmd.Process.Signal(s) != nil {
		return false
	}
	switch s {
	case syscall.SIGSTOP:
		m.paused = true
	case syscall.SIGCONT:
		m.paused = false
	}
	return true
}

// stop ends a node's process and waits until it is gone.
func (m *member) stop(s syscall.Signal) {
	m.mu.Lock()
	ended, running := m.ended, m.cmd != nil
	m.mu.Unlock()
	if !running {
		return
	}
	m.signal(syscall.SIGCONT)
	m.signal(s)
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		m.signal(syscall.SIGKILL)
		<-ended
	}
}

// ready waits until a node takes requests.
func (d *deployment) ready(m *member) {
	d.tb.Helper()
	if _, err := d.try([]string{"KIMBERLITE_OPERATOR_ADDR=" + m.health, "HOME=" + d.dir}, "health", "--wait", patience.String()); err != nil {
		d.tb.Fatalf("node %d is not ready: %v\n%s", m.id, err, tail(m.log))
	}
}

// end stops everything; that is not a check of how it ends.
func (d *deployment) end() {
	var all sync.WaitGroup
	for _, m := range d.all() {
		all.Go(func() { m.stop(syscall.SIGKILL) })
	}
	all.Wait()
	if d.tb.Failed() {
		for _, m := range d.all() {
			d.tb.Logf("the end of node %d's log:\n%s", m.id, tail(m.log))
		}
	}
}

// tail is the end of a file.
func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	const most = 3000
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(text)
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// until asks again and again until there is no error, or fails the test.
func (d *deployment) until(what string, within time.Duration, ask func() error) {
	d.tb.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var err error
	for {
		if err = ask(); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			d.tb.Fatalf("%s: not within %s: %v", what, within, err)
		}
	}
}

// shardStatus is a shard as `shard list --json` prints it.
type shardStatus struct {
	Shard   int    `json:"id"`
	Region  string `json:"region"`
	Leader  *int   `json:"leader"`
	Members []struct {
		Replica    int  `json:"replica"`
		Node       int  `json:"node"`
		Learner    bool `json:"learner"`
		Lag        int  `json:"lag"`
		Active     bool `json:"active"`
		CatchingUp bool `json:"catching_up"`
	} `json:"members"`
}

func (d *deployment) shards() ([]shardStatus, error) {
	out, err := d.operate("shard", "list", "--json")
	if err != nil {
		return nil, err
	}
	var all []shardStatus
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return nil, fmt.Errorf("%w in %s", err, out)
	}
	return all, nil
}

// allLed says whether every shard has a leader that is known.
func (d *deployment) allLed() error {
	all, err := d.shards()
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Leader == nil || *s.Leader == 0 {
			return fmt.Errorf("shard %d has no leader", s.Shard)
		}
	}
	return nil
}

// settle waits until every shard has a leader and all its members are level.
func (d *deployment) settle() {
	d.tb.Helper()
	d.until("all shards level", patience, func() error {
		all, err := d.shards()
		if err != nil {
			return err
		}
		for _, s := range all {
			if s.Leader == nil || *s.Leader == 0 {
				return fmt.Errorf("shard %d has no leader", s.Shard)
			}
			if want := min(len(d.in(s.Region)), 3); len(s.Members) != want {
				return fmt.Errorf("shard %d has %d members, %d are wanted", s.Shard, len(s.Members), want)
			}
			for _, m := range s.Members {
				if m.Lag > 0 || !m.Active || m.CatchingUp || m.Learner {
					return fmt.Errorf("shard %d: %+v", s.Shard, m)
				}
				if !slices.ContainsFunc(d.all(), func(there *member) bool { return there.id == m.Node }) {
					return fmt.Errorf("shard %d is still on node %d", s.Shard, m.Node)
				}
			}
		}
		return nil
	})
}

// leader returns the node that leads a shard, nil while nobody is known to.
func (d *deployment) leader(shard int) *member {
	all, err := d.shards()
	if err != nil {
		return nil
	}
	for _, s := range all {
		if s.Shard != shard || s.Leader == nil {
			continue
		}
		for _, m := range d.all() {
			if m.id == *s.Leader {
				return m
			}
		}
	}
	return nil
}
