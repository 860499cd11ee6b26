package keyring

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
)

// step is one change of a ring, and what it makes of the model.
type step struct {
	name  string
	do    func(r *Ring) error
	after map[owner][]byte // nil bytes: destroyed
}

// crashSteps are the changes whose every sync point is a power loss.
func crashSteps() []step {
	put := func(n uint64, g uint32) step {
		return step{fmt.Sprintf("put %d/%d", n, g), func(r *Ring) error { return r.Put(tenant(n), gen(g), blobOf(n, g)) },
			map[owner][]byte{own(n, g): blobOf(n, g)}}
	}
	replace := func(n uint64, g, as uint32) step {
		return step{fmt.Sprintf("replace %d/%d", n, g), func(r *Ring) error { return r.Replace(tenant(n), gen(g), blobOf(n, as)) },
			map[owner][]byte{own(n, g): blobOf(n, as)}}
	}
	steps := []step{
		put(1, 1), put(1, 2),
		{"reconcile", func(r *Ring) error { return r.Reconcile(tenant(1), gen(2)) }, map[owner][]byte{own(1, 1): nil}},
		put(2, 1), replace(2, 1, 900), replace(2, 1, 901),
		{"destroy", func(r *Ring) error { return r.Destroy(tenant(2), gen(1)) }, map[owner][]byte{own(2, 1): nil}},
		put(3, 1), put(3, 2),
		{"destroy all", func(r *Ring) error { return r.DestroyAll(tenant(3)) }, map[owner][]byte{own(3, 1): nil, own(3, 2): nil}},
	}
	for n := range uint64(firstSlots) { // into the second file
		steps = append(steps, put(100+n, 1))
	}
	return append(steps, replace(100, 1, 900))
}

// crashModel is what must hold at a power loss.
type crashModel struct {
	held  map[owner][]byte // acknowledged
	dead  [][]byte         // destroyed, acknowledged
	doing *step            // in progress
}

// finish makes the step in progress an acknowledged one.
func (m *crashModel) finish() {
	for o, b := range m.doing.after {
		if old, ok := m.held[o]; ok {
			m.dead = append(m.dead, old)
		}
		delete(m.held, o)
		if b != nil {
			m.held[o] = b
		}
	}
	m.doing = nil
}

// check opens what a power loss left, and compares it with the model.
func (m *crashModel) check(t *testing.T, clone *disk.Mem) {
	t.Helper()
	r, err := Open(Options{FS: clone, Dir: ringDir})
	if err != nil {
		t.Fatalf("during %q: %v", m.doing.name, err)
	}
	if len(m.dead) > 0 {
		all := ringBytes(t, clone)
		for _, dead := range m.dead {
			if bytes.Contains(all, dead[24:]) || bytes.Contains(all, dead[:24]) {
				t.Fatalf("during %q: a destroyed key is back", m.doing.name)
			}
		}
	}
	for o, want := range m.held {
		got, err := r.Get(o.tenant, o.generation)
		next, touched := m.doing.after[o]
		switch {
		case err == nil && (bytes.Equal(got, want) || touched && next != nil && bytes.Equal(got, next)):
		case err != nil && touched && next == nil: // being destroyed
		default:
			t.Fatalf("during %q: tenant %s, generation %s: %d bytes, %v", m.doing.name, o.tenant, o.generation, len(got), err)
		}
	}
	for o, next := range m.doing.after {
		if got, err := r.Get(o.tenant, o.generation); err == nil && !bytes.Equal(got, next) && !bytes.Equal(got, m.held[o]) {
			t.Fatalf("during %q: a key that nobody put", m.doing.name)
		}
	}
	m.again(t, r, clone)
}

// again does the step in progress once more on what the power loss left: it
// must come to the same end.
func (m *crashModel) again(t *testing.T, r *Ring, clone *disk.Mem) {
	t.Helper()
	if err := m.doing.do(r); err != nil {
		t.Fatalf("%q after a power loss: %v", m.doing.name, err)
	}
	for o, b := range m.doing.after { // what the node does at start
		if b != nil {
			if err := r.Reconcile(o.tenant, o.generation); err != nil {
				t.Fatalf("reconcile after %q: %v", m.doing.name, err)
			}
		}
	}
	all := ringBytes(t, clone.CrashClone(nil))
	for o, want := range m.doing.after {
		if want == nil {
			if old := m.held[o]; old != nil && bytes.Contains(all, old[24:]) {
				t.Fatalf("%q after a power loss: the key is still there", m.doing.name)
			}
			continue
		}
		if got, err := r.Get(o.tenant, o.generation); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%q after a power loss: %v", m.doing.name, err)
		}
		if old := m.held[o]; old != nil && !bytes.Equal(old, want) && bytes.Contains(all, old[24:]) {
			t.Fatalf("%q after a power loss: the old form is still there", m.doing.name)
		}
		if bytes.Count(all, want[24:]) != 1 {
			t.Fatalf("%q after a power loss: the key is there twice", m.doing.name)
		}
	}
}

func TestPowerLossAtEverySyncPointKeepsWhatIsAcknowledgedAndDestroysWhatIsDestroyed(t *testing.T) {
	mem := newMem(t)
	m := &crashModel{held: map[owner][]byte{}}
	losses := 0
	loss := func(string) {
		clones := []*disk.Mem{mem.CrashClone(nil)}
		for range 6 {
			clones = append(clones, mem.CrashClone(rand.New(rand.NewPCG(uint64(losses), 1))))
			losses++
		}
		for _, clone := range clones {
			m.check(t, clone)
		}
	}
	steps := crashSteps()
	mem.BeforeSync(loss)
	mem.OnSync(loss)
	m.doing = &step{name: "open", do: func(*Ring) error { return nil }}
	r := openRing(t, mem)
	for i := range steps {
		m.doing = &steps[i]
		if err := m.doing.do(r); err != nil {
			t.Fatalf("%s: %v", m.doing.name, err)
		}
		m.finish()
		m.doing = &step{name: "after " + steps[i].name, do: func(*Ring) error { return nil }}
		loss("")
	}
	t.Logf("%d power losses", losses)
}

func TestKilledProcessLeavesNoDestructionThatPowerLossUndoes(t *testing.T) {
	// A process dies between the write of a Destroy and its fsync. The next
	// one sees the key gone; so it must be gone for good.
	r, mem := newRing(t, 1)
	r.mu.Lock()
	at, _ := r.index.find(own(1, 1))
	wantNil(t, r.write(at, encodeFree(at)))
	r.mu.Unlock()
	next := openRing(t, mem) // no power loss: the cache is still there
	wantNil(t, next.Destroy(tenant(1), gen(1)))
	wantErased(t, mem.CrashClone(nil), 1, 1)
}

func TestFailedFsyncStopsAllChanges(t *testing.T) {
	broken := errors.New("medium error")
	for _, act := range []func(r *Ring) error{
		func(r *Ring) error { return r.Put(tenant(2), gen(1), blobOf(2, 1)) },
		func(r *Ring) error { return r.Replace(tenant(1), gen(1), blobOf(1, 2)) },
		func(r *Ring) error { return r.Destroy(tenant(1), gen(1)) },
		func(r *Ring) error { return r.DestroyAll(tenant(1)) },
	} {
		for _, op := range []disk.Op{disk.OpSync, disk.OpWrite} {
			mem := newMem(t)
			fail := false
			faulty := &disk.Faulty{FS: mem, PartialWrite: true, Inject: func(o disk.Op, _ string) error {
				if fail && o == op {
					fail = false // once: a second fsync would claim success
					return broken
				}
				return nil
			}}
			r := openRing(t, faulty)
			wantNil(t, r.Put(tenant(1), gen(1), blobOf(1, 1)))
			fail = true
			wantKind(t, act(r), fault.Stopped, broken.Error())
			wantKind(t, r.Put(tenant(3), gen(1), blobOf(3, 1)), fault.Stopped)
			wantKind(t, r.Destroy(tenant(1), gen(1)), fault.Stopped)
			wantNil(t, r.Close())
			wantKey(t, openRing(t, mem.CrashClone(nil)), 1, 1)
		}
	}
}

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	r, mem := newRing(t)
	for n := range uint64(firstSlots) {
		wantNil(t, r.Put(tenant(n+1), gen(1), blobOf(n+1, 1)))
	}
	mem.SetCapacity(mem.Bytes() + 1000)
	for range 2 {
		wantKind(t, r.Put(tenant(500), gen(1), blobOf(500, 1)), fault.DiskFull)
	}
	wantKey(t, r, 1, 1)
	wantNil(t, r.DestroyAll(tenant(1))) // what frees room still works
	wantNil(t, r.Put(tenant(500), gen(1), blobOf(500, 1)))
	mem.SetCapacity(1 << 30)
	wantNil(t, r.Put(tenant(501), gen(1), blobOf(501, 1)))
	r = openRing(t, mem.CrashClone(nil))
	wantKey(t, r, 501, 1)
	wantNoKey(t, r, 1, 1)
}

func TestFullDiskInsideAWriteLeavesNoKeyBehind(t *testing.T) {
	mem := newMem(t)
	fail := false
	r := openRing(t, &disk.Faulty{FS: mem, PartialWrite: true, Inject: func(o disk.Op, _ string) error {
		if fail && o == disk.OpWrite {
			return syscall.ENOSPC
		}
		return nil
	}})
	wantNil(t, r.Put(tenant(1), gen(1), blobOf(1, 1)))
	fail = true
	wantKind(t, r.Put(tenant(1), gen(2), blobOf(1, 2)), fault.DiskFull)
	fail = false
	_, err := r.Get(tenant(1), gen(2))
	wantKind(t, err, fault.Corruption)
	wantNil(t, r.Reconcile(tenant(1), gen(1)))
	wantErased(t, mem.CrashClone(nil), 1, 2)
	wantKey(t, r, 1, 1)
}
