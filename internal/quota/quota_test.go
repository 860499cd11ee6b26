package quota

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/fault"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// refusal returns the *fault.Error of a refusal after checking that it says
// which limit, its value and its usage.
func refusal(t *testing.T, err error, kind fault.Kind, limit string, value, usage int64) *fault.Error {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Quota == nil {
		t.Fatalf("%v, want a refusal of kind %v", err, kind)
	}
	if q := e.Quota; q.Limit != limit || q.Value != value || q.Usage != usage {
		t.Errorf("the refusal says %+v, want %s = %d with %d used", *q, limit, value, usage)
	}
	if !strings.Contains(e.Message, limit) {
		t.Errorf("%q does not name the limit", e.Message)
	}
	return e
}

func TestCheckLogRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit, used, add int64
		ok               bool
	}{
		{0, math.MaxInt64, math.MaxInt64, true}, {100, 0, 100, true}, {100, 99, 1, true}, {100, 100, 0, true},
		{100, 0, 101, false}, {100, 100, 1, false}, {100, 101, 0, false}, {100, 1, math.MaxInt64, false},
		{math.MaxInt64, math.MaxInt64, 1, false}, {math.MaxInt64, math.MaxInt64, 0, true},
	} {
		err := CheckLog(Limits{MaxLogBytes: c.limit}, c.used, c.add)
		if (err == nil) != c.ok {
			t.Errorf("limit %d, used %d, add %d: %v", c.limit, c.used, c.add, err)
		}
		if err != nil {
			if e := refusal(t, err, fault.QuotaExceeded, "max_log_size", c.limit, c.used); e.Quota.RetryAfter != 0 {
				t.Error("waiting does not help, yet it is advised")
			}
		}
	}
	got := CheckLog(Limits{MaxLogBytes: 1 << 20}, 1<<20-100, 4096).Error()
	want := "quota: the log is full: max_log_size is 1MiB, 1023.9KiB (1048476 bytes) are used and this write needs 4KiB; raise max_log_size to write more"
	if got != want {
		t.Errorf("message\n %s, want\n %s", got, want)
	}
}

func TestCheckProjectionRefusesMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit, used int64
		ok          bool
	}{{0, math.MaxInt64, true}, {100, 0, true}, {100, 100, true}, {100, 101, false}} {
		err := CheckProjection(Limits{MaxProjectionBytes: c.limit}, c.used)
		if (err == nil) != c.ok {
			t.Errorf("limit %d, used %d: %v", c.limit, c.used, err)
		}
		if err != nil {
			refusal(t, err, fault.QuotaExceeded, "max_projections", c.limit, c.used)
		}
	}
}

func TestNegativeUsageIsABugOfTheCaller(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(){
		"CheckLog":        func() { CheckLog(Limits{}, -1, 0) },
		"CheckLog add":    func() { CheckLog(Limits{}, 0, -1) },
		"CheckProjection": func() { CheckProjection(Limits{}, -1) },
		"Leave":           func() { NewAdmission(Limits{}).Leave() },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			call()
		}()
	}
}

func TestValidateNamesTheBadLimit(t *testing.T) {
	t.Parallel()
	good := []Limits{{}, {1, 1, 1, 1}, {math.MaxInt64, math.MaxInt64, MaxRate, math.MaxInt64}}
	for _, l := range good {
		if err := l.Validate(); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
	}
	for name, l := range map[string]Limits{
		"max_log_size": {MaxLogBytes: -1}, "max_projections": {MaxProjectionBytes: -1},
		"max_ops_per_sec is -1": {MaxOpsPerSec: -1}, "max_ops_per_sec is 1000000001": {MaxOpsPerSec: MaxRate + 1},
		"max_concurrent_ops": {MaxConcurrentOps: math.MinInt64},
	} {
		if err := l.Validate(); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v, want it to name %s", l, err, name)
		}
	}
}
