package dialect

import "kimberlite/internal/sqltype"

// expr is an expression as written. at is the byte of the text where it
// begins, which errors name.
type expr interface{ at() int }

// pos is where a node stands.
type pos int

func (p pos) at() int { return int(p) }

type literalKind uint8

const (
	litNull literalKind = iota
	litTrue
	litFalse
	litInteger
	litDecimal
	litString
)

type (
	literal struct {
		pos
		kind literalKind
		text string
	}
	param struct {
		pos
		n int
	}
	// columnRef is a name of one to three parts, or name.*, or *.
	columnRef struct {
		pos
		parts []string
		star  bool
	}
	unaryExpr struct {
		pos
		op string
		x  expr
	}
	// binaryExpr is x op y; op is "and" and "or" too.
	binaryExpr struct {
		pos
		op   string
		x, y expr
	}
	castExpr struct {
		pos
		x  expr
		to typeName
		// literal says that it is written as type 'string'.
		literal bool
	}
	callExpr struct {
		pos
		schema, name string
		args         []expr
		star         bool // count(*)
		distinct     bool
		variadic     bool
		orderBy      []sortKey
		within       []sortKey // WITHIN GROUP (ORDER BY …)
		filter       expr
		over         *window
	}
	caseExpr struct {
		pos
		operand expr
		whens   []caseWhen
		other   expr
	}
	// isExpr is x IS [NOT] what, where what is null, true, false, unknown or
	// distinct from y.
	isExpr struct {
		pos
		x, y expr
		not  bool
		what string
	}
	inExpr struct {
		pos
		x    expr
		not  bool
		list []expr
		sub  *query
	}
	betweenExpr struct {
		pos
		x, low, high   expr
		not, symmetric bool
	}
	// likeExpr is x [NOT] LIKE, ILIKE or SIMILAR TO y [ESCAPE z].
	likeExpr struct {
		pos
		x, pattern, escape expr
		not                bool
		op                 string
	}
	// quantified is x op ANY or ALL (array or query).
	quantified struct {
		pos
		x     expr
		op    string
		all   bool
		array expr
		sub   *query
	}
	// subquery is (query), EXISTS (query) or ARRAY(query).
	subquery struct {
		pos
		kind string // "", "exists", "array"
		q    *query
	}
	arrayExpr struct {
		pos
		elems []expr
	}
	rowExpr struct {
		pos
		elems []expr
	}
	collateExpr struct {
		pos
		x         expr
		collation string
	}
	subscript struct {
		pos
		x, index expr
	}
	// defaultExpr is DEFAULT in the place of a value.
	defaultExpr struct{ pos }
)

type caseWhen struct{ cond, then expr }

// typeName is a type as written.
type typeName struct {
	pos
	name   string
	typ    sqltype.Type
	serial string // "int4" for serial and so on, "" otherwise
}

type sortKey struct {
	x     expr
	desc  bool
	nulls string // "first", "last" or ""
}

// window is OVER name or OVER (…), or an entry of WINDOW.
type window struct {
	pos
	name      string // of the window itself
	base      string // the window it is built on
	reference bool   // OVER name
	partition []expr
	orderBy   []sortKey
	frame     []frameToken
}

// frameToken is a word of a frame, or an expression in it.
type frameToken struct {
	word string
	x    expr
}

// query is a SELECT with what may stand around it.
type query struct {
	pos
	recursive     bool
	with          []cte
	body          queryBody
	orderBy       []sortKey
	limit, offset expr
}

type cte struct {
	pos
	name         string
	columns      []string
	q            *query
	materialized string
}

// queryBody is a *selectCore, a *setOperation, a *valuesList or a *query.
type queryBody interface{ at() int }

type selectCore struct {
	pos
	distinct   bool
	distinctOn []expr
	items      []selectItem
	from       []fromItem
	where      expr
	groupBy    []expr
	having     expr
	windows    []window
}

type selectItem struct {
	x     expr
	alias string
}

type setOperation struct {
	pos
	op          string // union, intersect, except
	all         bool
	left, right queryBody
}

type valuesList struct {
	pos
	rows [][]expr
}

// fromItem is a *tableRef, *queryRef, *callRef or *joinRef.
type fromItem interface{ at() int }

type tableRef struct {
	pos
	schema, name string
	alias        string
	columns      []string
}

type queryRef struct {
	pos
	q       *query
	alias   string
	columns []string
}

type callRef struct {
	pos
	call    *callExpr
	alias   string
	columns []string
	// ordinality adds a column that counts the rows.
	ordinality bool
}

type joinRef struct {
	pos
	kind        string // "", left, right, full, cross
	natural     bool
	left, right fromItem
	on          expr
	using       []string
}
