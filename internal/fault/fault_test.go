package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

func TestErrorIsFoundThroughWrapping(t *testing.T) {
	t.Parallel()
	cause := fmt.Errorf("reading: %w", fs.ErrNotExist)
	inner := fault.Wrap("tenant open", fault.NotFound, cause, "tenant %d does not exist", 7).ForTenant(ident.MustTenantID(7))
	err := fmt.Errorf("outer: %w", errors.Join(errors.New("other"), inner))

	if !errors.Is(err, &fault.Error{Kind: fault.NotFound}) {
		t.Error("errors.Is does not find the kind")
	}
	if errors.Is(err, &fault.Error{Kind: fault.Denied}) {
		t.Error("errors.Is finds a kind that is not there")
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("errors.Is does not find the cause")
	}
	var found *fault.Error
	if !errors.As(err, &found) || found.Tenant != ident.MustTenantID(7) || found.Op != "tenant open" {
		t.Errorf("errors.As found %+v", found)
	}
	if fault.KindOf(err) != fault.NotFound || !fault.Is(err, fault.NotFound) || fault.Is(err, fault.Internal) {
		t.Errorf("KindOf = %v", fault.KindOf(err))
	}
}

func TestErrorsIsComparesWholeErrorsByIdentity(t *testing.T) {
	t.Parallel()
	a := fault.New("a", fault.Denied, "one reason")
	b := fault.New("b", fault.Denied, "another reason")
	if !errors.Is(a, a) {
		t.Error("an error is not itself")
	}
	if errors.Is(a, b) {
		t.Error("two different errors of one kind count as the same")
	}
}

func TestKindOfNamesAContextsEndAndCallsTheRestInternal(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]fault.Kind{
		context.Canceled:                       fault.Canceled,
		fmt.Errorf("x: %w", context.Canceled):  fault.Canceled,
		context.DeadlineExceeded:               fault.Timeout,
		errors.New("anything"):                 fault.Internal,
		fault.New("x", fault.Constraint, "no"): fault.Constraint,
		fault.Wrap("x", fault.OutcomeUnknown, context.Canceled, "the answer did not come"): fault.OutcomeUnknown,
	} {
		if got := fault.KindOf(err); got != want {
			t.Errorf("KindOf(%v) = %v, want %v", err, got, want)
		}
	}
	if fault.Is(nil, fault.Internal) {
		t.Error("no error counts as internal")
	}
	defer func() {
		if recover() == nil {
			t.Error("KindOf(nil) does not panic")
		}
	}()
	fault.KindOf(nil)
}

func TestOfContextTellsADeadlineFromACancel(t *testing.T) {
	t.Parallel()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := fault.OfContext("query", canceled); err.Kind != fault.Canceled || !errors.Is(err, context.Canceled) {
		t.Errorf("a cancel became %v", err)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	if err := fault.OfContext("query", late); err.Kind != fault.Timeout || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a deadline became %v", err)
	}
}

func TestCorruptionNamesFileAndPosition(t *testing.T) {
	t.Parallel()
	err := fault.Corrupt("verify", "shards/1/tenants/2/log/0.segment", 4096, "the record's hash does not match")
	if err.Kind != fault.Corruption || err.File != "shards/1/tenants/2/log/0.segment" || err.Position != 4096 {
		t.Errorf("%+v", err)
	}
	const want = "verify: the record's hash does not match (file shards/1/tenants/2/log/0.segment, offset 4096)"
	if err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

func TestErrorTextSaysOperationMessageAndCauseInOneLine(t *testing.T) {
	t.Parallel()
	err := fault.Wrap("key rotate", fault.KeyUnavailable, errors.New("connection refused"), "the master key cannot be reached")
	if got, want := err.Error(), "key rotate: the master key cannot be reached: connection refused"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, k := range fault.Kinds() {
		if text := (&fault.Error{Kind: k}).Error(); text == "" || strings.Contains(text, "\n") {
			t.Errorf("an error of nothing but %v reads %q", k, text)
		}
	}
}

func TestForTenantLeavesTheOriginalAlone(t *testing.T) {
	t.Parallel()
	shared := fault.New("x", fault.Denied, "no")
	if shared.ForTenant(ident.MustTenantID(1)).Tenant.IsZero() || !shared.Tenant.IsZero() {
		t.Error("ForTenant changed the error that it was called on, or not its copy")
	}
}
