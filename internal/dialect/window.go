package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// windowRule is the result of a window function: a type, or zero for that of
// its first argument.
type windowRule struct {
	typ      sqltype.Type
	min, max int
	// natural is whether SQLite's result needs CAST.
}

var windowFunctions = map[string]windowRule{
	"row_number": {sqltype.Int8, 0, 0}, "rank": {sqltype.Int8, 0, 0}, "dense_rank": {sqltype.Int8, 0, 0},
	"percent_rank": {sqltype.Float8, 0, 0}, "cume_dist": {sqltype.Float8, 0, 0}, "ntile": {sqltype.Int4, 1, 1},
	"lag": {sqltype.Type{}, 1, 3}, "lead": {sqltype.Type{}, 1, 3},
	"first_value": {sqltype.Type{}, 1, 1}, "last_value": {sqltype.Type{}, 1, 1}, "nth_value": {sqltype.Type{}, 2, 2},
}

// windowCall translates a call of a window function.
func (t *translator) windowCall(c *callExpr, rule windowRule) (value, error) {
	switch {
	case c.within != nil:
		return value{}, t.fail(c.at(), stateUnsupported, "%s WITHIN GROUP is not supported", c.name)
	case c.over == nil:
		return value{}, t.fail(c.at(), stateObjectKind, "window function %s requires an OVER clause", c.name)
	case c.distinct || c.orderBy != nil || c.filter != nil || c.star:
		return value{}, t.fail(c.at(), stateUnsupported, "DISTINCT, ORDER BY and FILTER are not supported for window function %s", c.name)
	}
	args, err := t.values(c.args)
	if err != nil {
		return value{}, err
	}
	if len(args) < rule.min || len(args) > rule.max {
		return value{}, t.noFunction(c.at(), c.name, args)
	}
	typ := rule.typ
	if len(args) > 0 {
		if args[0], err = t.asText(args[0]); err != nil {
			return value{}, err
		}
		if typ.OID == 0 {
			typ = args[0].typ
		}
	}
	if len(args) > 1 {
		if args[1], err = t.convert(args[1], sqltype.Int4, implicit, ""); err != nil {
			return value{}, err
		}
	}
	if len(args) > 2 {
		if args[2], err = t.convert(args[2], base(typ), implicit, ""); err != nil {
			return value{}, err
		}
	}
	texts := make([]string, len(args))
	for i := range args {
		texts[i] = args[i].sql
	}
	over, err := t.over(c)
	notNull := rule.typ.OID != 0
	return value{typ: typ, sql: c.name + "(" + strings.Join(texts, ", ") + ")" + over, atom: true, notNull: notNull, name: c.name, at: c.at()}, err
}

// over writes OVER.
func (t *translator) over(c *callExpr) (string, error) {
	s := t.scope
	if s != nil && s.noWin != "" {
		return "", t.fail(c.at(), stateWindowing, "window functions are not allowed in %s", s.noWin)
	}
	w := c.over
	if w.reference {
		if s == nil || !s.windows[w.base] {
			return "", t.fail(w.at(), stateNoObject, "window %q does not exist", w.base)
		}
		return " OVER " + quoteName(w.base), nil
	}
	text, err := t.windowText(w)
	return " OVER (" + text + ")", err
}

// namedWindows writes WINDOW.
func (t *translator) namedWindows(c *selectCore, b *body) error {
	for i := range c.windows {
		w := &c.windows[i]
		text, err := t.windowText(w)
		if err != nil {
			return err
		}
		word := ", "
		if i == 0 {
			word = " WINDOW "
		}
		b.rest += word + quoteName(w.name) + " AS (" + text + ")"
	}
	return nil
}

func (t *translator) windowText(w *window) (string, error) {
	var parts []string
	if w.base != "" {
		parts = append(parts, quoteName(w.base))
	}
	if len(w.partition) > 0 {
		texts := make([]string, len(w.partition))
		for i, x := range w.partition {
			v, err := t.scalar(x)
			if err != nil {
				return "", err
			}
			if v, err = t.asText(v); err != nil {
				return "", err
			}
			texts[i] = v.sql
		}
		parts = append(parts, "PARTITION BY "+strings.Join(texts, ", "))
	}
	if len(w.orderBy) > 0 {
		order, err := t.orderKeys(w.orderBy)
		if err != nil {
			return "", err
		}
		parts = append(parts, "ORDER BY "+order)
	}
	for _, f := range w.frame {
		if f.x == nil {
			parts = append(parts, strings.ToUpper(f.word))
			continue
		}
		v, err := t.scalar(f.x)
		if err != nil {
			return "", err
		}
		if v, err = t.resolve(v, sqltype.Int8); err != nil {
			return "", err
		}
		if v.known() && !isNumber(v.typ) {
			return "", t.fail(f.x.at(), stateUnsupported, "RANGE with an offset of type %s is not supported", base(v.typ).SQL())
		}
		parts = append(parts, v.sql)
	}
	return strings.Join(parts, " "), nil
}
