package replication

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// bounds is a small file beside the engine's that says, for each shard, an
// index that its log reaches at least. The engine takes a damaged record at
// the end of its newest write-ahead log for the end of that log, so entries
// that were acknowledged could vanish without a word; a log shorter than its
// bound is how that is noticed.
//
// A bound is written after the entries up to it were synced, without a sync
// of its own: it costs a write into the page cache, survives the death of the
// process, and after a power loss is at worst older, which is still true. It
// is synced when the store is closed.
//
//	 0          8          16         20         32
//	+----------+----------+----------+----------+
//	| "klbound"+ version 1 byte | zeros           |  header
//	+----------+----------+----------+----------+
//	| shard u64| index u64| crc u32  | zeros    |  one a shard, little endian
//	+----------+----------+----------+----------+
//
// A slot with a wrong CRC-32C is a write that a power loss tore, and says
// nothing, as one with index 0 does.
type bounds struct {
	mu    sync.Mutex // guards all below
	file  disk.File
	slots map[ident.ShardID]*slot
	next  int64 // offset of the next free slot, in bytes
}

type slot struct {
	offset int64
	index  uint64
}

const (
	boundsName   = "bounds"
	boundsMagic  = "klbound\x01"
	boundsHeader = 32
	slotLen      = 32
)

// openBounds opens the file in dir, and makes it when there is none unless
// readOnly.
func openBounds(fsys disk.FS, dir string, readOnly bool) (*bounds, error) {
	name := filepath.Join(dir, boundsName)
	b := &bounds{slots: map[ident.ShardID]*slot{}, next: boundsHeader}
	data, err := disk.ReadFile(fsys, name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && readOnly:
		return b, nil
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := b.decode(name, data); err != nil {
			return nil, err
		}
	}
	if readOnly {
		return b, nil
	}
	if b.file, err = fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if unfinished(data) {
		if err := b.begin(fsys, dir); err != nil {
			return nil, errors.Join(err, b.file.Close())
		}
	}
	return b, nil
}

// begin writes the header of a new file, durably.
func (b *bounds) begin(fsys disk.FS, dir string) error {
	header := make([]byte, boundsHeader)
	copy(header, boundsMagic)
	if _, err := b.file.WriteAt(header, 0); err != nil {
		return err
	}
	if err := b.file.Sync(); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// unfinished reports whether a file has no header yet. The header is synced
// before the first slot is written, so a power loss can have torn that of a
// file without slots: its first bytes are there, the others zero.
func unfinished(data []byte) bool {
	if len(data) != boundsHeader {
		return len(data) < boundsHeader
	}
	n := 0
	for n < len(boundsMagic) && data[n] == boundsMagic[n] {
		n++
	}
	return n < len(boundsMagic) && len(bytes.Trim(data[n:], "\x00")) == 0
}

// decode reads the file.
func (b *bounds) decode(name string, data []byte) error {
	if unfinished(data) {
		return nil
	}
	if string(data[:len(boundsMagic)]) != boundsMagic {
		return fault.Corrupt("open replicated log", name, 0, "this is no file of lower bounds; restore it, or the whole directory, from a backup")
	}
	for off := boundsHeader; off+slotLen <= len(data); off += slotLen {
		s := data[off : off+slotLen]
		b.next = int64(off + slotLen)
		if binary.LittleEndian.Uint32(s[16:]) != checksum(nil, s[:16], nil) {
			continue
		}
		shard := ident.NewShardID(binary.LittleEndian.Uint64(s))
		b.slots[shard] = &slot{offset: int64(off), index: binary.LittleEndian.Uint64(s[8:])}
	}
	return nil
}

// get returns the bound of a shard, 0 when none is known.
func (b *bounds) get(shard ident.ShardID) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.slots[shard]; s != nil {
		return s.index
	}
	return 0
}

// raise sets the bound of a shard, which never sinks.
func (b *bounds) raise(shard ident.ShardID, index uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.slots[shard]
	if s == nil {
		s = &slot{offset: b.next}
		b.next += slotLen
		b.slots[shard] = s
	}
	if index <= s.index {
		return nil
	}
	return b.write(shard, s, index)
}

// write writes a slot. b.mu is held.
func (b *bounds) write(shard ident.ShardID, s *slot, index uint64) error {
	var buf [slotLen]byte
	binary.LittleEndian.PutUint64(buf[:], shard.Uint64())
	binary.LittleEndian.PutUint64(buf[8:], index)
	binary.LittleEndian.PutUint32(buf[16:], checksum(nil, buf[:16], nil))
	if _, err := b.file.WriteAt(buf[:], s.offset); err != nil {
		return err
	}
	s.index = index
	return nil
}

// clear makes the bound of a shard 0, durably.
func (b *bounds) clear(shard ident.ShardID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.slots[shard]
	if s == nil || s.index == 0 {
		return nil
	}
	if err := b.write(shard, s, 0); err != nil {
		return err
	}
	return b.file.Sync()
}

// close syncs the file, when keep says so, and closes it.
func (b *bounds) close(keep bool) error {
	if b.file == nil {
		return nil
	}
	var err error
	if keep {
		err = b.file.Sync()
	}
	return errors.Join(err, b.file.Close())
}
