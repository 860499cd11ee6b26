package projection

import (
	"io"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// maxTemporaryBytes bounds one temporary file. With temp_store=MEMORY SQLite
// keeps its own temporary data inside the connection's memory, so that this is
// a second net only.
const maxTemporaryBytes = 32 << 20

// memoryFile is a temporary file of SQLite, in memory.
type memoryFile struct{ data []byte }

// ReadAt implements [vfs.File].
func (m *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(m.data)) {
		n = copy(p, m.data[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements [vfs.File].
func (m *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	end := off + int64(len(p))
	if end > maxTemporaryBytes {
		return 0, sqlite3.FULL
	}
	if grow := end - int64(len(m.data)); grow > 0 {
		m.data = append(m.data, make([]byte, grow)...)
	}
	return copy(m.data[off:], p), nil
}

// Truncate implements [vfs.File].
func (m *memoryFile) Truncate(size int64) error {
	if size < int64(len(m.data)) {
		m.data = m.data[:size]
	}
	return nil
}

// Close implements [vfs.File].
func (m *memoryFile) Close() error {
	clear(m.data)
	m.data = nil
	return nil
}

// Size implements [vfs.File].
func (m *memoryFile) Size() (int64, error) { return int64(len(m.data)), nil }

// Sync implements [vfs.File].
func (*memoryFile) Sync(vfs.SyncFlag) error { return nil }

// Lock implements [vfs.File].
func (*memoryFile) Lock(vfs.LockLevel) error { return nil }

// Unlock implements [vfs.File].
func (*memoryFile) Unlock(vfs.LockLevel) error { return nil }

// CheckReservedLock implements [vfs.File].
func (*memoryFile) CheckReservedLock() (bool, error) { return false, nil }

// SectorSize implements [vfs.File].
func (*memoryFile) SectorSize() int { return 0 }

// DeviceCharacteristics implements [vfs.File].
func (*memoryFile) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return vfs.IOCAP_ATOMIC | vfs.IOCAP_SEQUENTIAL | vfs.IOCAP_SAFE_APPEND | vfs.IOCAP_POWERSAFE_OVERWRITE
}
