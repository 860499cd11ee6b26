package disk_test

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"testing"

	"kimberlite/internal/disk"
)

// journal is a toy store: records of eight bytes, each acknowledged once it is
// durable. A record is its number and a checksum, so that a torn one shows.
type journal struct {
	file       disk.File
	count      uint32
	ackTooSoon bool // the bug that the tests below must find
}

const journalDir, journalName = "/data/journal", "/data/journal/records"

// openJournal makes or recovers the journal: the tail from the first record
// that does not check is cut off.
func openJournal(fsys disk.FS) (*journal, error) {
	if err := disk.MkdirAllDurable(fsys, journalDir, 0o700); err != nil {
		return nil, err
	}
	file, err := fsys.OpenFile(journalName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{file: file}
	for j.holds(j.count) {
		j.count++
	}
	if err := file.Truncate(int64(j.count) * 8); err != nil {
		return nil, err
	}
	return j, fsys.SyncDir(journalDir)
}

func record(n uint32) []byte {
	body := []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}
	sum := crc32.ChecksumIEEE(body)
	return append(body, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
}

func (j *journal) holds(n uint32) bool {
	buf := make([]byte, 8)
	_, err := j.file.ReadAt(buf, int64(n)*8)
	return err == nil && string(buf) == string(record(n))
}

// add appends the next record and returns once it is durable.
func (j *journal) add(acknowledge func()) error {
	if _, err := j.file.WriteAt(record(j.count), int64(j.count)*8); err != nil {
		return err
	}
	if j.ackTooSoon {
		acknowledge()
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	if !j.ackTooSoon {
		acknowledge()
	}
	j.count++
	return nil
}

// powerLosses runs the workload and lets the power fail before and after
// each sync, in several ways. It returns how many disks it looked at and how
// many of them had lost something acknowledged.
func powerLosses(ackTooSoon bool, seed uint64) (looked, lost int, err error) {
	m := disk.NewMem()
	acknowledged := uint32(0)
	rng := rand.New(rand.NewPCG(seed, 0)) // print the seed when it fails

	// A clone is cheap: it shares what is synced. What was acknowledged is
	// read at the moment of the clone, not when the clone is looked at.
	check := func(clone *disk.Mem, acknowledged uint32) {
		looked++
		recovered, openErr := openJournal(clone)
		if openErr != nil || recovered.count < acknowledged {
			lost++
		}
	}
	clone := func(string) {
		check(m.CrashClone(nil), acknowledged) // nothing unsynced is left
		for range 3 {
			check(m.CrashClone(rng), acknowledged) // some of it is, or torn
		}
	}
	m.BeforeSync(clone) // written, not durable: where tearing shows
	m.OnSync(clone)     // durable, not acknowledged yet

	j, err := openJournal(m)
	if err != nil {
		return 0, 0, err
	}
	j.ackTooSoon = ackTooSoon
	for range 10 {
		if err := j.add(func() { acknowledged++ }); err != nil {
			return 0, 0, err
		}
	}
	return looked, lost, nil
}

// How a package that stores shows that a power loss at any sync point takes
// nothing that was acknowledged: run its workload on a Mem, clone the disk
// before and after every sync as the power loss could leave it, open each
// clone with the package's own recovery and compare with what had been
// acknowledged by then.
//
// Where other goroutines write meanwhile, read what is acknowledged before
// cloning: what is acknowledged first must be on the clone.
func Example_powerLossAtEverySyncPoint() {
	looked, lost, err := powerLosses(false, 1)
	fmt.Printf("%d disks, %d lost something acknowledged, error %v\n", looked, lost, err)
	// Output: 104 disks, 0 lost something acknowledged, error <nil>
}

// TestAnAcknowledgementBeforeTheSyncIsFound guards the example: the same
// check must find the bug that it is for.
func TestAnAcknowledgementBeforeTheSyncIsFound(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		if _, lost, err := powerLosses(true, seed); err != nil || lost == 0 {
			t.Errorf("seed %d: an early acknowledgement went unnoticed (%v)", seed, err)
		}
		if _, lost, err := powerLosses(false, seed); err != nil || lost != 0 {
			t.Errorf("seed %d: %d disks lost something (%v)", seed, lost, err)
		}
	}
}
