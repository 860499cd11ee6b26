// Package servertest holds the server as a process to what it promises: that
// what it prints works, that it starts or says why not, that it ends cleanly,
// and that nothing which a client was told is done is missing after a kill.
// It has tests only; the clients are psql, pgbench, curl and pgx.
package servertest
