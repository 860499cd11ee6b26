package dialect

import (
	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// Kind says what the session has to do with a statement.
type Kind uint8

const (
	// Empty is nothing but white space and comments.
	Empty Kind = iota
	// Query reads rows; SQL has it.
	Query
	// Insert, Update and Delete change rows.
	Insert
	Update
	Delete
	// DDL changes the schema: NewSequences are made first, then Before and SQL
	// run, then DropSequences are dropped.
	DDL
	// Begin, Commit and Rollback are of transactions.
	Begin
	Commit
	Rollback
	// Savepoint, RollbackTo and Release are of the savepoint Name.
	Savepoint
	RollbackTo
	Release
	// Set changes settings (field Set), Show reads Show, Reset sets Name back,
	// "all" for every setting.
	Set
	Show
	Reset
	// Discard is DISCARD of what Name says: "all", "plans", "sequences", "temp".
	Discard
	// Prepare names a statement (Prepared), Execute runs it with Arguments,
	// Deallocate forgets Name, "" for all.
	Prepare
	Execute
	Deallocate
	// Copy moves rows in bulk; see the field Copy.
	Copy
	// Explain describes how SQLite runs the statement whose text is SQL with
	// EXPLAIN QUERY PLAN before it: its last column is the text.
	Explain
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
	// CSV is the format; otherwise it is text.
	CSV                                 bool
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
	// Setting returns a setting's value; nil for none.
	Setting func(name string) (string, bool)
}
