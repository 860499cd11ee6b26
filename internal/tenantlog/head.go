package tenantlog

import (
	"errors"
	"io/fs"
	"path/filepath"

	"kimberlite/internal/disk"
	"kimberlite/internal/record"
)

// HeadName is the file name of a log's signed head.
const HeadName = "HEAD"

// WriteHead replaces the signed head in a log's directory, atomically: once it
// returned nil the new head is durable, and after any crash the old or the new
// one is there. The records that it covers must be synced before. It makes the
// directory if need be. A failed sync is Unavailable or DiskFull.
func WriteHead(fsys disk.FS, dir string, h record.Head) error {
	name := filepath.Join(dir, HeadName)
	var made []string
	if err := makeDir(fsys, dir, func(d string) { made = append(made, d) }); err != nil {
		return ioFault(err, "make", dir)
	}
	if err := disk.WriteFileDurable(fsys, name, h.Encode(), fileMode); err != nil {
		return ioFault(err, "write", name)
	}
	for _, d := range made {
		if err := fsys.SyncDir(d); err != nil {
			return ioFault(err, "sync", d)
		}
	}
	return nil
}

// ReadHead returns the signed head in a log's directory, and whether there is
// one. A head that is damaged, or whose signature does not hold under its own
// public key, is a Corruption that names the file and byte; whether that key
// is the right one is for the caller to check.
func ReadHead(fsys disk.FS, dir string) (record.Head, bool, error) {
	name := filepath.Join(dir, HeadName)
	b, err := disk.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return record.Head{}, false, nil
	}
	if err != nil {
		return record.Head{}, false, ioFault(err, "read", name)
	}
	h, err := record.DecodeHead(b)
	if err != nil {
		return record.Head{}, false, inFile(err, name, 0, h.Tenant)
	}
	if err := h.Verify(); err != nil {
		return record.Head{}, false, inFile(err, name, record.HeadSignatureAt, h.Tenant)
	}
	return h, true, nil
}
