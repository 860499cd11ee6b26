package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// edit changes the engine's keys behind the store's back.
func edit(t *testing.T, mem *disk.Mem, change func(db *pebble.DB) error) {
	t.Helper()
	db, err := pebble.Open("node/log", &pebble.Options{FS: adapter{mem}, Logger: engineLogger{nil, &latch{}}, FormatMajorVersion: pebble.FormatWALSyncChunks})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(change(db), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// filled returns a store that was closed with n proposals after a checkpoint.
func filled(t *testing.T, n int) *disk.Mem {
	t.Helper()
	mem := disk.NewMem()
	s, g, m, _ := boot(t, mem, 0)
	m.proposeAll(t, g, 3)
	if err := g.SaveCheckpoint(m.index, []KV{{[]byte("seen"), []byte("3")}}); err != nil {
		t.Fatal(err)
	}
	m.proposeAll(t, g, n)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return mem
}

func TestADamagedEntryIsNamedByShardAndIndex(t *testing.T) {
	const at = 10
	key := entryKey(shard1, at)
	get := func(db *pebble.DB, index uint64) []byte {
		value, err := getValue(db, entryKey(shard1, index))
		if err != nil || value == nil {
			t.Fatal(err)
		}
		return value
	}
	flip := func(i int) func(*pebble.DB) error {
		return func(db *pebble.DB) error {
			value := get(db, at)
			value[i] ^= 1
			return db.Set(key, value, pebble.Sync)
		}
	}
	for name, change := range map[string]func(*pebble.DB) error{
		"form":      flip(0),
		"type":      flip(1),
		"term":      flip(2),
		"checksum":  flip(12),
		"data":      flip(100),
		"swapped":   func(db *pebble.DB) error { return db.Set(key, get(db, at-1), pebble.Sync) },
		"cut":       func(db *pebble.DB) error { return db.Set(key, get(db, at)[:200], pebble.Sync) },
		"emptied":   func(db *pebble.DB) error { return db.Set(key, nil, pebble.Sync) },
		"missing":   func(db *pebble.DB) error { return db.Delete(key, pebble.Sync) },
		"no state":  func(db *pebble.DB) error { return db.Delete(shardKey(shard1, kindTruncated), pebble.Sync) },
		"bad state": func(db *pebble.DB) error { return db.Set(shardKey(shard1, kindHardState), []byte("?"), pebble.Sync) },
		"bad point": func(db *pebble.DB) error { return db.Set(shardKey(shard1, kindCheckpoint), []byte("?"), pebble.Sync) },
		"no group":  func(db *pebble.DB) error { return db.Delete(shardKey(shard1, kindMeta), pebble.Sync) },
		"no tail": func(db *pebble.DB) error {
			return db.DeleteRange(entryKey(shard1, at), shardEnd(shard1, kindEntry), pebble.Sync)
		},
		"stale key": func(db *pebble.DB) error { return db.Set(append(shardKey(shard1, kindEntry), 0xff), nil, pebble.Sync) },
	} {
		t.Run(name, func(t *testing.T) {
			mem := filled(t, 20)
			edit(t, mem, change)
			err := InspectStore(mem, "node/log", func(ident.ShardID, uint64, []byte) error { return nil })
			checkDamage(t, err, name)
			s, err := OpenStore(StoreOptions{FS: mem, Dir: "node/log"})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			_, err = s.OpenGroup(GroupOptions{Shard: shard1, Node: node1}, &machine{})
			checkDamage(t, err, name)
		})
	}
}

func checkDamage(t *testing.T, err error, name string) {
	t.Helper()
	wantKind(t, err, fault.Corruption)
	if err == nil {
		return
	}
	if !strings.Contains(err.Error(), "shard 1") {
		t.Errorf("the shard is not named: %v", err)
	}
	switch name {
	case "form", "type", "term", "checksum", "data", "swapped", "cut", "emptied":
		if !strings.Contains(err.Error(), "entry 10 is damaged") {
			t.Errorf("the index is not named: %v", err)
		}
	}
}

func TestAnotherFormatVersionIsRefused(t *testing.T) {
	mem := filled(t, 1)
	edit(t, mem, func(db *pebble.DB) error {
		return db.Set(versionKey, encodeWords(versionKey, formatVersion+1), pebble.Sync)
	})
	_, err := OpenStore(StoreOptions{FS: mem, Dir: "node/log"})
	wantKind(t, err, fault.Incompatible)
	wantKind(t, InspectStore(mem, "node/log", nil), fault.Incompatible)

	mem = filled(t, 1)
	names, err := mem.ReadDir("node/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "marker.format-version.") {
			parts := strings.Split(name, ".")
			parts[len(parts)-1] = "999"
			if err := mem.Rename(filepath.Join("node/log", name), filepath.Join("node/log", strings.Join(parts, "."))); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err = OpenStore(StoreOptions{FS: mem, Dir: "node/log"})
	wantKind(t, err, fault.Incompatible)
}

// walUsed returns the newest write-ahead log and its bytes in use.
func walUsed(t *testing.T, mem *disk.Mem) (name string, used int64) {
	t.Helper()
	names, err := mem.ReadDir("node/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if isWAL(n) {
			name = filepath.Join("node/log", n)
		}
	}
	data, err := disk.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	return name, int64(len(bytes.TrimRight(data, "\x00")))
}

func flipByte(t *testing.T, mem disk.FS, name string, at int64) {
	t.Helper()
	f, err := mem.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestALogWhoseNewestRecordsVanishedIsRefused(t *testing.T) {
	mem := filled(t, 20)
	name, used := walUsed(t, mem)
	flipByte(t, mem, name, used-600) // in the last entry: the engine takes it for the end
	checkDamage(t, InspectStore(mem.CrashClone(nil), "node/log", func(ident.ShardID, uint64, []byte) error { return nil }), "")
	_, err := tryBoot(mem.CrashClone(nil), 0)
	checkDamage(t, err, "")

	// Without its bounds the store cannot know, but the state machine may.
	if err := mem.Remove("node/log/" + boundsName); err != nil {
		t.Fatal(err)
	}
	if err := mem.SyncDir("node/log"); err != nil {
		t.Fatal(err)
	}
	m, err := tryBoot(mem.CrashClone(nil), 0)
	if err != nil || m.seen >= 23 {
		t.Fatalf("%v; the test no longer cuts the log", err)
	}
	_, err = tryBoot(mem.CrashClone(nil), 25)
	checkDamage(t, err, "")
}

func tryBoot(fs disk.FS, minIndex uint64) (*machine, error) {
	s, err := OpenStore(StoreOptions{FS: fs, Dir: "node/log"})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	m := &machine{}
	if m.index, err = s.LoadCheckpoint(shard1, func(key, value []byte) error {
		_, err := fmt.Sscan(string(value), &m.seen)
		return err
	}); err != nil {
		return nil, err
	}
	_, err = s.OpenGroup(GroupOptions{Shard: shard1, Node: node1, MinIndex: minIndex}, m)
	return m, err
}

func (m *machine) proposeSmall(t *testing.T, g *Group, n int) {
	t.Helper()
	for range n {
		if _, err := g.Propose(context.Background(), fmt.Append(nil, "proposal ", m.seen)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoFlippedByteLosesOrChangesAnEntry flips bytes in every file. Each flip
// is refused as corruption, or all entries are there.
func TestNoFlippedByteLosesOrChangesAnEntry(t *testing.T) {
	// Small blocks: the engine looks for the bit that makes a checksum right,
	// which takes the square of their size.
	mem := disk.NewMem()
	s, g, m, _ := boot(t, mem, 0)
	m.proposeSmall(t, g, 20)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Opened and closed once more, it holds tables and a write-ahead log.
	s, g, m, _ = boot(t, mem, 0)
	m.proposeSmall(t, g, 5)
	want := m.log
	if err := errors.Join(s.Close(), mem.SyncDir("node/log")); err != nil {
		t.Fatal(err)
	}
	names, err := mem.ReadDir("node/log")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, name := range names {
		path := filepath.Join("node/log", name)
		data, err := disk.ReadFile(mem, path)
		if err != nil {
			t.Fatal(err)
		}
		size := len(bytes.TrimRight(data, "\x00"))
		step := max(size/60, 1)
		for at := 0; at < size; at += step {
			clone := mem.CrashClone(nil)
			flipByte(t, clone, path, int64(at))
			m, err := tryBoot(clone, 0)
			if err != nil {
				if !fault.Is(err, fault.Corruption) && !fault.Is(err, fault.Incompatible) {
					t.Errorf("%s, byte %d: %v", name, at, err)
				}
				found[strings.TrimRight(name, "0123456789")]++
				continue
			}
			if len(m.log) != len(want) {
				t.Fatalf("%s, byte %d: %d entries, want %d", name, at, len(m.log), len(want))
			}
			for i := range want {
				if !bytes.Equal(m.log[i], want[i]) {
					t.Fatalf("%s, byte %d: entry %d differs", name, at, i)
				}
			}
		}
	}
	t.Logf("refused: %v", found)
}

func TestInspectWritesNothing(t *testing.T) {
	mem := filled(t, 10)
	before := listing(t, mem)
	n := 0
	err := InspectStore(mem, "node/log", func(_ ident.ShardID, index uint64, data []byte) error {
		n++
		if len(data) != 500 {
			return fmt.Errorf("entry %d has %d bytes", index, len(data))
		}
		return nil
	})
	if err != nil || n != 10 {
		t.Fatalf("%d entries, %v", n, err)
	}
	stop := errors.New("stop")
	if err := InspectCheckpoint(mem, "node/log", func(ident.ShardID, []byte, []byte) error { return stop }); err != stop {
		t.Errorf("%v, want the callback's own error", err)
	}
	if after := listing(t, mem); after != before {
		t.Errorf("the directory changed from\n%s\nto\n%s", before, after)
	}
	wantKind(t, InspectStore(mem, "nowhere", nil), fault.NotFound)
}

func listing(t *testing.T, mem *disk.Mem) string {
	t.Helper()
	names, err := mem.ReadDir("node/log")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, name := range names {
		data, err := disk.ReadFile(mem, "node/log/"+name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %d %08x\n", name, len(data), checksum(nil, data, nil))
	}
	return b.String()
}

func FuzzEntry(f *testing.F) {
	key := entryKey(shard1, 7)
	f.Add(key, []byte{})
	f.Add(key, make([]byte, entryHeaderLen))
	value := make([]byte, entryHeaderLen+proposerLen+3)
	value[0] = entryForm
	binary.LittleEndian.PutUint32(value[10:], checksum(key, value[:10], value[entryHeaderLen:]))
	f.Add(key, value)
	f.Fuzz(func(t *testing.T, key, value []byte) {
		e, err := decodeEntry(key, value)
		if err != nil {
			return
		}
		again := make([]byte, entryHeaderLen+len(e.Data))
		putEntry(key, again, e)
		if !bytes.Equal(again, value) {
			t.Errorf("%x decodes and encodes as %x", value, again)
		}
	})
}

func FuzzBounds(f *testing.F) {
	f.Add([]byte{})
	f.Add(append([]byte(boundsMagic), make([]byte, boundsHeader+slotLen)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := &bounds{slots: map[ident.ShardID]*slot{}, next: boundsHeader}
		if err := b.decode("bounds", data); err != nil {
			wantKind(t, err, fault.Corruption)
			return
		}
		for shard, s := range b.slots {
			if s.offset < boundsHeader || s.offset+slotLen > int64(len(data)) || s.offset+slotLen > b.next {
				t.Errorf("shard %s at %d of %d bytes", shard, s.offset, len(data))
			}
		}
	})
}

func FuzzWords(f *testing.F) {
	f.Add(versionKey, encodeWords(versionKey, 1))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		words, err := decodeWords(key, value, 1)
		if err == nil && !bytes.Equal(encodeWords(key, words...), value) {
			t.Errorf("%x decodes as %v", value, words)
		}
	})
}

func TestReadIndexEndsWithItsContext(t *testing.T) {
	_, g, _ := openGate(t, GroupOptions{})
	if err := g.ReadIndex(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantKind(t, g.ReadIndex(ctx), fault.Canceled)
}
