package keyring

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Open opens the ring in a directory, reading every file once in order, and
// makes what it read durable: a killed process may have left bytes that only
// the operating system's cache holds, and "destroyed" must not be undone by a
// later power loss. Damaged slots do not make it fail, since they concern
// their tenants only: see [Ring.Damage]. Errors: Incompatible for files of
// another version, Unavailable when the disk refuses.
func Open(o Options) (*Ring, error) {
	const op = "open keyring"
	r := &Ring{
		fs: o.FS, dir: o.Dir, index: newIndex(),
		stale: map[ident.TenantID][]entry{}, damaged: map[ident.TenantID][]entry{},
		heads: map[int]*fault.Error{}, inflight: map[owner]struct{}{},
	}
	err := r.load()
	if err == nil {
		return r, nil
	}
	for _, f := range r.files {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if fe := (*fault.Error)(nil); errors.As(err, &fe) {
		return nil, err
	}
	return nil, fault.Wrap(op, fault.Unavailable, err, "cannot open the keyring in %s", o.Dir)
}

func (r *Ring) load() error {
	if err := r.fs.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	highest, err := survey(r.fs, r.dir, func(leftover string) error { return r.fs.Remove(leftover) })
	if err != nil {
		return err
	}
	r.files = make([]disk.File, highest)
	for number := 1; number <= highest; number++ {
		if err := r.loadFile(number); err != nil {
			return err
		}
	}
	return errors.Join(r.fs.SyncDir(r.dir), r.fs.SyncDir(filepath.Dir(r.dir)))
}

// survey returns the highest number of a keyring file in dir, and calls
// leftover for each file whose making was cut short. Missing files count as
// damage of their slots; it refuses when so many are missing that a stray file
// is the likelier cause.
func survey(fsys disk.FS, dir string, leftover func(path string) error) (highest int, err error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	present := 0
	for _, name := range names {
		if number := parseFileName(name); number > 0 {
			highest, present = max(highest, number), present+1
		}
		if strings.HasSuffix(name, fileSuffix+tmpSuffix) {
			err = errors.Join(err, leftover(filepath.Join(dir, name)))
		}
	}
	if highest > 2*present+8 {
		return 0, fault.Corrupt("open keyring", filepath.Join(dir, fileName(highest)), 0, "%d keyring files are there and the last has number %d: most are missing, or that one does not belong here", present, highest)
	}
	return highest, err
}

// loadFile reads file number into the index.
func (r *Ring) loadFile(number int) error {
	path := filepath.Join(r.dir, fileName(number))
	f, image, head, err := openFile(r.fs, path, number, os.O_RDWR)
	if err != nil {
		return err
	}
	r.files[number-1] = f
	if head != nil {
		r.heads[number] = head
	}
	var fresh []place
	scan(image, number, func(at place, s slot, v verdict) {
		switch v {
		case live:
			err = errors.Join(err, r.admit(at, s))
		case free:
			fresh = append(fresh, at)
		case torn:
			// All that is left says that it holds no key in force, but a part
			// of one may be there: overwrite it before it is used again.
			err = errors.Join(err, r.write(at, encodeFree(at)))
			fresh = append(fresh, at)
		case damaged:
			r.damaged[s.tenant] = append(r.damaged[s.tenant], entry{s.generation, at})
		case unowned:
			r.unowned = append(r.unowned, at)
		}
	})
	for i := len(fresh) - 1; i >= 0; i-- { // the lowest on top
		r.free = append(r.free, fresh[i])
	}
	if f != nil {
		err = errors.Join(err, f.Sync())
	}
	return err
}

// openFile opens and reads one keyring file. A missing one gives a nil file,
// an empty image and a damaged head. A head of another version is an error.
func openFile(fsys disk.FS, path string, number, flag int) (disk.File, []byte, *fault.Error, error) {
	const op = "open keyring"
	f, err := fsys.OpenFile(path, flag, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fault.Corrupt(op, path, 0, "the keyring file is missing, and a later one exists"), nil
	}
	if err != nil {
		return nil, nil, nil, err
	}
	image, err := readWhole(f, number)
	size, sizeErr := f.Size()
	if err = errors.Join(err, sizeErr); err != nil {
		return nil, nil, nil, errors.Join(err, f.Close())
	}
	var head *fault.Error
	switch {
	case len(image) < slotSize:
		head = fault.Corrupt(op, path, int64(len(image)), "the keyring file is cut short within its head")
	case size > sizeOf(number):
		head = fault.Corrupt(op, path, sizeOf(number), "the keyring file has bytes after its end")
	default:
		head = checkHead(image, path, number)
	}
	if head != nil && head.Kind != fault.Corruption {
		return nil, nil, nil, errors.Join(head, f.Close())
	}
	return f, image, head, nil
}

// admit puts a live slot into the index. Of two slots of one owner, which a
// crash during Replace leaves, the one with the higher sequence counts.
func (r *Ring) admit(at place, s slot) error {
	r.sequence = max(r.sequence, s.sequence)
	other, ok := r.index.find(s.owner)
	if !ok {
		r.index.set(s.owner, at)
		return nil
	}
	before, err := r.read("open keyring", other)
	if err != nil {
		return err
	}
	loser := at
	if s.sequence > before.sequence {
		r.index.set(s.owner, at)
		loser = other
	}
	r.stale[s.tenant] = append(r.stale[s.tenant], entry{s.generation, loser})
	return nil
}
