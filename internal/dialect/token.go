package dialect

// tokenKind says what a token is.
type tokenKind uint8

const (
	tokEnd      tokenKind = iota
	tokWord               // a bare identifier or keyword; value is folded
	tokQuoted             // "an identifier"; value is what it names
	tokInteger            // digits; value is decimal
	tokDecimal            // a number with a point or exponent
	tokString             // a string of any spelling; value is its content
	tokBits               // B'…' or X'…'
	tokParam              // $n; value is n
	tokOperator           // + - <= and the like
	tokPunct              // ( ) [ ] , ; . : ::
	tokSQLite             // ?, ?1, :name or `x`, which are SQLite's alone
)

// token is one word of a statement. start and end are byte offsets in the
// text.
type token struct {
	kind       tokenKind
	start, end int
	value      string
}

// is reports whether t is the keyword, which is in lower case.
func (t token) is(keyword string) bool { return t.kind == tokWord && t.value == keyword }

// punct reports whether t is the punctuation mark.
func (t token) punct(mark string) bool { return t.kind == tokPunct && t.value == mark }

// op reports whether t is the operator.
func (t token) op(operator string) bool { return t.kind == tokOperator && t.value == operator }

func wordSet(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

// reserved are the words that PostgreSQL lets nobody name a column or table.
var reserved = wordSet("all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "both",
	"case", "cast", "check", "collate", "column", "constraint", "create", "current_catalog", "current_date",
	"current_role", "current_time", "current_timestamp", "current_user", "default", "deferrable", "desc",
	"distinct", "do", "else", "end", "except", "false", "fetch", "for", "foreign", "from", "grant", "group",
	"having", "in", "initially", "intersect", "into", "lateral", "leading", "limit", "localtime",
	"localtimestamp", "not", "null", "offset", "on", "only", "or", "order", "placing", "primary", "references",
	"returning", "select", "session_user", "some", "symmetric", "table", "then", "to", "trailing", "true",
	"union", "unique", "user", "using", "variadic", "when", "where", "window", "with")

// functionOrType are the words that may name a function or a type, and
// nothing else.
var functionOrType = wordSet("authorization", "binary", "collation", "concurrently", "cross", "current_schema",
	"freeze", "full", "ilike", "inner", "is", "isnull", "join", "left", "like", "natural", "notnull", "outer",
	"overlaps", "right", "similar", "tablesample", "verbose")

// needsAs are the words that name a result column only after AS.
var needsAs = wordSet("array", "as", "char", "character", "create", "day", "except", "fetch", "filter", "for",
	"from", "grant", "group", "having", "hour", "intersect", "into", "isnull", "limit", "minute", "month",
	"national", "notnull", "offset", "on", "order", "over", "overlaps", "precision", "returning", "second",
	"to", "union", "varying", "where", "window", "with", "within", "without", "year",
	"and", "or", "is", "in", "like", "ilike", "similar", "between", "collate", "at", "not", "operator", "asc", "desc",
	"nulls", "using")

// sqliteWords are SQLite's keywords that cannot be told from names: a name
// that is one is quoted.
var sqliteWords = wordSet("abort", "action", "add", "after", "all", "alter", "always", "analyze", "and", "as",
	"asc", "attach", "autoincrement", "before", "begin", "between", "by", "cascade", "case", "cast", "check",
	"collate", "column", "commit", "conflict", "constraint", "create", "cross", "current", "current_date",
	"current_time", "current_timestamp", "database", "default", "deferrable", "deferred", "delete", "desc",
	"detach", "distinct", "do", "drop", "each", "else", "end", "escape", "except", "exclude", "exclusive",
	"exists", "explain", "fail", "filter", "first", "following", "for", "foreign", "from", "full", "generated",
	"glob", "group", "groups", "having", "if", "ignore", "immediate", "in", "index", "indexed", "initially",
	"inner", "insert", "instead", "intersect", "into", "is", "isnull", "join", "key", "last", "left", "like",
	"limit", "match", "materialized", "natural", "no", "not", "nothing", "notnull", "null", "nulls", "of",
	"offset", "on", "or", "order", "others", "outer", "over", "partition", "plan", "pragma", "preceding",
	"primary", "query", "raise", "range", "recursive", "references", "regexp", "reindex", "release", "rename",
	"replace", "restrict", "returning", "right", "rollback", "row", "rows", "savepoint", "select", "set",
	"table", "temp", "temporary", "then", "ties", "to", "transaction", "trigger", "true", "false", "unbounded",
	"union", "unique", "update", "using", "vacuum", "values", "view", "virtual", "when", "where", "window",
	"with", "within", "without")
