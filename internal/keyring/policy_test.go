package keyring

import (
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/seal"
)

func TestDEKIsRotatedByAgeAndBySeals(t *testing.T) {
	const day = 24 * time.Hour
	short := Policy{MaxAge: day, MaxSeals: 100}
	tests := []struct {
		name  string
		age   time.Duration
		seals uint64
		p     Policy
		want  bool
	}{
		{"young", 90*day - 1, 0, Policy{}, false},
		{"90 days", 90 * day, 0, Policy{}, true},
		{"few seals", 0, DefaultMaxSeals - 1, Policy{}, false},
		{"many seals", 0, DefaultMaxSeals, Policy{}, true},
		{"a day", day, 0, short, true},
		{"99 seals", day - 1, 99, short, false},
		{"100 seals", 0, 100, short, true},
		{"clock went back", -100 * day, 0, short, false},
		{"age for ever, seals still bounded", 0, DefaultMaxSeals, Policy{MaxAge: 1 << 62, MaxSeals: 1 << 63}, true},
	}
	for _, test := range tests {
		if got := NeedsDEKRotation(epoch, epoch.Add(test.age), test.seals, test.p); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	if uint64(DefaultMaxSeals) > seal.MaxSealsPerKey {
		t.Error("the default is above what a key may seal")
	}
}

func TestPolicyLimits(t *testing.T) {
	wantNil(t, Policy{}.Validate(), Policy{time.Hour, 1}.Validate())
	wantKind(t, Policy{MaxAge: -1}.Validate(), fault.Invalid)
	wantKind(t, Policy{MaxSeals: DefaultMaxSeals + 1}.Validate(), fault.Invalid)
}
