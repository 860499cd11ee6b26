// Package projection holds one tenant's tables: SQLite on the tenant's sealed
// page store, derived from the tenant's log.
//
// It guarantees that a statement of a client reaches nothing but this tenant's
// tables (an allow-list inside SQLite's own compiler decides, never a reading
// of the text), that every row that a transaction changes comes out as an
// event whose replay gives the same tables, that the position in the log is
// stored in the same transaction as the rows, and that no file is ever made by
// SQLite: pages go to the page store, everything else stays in memory.
//
// It must not know how events are sealed, logged or replicated. The tenant's
// runtime calls it. It is the only package that imports the SQL driver.
//
// A DB has one writer (a [Group] or [DB.Apply], one at a time, which the
// caller sees to) and several concurrent readers ([Reader]), each of which
// sees one committed state for as long as a statement or snapshot is open.
package projection
