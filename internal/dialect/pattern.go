package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// like translates LIKE, ILIKE and SIMILAR TO.
func (t *translator) like(e *likeExpr) (value, error) {
	x, err := t.scalar(e.x)
	if err != nil {
		return x, err
	}
	y, err := t.scalar(e.pattern)
	if err != nil {
		return y, err
	}
	escape := ""
	if e.escape != nil {
		z, err := t.scalar(e.escape)
		if err != nil {
			return z, err
		}
		if z, err = t.asText(z); err != nil {
			return z, err
		}
		escape = z.sql
	}
	return t.likeValues(e.at(), e.op, e.not, x, y, escape)
}

func (t *translator) likeValues(at int, op string, not bool, x, y value, escape string) (value, error) {
	for _, v := range []*value{&x, &y} {
		var err error
		if *v, err = t.asText(*v); err != nil {
			return x, err
		}
		if v.known() && !isString(v.typ) && !v.loosely() {
			names := map[string]string{"like": "~~", "ilike": "~~*", "similar": "~"}
			return x, t.noOperator(at, names[op], x, y)
		}
	}
	sql := "pg_" + op + "(" + x.sql + ", " + y.sql
	if escape != "" {
		sql += ", " + escape
	}
	sql += ")"
	if not {
		return value{typ: sqltype.Bool, sql: "NOT " + sql, notNull: x.notNull && y.notNull, name: "?column?"}, nil
	}
	return value{typ: sqltype.Bool, sql: sql, atom: true, notNull: x.notNull && y.notNull, name: "?column?"}, nil
}

// regexpMatch translates ~ and its kin.
func (t *translator) regexpMatch(at int, op string, x, y value) (value, error) {
	for _, v := range []*value{&x, &y} {
		var err error
		if *v, err = t.asText(*v); err != nil {
			return x, err
		}
		if v.known() && !isString(v.typ) && !v.loosely() {
			return x, t.noOperator(at, op, x, y)
		}
	}
	name := "pg_regexp_match"
	if strings.HasSuffix(op, "*") {
		name = "pg_regexp_imatch"
	}
	v := value{typ: sqltype.Bool, sql: name + "(" + x.sql + ", " + y.sql + ")", atom: true, notNull: x.notNull && y.notNull}
	if op[0] == '!' {
		v.sql, v.atom = "NOT "+v.sql, false
	}
	return v, nil
}
