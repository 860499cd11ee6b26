package replication

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestALogFileHoldsWhatWasWrittenAtEachSync writes a log file in pieces of all
// sizes and reads it back after each sync, on a disk.
func TestALogFileHoldsWhatWasWrittenAtEachSync(t *testing.T) {
	dir, err := os.MkdirTemp(".", "wal-") // the temporary directory may be memory
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, before := range []int{0, 100, walBlock, walStep + 5} { // what the file held, as a spare
		g := &guard{FS: vfs.Default, latch: &latch{}, dir: dir, walLimit: 4 * walStep}
		name := filepath.Join(dir, "000001.log")
		if err := os.WriteFile(filepath.Join(dir, spareName), bytes.Repeat([]byte{7}, before), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := g.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		w := f.(*walFile)
		direct := w.direct
		rng := rand.New(rand.NewPCG(1, uint64(before)))
		var want []byte
		for range 60 {
			for range rng.IntN(3) + 1 {
				p := make([]byte, rng.IntN([]int{10, 600, walBlock + 1, 3 * walBuffer}[rng.IntN(4)]+1))
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				if n, err := f.Write(p); n != len(p) || err != nil {
					t.Fatal(n, err)
				}
				want = append(want, p...)
			}
			if err := f.SyncData(); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(name)
			if err != nil || len(got) < len(want) || !bytes.Equal(got[:len(want)], want) {
				t.Fatalf("the file does not begin with the %d bytes written: %v", len(want), err)
			}
			if len(got)%walBlock != 0 && len(got) != before {
				t.Fatalf("the file has %d bytes", len(got))
			}
			end := (len(want) + walBlock - 1) &^ (walBlock - 1)
			if rest := got[len(want):end]; !bytes.Equal(rest, make([]byte, len(rest))) {
				t.Fatal("the last block goes on with something else than zeros")
			}
		}
		if err := f.Close(); err != nil || g.latch.cause() != nil {
			t.Fatal(err, g.latch.cause())
		}
		if w.direct != direct {
			t.Error("the disk refused to be written past the page cache, at first willing")
		}
	}
}

// TestALogFileIsWrittenThroughTheCacheWhereItMustBe gives the disk a buffer
// that it does not take.
func TestALogFileIsWrittenThroughTheCacheWhereItMustBe(t *testing.T) {
	dir, err := os.MkdirTemp(".", "wal-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	g := &guard{FS: vfs.Default, latch: &latch{}, dir: dir}
	f, err := g.Create(filepath.Join(dir, "000001.log"), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	w := f.(*walFile)
	if !w.direct {
		t.Skip("not on this filesystem")
	}
	w.buf = make([]byte, walBuffer+1)[1:1]
	want := []byte("a record")
	if _, err := f.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := f.SyncData(); err != nil {
		t.Fatal(err)
	}
	if w.direct || g.latch.cause() != nil {
		t.Fatalf("direct: %v, failed: %v", w.direct, g.latch.cause())
	}
	if got, err := os.ReadFile(filepath.Join(dir, "000001.log")); err != nil || !bytes.HasPrefix(got, want) {
		t.Fatalf("%v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
