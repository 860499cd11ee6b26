package dialect

import (
	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// Kind says what the session has to do with a statement.
type Kind uint8

// The kinds of statements.
const (
	// Empty is nothing but white space and comments.
	Empty Kind = iota
	// Query reads rows; SQL has it.
	Query
	// Insert adds rows.
	Insert
	// Update changes rows.
	Update
	// Delete removes rows.
	Delete
	// DDL changes the schema: NewSequences are made first, then Before, SQL
	// and After run, then DropSequences are dropped.
	DDL
	// Begin begins a transaction.
	Begin
	// Commit ends a transaction that takes effect.
	Commit
	// Rollback ends a transaction that does not.
	Rollback
	// Savepoint makes the savepoint Name.
	Savepoint
	// RollbackTo goes back to the savepoint Name.
	RollbackTo
	// Release forgets the savepoint Name.
	Release
	// Set changes a setting (field Set), or the transaction when Set is nil.
	Set
	// Show asks for the setting Show, "all" for every one.
	Show
	// Reset sets the setting Name back, "all" for every one.
	Reset
	// Discard is DISCARD of what Name says: "all", "plans", "sequences", "temp".
	Discard
	// Prepare names a statement (Prepared).
	Prepare
	// Execute runs a named statement with Arguments.
	Execute
	// Deallocate forgets the statement Name, "" for all.
	Deallocate
	// Copy moves rows in bulk; see the field Copy.
	Copy
	// Explain describes how SQLite runs a statement: SQL is EXPLAIN QUERY PLAN,
	// whose last column is the text.
	Explain
	// Declare opens the cursor Name for Query.
	Declare
	// Fetch reads Move rows of the cursor Name; its columns are the cursor's.
	Fetch
	// Move goes over Move rows of the cursor Name.
	Move
	// Close closes the cursor Name, "" for all.
	Close
	// Nothing is accepted and needs nothing done; Notice says why.
	Nothing
)

// Statement is a statement of PostgreSQL's in SQLite's words.
type Statement struct {
	Kind Kind
	// SQL is SQLite's text, with parameters as ?1, ?2, …; one statement.
	SQL string
	// Before are statements to run first, in the same transaction.
	Before []string
	// After are statements to run afterwards, in the same transaction.
	After []string
	// NewSequences and DropSequences come before and after Before and SQL.
	NewSequences, DropSequences []schema.Sequence
	// Params are the parameters' types, $1 first; Text where nothing tells.
	Params []sqltype.Type
	// Columns are the result's columns. A zero type is to be taken from the
	// compiled statement, or else Text. Nil with Returns set says that the
	// compiled statement tells their names too.
	Columns []Column
	// Tag is the command tag without its count, "INSERT 0" for inserts.
	Tag string
	// Returns says that rows come back.
	Returns bool
	// ReadOnlyHint says that it looks as if it changes nothing. SQLite decides.
	ReadOnlyHint bool
	// Notice is to be told to the client, "" for none.
	Notice string
	// Name is of a savepoint, prepared statement or setting.
	Name string
	// Show is the setting that SHOW asks for.
	Show string
	// Set is of SET.
	Set *SetOptions
	// TxOptions is of BEGIN and of SET TRANSACTION.
	TxOptions TxOptions
	// Chain is COMMIT AND CHAIN and ROLLBACK AND CHAIN.
	Chain bool
	// Locks says that the rows read are locked until the transaction ends
	// (FOR UPDATE and its like), NoWait that it fails rather than wait for that.
	Locks, NoWait bool
	// Query is what DECLARE opens a cursor for. Its parameters are Params.
	Query *Statement
	// Move is how far FETCH and MOVE go.
	Move *CursorMove
	// Copy is of COPY.
	Copy *CopyOptions
	// Prepared is of PREPARE: the text of the statement, and the OIDs of its
	// parameters.
	Prepared       string
	PreparedParams []uint32
	// Arguments is of EXECUTE: a query of one row that computes them, "" when
	// there are none. Its Columns are in ArgumentColumns.
	Arguments       string
	ArgumentColumns []Column
	// Passthrough says that it is SQLite's own dialect, unchanged.
	Passthrough bool
}

// Column is a result column.
type Column struct {
	Name string
	Type sqltype.Type
}

// SetOptions is SET name = value.
type SetOptions struct {
	// Name is in lower case. Value is what it is set to, as the client would
	// read it back; Default says that it goes back to its default.
	Name, Value string
	Default     bool
	// Local says that it lasts until the transaction ends.
	Local bool
}

// TxOptions are what BEGIN may say. Isolation is "" or one of PostgreSQL's
// levels, all of which are served as serialisable.
type TxOptions struct {
	Isolation  string
	ReadOnly   bool
	ReadWrite  bool
	Deferrable bool
}

// CopyOptions is COPY.
type CopyOptions struct {
	// From says that rows come from the client: each is a run of the
	// statement's SQL, an INSERT with a parameter a column, whose types are
	// Params. Without it the rows of SQL, a query, go to the client.
	From  bool
	Table string
	// Columns are the columns' names.
	Columns []string
	// CSV or Binary is the format; otherwise it is text.
	CSV, Binary                         bool
	Delimiter, Quote, Escape, Null      string
	Header, HeaderMatch                 bool
	ForceQuote, ForceNotNull, ForceNull []string
	ForceQuoteAll                       bool
}

// Env is what a translation depends on besides the text.
type Env struct {
	// Schema is the tenant's; nil for none.
	Schema *schema.Schema
	// User and Database are what the functions of these names return.
	User, Database string
	// Backend is the session's process id, which pg_backend_pid returns.
	Backend uint32
	// Setting returns a setting's value; nil for none.
	Setting func(name string) (string, bool)
}
