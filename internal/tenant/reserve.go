package tenant

import (
	"sync/atomic"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
)

// reserve refuses writes while the disk has less room than its limit, so that
// a full disk is met by a clear error and not by a failed fsync.
type reserve struct {
	fs   disk.FS
	dir  string
	min  uint64
	next atomic.Int64 // when to look again, Unix nanoseconds
	low  atomic.Bool
}

// reserveEvery is how often the free room is asked for: a system call of a
// microsecond, kept off the path of single writes.
const reserveEvery = 100 * time.Millisecond

func (r *reserve) check() error {
	if r.min == 0 {
		return nil
	}
	now := time.Now().UnixNano()
	if due := r.next.Load(); now >= due && r.next.CompareAndSwap(due, now+int64(reserveEvery)) {
		free, err := r.fs.FreeBytes(r.dir)
		if err == nil {
			r.low.Store(free < r.min)
		}
	}
	if r.low.Load() {
		return fault.New("write", fault.DiskFull, "less than %d MiB of disk are free: writes are refused until there is room", r.min>>20)
	}
	return nil
}
