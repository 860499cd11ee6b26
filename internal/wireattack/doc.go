// Package wireattack attacks a running kimberlite from outside: over the
// PostgreSQL protocol and over RPC, as a tenant's credential and as nobody. It
// has tests alone; the texts of the attacks by SQL are those of attacktext,
// which the torture suites send to the embedded database.
//
// After each attack nothing of another tenant may stand in any byte that came
// back, the server is alive and within its memory, the victim's rows are what
// they were, and the log holds neither rows nor SQL.
package wireattack
