package node_test

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/keyring"
	"kimberlite/internal/node"
)

func TestADirectoryThatIsNoneOfOursIsRefusedAndLeftAsItWas(t *testing.T) {
	t.Parallel()
	t.Run("no name", func(t *testing.T) {
		_, err := node.Open(t.Context(), node.Config{})
		refused(t, err, fault.Invalid, "no data directory was given")
	})
	t.Run("a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		write(t, path, "text")
		refuse(t, node.Config{Dir: path}, fault.Invalid, path, "is, or lies below, a file")
		refuse(t, node.Config{Dir: filepath.Join(path, "below")}, fault.Invalid, "is, or lies below, a file")
	})
	t.Run("somebody's files", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "letter.txt"), "text")
		refuse(t, node.Config{Dir: dir}, fault.Invalid, dir, "is not a data directory")
	})
	t.Run("not there", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "a", "b")
		refuse(t, node.Config{Dir: dir, MustExist: true}, fault.NotFound, "there is no data directory", dir)
		if _, err := os.Stat(filepath.Dir(dir)); !os.IsNotExist(err) {
			t.Fatalf("it was made: %v", err)
		}
	})
	t.Run("empty", func(t *testing.T) {
		refuse(t, node.Config{Dir: t.TempDir(), MustExist: true}, fault.NotFound, "is empty")
	})
	t.Run("begun", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "LOCK"), "")
		refuse(t, node.Config{Dir: dir, MustExist: true}, fault.NotFound, "interrupted")
	})
}

func TestBoundsThatMeanNothingAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]node.Config{
		"open tenants": {MaxOpenTenants: -1},
		"readers":      {MaxReaders: -1},
		"pages":        {MaxDirtyPages: -1},
		"idle limit":   {TransactionIdle: -time.Second},
		"rotation":     {Rotation: keyring.Policy{MaxAge: -time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			c.Dir = filepath.Join(t.TempDir(), "data")
			refuse(t, c, fault.Invalid)
			if _, err := os.Stat(c.Dir); !os.IsNotExist(err) {
				t.Fatalf("the directory was made: %v", err)
			}
		})
	}
}

func TestAnotherVersionsOrDamagedSettingsAreRefusedBeforeAnythingIsTouched(t *testing.T) {
	t.Parallel()
	dir := made(t)
	path := filepath.Join(dir, "node.toml")
	good := read(t, path)
	for _, c := range []struct {
		name  string
		text  string
		kind  fault.Kind
		parts []string
	}{
		{"newer", strings.Replace(good, "format = 1", "format = 2", 1), fault.Incompatible, []string{"format 2", "up to 1", "newer program"}},
		{"newer, with keys of its own", strings.Replace(good, "format = 1", "format = 7\nregion = 'x'", 1), fault.Incompatible, []string{"format 7"}},
		{"never written", strings.Replace(good, "format = 1", "format = 0", 1), fault.Incompatible, []string{"no format that was ever written"}},
		{"no format", strings.Replace(good, "format = 1", "", 1), fault.Incompatible, []string{"no format"}},
		{"an unknown key", good + "\ncolour = 'red'\n[a]\nb = 1\n", fault.Invalid, []string{`"colour"`, `"a"`, "does not know"}},
		{"no node", strings.Replace(good, "node = 1", "", 1), fault.Invalid, []string{"node id"}},
		{"a node that is text", strings.Replace(good, "node = 1", "node = 'one'", 1), fault.Invalid, []string{"does not parse at line"}},
		{"no master key", strings.Replace(good, "master_key =", "#", 1), fault.Invalid, []string{"names no master key"}},
		{"no key version", strings.Replace(good, "master_key_version", "# ", 1), fault.Invalid, []string{"no version of the master key"}},
		{"not TOML", "\x00\x01\x02\xff", fault.Invalid, []string{"does not parse at line 1"}},
		{"cut short", good[:strings.LastIndex(good, "=")+3], fault.Invalid, []string{"does not parse at line"}},
		{"empty", "", fault.Corruption, []string{"is empty", path, "offset 0"}},
		{"zeros", strings.Repeat("\x00", len(good)), fault.Corruption, []string{"is empty", path}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.text == good {
				t.Fatal("the settings are as they were: the test does not fit them any more")
			}
			write(t, path, c.text)
			refuse(t, node.Config{Dir: dir}, c.kind, c.parts...)
			refuse(t, node.Config{Dir: dir, MustExist: true}, c.kind)
		})
	}
	write(t, path, good)
	n := open(t, dir)
	defer closeNode(t, n)
	if got := rows(t, n); got != 1 {
		t.Fatalf("%d rows", got)
	}
}

func TestLostSettingsAreNotMadeAnew(t *testing.T) {
	t.Parallel()
	dir := made(t)
	path := filepath.Join(dir, "node.toml")
	good := read(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refuse(t, node.Config{Dir: dir}, fault.Corruption, path, "missing", "put it back")
	write(t, path, good)
	closeNode(t, open(t, dir))
}

func TestTheMasterKeyMustBeThereAndBeTheOne(t *testing.T) {
	t.Parallel()
	dir := made(t)
	path := filepath.Join(dir, "master.key")
	good := read(t, path)
	other := filepath.Join(t.TempDir(), "other.key")
	write(t, other, hex.EncodeToString([]byte(strings.Repeat("k", 32)))+"\n")

	refuse(t, node.Config{Dir: dir, MasterKey: "file://" + other}, fault.KeyInvalid, "version", "made under version", "--master-key")
	refuse(t, node.Config{Dir: dir, MasterKey: "file:///nowhere/key"}, fault.KeyUnavailable, "/nowhere/key", "does not exist")
	refuse(t, node.Config{Dir: dir, MasterKey: "vault://s3cret@host"}, fault.Invalid, "unknown master key scheme")
	refuse(t, node.Config{Dir: dir, MasterKey: ":"}, fault.Invalid, "malformed")

	for name, text := range map[string]string{"empty": "", "short": "abc", "zeros": strings.Repeat("\x00", 32)} {
		t.Run(name, func(t *testing.T) {
			write(t, path, text)
			refuse(t, node.Config{Dir: dir}, fault.KeyInvalid, path)
		})
	}
	flipped := []byte(good)
	flipped[7] ^= 1
	write(t, path, string(flipped))
	refuse(t, node.Config{Dir: dir}, fault.KeyInvalid, "made under version")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refuse(t, node.Config{Dir: dir}, fault.KeyUnavailable, path, "does not exist", "put it back")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("a new master key was made over a lost one: %v", err)
	}

	write(t, path, good)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	refuse(t, node.Config{Dir: dir}, fault.Denied, path, "0640", "chmod 600")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	n := open(t, dir)
	defer closeNode(t, n)
	if got := rows(t, n); got != 1 {
		t.Fatalf("%d rows", got)
	}
}

func TestTheKeyMayMoveAsLongAsItIsTheSame(t *testing.T) {
	t.Parallel()
	dir := made(t)
	moved := filepath.Join(t.TempDir(), "moved.key")
	if err := os.Rename(filepath.Join(dir, "master.key"), moved); err != nil {
		t.Fatal(err)
	}
	n, err := node.Open(t.Context(), node.Config{Dir: dir, MasterKey: "file://" + moved, MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer closeNode(t, n)
	if got := rows(t, n); got != 1 {
		t.Fatalf("%d rows", got)
	}
}

func TestAMissingKeyMakesNoDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	for _, url := range []string{"file:///nowhere/key", "file:elsewhere.key", "nonsense"} {
		_, err := node.Open(t.Context(), node.Config{Dir: dir, MasterKey: url})
		if err == nil {
			t.Fatalf("%s was taken", url)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Fatalf("%s: the directory was made: %v", url, err)
		}
	}
}

func TestAnInterruptedMakingIsFinishedByTheNextOpening(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("k", 32)
	for _, c := range []struct {
		name  string
		files map[string]string
		dirs  []string
	}{
		{"nothing yet", nil, nil},
		{"directories", nil, []string{"keyring", "replication"}},
		{"all directories", nil, []string{"keyring", "replication", "shards/1/tenants"}},
		{"the lock", map[string]string{"LOCK": "123\n"}, []string{"keyring", "replication", "shards/1/tenants"}},
		{"the key", map[string]string{"LOCK": "", "master.key": key}, []string{"keyring", "replication", "shards/1/tenants"}},
		{"half the settings", map[string]string{"LOCK": "", "master.key": key, "node.toml.tmp": "form"}, []string{"keyring", "replication", "shards/1/tenants"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, d := range c.dirs {
				if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for name, text := range c.files {
				write(t, filepath.Join(dir, name), text)
			}
			n := open(t, dir)
			fill(t, n)
			closeNode(t, n)
			n, err := node.Open(t.Context(), node.Config{Dir: dir, MustExist: true})
			if err != nil {
				t.Fatal(err)
			}
			defer closeNode(t, n)
			if got := rows(t, n); got != 1 {
				t.Fatalf("%d rows", got)
			}
			if c.files["master.key"] != "" && read(t, filepath.Join(dir, "master.key")) != key {
				t.Fatal("the key was made anew")
			}
		})
	}
}

func TestAnEndedContextOpensNothing(t *testing.T) {
	t.Parallel()
	ended, stop := context.WithCancel(t.Context())
	stop()
	dir := filepath.Join(t.TempDir(), "data")
	_, err := node.Open(ended, node.Config{Dir: dir})
	refused(t, err, fault.Canceled)
	closeNode(t, open(t, dir))
}

// A newer program may lay a directory out in another way, lock included.
func TestNothingIsMadeInADirectoryOfANewerVersion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "node.toml"), "format = 2\nlayout = 'another'\n")
	refuse(t, node.Config{Dir: dir}, fault.Incompatible, "format 2")
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Fatalf("%v, %v", names, err)
	}
}
