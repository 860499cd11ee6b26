package torture

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// envWhole is set in a child that runs a whole suite.
const envWhole = "KIMBERLITE_TORTURE_WHOLE"

// whole says whether all of a suite runs here. Under the race detector, which
// makes SQLite an order of magnitude slower, all of it runs in a child without
// the detector, to which the test fails if that does, and a part of it here.
// Soaks have the time to run all with the detector.
func whole(t *testing.T, seed uint64) bool {
	t.Helper()
	if !raceEnabled || os.Getenv(envWhole) != "" || strings.HasPrefix(t.Name(), "TestSoak") {
		return true
	}
	bin, err := childBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "10m")
	cmd.Env = append(os.Environ(), envWhole+"=1", envSeed+"="+strconv.FormatUint(seed, 10))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("without the race detector: %v\n%s", err, out)
	}
	return false
}

// soaks is how many tests share the minutes of a soak.
const soaks = 5

// soakUntil returns when this share of a soak ends, for tests that `make soak`
// runs and nobody else.
func soakUntil(t *testing.T) time.Time {
	t.Helper()
	s := os.Getenv("KIMBERLITE_SOAK_MINUTES")
	if s == "" {
		t.Skip("a soak: run make soak")
	}
	minutes, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Now().Add(time.Duration(minutes * float64(time.Minute) / soaks))
}

// soak repeats a test with one seed after another.
func soak(t *testing.T, test func(t *testing.T, seed uint64)) {
	end := soakUntil(t)
	for seed := seedOf(t); time.Now().Before(end) && !t.Failed(); seed += 1000 {
		// A test of its own, so that its parallel parts end before the next.
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { test(t, seed) })
	}
}

func TestSoakSIGKILL(t *testing.T)        { soak(t, killUnderLoad) }
func TestSoakPowerLoss(t *testing.T)      { soak(t, losePower) }
func TestSoakFailingDisk(t *testing.T)    { soak(t, failAtRandom) }
func TestSoakFullDisk(t *testing.T)       { soak(t, fillUp) }
func TestSoakFaultsOneByOne(t *testing.T) { soak(t, failOneByOne) }
