// Package clienttest runs stock clients of PostgreSQL against a running
// server: node-postgres, Knex and Drizzle with their migrations from node,
// psycopg2 from Python, and GORM from a Go module of its own. The same programs run against PostgreSQL
// 15 beside it, so that a test that is wrong itself is found. It is nothing
// but tests.
package clienttest
