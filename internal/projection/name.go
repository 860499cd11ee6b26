package projection

import (
	"strings"
	"unicode/utf8"

	"kimberlite/internal/fault"
)

// internalPrefix begins the names of our own tables.
const internalPrefix = "_kimberlite_"

// reservedPrefixes begin names that clients may not give.
var reservedPrefixes = []string{"_kimberlite", "kimberlite", "sqlite_"}

// maxName is the longest name of a table, stream, view, index or trigger.
const maxName = 255

// checkName refuses names that are reserved or malformed.
func checkName(name string) *fault.Error {
	for _, prefix := range reservedPrefixes {
		if hasPrefixFold(name, prefix) {
			return fault.New("sql", fault.Denied, "the name %q is reserved: names do not begin with %s", clip(name), prefix)
		}
	}
	if len(name) > maxName {
		return fault.New("sql", fault.TooLarge, "the name %q has %d bytes, the limit is %d", clip(name), len(name), maxName)
	}
	return nil
}

// checkStreamName is checkName for what does not pass through SQL.
func checkStreamName(name string) *fault.Error {
	if name == "" || !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0 {
		return fault.New("stream create", fault.Invalid, "a stream's name is 1 to %d bytes of UTF-8 without NUL", maxName)
	}
	return checkName(name)
}

func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}

// lower folds case as SQLite compares names: ASCII letters only.
func lower(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if c := b[i]; c >= 'A' && c <= 'Z' {
					b[i] = c + 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && lower(s[:len(prefix)]) == prefix
}

// quoteName writes a name as an SQL identifier.
func quoteName(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// quoteText writes a text as an SQL literal.
func quoteText(text string) string {
	return `'` + strings.ReplaceAll(text, `'`, `''`) + `'`
}
