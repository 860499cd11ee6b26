package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/node"
)

// TestNoFileEverHoldsPlaintext watches every byte that a node writes, and
// every name that it gives to a file, while secrets go through everything
// that could put them somewhere. With sealing turned off the same watch finds
// them in the log, the projection and the replicated log.
func TestNoFileEverHoldsPlaintext(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		t.Run(fmt.Sprintf("sealed %t", sealed), func(t *testing.T) {
			var logged bytes.Buffer
			spy := &spy{FS: disk.NewMem(), seen: map[string]string{}}
			c := secretConfig(spy, dataDir, masterKey(t), sealed)
			c.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
			n := open(t, c)
			rounds := 2
			if raceEnabled {
				rounds = 1
			}
			for round := range rounds {
				if err := secretWork(n, round); err != nil {
					t.Fatal(err)
				}
			}
			if err := closeNode(n); err != nil {
				t.Fatal(err)
			}
			if found := secretIn(logged.Bytes()); found != "" {
				t.Errorf("the operator's log shows a secret as %s", found)
			}
			spy.judge(t, sealed)
		})
	}
}

// secretConfig spills pages early.
func secretConfig(fsys disk.FS, dir, key string, sealed bool) node.Config {
	c := small(fsys, dir, key)
	if !sealed {
		c.KeySource = insecure
	}
	return c
}

// spy is a filesystem that looks at all that is written to it.
type spy struct {
	disk.FS
	mu    sync.Mutex        // guards the rest
	seen  map[string]string // class of file, to how a secret looked there
	bytes int64
}

func (s *spy) look(name string, data []byte) {
	found := secretIn(data)
	if found == "" {
		found = secretIn([]byte(name))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += int64(len(data))
	if found != "" {
		s.seen[classOf("in", name)] = found
	}
}

// judge says whether what was seen is right.
func (s *spy) judge(t *testing.T, sealed bool) {
	t.Helper()
	t.Logf("%d bytes were written", s.bytes)
	if sealed {
		for class, as := range s.seen {
			t.Errorf("a secret stood %s, as %s", class, as)
		}
		return
	}
	for _, class := range []string{"in shards/*.segment", "in shards/projection.db", "in replication/*.log"} {
		if s.seen[class] == "" && s.seen[class+".tmp"] == "" {
			t.Errorf("the watch misses secrets %s: it saw %v", class, s.seen)
		}
	}
}

func (s *spy) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	s.look(name, nil)
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &spiedFile{File: f, spy: s, name: name}, nil
}

func (s *spy) Rename(from, to string) error {
	s.look(to, nil)
	return s.FS.Rename(from, to)
}

func (s *spy) MkdirAll(dir string, perm fs.FileMode) error {
	s.look(dir, nil)
	return s.FS.MkdirAll(dir, perm)
}

type spiedFile struct {
	disk.File
	spy  *spy
	name string
}

func (f *spiedFile) WriteAt(p []byte, off int64) (int, error) {
	f.spy.look(f.name, p)
	return f.File.WriteAt(p, off)
}

// TestNoFileOnTheDiskEverShowsPlaintext looks from outside at the real files
// of a process that works with secrets: while it runs, after it was killed and
// after it closed. Its temporary directory is looked at too.
func TestNoFileOnTheDiskEverShowsPlaintext(t *testing.T) {
	seed := seedOf(t)
	rng := rand.New(rand.NewPCG(seed, 8))
	for _, sealed := range []bool{true, false} {
		t.Run(fmt.Sprintf("sealed %t", sealed), func(t *testing.T) {
			s := &secretChild{t: t, dir: diskDir(t), sealed: sealed, found: map[string]string{}}
			if err := os.Mkdir(filepath.Join(s.dir, "tmp"), 0o700); err != nil {
				t.Fatal(err)
			}
			for round := range 4 {
				s.run(round, time.Duration(100+rng.IntN(400))*time.Millisecond)
			}
			s.run(-1, 0)
			t.Logf("%d looks at %d bytes", s.looks, s.bytes)
			if sealed {
				for file, as := range s.found {
					t.Errorf("%s showed a secret, as %s", file, as)
				}
			} else if len(s.found) < 3 {
				t.Errorf("without sealing only %v showed a secret: the search is blind", s.found)
			}
		})
	}
}

// secretChild is a process that works with secrets, seen from outside.
type secretChild struct {
	t      *testing.T
	dir    string
	sealed bool
	found  map[string]string // file, to how a secret looked
	looks  int
	bytes  int64
}

// run starts the process, looks while it runs, kills it after some time, or
// lets it end when none is given, and looks again.
func (s *secretChild) run(round int, after time.Duration) {
	bin, err := childBinary()
	if err != nil {
		s.t.Fatal(err)
	}
	mode := modeSecret
	if !s.sealed {
		mode = modeOpen
	}
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), envDir+"="+s.dir, envMode+"="+mode, envSeed+"=0", envRound+"="+strconv.Itoa(round),
		"TMPDIR="+filepath.Join(s.dir, "tmp"), "SQLITE_TMPDIR="+filepath.Join(s.dir, "tmp"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var kill <-chan time.Time
	if after > 0 {
		kill = time.After(after)
	}
	for {
		select {
		case <-kill:
			_ = cmd.Process.Kill() // when it has ended by itself, done says why
			kill = nil
		case err := <-done:
			if (after == 0 || cmd.ProcessState.Exited()) && err != nil {
				s.t.Fatalf("the process failed: %v\n%s", err, stderr.String())
			}
			s.look()
			return
		case <-time.After(5 * time.Millisecond):
			s.look()
		}
	}
}

// look searches every file that is there now.
func (s *secretChild) look() {
	s.looks++
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err != nil {
			return err
		}
		if found := secretIn([]byte(path)); found != "" {
			s.found[path] = found
		}
		if d.IsDir() {
			return nil
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		s.bytes += int64(len(data))
		if found := secretIn(data); found != "" {
			s.found[path] = found
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// childSecret works with secrets until it is killed, or once and to the end.
func childSecret(dir string, round int, sealed bool) error {
	n, err := node.Open(context.Background(), secretConfig(disk.OS{}, filepath.Join(dir, "data"), "", sealed))
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if err := secretWork(n, round*1000+i); err != nil {
			return err
		}
		if round < 0 {
			return closeNode(n)
		}
	}
}

// secret is in everything that must not be seen. It is in small letters, since
// names may be folded.
const secret = "zq7kx9vw3tjm"

// secretForms are the forms in which the search knows the secret.
var secretForms = forms(secret)

// secretIn returns the form in which data holds the secret, or "".
func secretIn(data []byte) string {
	for name, form := range secretForms {
		if bytes.Contains(data, form) {
			return name
		}
	}
	return ""
}
