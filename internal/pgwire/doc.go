// Package pgwire speaks the PostgreSQL wire protocol, version 3, so that psql
// and stock drivers reach a tenant's tables.
//
// It guarantees that nothing of a tenant is touched before a credential is
// proven, that a connection acts for that credential's tenant and no other,
// that nothing unencrypted is read or written unless the peer is on loopback
// and the configuration allows it, and that what one connection can hold
// (memory, statements, portals, time, the tenant's writer) has limits, so that
// a broken or hostile client ends its own session and nothing else. A query
// string or a pipeline up to Sync is one transaction unless it says otherwise,
// as PostgreSQL has it.
//
// It must not know how SQL is translated (package dialect), how values are
// stored (package sqltype), or how a tenant works: it holds statements, portals,
// settings and the transaction's state, and moves bytes. Errors, logs and
// metrics that it makes hold no SQL text, parameters or rows.
//
// Package server makes a Server and gives it listeners.
//
// # Idempotency
//
// SET kimberlite.idempotency_key = 'k' names the next write: an autocommitted
// statement that writes, or the COMMIT of a transaction that does. Then the key
// is forgotten. A client that lost its connection before the answer connects
// again, sets the same key and repeats the same work: what took effect before
// is answered with its first outcome and not done again. When the work cannot
// run twice, the statement that fails says with SQLSTATE KL004 that the
// transaction took effect before.
package pgwire
