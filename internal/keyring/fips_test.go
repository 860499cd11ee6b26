package keyring

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestKeysWorkInFIPSOnlyMode runs the tests of making, opening and rotating
// keys again in a process that allows only approved cryptography.
func TestKeysWorkInFIPSOnlyMode(t *testing.T) {
	const mark = "KIMBERLITE_TEST_FIPS_CHILD"
	if os.Getenv(mark) != "" {
		t.Skip("this is the child")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self, "-test.v", "-test.run",
		"^(TestCreatedKeysOpenAgainFromEnvelopeAndBlob|TestRotatedDEKSealsAndOldOnesStillOpen|TestRotatedKEKOpensAllAndTheOldOneNothingNew|TestMasterRotationKeepsTheKEK)$")
	child.Env = append(os.Environ(), "GODEBUG=fips140=only", mark+"=1")
	out, err := child.CombinedOutput()
	if err != nil || strings.Count(string(out), "--- PASS") != 4 {
		t.Fatalf("%v\n%s", err, out)
	}
}
