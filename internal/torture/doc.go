// Package torture holds the tests of what must hold whatever happens: a
// process that is killed, a machine that loses power, a disk that fails or is
// full, bytes that flip, files that are moved, and eyes on every file.
//
// They run against whole nodes with real files, or with a filesystem in
// memory that knows what a power loss leaves, under a load of several tenants
// whose every acknowledgement is noted. Afterwards the tables, the streams and
// the keys must be exactly what the notes allow: all that was acknowledged,
// nothing that was refused, nothing by halves, nothing twice.
//
// It has no code but tests, and no package may import it. Environment
// variables: KIMBERLITE_SEED repeats a run, KIMBERLITE_SOAK_MINUTES makes the
// random suites go on for so long.
package torture
