package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// copyChunk is how many bytes CopyTree reads at once.
const copyChunk = 1 << 20

// CopyTree copies the file or directory srcDir of src to dstDir of dst, with
// permissions, over what is there; names that only dst has stay. When it
// returns nil the copy is durable up to the name dstDir itself, for which the
// caller syncs the parent. Files that change meanwhile are copied torn.
func CopyTree(dst FS, dstDir string, src FS, srcDir string) error {
	return copyTree(dst, dstDir, src, srcDir, true)
}

// CopyTo writes all files of m below dir of dst, as [CopyTree] does but
// syncing nothing, so that a crash clone can be looked at by programs that
// need real files.
func (m *Mem) CopyTo(dst FS, dir string) error {
	return copyTree(dst, dir, m, "/", false)
}

func copyTree(dst FS, to string, src FS, from string, durable bool) error {
	info, err := src.Stat(from)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return copyFile(dst, to, src, from, info.Mode(), durable)
	}
	if err := dst.MkdirAll(to, info.Mode().Perm()); err != nil {
		return err
	}
	names, err := src.ReadDir(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := copyTree(dst, filepath.Join(to, name), src, filepath.Join(from, name), durable); err != nil {
			return err
		}
	}
	if !durable {
		return nil
	}
	return dst.SyncDir(to)
}

func copyFile(dst FS, to string, src FS, from string, mode fs.FileMode, durable bool) (err error) {
	if !mode.IsRegular() {
		return fmt.Errorf("copy %s: only files and directories can be copied, this is %s", from, mode.Type())
	}
	in, err := src.OpenFile(from, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := dst.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, mode.Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := copyBytes(out, in); err != nil {
		return err
	}
	if !durable {
		return nil
	}
	return out.Sync()
}

func copyBytes(out, in File) error {
	size, err := in.Size()
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(
		struct{ io.Writer }{io.NewOffsetWriter(out, 0)},
		struct{ io.Reader }{io.NewSectionReader(in, 0, size)},
		make([]byte, min(max(size, 1), copyChunk)),
	)
	return err
}
