package fault_test

import (
	"fmt"
	"regexp"
	"testing"

	"kimberlite/internal/fault"
)

// golden is every kind as scripts and clients know it: name, code, exit
// status, SQLSTATE, RPC code. It is append-only: a line that changes here
// breaks somebody's script.
var golden = []string{
	"internal KL001 1 XX000 internal",
	"invalid KL002 2 22023 invalid_argument",
	"not_found KL003 3 42704 not_found",
	"already_exists KL004 4 42710 already_exists",
	"denied KL005 5 42501 permission_denied",
	"unauthenticated KL006 5 28P01 unauthenticated",
	"quota_exceeded KL007 6 53400 resource_exhausted",
	"rate_limited KL008 6 53400 resource_exhausted",
	"too_many_operations KL009 6 53400 resource_exhausted",
	"corruption KL010 7 XX001 data_loss",
	"unavailable KL011 8 57P03 unavailable",
	"timeout KL012 8 57014 deadline_exceeded",
	"canceled KL013 8 57014 canceled",
	"outcome_unknown KL014 9 08007 unknown",
	"retained KL015 10 55000 failed_precondition",
	"conflict KL016 1 40001 aborted",
	"constraint KL017 1 23000 failed_precondition",
	"sql KL018 1 42000 invalid_argument",
	"unsupported KL019 1 0A000 unimplemented",
	"too_large KL020 1 54000 resource_exhausted",
	"disk_full KL021 8 53100 resource_exhausted",
	"in_use KL022 8 55006 unavailable",
	"key_unavailable KL023 8 58000 unavailable",
	"key_invalid KL024 1 58000 failed_precondition",
	"incompatible KL025 1 58000 failed_precondition",
	"idempotency_mismatch KL026 1 22023 invalid_argument",
	"closed KL027 1 57P01 failed_precondition",
	"stopped KL028 8 58030 unavailable",
	"misrouted KL029 8 57P01 unavailable",
}

func TestKindsKeepTheirNamesCodesAndStatuses(t *testing.T) {
	t.Parallel()
	kinds := fault.Kinds()
	if len(kinds) != len(golden) {
		t.Errorf("%d kinds, the golden table has %d", len(kinds), len(golden))
	}
	for i := range min(len(kinds), len(golden)) {
		if got := line(kinds[i]); got != golden[i] {
			t.Errorf("kind %d is\n  %s, want\n  %s", i, got, golden[i])
		}
	}
}

func TestKindsHaveUniqueNamesAndCodes(t *testing.T) {
	t.Parallel()
	names, codes := map[string]fault.Kind{}, map[string]fault.Kind{}
	for _, k := range fault.Kinds() {
		if other, taken := names[k.String()]; taken {
			t.Errorf("kinds %d and %d are both called %s", other, k, k)
		}
		if other, taken := codes[k.Code()]; taken {
			t.Errorf("%v and %v both have code %s", other, k, k.Code())
		}
		names[k.String()], codes[k.Code()] = k, k
	}
}

func TestKindsAreWellFormed(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)* KL\d{3} ([1-9]|10) [0-9A-Z]{5} [a-z]+(_[a-z]+)*$`)
	for _, k := range fault.Kinds() {
		if !form.MatchString(line(k)) {
			t.Errorf("kind %d is malformed: %q", k, line(k))
		}
	}
}

// TestExitStatusesAreThoseOfTheCommandLine holds the kinds to the list that
// scripts rely on: 1 other, 2 usage, 3 not found, 4 already exists, 5 denied,
// 6 quota or rate, 7 corruption, 8 unavailable or timed out with the outcome
// known, 9 outcome unknown, 10 retention or legal hold.
func TestExitStatusesAreThoseOfTheCommandLine(t *testing.T) {
	t.Parallel()
	statuses := map[int][]fault.Kind{
		2:  {fault.Invalid},
		3:  {fault.NotFound},
		4:  {fault.AlreadyExists},
		5:  {fault.Denied, fault.Unauthenticated},
		6:  {fault.QuotaExceeded, fault.RateLimited, fault.TooManyOps},
		7:  {fault.Corruption},
		8:  {fault.Unavailable, fault.Timeout, fault.Canceled, fault.DiskFull, fault.InUse, fault.KeyUnavailable, fault.Stopped, fault.Misrouted},
		9:  {fault.OutcomeUnknown},
		10: {fault.Retained},
	}
	want := map[fault.Kind]int{}
	for status, kinds := range statuses {
		for _, k := range kinds {
			want[k] = status
		}
	}
	for _, k := range fault.Kinds() {
		status, listed := want[k]
		if !listed {
			status = 1
		}
		if k.ExitStatus() != status {
			t.Errorf("%v ends the command line with %d, want %d", k, k.ExitStatus(), status)
		}
	}
}

func TestUnknownKindCountsAsInternal(t *testing.T) {
	t.Parallel()
	if got := line(fault.Kind(255)); got != golden[0] {
		t.Errorf("kind 255 is %q", got)
	}
}

func line(k fault.Kind) string {
	return fmt.Sprintf("%s %s %d %s %s", k, k.Code(), k.ExitStatus(), k.SQLState(), k.RPCCode())
}
