package keyring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
)

// A keyring file is one head and a fixed number of slots, 512 bytes each:
//
//	  0    8  magic "KLKRING1"
//	  8    2  format version, 1
//	 10    2  slot size, 512
//	 12    4  file number, from 1
//	 16    4  number of slots, the head not counted
//	 20  488  zeros
//	508    4  CRC-32C of bytes 0 to 507
//
// The number of slots follows from the file number, so the head repeats what
// the name says and a damaged head loses nothing. A file is filled with free
// slots under a temporary name and renamed when it is durable: so in a file
// with its final name a slot of zeros, or a missing end, is damage.
const (
	ringMagic  = "KLKRING1"
	ringFormat = 1
	fileSuffix = ".keyring"
	tmpSuffix  = ".tmp"

	firstSlots = 64   // 32 KiB, for a node of few tenants
	mostSlots  = 8192 // 4 MiB: 100,000 tenants are 19 files
	maxFiles   = 1<<16 - 1
)

// slotsOf returns the number of slots of a file: doubling from 64 to 8192.
func slotsOf(number int) int { return min(firstSlots<<min(number-1, 16), mostSlots) }

func sizeOf(number int) int64 { return int64(slotsOf(number)+1) * slotSize }

func fileName(number int) string { return fmt.Sprintf("%05d%s", number, fileSuffix) }

// parseFileName returns the number of a keyring file, 0 for another file.
func parseFileName(name string) int {
	var number int
	if _, err := fmt.Sscanf(strings.TrimSuffix(name, fileSuffix), "%d", &number); err != nil || number < 1 || number > maxFiles || fileName(number) != name {
		return 0
	}
	return number
}

// encodeHead returns the head of a file.
func encodeHead(number int) *[slotSize]byte {
	var b [slotSize]byte
	copy(b[:], ringMagic)
	binary.BigEndian.PutUint16(b[8:], ringFormat)
	binary.BigEndian.PutUint16(b[10:], slotSize)
	binary.BigEndian.PutUint32(b[12:], uint32(number))
	binary.BigEndian.PutUint32(b[16:], uint32(slotsOf(number)))
	binary.BigEndian.PutUint32(b[sumStart:], crc32.Checksum(b[:sumStart], castagnoli))
	return &b
}

// checkHead compares a head with what the file's name demands. A sound head
// of another version is Incompatible, anything else Corruption.
func checkHead(b []byte, path string, number int) *fault.Error {
	const op = "open keyring"
	if [slotSize]byte(b) == *encodeHead(number) {
		return nil
	}
	sound := string(b[:8]) == ringMagic && crc32.Checksum(b[:sumStart], castagnoli) == binary.BigEndian.Uint32(b[sumStart:])
	if version := binary.BigEndian.Uint16(b[8:]); sound && version != ringFormat {
		return fault.New(op, fault.Incompatible, "%s has format %d, this program knows %d: use a newer program", path, version, ringFormat)
	}
	return fault.Corrupt(op, path, 0, "the head of the keyring file is damaged; its slots are still read")
}

// createFile makes a file of free slots and returns it open once it is
// durable under its final name.
func createFile(fsys disk.FS, dir string, number int) (disk.File, error) {
	path := filepath.Join(dir, fileName(number))
	image := make([]byte, 0, sizeOf(number))
	image = append(image, encodeHead(number)[:]...)
	for i := range slotsOf(number) {
		image = append(image, encodeFree(newPlace(number, i+1))[:]...)
	}
	if err := disk.WriteFileDurable(fsys, path, image, 0o600); err != nil {
		return nil, err
	}
	return fsys.OpenFile(path, os.O_RDWR, 0)
}

// readWhole reads a file in one go. It returns at most what a file of this
// number holds; a shorter result is a file that was cut.
func readWhole(f disk.File, number int) ([]byte, error) {
	image := make([]byte, sizeOf(number))
	n, err := f.ReadAt(image, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return image[:n], err
}

// scan judges every slot of a file's image, and calls visit for each. Slots
// that a cut file lacks are unowned.
func scan(image []byte, number int, visit func(at place, s slot, v verdict)) {
	for i := range slotsOf(number) {
		at := newPlace(number, i+1)
		if end := at.offset() + slotSize; end <= int64(len(image)) {
			s, v := decodeSlot(image[at.offset():end], at)
			visit(at, s, v)
			continue
		}
		visit(at, slot{}, unowned)
	}
}
