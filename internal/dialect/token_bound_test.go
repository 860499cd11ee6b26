package dialect

import (
	"strings"
	"testing"

	"kimberlite/internal/fault"
)

func TestATextOfTooManyTokensIsRefused(t *testing.T) {
	for _, text := range []string{strings.Repeat(";", maxTokens+1), "SELECT 1" + strings.Repeat("+1", maxTokens/2)} {
		if _, err := Split(text); fault.StateOf(err) != "54001" {
			t.Errorf("%.20s…: %v", text, err)
		}
	}
	if _, err := Split(strings.Repeat(";", maxTokens-1)); err != nil {
		t.Error(err)
	}
}
