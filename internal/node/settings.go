package node

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/kms"
)

// Settings are what a data directory says of itself, in node.toml.
type Settings struct {
	// Format is the version of the directory's layout.
	Format int `toml:"format" comment:"version of the directory's layout"`
	// Node is this node's id; a wiped disk means a new one.
	Node uint64 `toml:"node" comment:"this node's id"`
	// MasterKey is the URL of the master key; file: paths may be relative to
	// the directory.
	MasterKey string `toml:"master_key" comment:"URL of the master key that wraps every tenant's KEK"`
	// MasterKeyVersion names the key, to tell a wrong one at once.
	MasterKeyVersion string `toml:"master_key_version" comment:"name of that key's version; not secret"`
}

// directoryFormat is the version of the layout that this code writes.
const directoryFormat = 1

const (
	settingsFile   = "node.toml"
	defaultKeyFile = "master.key"
	lockFile       = "LOCK"
)

func (s *Settings) node() ident.NodeID { return ident.NewNodeID(s.Node) }

// DecodeSettings reads node.toml. Unknown keys are refused: they may be a
// newer version's, or a slip.
func DecodeSettings(data []byte) (Settings, error) {
	var s Settings
	dec := toml.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return s, fault.Wrap("open", fault.Invalid, err, "node.toml does not parse")
	}
	if s.Format > directoryFormat {
		return s, fault.New("open", fault.Incompatible, "the data directory has format %d and this program knows up to %d: use a newer program", s.Format, directoryFormat)
	}
	if s.Format < 1 {
		return s, fault.New("open", fault.Incompatible, "node.toml names no format that was ever written")
	}
	if s.Node == 0 {
		return s, fault.New("open", fault.Invalid, "node.toml names no node id")
	}
	return s, nil
}

// checkDir refuses a directory that is not a data directory before anything
// is written, and makes a new one.
func (n *Node) checkDir() error {
	names, err := n.c.FS.ReadDir(n.c.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if n.c.MustExist {
			return fault.New("open", fault.NotFound, "there is no data directory %s", n.c.Dir)
		}
	case err != nil:
		return fault.Wrap("open", fault.Unavailable, err, "cannot read the data directory %s", n.c.Dir)
	case len(names) > 0 && !looksLikeData(names):
		return fault.New("open", fault.Invalid, "%s holds files but no %s: it is not a data directory", n.c.Dir, settingsFile)
	case len(names) == 0 && n.c.MustExist:
		return fault.New("open", fault.NotFound, "%s is empty: it is not a data directory", n.c.Dir)
	}
	return n.makeDirs()
}

// makeDirs makes the data directory and those in it that hold what must
// survive a power loss. Their names are synced at every start, since a
// process that was killed may have left them made and not synced.
func (n *Node) makeDirs() error {
	tenants := filepath.Join("shards", embeddedShard.String(), "tenants")
	dirs := []string{".", "keyring", "replication", "shards", filepath.Dir(tenants), tenants}
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
	if err := n.c.FS.SyncDir(filepath.Join(n.c.Dir, tenants)); err != nil {
		return fault.Wrap("open", fault.Unavailable, err, "cannot sync the directory of tenants")
	}
	return nil
}

// looksLikeData accepts a directory whose making was interrupted: it holds at
// most the lock and the key, and no settings yet.
func looksLikeData(names []string) bool {
	for _, name := range names {
		if name == settingsFile {
			return true
		}
	}
	for _, name := range names {
		switch name {
		case lockFile, defaultKeyFile, settingsFile + ".tmp", "keyring", "replication", "shards":
		default:
			return false
		}
	}
	return true
}

// loadSettings reads node.toml, or returns the settings of a new directory.
func loadSettings(fsys disk.FS, dir, masterKey string) (Settings, error) {
	data, err := disk.ReadFile(fsys, filepath.Join(dir, settingsFile))
	if errors.Is(err, fs.ErrNotExist) {
		if masterKey == "" {
			masterKey = "file:" + defaultKeyFile
		}
		return Settings{Format: directoryFormat, Node: 1, MasterKey: masterKey}, nil
	}
	if err != nil {
		return Settings{}, fault.Wrap("open", fault.Unavailable, err, "cannot read %s", settingsFile)
	}
	return DecodeSettings(data)
}

// openProvider opens the master key and checks that it is the directory's.
// For a new directory it makes the default key file and writes node.toml,
// which is what makes the directory one.
func openProvider(ctx context.Context, fsys disk.FS, dir string, s *Settings, override string) (kms.Provider, error) {
	url := s.MasterKey
	if override != "" {
		url = override
	}
	fresh := s.MasterKeyVersion == ""
	if fresh && url == "file:"+defaultKeyFile {
		if err := makeDefaultKey(filepath.Join(dir, defaultKeyFile)); err != nil {
			return nil, err
		}
	}
	p, err := kms.Open(ctx, url, dir)
	if err != nil {
		return nil, err
	}
	version, err := p.Version(ctx)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if fresh {
		s.MasterKeyVersion = version
		return p, saveSettings(fsys, dir, *s)
	}
	if version != s.MasterKeyVersion {
		err := fault.New("open", fault.KeyInvalid, "the master key at hand is version %s, but the data directory was made under version %s: give the right key with --master-key", version, s.MasterKeyVersion)
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// makeDefaultKey makes the key file of a new directory; one that an
// interrupted making left is kept.
func makeDefaultKey(path string) error {
	err := kms.CreateFileKey(path)
	if fault.Is(err, fault.AlreadyExists) {
		return nil
	}
	return err
}

func saveSettings(fsys disk.FS, dir string, s Settings) error {
	data, err := toml.Marshal(s)
	if err != nil {
		return fault.Wrap("open", fault.Internal, err, "cannot write %s", settingsFile)
	}
	if err := disk.WriteFileDurable(fsys, filepath.Join(dir, settingsFile), data, 0o600); err != nil {
		return fault.Wrap("open", fault.Unavailable, err, "cannot write %s", settingsFile)
	}
	return nil
}
