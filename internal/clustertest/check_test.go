package clustertest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// checkHistories holds what clients saw against what the tables hold in the
// end, as every node gives it.
func (d *deployment) checkHistories(tenants []*resident) {
	d.tb.Helper()
	for _, r := range tenants {
		var final []int64
		for i, m := range d.all() {
			var ids []int64
			d.until(fmt.Sprintf("the table of %s at node %d", r.name, m.id), patience, func() (err error) {
				ids, err = d.table(r, m)
				return err
			})
			if i > 0 && !slices.Equal(ids, final) {
				d.tb.Errorf("%s: node %d gives %d rows, another %d", r.name, m.id, len(ids), len(final))
			}
			final = ids
		}
		inserts, reads := r.history.acknowledged()
		if err := r.history.check(final, time.Minute); err != nil {
			d.tb.Errorf("%s: %v", r.name, err)
		}
		d.tb.Logf("%s: %d inserts, %d reads, %d unknown, refusals %v", r.name, inserts, reads, len(r.history.open), r.history.codes)
		if inserts == 0 || reads == 0 {
			d.tb.Errorf("%s: no work was done", r.name)
		}
	}
}

// shardsOf returns the shard of every tenant.
func (d *deployment) shardsOf() map[int]int {
	d.tb.Helper()
	var placements []struct {
		Tenant int `json:"tenant"`
		Shard  int `json:"shard"`
	}
	out := d.run("directory", "show", "--json")
	if err := json.Unmarshal([]byte(out), &placements); err != nil {
		d.tb.Fatalf("%v in %s", err, out)
	}
	of := map[int]int{}
	for _, p := range placements {
		of[p.Tenant] = p.Shard
	}
	return of
}

// checkTables has replicas of each shard lead in turn, by ending those that do,
// and compares what they serve: tables are each replica's own, made from its own
// copy of the log. Nobody writes meanwhile.
func (d *deployment) checkTables(tenants []*resident, rounds int) {
	d.tb.Helper()
	of := d.shardsOf()
	want := map[int][]int64{}
	led := map[[2]int]bool{} // shard, node
	for range rounds {
		shards, err := d.shards()
		if err != nil {
			d.tb.Fatal(err)
		}
		seen := map[int]int{} // by node, how many of what it leads it has led before
		for _, s := range shards {
			if led[[2]int{s.Shard, *s.Leader}] {
				seen[*s.Leader]++
			}
			led[[2]int{s.Shard, *s.Leader}] = true
		}
		for _, r := range tenants {
			ids, err := d.table(r, d.in(r.region)[0])
			if err != nil {
				d.tb.Errorf("%s: %v", r.name, err)
			}
			if want[r.id] != nil && !slices.Equal(want[r.id], ids) {
				d.tb.Errorf("%s on shard %d: one replica has %d rows, another %d, or others", r.name, of[r.id], len(want[r.id]), len(ids))
			}
			want[r.id] = ids
		}
		d.restartLeader(shards, seen)
	}
	d.tb.Logf("tables were read from %d of %d replicas", len(led), 3*len(d.mustShards()))
}

func (d *deployment) mustShards() []shardStatus {
	d.tb.Helper()
	shards, err := d.shards()
	if err != nil {
		d.tb.Fatal(err)
	}
	return shards
}

// restartLeader ends the node that leads most of what it has led before, or
// most, and waits until all is level again.
func (d *deployment) restartLeader(shards []shardStatus, seen map[int]int) {
	d.tb.Helper()
	leads := map[int]int{}
	for _, s := range shards {
		leads[*s.Leader]++
	}
	var victim *member
	for _, m := range d.all() {
		if leads[m.id] > 0 && (victim == nil || 10*seen[m.id]+leads[m.id] > 10*seen[victim.id]+leads[victim.id]) {
			victim = m
		}
	}
	victim.stop(syscall.SIGTERM)
	d.start(victim)
	d.ready(victim)
	d.settle()
}

// stopAll ends every node as an operator does.
func (d *deployment) stopAll() {
	var all sync.WaitGroup
	for _, m := range d.all() {
		all.Go(func() { m.stop(syscall.SIGTERM) })
	}
	all.Wait()
}

// chain is what `kimberlite verify` says of one tenant in one directory.
type chain struct {
	ID       int    `json:"id"`
	OK       bool   `json:"ok"`
	Records  uint64 `json:"records"`
	LastHash string `json:"last_hash"`
	Pending  uint64 `json:"pending"`
}

// checkChains verifies every node's directory offline, and that the replicas of
// a tenant have the same chain, and all of it. The nodes are stopped.
func (d *deployment) checkChains(tenants []*resident) {
	d.tb.Helper()
	found := map[int]map[int]chain{} // by tenant, by node
	for _, m := range d.all() {
		if _, err := os.Stat(m.dir); err != nil {
			continue
		}
		out, err := d.try([]string{"HOME=" + d.dir}, "verify", m.dir, "--json")
		if err != nil {
			d.tb.Errorf("node %d: %v", m.id, err)
			continue
		}
		var report struct {
			Tenants []chain `json:"tenants"`
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			d.tb.Fatal(err)
		}
		for _, c := range report.Tenants {
			if found[c.ID] == nil {
				found[c.ID] = map[int]chain{}
			}
			found[c.ID][m.id] = c
		}
	}
	for _, r := range tenants {
		chains := found[r.id]
		if len(chains) != 3 {
			d.tb.Errorf("%s is on %d nodes, 3 are wanted: %v", r.name, len(chains), chains)
		}
		inserts, _ := r.history.acknowledged()
		seen := map[string]bool{}
		for _, c := range chains {
			seen[c.LastHash+" "+strconv.FormatUint(c.Records, 10)] = true
			if c.Records == 0 || !c.OK || inserts == 0 {
				d.tb.Errorf("%s: %+v", r.name, c)
			}
		}
		if len(seen) != 1 {
			d.tb.Errorf("the chains of %s differ: %+v", r.name, chains)
		}
	}
}

const windowBytes = 32

// windows are pieces of sealed records, by their first eight bytes.
type windows map[uint64][windowBytes]byte

// sealed takes pieces out of a tenant's log on a node.
func sealed(node string, tenant int) (windows, error) {
	files, err := filepath.Glob(filepath.Join(node, "shards", "*", "tenants", strconv.Itoa(tenant), "log", "*.segment"))
	if err != nil {
		return nil, err
	}
	w := windows{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		data = data[:len(strings.TrimRight(string(data), "\x00"))]
		for at := 256; at+windowBytes < len(data); at += max(len(data)/200, windowBytes) {
			piece := [windowBytes]byte(data[at:])
			if strings.Count(string(piece[:]), "\x00") > 2 { // a header's fields could be anybody's
				continue
			}
			w[binary.LittleEndian.Uint64(piece[:])] = piece
		}
	}
	return w, nil
}

// search looks for pieces in every file below a directory.
func (w windows) search(dir string) (hits []string, err error) {
	var starts [1 << 16]bool
	for prefix := range w {
		starts[uint16(prefix)] = true
	}
	err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for at := 0; at+windowBytes <= len(data); at++ {
			if !starts[uint16(data[at])|uint16(data[at+1])<<8] {
				continue
			}
			if piece, ok := w[binary.LittleEndian.Uint64(data[at:])]; ok && [windowBytes]byte(data[at:]) == piece {
				hits = append(hits, fmt.Sprintf("%s, byte %d", name, at))
				break
			}
		}
		return nil
	})
	return hits, err
}

var tenantPath = regexp.MustCompile(`/tenants/(\d+)(?:/|$)`)

// checkResidency searches every file of every node for what tenants of other
// regions have, and shows that the search finds it where it belongs. The nodes
// are stopped.
func (d *deployment) checkResidency(tenants []*resident) {
	d.tb.Helper()
	regionOf := map[int]string{}
	sealedIn := map[string]windows{}
	for _, r := range tenants {
		regionOf[r.id] = r.region
		for _, m := range d.in(r.region) {
			w, err := sealed(m.dir, r.id)
			if err != nil {
				d.tb.Fatal(err)
			}
			if sealedIn[r.region] == nil {
				sealedIn[r.region] = windows{}
			}
			for k, v := range w {
				sealedIn[r.region][k] = v
			}
		}
	}
	for _, m := range d.all() {
		for region, w := range sealedIn {
			hits, err := w.search(m.dir)
			if err != nil {
				d.tb.Fatal(err)
			}
			switch {
			case len(w) == 0:
				d.tb.Errorf("nothing of region %s to look for", region)
			case region == m.region && len(hits) == 0:
				d.tb.Errorf("node %d: none of the %d pieces of its own region is found: the search finds nothing", m.id, len(w))
			case region != m.region && len(hits) > 0:
				d.tb.Errorf("node %d of %s has records of %s: %v", m.id, m.region, region, hits)
			}
		}
		err := filepath.WalkDir(m.dir, func(name string, _ fs.DirEntry, err error) error {
			if found := tenantPath.FindStringSubmatch(name); found != nil {
				if id, _ := strconv.Atoi(found[1]); regionOf[id] != "" && regionOf[id] != m.region {
					d.tb.Errorf("node %d of %s has %s, of a tenant of %s", m.id, m.region, name, regionOf[id])
				}
			}
			return err
		})
		if err != nil {
			d.tb.Fatal(err)
		}
	}
}
