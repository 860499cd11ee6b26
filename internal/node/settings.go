package node

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"
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

// DecodeSettings reads node.toml. Incompatible says that another version wrote
// it, Corruption that it is empty, Invalid that it does not parse or lacks
// something. Unknown keys are refused: they may be a newer version's, or a
// slip. Values are never part of the error: a URL may hold a secret.
func DecodeSettings(data []byte) (Settings, error) {
	if len(bytes.Trim(data, "\x00 \t\r\n")) == 0 {
		return Settings{}, fault.Corrupt("open", settingsFile, 0, "the file is empty: put it back from a copy")
	}
	// The version alone comes first: a newer one may hold what does not parse
	// as ours.
	var version struct {
		Format int `toml:"format"`
	}
	if err := toml.Unmarshal(data, &version); err != nil {
		return Settings{}, badSettings(err)
	}
	if version.Format > directoryFormat {
		return Settings{}, fault.New("open", fault.Incompatible, "the data directory has format %d and this program knows up to %d: use a newer program", version.Format, directoryFormat)
	}
	if version.Format < 1 {
		return Settings{}, fault.New("open", fault.Incompatible, "%s names no format that was ever written: want format = %d", settingsFile, directoryFormat)
	}
	var s Settings
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&s); err != nil {
		return Settings{}, badSettings(err)
	}
	switch {
	case s.Node == 0:
		return Settings{}, fault.New("open", fault.Invalid, "%s names no node id: put the line  node = 1  back", settingsFile)
	case s.MasterKey == "":
		return Settings{}, fault.New("open", fault.Invalid, "%s names no master key: put the line  master_key = …  back", settingsFile)
	case s.MasterKeyVersion == "":
		// Without it any key would pass for the right one.
		return Settings{}, fault.New("open", fault.Invalid, "%s names no version of the master key: put the line  master_key_version = …  back", settingsFile)
	}
	return s, nil
}

// badSettings says where node.toml does not parse, and which keys are unknown.
func badSettings(err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var keys []string
		for i := range unknown.Errors {
			keys = append(keys, strconv.Quote(strings.Join(unknown.Errors[i].Key(), ".")))
		}
		return fault.New("open", fault.Invalid, "%s has keys that this program does not know: %s: take them out, or use the program that wrote them", settingsFile, strings.Join(keys, ", "))
	}
	var at *toml.DecodeError
	if errors.As(err, &at) {
		row, column := at.Position()
		return fault.New("open", fault.Invalid, "%s does not parse at line %d, column %d: correct it, or put it back from a copy", settingsFile, row, column)
	}
	return fault.Wrap("open", fault.Invalid, err, "%s does not parse", settingsFile)
}

// loadSettings reads node.toml, or returns the settings of a new directory.
func loadSettings(fsys disk.FS, dir, masterKey string) (s Settings, made bool, err error) {
	path := filepath.Join(dir, settingsFile)
	data, err := disk.ReadFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		if masterKey == "" {
			masterKey = "file:" + defaultKeyFile
		}
		return Settings{Format: directoryFormat, Node: 1, MasterKey: masterKey}, false, nil
	}
	if err != nil {
		return s, true, fault.Wrap("open", fault.Unavailable, err, "cannot read %s", settingsFile)
	}
	s, err = DecodeSettings(data)
	var damaged *fault.Error
	if errors.As(err, &damaged) && damaged.Kind == fault.Corruption {
		damaged.File = path
	}
	return s, true, err
}

// openProvider opens the master key and checks that it is the directory's.
// For a new directory it makes the default key file and writes node.toml,
// which is what makes the directory one.
func (n *Node) openProvider(ctx context.Context) error {
	s, url := &n.settings, n.settings.MasterKey
	if n.c.MasterKey != "" {
		url = n.c.MasterKey
	}
	fresh := s.MasterKeyVersion == ""
	if fresh && url == "file:"+defaultKeyFile {
		if err := makeDefaultKey(filepath.Join(n.c.Dir, defaultKeyFile)); err != nil {
			return err
		}
	}
	var err error
	if n.provider == nil {
		if n.provider, err = kms.Open(ctx, url, n.c.Dir); err != nil {
			return err
		}
	}
	version, err := n.provider.Version(ctx)
	switch {
	case err != nil:
		return err
	case fresh:
		s.MasterKeyVersion = version
		if n.cluster != nil {
			s.Node = n.cluster.Self().Node.Uint64()
		}
		return saveSettings(n.c.FS, n.c.Dir, *s)
	case version != s.MasterKeyVersion:
		return fault.New("open", fault.KeyInvalid, "the master key at hand is version %s, but the data directory was made under version %s: give the right key with --master-key", version, s.MasterKeyVersion)
	}
	return nil
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
