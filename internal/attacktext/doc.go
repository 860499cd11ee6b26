// Package attacktext has the texts of the attacks by SQL: those that the torture
// suites send to the embedded database, and the wire attacks through the doors.
// It holds tables alone and runs nothing. Only tests import it.
//
// The texts name a table own(id, secret, n) and a stream feed that the attacker
// has, and a table probe(id, note) with a few rows.
package attacktext

import "kimberlite/internal/fault"

// Statement is SQL that an attacker sends.
type Statement struct {
	// Name tells it from the others of its table.
	Name string
	SQL  string
	// Args are its arguments as the embedded API takes them; some are no
	// values on purpose.
	Args []any
	// Want are the kinds of refusal that are right at the embedded API; see
	// Succeeds and AnyKind.
	Want []fault.Kind
}

// AnyKind says that an attack need not fail: what matters is that it is
// harmless. Succeeds says that it must not fail.
var (
	AnyKind  = []fault.Kind{}
	Succeeds []fault.Kind
)

// Kinds lists kinds.
func Kinds(k ...fault.Kind) []fault.Kind { return k }

// Place is where the attacked database has its files, which attacks name.
type Place struct {
	Data string // the data directory
	Temp string // a directory for temporary files
}
