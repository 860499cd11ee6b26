package servertest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// inFIPS says that this process is the child of the test below.
const inFIPS = "KIMBERLITE_SERVERTEST_FIPS"

// TestTheServerSuiteRunsUnderFIPS140Only runs the suite in a process, with
// servers, whose crypto is that of FIPS 140-3 alone: anything else fails there
// or panics.
func TestTheServerSuiteRunsUnderFIPS140Only(t *testing.T) {
	if os.Getenv(inFIPS) != "" {
		t.Skip("this is that process")
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^Test(Serve|SIG|APlain|Plaintext|ANewCertificate|What|DevKeeps)")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only", inFIPS+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "--- PASS") < 6 {
		t.Errorf("%v\n%s", err, out)
	}
}
