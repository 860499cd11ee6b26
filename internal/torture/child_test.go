package torture

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"kimberlite"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/node"
)

// The environment of a child process: the test binary, run once more.
const (
	envDir   = "KIMBERLITE_TORTURE_DIR" // data directory and ledger; set in children only
	envMode  = "KIMBERLITE_TORTURE_MODE"
	envSeed  = "KIMBERLITE_TORTURE_SEED"
	envRound = "KIMBERLITE_TORTURE_ROUND" // how many processes had the directory before
)

// What a child does.
const (
	// modeLoad checks what the last one left, prints "loading" and works until
	// it is killed.
	modeLoad = "load"
	// modeFinal checks everything, every projection against a rebuilt one, and
	// closes in order.
	modeFinal = "final"
	// modeSecret works with rows that no file may show; see sealing_test.go.
	modeSecret = "secret"
	// modeOpen is the same without sealing.
	modeOpen = "open"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(envDir)
	if dir == "" {
		code := m.Run()
		if built != "" {
			_ = os.RemoveAll(filepath.Dir(built))
		}
		os.Exit(code)
	}
	if err := child(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(dir string) error {
	seed, err := strconv.ParseUint(os.Getenv(envSeed), 10, 64)
	if err != nil {
		return err
	}
	round, err := strconv.Atoi(os.Getenv(envRound))
	if err != nil {
		return err
	}
	switch mode := os.Getenv(envMode); mode {
	case modeLoad:
		return childLoad(dir, seed, round, false)
	case modeFinal:
		return childLoad(dir, seed, round, true)
	case modeSecret:
		return childSecret(dir, round, true)
	case modeOpen:
		return childSecret(dir, round, false)
	default:
		return fmt.Errorf("no mode %q", mode)
	}
}

// killTenants and killWriters are how many work at once in a child.
const killTenants, killWriters = 4, 2

// childConfig is small, with checkpoints so often that kills fall into them.
func childConfig(dir string) node.Config {
	c := small(disk.OS{}, filepath.Join(dir, "data"), "")
	c.CheckpointInterval = 15 * time.Millisecond
	return c
}

func childLoad(dir string, seed uint64, round int, final bool) error {
	l, err := openLedger(filepath.Join(dir, "ledger"))
	if err != nil {
		return err
	}
	if err := verifyBefore(filepath.Join(dir, "data"), l); err != nil {
		return err
	}
	n, err := node.Open(context.Background(), childConfig(dir))
	if err != nil {
		return err
	}
	c := checker{n: n, l: l, seed: seed, tenants: killTenants, settle: true, rebuild: func(t uint64) bool {
		return final || int(t) == round%killTenants+1
	}}
	if err := c.check(context.Background()); err != nil {
		return err
	}
	if final {
		if err := verifiedRunning(context.Background(), n); err != nil {
			return err
		}
		if err := closeNode(n); err != nil {
			return err
		}
		return verified(disk.OS{}, filepath.Join(dir, "data"))
	}
	fmt.Println("loading")
	ld := &load{n: n, l: l, seed: seed, tenants: killTenants, writers: killWriters, admin: true}
	if err := ld.setup(); err != nil {
		return err
	}
	return ld.run(context.Background(), math.MaxInt)
}

// verifyBefore verifies what a kill left, before anybody opens it.
func verifyBefore(data string, l *ledger) error {
	rep, err := kimberlite.VerifyPath(context.Background(), data, nil)
	switch {
	case fault.Is(err, fault.NotFound) && l.count(acked) == 0:
		return nil // killed while the directory was made
	case err != nil:
		return fmt.Errorf("verify before opening: %w", err)
	}
	return reported(rep)
}

// built is the program that childBinary built, removed at the end.
var built string

// childBinary is the program that children run: the tests themselves, without
// the race detector, which would make children slow and find nothing that the
// parent's own tests do not.
var childBinary = sync.OnceValues(func() (string, error) {
	if !raceEnabled {
		return os.Executable()
	}
	dir, err := os.MkdirTemp("", "kimberlite-torture-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "child.test")
	out, err := exec.Command("go", "test", "-c", "-o", bin, ".").CombinedOutput()
	if err == nil {
		built = bin
		return bin, nil
	}
	// Without the go command the binary at hand must do.
	self, selfErr := os.Executable()
	fmt.Fprintf(os.Stderr, "children run with the race detector: %v: %s\n", err, out)
	return self, errors.Join(selfErr, os.RemoveAll(dir))
})
