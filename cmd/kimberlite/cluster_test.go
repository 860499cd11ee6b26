package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"kimberlite/client"
	"kimberlite/internal/deployment"
)

// member is a cluster's node that runs, with its own data directory.
type member struct {
	dir  string
	peer string // host and port for other nodes
	pg   string
	rpc  string
}

// newCluster begins a deployment of one node in region local, with one shard,
// and serves it. Commands of the place act on it, as its first operator.
func newCluster(t *testing.T) (*place, *member) {
	t.Helper()
	p := newPlace(t)
	n := p.newNode("node-1")
	p.must("cluster", "init", "--data", n.dir, "--region", "local", "--name", "test", "--zone", "rack-1", "--listen", n.peer, "--token-file", "operator.token")
	p.serve(n)
	token, err := os.ReadFile(filepath.Join(p.dir, "operator.token"))
	if err != nil {
		t.Fatal(err)
	}
	p.env = append(p.env, "KIMBERLITE_SERVER=https://"+n.rpc, "KIMBERLITE_CA="+filepath.Join(n.dir, "cluster/ca.pem"), "KIMBERLITE_TOKEN="+strings.TrimSpace(string(token)))
	p.must("shard", "create", "--region", "local", "--replicas", "1")
	return p, n
}

// newNode picks ports that are free at the moment.
func (p *place) newNode(name string) *member {
	p.t.Helper()
	n := &member{dir: filepath.Join(p.dir, name)}
	for _, to := range []*string{&n.peer, &n.pg, &n.rpc} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			p.t.Fatal(err)
		}
		defer l.Close() // held until all three are known
		*to = l.Addr().String()
	}
	return n
}

// serve starts a node, waits until it takes requests, and ends it with the
// test.
func (p *place) serve(n *member) {
	p.t.Helper()
	cmd := p.command(binary, "serve")
	cmd.Env = append(append([]string{}, p.env...), "KIMBERLITE_DATA_DIR="+n.dir, "KIMBERLITE_CLUSTER_LISTEN="+n.peer,
		"KIMBERLITE_PG_ADDR="+n.pg, "KIMBERLITE_RPC_ADDR="+n.rpc, "KIMBERLITE_OPERATOR_ADDR=127.0.0.1:0", "KIMBERLITE_LOG_LEVEL=warn")
	log := filepath.Join(p.dir, filepath.Base(n.dir)+".log")
	out, err := os.Create(log)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the status is looked at below
		close(ended)
	}()
	p.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			p.t.Error("the node did not end")
			_ = cmd.Process.Kill()
		}
		_ = out.Close()
		if text, err := os.ReadFile(log); err == nil && (p.t.Failed() || cmd.ProcessState.ExitCode() != 0) {
			p.t.Logf("%s, exit %d:\n%s", n.dir, cmd.ProcessState.ExitCode(), text)
		}
	})
	p.must("health", "--server", "https://"+n.rpc, "--ca", filepath.Join(n.dir, "cluster/ca.pem"), "--wait", "30s")
}

// ofCluster says whether a verb's example acts on a running cluster.
func ofCluster(c *cobra.Command) bool {
	path := strings.Fields(c.CommandPath())
	if len(path) < 2 {
		return false
	}
	switch path[1] {
	case "cluster", "node", "shard", "directory":
		return true
	}
	return c.CommandPath() == "kimberlite tenant move"
}

// TestExamplesOfClusterVerbsWorkAsPrinted runs them one after another on one
// cluster, each in a directory of its own.
func TestExamplesOfClusterVerbsWorkAsPrinted(t *testing.T) {
	t.Parallel()
	p, _ := newCluster(t)
	ran := 0
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if ofCluster(c) {
			ran++
			at := newPlace(t)
			at.env = append(at.env, p.env[len(at.env):]...)
			if o := at.shell("set -e\n" + c.Example); o.status != 0 || c.Example == "" {
				t.Errorf("%s: exit %d of\n%s\n%s%s", c.CommandPath(), o.status, c.Example, o.stdout, o.stderr)
			}
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(&app{}))
	if ran < 20 {
		t.Errorf("%d examples: the test does not find them", ran)
	}
}

// What differs from cluster to cluster.
var ofDeployments = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:<port>"},
	{regexp.MustCompile(`kbjoin_[\w-]{5,}`), "kbjoin_<secret>"},
	{regexp.MustCompile(`"id": "[^"]{8,}"`), `"id": "<token>"`},
	{regexp.MustCompile(`"(version|token)": "[^"]*"`), `"$1": "<$1>"`},
	{regexp.MustCompile(`(127\.0\.0\.1:<port>) +\S+$`), "$1  <version>"},
	{regexp.MustCompile(`applied \d+ in term \d+`), "applied <n> in term <n>"},
	{regexp.MustCompile(`"(applied|term|epoch|ops_per_second|bytes)": [\d.]+`), `"$1": <n>`},
	{regexp.MustCompile(`(active|moving) +-$`), "$1  -"},
	{regexp.MustCompile(`  \d+  (active|moving|creating)`), "  <n>  $1"},
	{regexp.MustCompile(`in \d+(\.\d+)?(ms|s), writes waited \d+(\.\d+)?(ms|s|µs)`), "in <n>ms, writes waited <n>ms"},
	{regexp.MustCompile(`"(copied_bytes|total_bytes|fenced_ms)": [\d.]+`), `"$1": <n>`},
}

// TestAClusterOfOneNodePrintsWhatTheTranscriptShows replays a transcript whose
// commands act on a cluster.
func TestAClusterOfOneNodePrintsWhatTheTranscriptShows(t *testing.T) {
	t.Parallel()
	const file = "testdata/cluster/one-node.txt"
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := newCluster(t)
	var out strings.Builder
	for line := range strings.Lines(replayIn(p, string(want))) {
		line = strings.TrimRight(line, "\n")
		if !strings.HasPrefix(line, "$ ") {
			if !strings.HasPrefix(line, " ") {
				line = regexp.MustCompile(`  +`).ReplaceAllString(line, "  ")
			}
			for _, u := range ofDeployments {
				line = u.what.ReplaceAllString(line, u.by)
			}
		}
		fmt.Fprintln(&out, line)
	}
	got := out.String()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != string(want) {
		t.Errorf("%s differs; -update writes it anew. It is now:\n%s", file, difference(string(want), got))
	}
}

// join makes a node of the cluster that the place acts on, and serves it.
func (p *place) join(name string) *member {
	p.t.Helper()
	n := p.newNode(name)
	token := strings.TrimSpace(p.must("node", "token", "create", "--region", "local"))
	p.must("node", "join", "--data", n.dir, "--listen", n.peer, "--zone", name, "--token", token)
	p.failure(p.run("node", "join", "--data", n.dir+"-again", "--listen", n.peer, "--token", token), 5, "token")
	p.serve(n)
	return n
}

// until runs a command of sh until it succeeds.
func (p *place) until(line string) {
	p.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		o := p.shell(line)
		if o.status == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("not yet: %s: exit %d\n%s%s", line, o.status, o.stdout, o.stderr)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestNodesJoinAClusterAreDrainedAndRemoved has three nodes join the first
// one, drains one of those that hold a shard, and takes it out.
func TestNodesJoinAClusterAreDrainedAndRemoved(t *testing.T) {
	t.Parallel()
	p, _ := newCluster(t)
	for _, name := range []string{"node-2", "node-3", "node-4"} {
		p.join(name)
	}
	p.until(`test "$(kimberlite node list --json | grep -c '"alive": true')" = 4`)
	p.must("shard", "create", "--region", "local", "--nodes", "2,3,4")
	p.failure(p.run("node", "remove", "3"), 1, "not drained")
	// Node 1 can take what it has.
	if out := p.must("node", "drain", "3", "--timeout", "1m"); !strings.Contains(out, "it can be removed") {
		t.Fatal(out)
	}
	p.must("node", "remove", "3")
	p.until(`kimberlite shard show 2 --json | sed -n 's/.*"node": \(.*\),/\1/p' | sort | tr '\n' ' ' | grep -qx '1 2 4 '`)
	if list := p.must("node", "list"); strings.Contains(list, "\n3 ") {
		t.Errorf("node 3 is still listed:\n%s", list)
	}
	if list := p.must("node", "list", "--removed"); !strings.Contains(list, "removed") {
		t.Errorf("node 3 is not among those that were removed:\n%s", list)
	}
	p.failure(p.run("node", "drain", "3"), 1, "removed")
}

// TestOperatorsAreTheDeploymentsAndNotANodes makes one on one node, uses it on
// another, and revokes it there.
func TestOperatorsAreTheDeploymentsAndNotANodes(t *testing.T) {
	t.Parallel()
	p, first := newCluster(t)
	second := p.join("node-2")
	secret := strings.TrimSpace(p.must("credential", "create", "--operator", "--name", "ops"))
	on := func(n *member) string {
		return "kimberlite node list --server https://" + n.rpc + " --token " + secret + " >out 2>&1"
	}
	p.until(on(first))
	p.until(on(second))
	// The two change at once what is one document.
	p.must("credential", "create", "--operator", "--name", "a", "--server", "https://"+first.rpc)
	p.must("credential", "create", "--operator", "--name", "b", "--server", "https://"+second.rpc)
	p.must("credential", "revoke", "--operator", "--name", "ops", "--server", "https://"+second.rpc)
	p.until("! " + on(first))
	if text, err := os.ReadFile(filepath.Join(p.dir, "out")); err != nil || !strings.Contains(string(text), "login") {
		t.Errorf("refused for another reason: %s %v", text, err)
	}
	for _, n := range []*member{first, second} {
		list := p.must("credential", "list", "--operator", "--server", "https://"+n.rpc)
		for _, want := range []string{"admin", "ops", "revoked", "\n"} {
			if !strings.Contains(list, want) {
				t.Errorf("on %s there is no %q:\n%s", n.dir, want, list)
			}
		}
		if strings.Count(list, "\n") != 5 {
			t.Errorf("not four operators on %s:\n%s", n.dir, list)
		}
	}
	p.failure(p.run("credential", "create", "--operator", "--name", "b", "--server", "https://"+first.rpc), 4, "already")
	// What the first start put into the directory is not left behind.
	if _, err := os.Stat(filepath.Join(first.dir, "cluster/operators.json")); err == nil {
		t.Error("the first operator's file is still there")
	}
}

func TestAMoveSaysWhatItWaitsForAndNotWhatItOvercame(t *testing.T) {
	t.Parallel()
	var told bytes.Buffer
	tell := (&app{stderr: &told}).moveTeller()
	m := client.Move{Tenant: client.MustTenantID(7), Phase: deployment.Copying}
	tell(m)
	m.Phase, m.Problem = deployment.Releasing, "node 1 does not answer"
	tell(m)
	tell(m)
	m.Phase = deployment.Done
	tell(m)
	const want = "tenant 7: copying\ntenant 7: releasing, and waits: node 1 does not answer\ntenant 7: releasing\n"
	if told.String() != want {
		t.Errorf("told\n%swant\n%s", told.String(), want)
	}
	if text := moveText(&m) + documentMove(&m).Problem; strings.Contains(text, "node 1") {
		t.Errorf("done: %s", text)
	}
}
