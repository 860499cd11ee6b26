package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/node"
)

// TestPowerLossAtEverySyncPointLosesNothingAcknowledged runs whole nodes, from
// the making of the directory to Close, on a filesystem that is cloned before
// and after every sync as a power loss would leave it: everything unsynced
// dropped, or any part of it kept and torn. Each clone must open with all that
// was acknowledged when it was taken, nothing by halves, chains that verify
// and projections that equal a rebuild. What was read after one power loss
// must be there after a second one.
func TestPowerLossAtEverySyncPointLosesNothingAcknowledged(t *testing.T) { losePower(t, seedOf(t)) }

func losePower(t *testing.T, seed uint64) {
	p := &power{key: masterKey(t), seed: seed, mem: disk.NewMem(), l: newLedger(), rng: rand.New(rand.NewPCG(seed, 1)), seen: map[string]int{}, limit: 5}
	all := whole(t, seed)
	if !all {
		p.limit = 1
	}
	if err := p.load(); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if !all {
		p.rng.Shuffle(len(p.clones), func(i, j int) { p.clones[i], p.clones[j] = p.clones[j], p.clones[i] })
		p.clones = p.clones[:min(len(p.clones), 6)]
	}
	p.checkAll(t)
	t.Logf("%d operations acknowledged over %d sync points, %d clones checked: %s", p.l.count(acked), p.points, len(p.clones), p.kinds())
	if all && len(p.clones) < 100 {
		t.Errorf("only %d clones were checked", len(p.clones))
	}
}

const powerTenants = 3

// power is one run with clones taken of it.
type power struct {
	key  string
	seed uint64
	mem  *disk.Mem
	l    *ledger
	// limit is how many clones of each class of sync points are kept.
	limit int

	mu     sync.Mutex // guards all below
	rng    *rand.Rand
	points int
	seen   map[string]int // sync points by class
	clones []clone
}

// clone is the filesystem after a power loss, with what was known before and
// after it was taken.
type clone struct {
	class         string
	mem           *disk.Mem
	before, after *ledger
	seed          uint64
}

// load runs a node from nothing to Close, and again, with clones taken.
func (p *power) load() error {
	p.mem.BeforeSync(func(name string) { p.point("before", name) })
	p.mem.OnSync(func(name string) { p.point("after", name) })
	defer p.mem.BeforeSync(nil)
	defer p.mem.OnSync(nil)
	for range 2 {
		n, err := node.Open(context.Background(), p.config(p.mem))
		if err != nil {
			return err
		}
		ld := &load{n: n, l: p.l, seed: p.seed, tenants: powerTenants, writers: 2, admin: true}
		if err := ld.setup(); err != nil {
			return err
		}
		if err := ld.run(context.Background(), 15); err != nil {
			return err
		}
		if err := closeNode(n); err != nil {
			return err
		}
	}
	return nil
}

func (p *power) config(fsys disk.FS) node.Config {
	c := small(fsys, dataDir, p.key)
	c.MaxOpenTenants = 2
	c.SegmentBytes = 8 << 10
	return c
}

// classOf names a sync point by when it is and by what is synced.
func classOf(when, name string) string {
	rel := strings.TrimPrefix(name, dataDir)
	base := filepath.Base(rel)
	dir := strings.Split(strings.Trim(rel, "/"), "/")[0]
	switch {
	case strings.HasSuffix(base, ".segment"), strings.HasSuffix(base, ".log"), strings.HasSuffix(base, ".sst"):
		base = "*" + filepath.Ext(base)
	case strings.ContainsAny(base, "0123456789"):
		base = strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' || r >= 'a' && r <= 'f' && len(base) > 12 {
				return '0'
			}
			return r
		}, base)
	}
	return when + " " + dir + "/" + base
}

// point takes clones at a sync point, and keeps some of each class: the first
// ones, and then each with falling chance.
func (p *power) point(when, name string) {
	class := classOf(when, name)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.points++
	p.seen[class]++
	at := -1
	if p.seen[class] <= p.limit {
		at = len(p.clones)
		p.clones = append(p.clones, clone{})
	} else if p.rng.IntN(p.seen[class]) < p.limit {
		at = p.pick(class)
	}
	if at < 0 {
		return
	}
	// A third with the harshest loss, the others with anything.
	var rng *rand.Rand
	seed := p.rng.Uint64()
	if seed%3 != 0 {
		rng = rand.New(rand.NewPCG(seed, 2))
	}
	c := clone{class: class, seed: seed, before: p.l.copy()}
	c.mem = p.mem.CrashClone(rng)
	c.after = p.l.copy()
	p.clones[at] = c
}

// pick returns a kept clone of a class, by chance.
func (p *power) pick(class string) int {
	var of []int
	for i, c := range p.clones {
		if c.class == class {
			of = append(of, i)
		}
	}
	return of[p.rng.IntN(len(of))]
}

func (p *power) kinds() string {
	var all []string
	for class, n := range p.seen {
		all = append(all, fmt.Sprintf("%s %d", class, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// checkAll checks every clone, as many at once as there are processors.
func (p *power) checkAll(t *testing.T) {
	work := make(chan clone)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for c := range work {
				if err := p.check(c); err != nil {
					t.Errorf("seed %d, power loss %s (clone seed %d): %v", p.seed, c.class, c.seed, err)
				}
			}
		})
	}
	for _, c := range p.clones {
		work <- c
	}
	close(work)
	wg.Wait()
}

func (p *power) check(c clone) error {
	l := c.before.between(c.after)
	names, err := c.mem.ReadDir(dataDir)
	if err != nil || !slices.Contains(names, "node.toml") {
		if l.count(acked) > 0 {
			return errors.New("the data directory is gone")
		}
	} else if err := verified(c.mem, dataDir); err != nil {
		return fmt.Errorf("before opening: %w", err)
	}
	rng := rand.New(rand.NewPCG(c.seed, 3))
	pick := uint64(1 + rng.IntN(powerTenants))
	n, err := p.reopen(c.mem, l, func(t uint64) bool { return t == pick })
	if err != nil {
		return err
	}
	// What was settled above was read by somebody: a second power loss, with
	// nothing synced since, must keep it.
	again := c.mem.CrashClone(nil)
	if err := closeNode(n); err != nil {
		return err
	}
	if n, err = p.reopen(again, l, nil); err != nil {
		return fmt.Errorf("after a second power loss: %w", err)
	}
	if err := errors.Join(p.goOn(n, l), closeNode(n)); err != nil {
		return fmt.Errorf("after a second power loss: %w", err)
	}
	return verified(again, dataDir)
}

// reopen opens and checks.
func (p *power) reopen(mem *disk.Mem, l *ledger, rebuild func(uint64) bool) (*node.Node, error) {
	n, err := node.Open(context.Background(), p.config(mem))
	if err != nil {
		return nil, err
	}
	c := checker{n: n, l: l, seed: p.seed, tenants: powerTenants, settle: true, rebuild: rebuild}
	if err := c.check(context.Background()); err != nil {
		return nil, errors.Join(err, closeNode(n))
	}
	return n, nil
}

// goOn does one operation of each writer; those that were under way at the
// power loss are repeated.
func (p *power) goOn(n *node.Node, l *ledger) error {
	ld := &load{n: n, l: l, seed: p.seed, tenants: powerTenants, writers: 2}
	if err := ld.setup(); err != nil {
		return err
	}
	if err := ld.run(context.Background(), 1); err != nil {
		return err
	}
	c := checker{n: n, l: l, seed: p.seed, tenants: powerTenants}
	return c.check(context.Background())
}
