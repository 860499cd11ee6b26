package ident

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxTenantName is the longest name of a tenant, in bytes.
const MaxTenantName = 128

// CheckTenantName refuses what no tenant may be called. A name stands in user
// names ("app@hospital-a"), in messages and in files of others.
func CheckTenantName(name string) error {
	bad := name == "" || len(name) > MaxTenantName || !utf8.ValidString(name) || strings.TrimSpace(name) != name ||
		strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == '/' || r == '@' })
	if bad {
		return fmt.Errorf("a tenant's name has 1 to %d bytes of printable text, without @ and / and without space around it", MaxTenantName)
	}
	return nil
}
