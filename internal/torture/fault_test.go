package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/tenant"
)

// diskFault is a fault of the disk that is switched on under load.
type diskFault struct {
	name string
	op   disk.Op
	// hits says which files it is about.
	hits func(name string) bool
	err  error
	// partial writes half of the bytes.
	partial bool
	// stops says that the shard must stop, since what it acknowledges from
	// then on could be lost.
	stops bool
}

func isFile(suffix, inside string) func(string) bool {
	return func(name string) bool {
		return strings.HasSuffix(name, suffix) && strings.Contains(name, inside)
	}
}

func faults() []diskFault {
	eio, full := error(syscall.EIO), error(syscall.ENOSPC)
	wal, segment := isFile(".log", "/replication/"), isFile(".segment", "/log/")
	return []diskFault{
		{name: "the replicated log does not sync", op: disk.OpSync, hits: wal, err: eio, stops: true},
		{name: "the replicated log does not write", op: disk.OpWrite, hits: wal, err: eio, partial: true, stops: true},
		{name: "the replicated log finds the disk full", op: disk.OpWrite, hits: wal, err: full, partial: true, stops: true},
		{name: "segments do not sync", op: disk.OpSync, hits: segment, err: eio},
		{name: "segments do not write", op: disk.OpWrite, hits: segment, err: eio, partial: true},
		{name: "segments find the disk full", op: disk.OpWrite, hits: segment, err: full, partial: true},
		{name: "segments do not read", op: disk.OpRead, hits: segment, err: eio},
		{name: "segments are not made", op: disk.OpOpen, hits: segment, err: eio},
		{name: "heads do not sync", op: disk.OpSync, hits: isFile("HEAD.tmp", ""), err: eio},
		{name: "heads are not renamed", op: disk.OpRename, hits: isFile("HEAD.tmp", ""), err: eio},
		{name: "the keyring does not sync", op: disk.OpSync, hits: isFile(".keyring", ""), err: eio},
		{name: "the keyring does not write", op: disk.OpWrite, hits: isFile(".keyring", ""), err: eio, partial: true},
		{name: "projections do not sync", op: disk.OpSync, hits: isFile("", "projection.db"), err: eio},
		{name: "projections do not write", op: disk.OpWrite, hits: isFile("", "projection.db"), err: eio, partial: true},
		{name: "projections find the disk full", op: disk.OpWrite, hits: isFile("", "projection.db"), err: full, partial: true},
		{name: "projections do not read", op: disk.OpRead, hits: isFile("projection.db", ""), err: eio},
		{name: "directories of logs do not sync", op: disk.OpSyncDir, hits: isFile("/log", ""), err: eio},
		{name: "directories of tenants do not sync", op: disk.OpSyncDir, hits: isFile("/tenants", ""), err: eio},
		{name: "the replicated log's directory does not sync", op: disk.OpSyncDir, hits: isFile("/replication", ""), err: eio},
	}
}

const faultTenants = 3

// faulted is one node over a disk whose fault is switched on and off.
type faulted struct {
	t    *testing.T
	key  string
	seed uint64
	mem  *disk.Mem
	on   atomic.Bool
	fsys *disk.Faulty
	l    *ledger
}

func newFaulted(t *testing.T, seed uint64, f diskFault) *faulted {
	x := &faulted{t: t, key: masterKey(t), seed: seed, mem: disk.NewMem(), l: newLedger()}
	x.fsys = &disk.Faulty{FS: x.mem, PartialWrite: f.partial, Inject: func(op disk.Op, name string) error {
		if x.on.Load() && op == f.op && f.hits(name) {
			return f.err
		}
		return nil
	}}
	return x
}

func (x *faulted) config(fsys disk.FS) node.Config {
	c := small(fsys, dataDir, x.key)
	c.MaxOpenTenants = 2
	return c
}

func (x *faulted) loadOn(n *node.Node) *load {
	return &load{n: n, l: x.l, seed: x.seed, tenants: faultTenants, writers: 2, admin: true, opTimeout: 20 * time.Second}
}

// TestADiskThatFailsLosesNothingAcknowledged switches a fault on under load,
// lets every writer run into it, sees that every call still returns in time
// with a clear error, closes, repairs the disk and opens again: everything
// acknowledged is there, also after a power loss in place of the close, and
// writing works again.
func TestADiskThatFailsLosesNothingAcknowledged(t *testing.T) { failOneByOne(t, seedOf(t)) }

func failOneByOne(t *testing.T, seed uint64) {
	all := faults()
	if !whole(t, seed) {
		rand.New(rand.NewPCG(seed, 5)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:2]
	}
	for _, f := range all {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			newFaulted(t, seed, f).run(f)
		})
	}
}

func (x *faulted) run(f diskFault) {
	n := open(x.t, x.config(x.fsys))
	ld := x.loadOn(n)
	if err := ld.setup(); err != nil {
		x.t.Fatal(err)
	}
	if err := ld.run(context.Background(), 6); err != nil {
		x.t.Fatal(err)
	}
	x.on.Store(true)
	var failed atomic.Int64
	ld.tolerate = func(err error) bool {
		failed.Add(1)
		return clearly(err)
	}
	if err := ld.run(context.Background(), 12); err != nil {
		x.t.Error(err)
	}
	x.probe(n, f.stops)
	lost := x.mem.CrashClone(rand.New(rand.NewPCG(x.seed, 9)))
	harshest := x.mem.CrashClone(nil)
	x.closed(n)
	x.on.Store(false)
	x.recovered(lost, "a power loss")
	x.recovered(harshest, "the harshest power loss")
	x.recovered(x.mem, "a restart")
}

// clearly says whether an error tells that the disk is at fault.
func clearly(err error) bool {
	switch fault.KindOf(err) {
	case fault.Stopped, fault.DiskFull, fault.OutcomeUnknown, fault.Unavailable:
		return true
	}
	return false
}

// probe calls everything that a client may, while the disk fails: each call
// returns in time, and those that fail say why.
func (x *faulted) probe(n *node.Node, stops bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	calls := map[string]func(h *tenant.Tenant) error{
		"exec": func(h *tenant.Tenant) error {
			stopped := stops || n.Shard().Err() != nil
			_, err := h.Exec(ctx, tenant.Request{}, "UPDATE account SET balance = balance", nil)
			if err == nil && stopped {
				return errors.New("a write was acknowledged after the shard had to stop")
			}
			return err
		},
		"query": func(h *tenant.Tenant) error {
			return each(ctx, h, "SELECT id, balance, 0 FROM account", func(_, _, _ int) {})
		},
		"stream":     func(h *tenant.Tenant) error { return new(content).readFeed(ctx, h) },
		"rotate":     func(h *tenant.Tenant) error { return h.RotateDEK(ctx) },
		"rekey":      func(h *tenant.Tenant) error { return h.RotateKEK(ctx) },
		"checkpoint": func(*tenant.Tenant) error { return n.Checkpoint(ctx) },
		"create": func(h *tenant.Tenant) error {
			err := createTenant(ctx, n, 900+h.ID().Uint64(), fmt.Sprintf("probe-%s", h.ID()))
			return err
		},
	}
	for id := uint64(1); id <= faultTenants; id++ {
		h, err := n.Tenants().Tenant(ident.MustTenantID(id))
		if err != nil {
			x.t.Error(err)
			continue
		}
		for name, call := range calls {
			start := time.Now()
			err := call(h)
			if err != nil && !clearly(err) {
				x.t.Errorf("%s: %s: %v", name, kind(err), err)
			}
			if took := time.Since(start); took > 20*time.Second {
				x.t.Errorf("%s took %s", name, took)
			}
		}
	}
}

// closed closes a node whose disk failed: it may say so, and must not hang.
func (x *faulted) closed(n *node.Node) {
	done := make(chan error, 1)
	go func() { done <- closeNode(n) }()
	select {
	case err := <-done:
		if err != nil && !clearly(err) {
			x.t.Errorf("close: %s: %v", kind(err), err)
		}
	case <-time.After(time.Minute):
		x.t.Fatal("Close hangs")
	}
}

// recovered opens the files on a disk that works and checks that all is there
// and that writing works again; and so once more after a power loss then.
func (x *faulted) recovered(mem *disk.Mem, after string) {
	l := x.l.copy()
	c := checker{l: l, seed: x.seed, tenants: faultTenants, settle: true, rebuild: func(uint64) bool { return true }, strangers: true}
	fail := func(err error) bool {
		if err != nil {
			x.t.Errorf("after %s: %v", after, err)
		}
		return err != nil
	}
	for range 2 {
		n, err := node.Open(context.Background(), x.config(mem))
		if fail(err) {
			return
		}
		c.n = n
		ld := x.loadOn(n)
		ld.l = l
		err = c.check(context.Background())
		if err == nil {
			err = ld.run(context.Background(), 2)
		}
		if err == nil {
			err = c.check(context.Background())
		}
		if err == nil {
			err = verifiedRunning(context.Background(), n)
		}
		clone := mem.CrashClone(nil)
		if fail(errors.Join(err, closeNode(n))) || fail(verified(mem, dataDir)) {
			return
		}
		mem, after = clone, after+" and a power loss later"
	}
}

// TestADiskThatFailsAtRandomLosesNothingAcknowledged lets any call fail by
// chance.
func TestADiskThatFailsAtRandomLosesNothingAcknowledged(t *testing.T) { failAtRandom(t, seedOf(t)) }

func failAtRandom(t *testing.T, seed uint64) {
	runs := uint64(12)
	if !whole(t, seed) {
		runs = 1
	}
	for i := range runs {
		t.Run(fmt.Sprint(seed+i), func(t *testing.T) {
			t.Parallel()
			f := diskFault{partial: i%2 == 0}
			x := newFaulted(t, seed+i, f)
			odds := []float64{0.01, 0.001, 0.1}[i%3]
			draw := newDrawing(rand.New(rand.NewPCG(seed+i, 4)))
			x.fsys.Inject = func(op disk.Op, _ string) error {
				if op == disk.OpRead && i%4 != 0 || !x.on.Load() || draw.next() >= odds {
					return nil
				}
				return syscall.EIO
			}
			x.run(f)
		})
	}
}

// TestAFullDiskRefusesWritesAndRecoversWhenThereIsRoom fills the disk up to
// the reserve: writes are refused, reads go on, nothing stops, and writes work
// again without a restart once there is room.
func TestAFullDiskRefusesWritesAndRecoversWhenThereIsRoom(t *testing.T) {
	x := newFaulted(t, seedOf(t), diskFault{})
	c := x.config(x.mem)
	c.ReserveBytes = 48 << 20
	n := open(t, c)
	ld := x.loadOn(n)
	if err := ld.setup(); err != nil {
		t.Fatal(err)
	}
	x.mem.SetCapacity(x.mem.Bytes() + 64<<20)
	h, err := n.Tenants().Tenant(ident.MustTenantID(1))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	exec := func(sql string) error {
		_, err := h.Exec(ctx, tenant.Request{}, sql, nil)
		return err
	}
	if err := exec("CREATE TABLE bulk (v BLOB)"); err != nil {
		t.Fatal(err)
	}
	for range 10_000 {
		if err = exec("INSERT INTO bulk VALUES (randomblob(50000))"); err != nil {
			break
		}
	}
	if !fault.Is(err, fault.DiskFull) {
		t.Fatalf("a full disk: %v", err)
	}
	if err := createTenant(ctx, n, 77, "one-more"); !fault.Is(err, fault.DiskFull) {
		t.Errorf("making a tenant on a full disk: %v", err)
	}
	if err := n.Shard().Err(); err != nil {
		t.Fatalf("the shard stopped: %v", err)
	}
	if err := each(ctx, h, "SELECT id, balance, 0 FROM account", func(_, _, _ int) {}); err != nil {
		t.Errorf("reading on a full disk: %v", err)
	}
	x.mem.SetCapacity(x.mem.Bytes() + 128<<20)
	deadline := time.Now().Add(10 * time.Second)
	for err = exec("DELETE FROM bulk"); fault.Is(err, fault.DiskFull) && time.Now().Before(deadline); err = exec("DELETE FROM bulk") {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("there is room again: %v", err)
	}
	if err := ld.run(ctx, 5); err != nil {
		t.Error(err)
	}
	x.closed(n)
	x.recovered(x.mem, "a full disk")
}

// TestADiskThatFillsUpUnawaitedLosesNothingAcknowledged leaves no reserve, so
// that any write meets the end of the disk.
func TestADiskThatFillsUpUnawaitedLosesNothingAcknowledged(t *testing.T) { fillUp(t, seedOf(t)) }

func fillUp(t *testing.T, seed uint64) {
	rooms, operations := []int64{0, 1, 5_000, 40_000, 200_000, 1 << 20, 1<<20 + 100_000}, 60
	if !whole(t, seed) {
		rooms, operations = []int64{int64(seed % 100_000)}, 10
	}
	for i, room := range rooms {
		t.Run(fmt.Sprintf("%d bytes left", room), func(t *testing.T) {
			t.Parallel()
			x := newFaulted(t, seed+uint64(i), diskFault{})
			n := open(t, x.config(x.fsys))
			ld := x.loadOn(n)
			if err := ld.setup(); err != nil {
				t.Fatal(err)
			}
			ld.tolerate = clearly
			x.mem.SetCapacity(x.mem.Bytes() + room)
			if err := ld.run(context.Background(), operations); err != nil {
				t.Error(err)
			}
			x.probe(n, false)
			lost := x.mem.CrashClone(nil)
			x.closed(n)
			x.mem.SetCapacity(1 << 40)
			lost.SetCapacity(1 << 40)
			x.recovered(lost, "a power loss on a full disk")
			x.recovered(x.mem, "a full disk")
		})
	}
}

// drawing draws from a generator, for many goroutines.
type drawing struct {
	tickets chan struct{} // one, held by who draws
	rng     *rand.Rand
}

func newDrawing(rng *rand.Rand) *drawing {
	d := &drawing{tickets: make(chan struct{}, 1), rng: rng}
	d.tickets <- struct{}{}
	return d
}

func (d *drawing) next() float64 {
	<-d.tickets
	defer func() { d.tickets <- struct{}{} }()
	return d.rng.Float64()
}
