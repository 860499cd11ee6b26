package torture

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// killRounds is how many processes are killed in `make test`, killsPerDir how
// many of them have the same directory.
const killRounds, killsPerDir = 56, 14

// TestSIGKILLLosesNothingAcknowledged kills processes under load at random
// moments, some of them while they open and recover. Each next one checks, by
// the ledger that its predecessors kept outside of the database, that every
// acknowledged write is there, none by halves, none twice, that chains verify
// and that projections equal a rebuild; then it repeats the write that was
// under way, with its key, and goes on.
func TestSIGKILLLosesNothingAcknowledged(t *testing.T) { killUnderLoad(t, seedOf(t)) }

func killUnderLoad(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	var total killed
	for i := range killRounds / killsPerDir {
		k := killing{t: t, dir: diskDir(t), seed: seed + uint64(i), rng: rng}
		k.killAll()
		total.add(k.killed)
		if t.Failed() {
			return
		}
		if err := os.RemoveAll(k.dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills, %d of them before the load began: %d operations acknowledged, %d refused, %d under way when their process was killed",
		total.kills, total.early, total.acked, total.refused, total.open)
	if total.acked < 10*total.kills {
		t.Errorf("only %d operations were acknowledged in %d rounds: that tests little", total.acked, total.kills)
	}
}

// diskDir is a directory on the disk that the checkout is on: the temporary
// directory may be memory.
func diskDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(".", "torture-data-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// killed counts.
type killed struct{ kills, early, acked, refused, open int }

func (k *killed) add(o killed) {
	k.kills += o.kills
	k.early += o.early
	k.acked += o.acked
	k.refused += o.refused
	k.open += o.open
}

// killing is a series of kills over one directory.
type killing struct {
	t    *testing.T
	dir  string
	seed uint64
	rng  *rand.Rand
	killed
}

func (k *killing) killAll() {
	for round := range killsPerDir {
		if !k.round(round) {
			return
		}
	}
	out, err := k.command(modeFinal, killsPerDir).CombinedOutput()
	if err != nil {
		k.t.Errorf("seed %d, final check: %v\n%s", k.seed, err, out)
	}
	l, err := openLedger(filepath.Join(k.dir, "ledger"))
	if err != nil {
		k.t.Error(err)
		return
	}
	k.acked, k.refused = l.count(acked), l.count(refused)
	if err := l.file.Close(); err != nil {
		k.t.Error(err)
	}
}

func (k *killing) command(mode string, round int) *exec.Cmd {
	bin, err := childBinary()
	if err != nil {
		k.t.Fatal(err)
	}
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), envDir+"="+k.dir, envMode+"="+mode,
		envSeed+"="+strconv.FormatUint(k.seed, 10), envRound+"="+strconv.Itoa(round))
	return cmd
}

// round starts a process and kills it. It reports whether the series can go on.
func (k *killing) round(round int) bool {
	cmd := k.command(modeLoad, round)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	early := k.rng.IntN(7) == 0
	loading := make(chan bool, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n') // without a line the process has ended
		loading <- strings.TrimSpace(line) == "loading"
	}()
	if early {
		time.Sleep(time.Duration(k.rng.IntN(100)) * time.Millisecond)
		k.early++
	} else {
		select {
		case <-loading:
		case <-time.After(time.Minute):
			k.t.Errorf("round %d: the check of what was left takes longer than a minute", round)
		}
		time.Sleep(time.Duration(30+k.rng.IntN(220)) * time.Millisecond)
	}
	_ = cmd.Process.Kill() // it may have failed its check and be gone
	err = cmd.Wait()
	k.kills++
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		k.t.Errorf("seed %d, round %d: the process ended by itself: %v\n%s", k.seed, round, err, stderr.String())
		return false
	}
	k.countOpen()
	return !k.t.Failed()
}

// countOpen counts the operations that the kill left without an outcome.
func (k *killing) countOpen() {
	l, err := openLedger(filepath.Join(k.dir, "ledger"))
	if err != nil {
		k.t.Error(err)
		return
	}
	k.open += l.count(begun)
	if err := l.file.Close(); err != nil {
		k.t.Error(err)
	}
}
