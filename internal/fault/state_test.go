package fault

import (
	"errors"
	"fmt"
	"testing"
)

func TestStateOfPrefersTheSpecificState(t *testing.T) {
	specific := New("sql", Invalid, "not a number").WithState("22P02")
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"own", specific, "22P02"},
		{"kind", New("sql", Timeout, "late"), "57014"},
		{"foreign", errors.New("x"), Internal.SQLState()},
		{"wrapped in fmt", fmt.Errorf("x: %w", specific), "22P02"},
		{"wrapped in fault", Wrap("sql", SQL, specific, "outer"), "22P02"},
		{"outer wins", Wrap("sql", SQL, specific, "outer").WithState("42601"), "42601"},
	}
	for _, tt := range tests {
		if got := StateOf(tt.err); got != tt.want {
			t.Errorf("%s: state %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestWithReturnsCopies(t *testing.T) {
	e := New("sql", SQL, "no")
	f := e.WithState("42601").WithPosition(7).WithHint("try").WithConstraint("t", "c", "k")
	if e.State != "" || e.Position != 0 || e.Hint != "" || e.Table != "" {
		t.Fatalf("the original changed: %+v", e)
	}
	if f.State != "42601" || f.Position != 7 || f.Hint != "try" || f.Table != "t" || f.Column != "c" || f.Constraint != "k" {
		t.Fatalf("a part is missing: %+v", f)
	}
}
