package kms

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"kimberlite/internal/fault"
	"kimberlite/internal/seal"
)

// CreateFileKey makes a key file of 32 random bytes, readable by its owner
// alone, and returns when file and name are durable. It never overwrites:
// AlreadyExists when path exists, since losing a master key loses every
// tenant. Other errors: NotFound for a missing directory, KeyUnavailable when
// the disk refuses.
func CreateFileKey(path string) error {
	const op = "create master key"
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fault.New(op, fault.AlreadyExists, "%s already exists: a master key is never overwritten", path)
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(op, fault.NotFound, "the directory %s does not exist: make it first", filepath.Dir(path))
	case err != nil:
		return fault.Wrap(op, fault.KeyUnavailable, err, "cannot make the key file")
	}
	if err := fillKeyFile(f); err != nil {
		// Ours and not yet in use: leave no half key behind.
		return fault.Wrap(op, fault.KeyUnavailable, errors.Join(err, os.Remove(path)), "cannot write %s", path)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fault.Wrap(op, fault.KeyUnavailable, err, "%s is written, but whether its name survives a power loss is unknown", path)
	}
	return nil
}

func fillKeyFile(f *os.File) error {
	key := seal.RandomKey()
	defer clear(key)
	_, err := f.Write(key)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
