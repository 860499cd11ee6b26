package tenantlog

import (
	"os"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// fill appends n records and returns the position after each.
func fill(t *testing.T, c *chain, o Options, n int) []Position {
	t.Helper()
	l, err := Open(o, Start(o.Tenant))
	if err != nil {
		t.Fatal(err)
	}
	positions := []Position{Start(o.Tenant)}
	for range n {
		at, err := l.Append(c.next(150))
		if err != nil {
			t.Fatal(err)
		}
		positions = append(positions, at)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return positions
}

func TestAfterIsWhatAppendComesTo(t *testing.T) {
	c := newChain(t, tenant1)
	o := testOptions(disk.NewMem(), tenant1)
	positions := fill(t, c, o, 20)
	for i, rec := range c.recs {
		got, err := positions[i].After(tenant1, rec, o.SegmentBytes)
		if err != nil || got != positions[i+1] {
			t.Fatalf("record %d: %+v, %v; want %+v", i, got, err, positions[i+1])
		}
		if _, err := positions[i+1].After(tenant1, rec, o.SegmentBytes); !fault.Is(err, fault.Conflict) {
			t.Fatalf("record %d again: %v, want Conflict", i, err)
		}
	}
}

func TestOpenAheadKeepsWhatFollowsAndCutsTheRest(t *testing.T) {
	const n = 20
	flip := func(t *testing.T, fsys disk.FS, base, at int64) {
		name := segmentPath(testDir, ident.NewOffset(uint64(base)))
		f, err := fsys.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	for from := 0; from <= n; from += 3 {
		for damaged := 0; damaged <= n; damaged++ { // n: none
			c := newChain(t, tenant1)
			fsys := disk.NewMem()
			o := testOptions(fsys, tenant1)
			positions := fill(t, c, o, n)
			if damaged < n {
				after := positions[damaged+1]
				flip(t, fsys, int64(after.Segment.Uint64()), after.SegmentBytes-40)
			}
			want := max(damaged, from)
			l, err := OpenAhead(o, positions[from])
			if damaged == from-1 { // the last record that must be there
				if !fault.Is(err, fault.Corruption) && err != nil {
					t.Fatal(err)
				}
				continue
			}
			if damaged < from {
				want = n // damage before the position is met when it is read
			}
			if err != nil {
				t.Fatalf("from %d, damaged %d: %v", from, damaged, err)
			}
			if got := l.Position(); got != positions[want] {
				t.Fatalf("from %d, damaged %d: at %s, want %s", from, damaged, got.Next, positions[want].Next)
			}
			for i := want; i < n; i++ {
				if at, err := l.Append(c.recs[i]); err != nil || at != positions[i+1] {
					t.Fatalf("from %d, damaged %d: append %d: %v", from, damaged, i, err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l, whole, err := OpenPrefix(o)
			sound := damaged >= from // what was before the position is as it was
			if err != nil || whole != sound || sound && l.Position() != positions[n] {
				t.Fatalf("from %d, damaged %d: whole %v, %v", from, damaged, whole, err)
			}
		}
	}
}

func TestOpenPrefixTellsACutFromAHole(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(fsys disk.FS, last, second string) error
		whole  bool
		next   uint64
	}{
		{"nothing", func(disk.FS, string, string) error { return nil }, true, 20},
		{"cut", func(fsys disk.FS, last, _ string) error {
			f, err := fsys.OpenFile(last, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			size, err := f.Size()
			if err != nil {
				return err
			}
			return f.Truncate(size - 7)
		}, true, 19},
		{"hole", func(fsys disk.FS, _, second string) error { return fsys.Remove(second) }, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := disk.NewMem()
			o := testOptions(fsys, tenant1)
			positions := fill(t, newChain(t, tenant1), o, 20)
			bases, err := listSegments(fsys, testDir)
			if err != nil || len(bases) < 3 {
				t.Fatal(bases, err)
			}
			if err := c.damage(fsys, segmentPath(testDir, bases[len(bases)-1]), segmentPath(testDir, bases[1])); err != nil {
				t.Fatal(err)
			}
			want := c.next
			l, whole, err := OpenPrefix(o)
			if err != nil || whole != c.whole || whole && l.Position() != positions[want] {
				t.Fatalf("whole %v, %v; want %d, %v", whole, err, want, c.whole)
			}
		})
	}
}
