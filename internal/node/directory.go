package node

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"

	"kimberlite/internal/cluster"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/kms"
)

// openDir refuses what is no data directory, or another version's, before
// anything is written; then it makes what is missing and takes the lock.
func (n *Node) openDir(ctx context.Context) error {
	made, err := n.checkDir()
	if err != nil {
		return err
	}
	if !made && n.c.MasterKey != "" && n.c.MasterKey != "file:"+defaultKeyFile {
		// A wrong URL or a missing key must not leave half a directory.
		if n.provider, err = kms.Open(ctx, n.c.MasterKey, n.c.Dir); err != nil {
			return err
		}
	}
	if err := n.openCluster(); err != nil {
		return err
	}
	if err := n.makeDirs(); err != nil {
		return err
	}
	if n.lock, err = lockDir(n.c.FS, n.c.Dir); err != nil {
		return err
	}
	// Again, now that nobody else can change it.
	n.settings, _, err = loadSettings(n.c.FS, n.c.Dir, n.c.MasterKey)
	return err
}

// checkDir refuses a directory that is not a data directory, or not one that
// this program reads. made says that it is one already.
func (n *Node) checkDir() (made bool, err error) {
	dir := n.c.Dir
	names, err := n.c.FS.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if n.c.MustExist {
			return false, fault.New("open", fault.NotFound, "there is no data directory %s", dir)
		}
		return false, nil
	case errors.Is(err, syscall.ENOTDIR):
		return false, fault.New("open", fault.Invalid, "%s is, or lies below, a file: name a directory", dir)
	case err != nil:
		return false, fault.Wrap("open", fault.Unavailable, err, "cannot read the data directory %s", dir)
	case slices.Contains(names, settingsFile):
		_, made, err = loadSettings(n.c.FS, dir, n.c.MasterKey)
		return made, err
	case !onlyBegun(names):
		return false, fault.New("open", fault.Invalid, "%s holds files but no %s: it is not a data directory", dir, settingsFile)
	case n.c.MustExist && len(names) == 0:
		return false, fault.New("open", fault.NotFound, "%s is empty: it is not a data directory", dir)
	case n.c.MustExist:
		return false, fault.New("open", fault.NotFound, "%s is not a data directory yet: its making was interrupted, and creating a tenant finishes it", dir)
	}
	return false, n.checkBegun()
}

// onlyBegun accepts what an interrupted making leaves: at most the lock, the
// key and directories, and no settings yet.
func onlyBegun(names []string) bool {
	for _, name := range names {
		switch name {
		case lockFile, defaultKeyFile, settingsFile + ".tmp", "keyring", "replication", "shards", cluster.DirName:
		default:
			return false
		}
	}
	return true
}

// checkBegun refuses a directory that lost its settings: they are written
// before the first file of the keyring and of the replicated log. Settings
// made anew could name a key that opens none of what is there.
func (n *Node) checkBegun() error {
	for _, d := range []string{"keyring", "replication"} {
		names, err := n.c.FS.ReadDir(filepath.Join(n.c.Dir, d))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault.Wrap("open", fault.Unavailable, err, "cannot read the data directory %s", n.c.Dir)
		}
		if len(names) > 0 {
			return fault.Corrupt("open", filepath.Join(n.c.Dir, settingsFile), 0, "the file is missing from a directory that holds data: put it back from a copy")
		}
	}
	return nil
}

// makeDirs makes the data directory and those in it that hold what must
// survive a power loss. Their names are synced at every start, since a
// process that was killed may have left them made and not synced.
func (n *Node) makeDirs() error {
	tenants := filepath.Join("shards", embeddedShard.String(), "tenants")
	dirs := []string{".", "keyring", "replication", "shards"}
	if n.cluster == nil {
		dirs = append(dirs, filepath.Dir(tenants), tenants)
	}
	for _, d := range dirs {
		dir := filepath.Join(n.c.Dir, d)
		err := disk.MkdirAllDurable(n.c.FS, dir, 0o700)
		if err == nil {
			err = n.c.FS.SyncDir(filepath.Dir(dir))
		}
		if err != nil {
			return fault.Wrap("open", fault.Unavailable, err, "cannot make the data directory %s", n.c.Dir)
		}
	}
	if n.cluster != nil {
		return nil // the cluster makes what its shards need
	}
	if err := n.c.FS.SyncDir(filepath.Join(n.c.Dir, tenants)); err != nil {
		return fault.Wrap("open", fault.Unavailable, err, "cannot sync the directory of tenants")
	}
	return nil
}
