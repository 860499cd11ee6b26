package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// aggregateRule translates the call of an aggregate; args are its arguments,
// resolved. It returns the function's name, its arguments and the type; wrap
// is put around the call, %s being it.
type aggregateRule func(t *translator, c *callExpr, args []value) (aggregateCall, error)

type aggregateCall struct {
	name string
	args []string
	typ  sqltype.Type
	// wrap is what is written around the call, with %s in its place.
	wrap string
	// ordered says that DISTINCT sorts the values, as PostgreSQL does.
	ordered bool
}

// aggregates are the aggregates by name; init breaks the cycle to expr.
var aggregates map[string]aggregateRule

func init() {
	aggregates = map[string]aggregateRule{
		"count": aggregateCount, "sum": aggregateSum, "avg": aggregateAvg, "min": aggregateExtreme, "max": aggregateExtreme,
		"bool_and": aggregateBool, "bool_or": aggregateBool, "every": aggregateBool,
		"string_agg": aggregateString, "array_agg": aggregateArray,
		"json_agg": aggregateJSON, "jsonb_agg": aggregateJSON,
		"json_object_agg": aggregateObject, "jsonb_object_agg": aggregateObject,
		"stddev": aggregateDeviation, "stddev_samp": aggregateDeviation, "stddev_pop": aggregateDeviation,
		"variance": aggregateDeviation, "var_samp": aggregateDeviation, "var_pop": aggregateDeviation,
		"bit_and": aggregateBits, "bit_or": aggregateBits, "bit_xor": aggregateBits,
		"corr": aggregateTwo, "covar_pop": aggregateTwo, "covar_samp": aggregateTwo, "regr_slope": aggregateTwo,
		"regr_intercept": aggregateTwo, "regr_r2": aggregateTwo, "regr_count": aggregateTwo,
		"percentile_cont": aggregatePercentile, "percentile_disc": aggregatePercentile,
	}
}

// aggregate translates a call of an aggregate, perhaps over a window.
func (t *translator) aggregate(c *callExpr, rule aggregateRule) (value, error) {
	s := t.scope
	if s == nil {
		s = &scope{noAgg: "this place"}
		t.scope = s
	}
	if c.over == nil {
		if err := s.mayAggregate(t, c); err != nil {
			return value{}, err
		}
		s.hasAgg, s.inAgg = true, true
		defer func() { s.inAgg = false }()
	}
	if c.within != nil {
		for _, k := range c.within {
			c.args = append(c.args, k.x)
		}
	}
	args := make([]value, len(c.args))
	for i, x := range c.args {
		v, err := t.expr(x)
		if err != nil {
			return v, err
		}
		if !v.row {
			if v, err = t.materialise(v); err != nil {
				return v, err
			}
		}
		args[i] = v
	}
	call, err := rule(t, c, args)
	if err != nil {
		return value{}, err
	}
	sql, err := t.writeAggregate(c, call, args)
	if err != nil {
		return value{}, err
	}
	return value{typ: call.typ, sql: sql, atom: true, notNull: c.name == "count", name: c.name, at: c.at()}, nil
}

func (s *scope) mayAggregate(t *translator, c *callExpr) error {
	switch {
	case s.inAgg:
		return t.fail(c.at(), stateGrouping, "aggregate function calls cannot be nested")
	case s.noAgg != "":
		return t.fail(c.at(), stateGrouping, "aggregate functions are not allowed in %s", s.noAgg)
	}
	return nil
}

func (t *translator) writeAggregate(c *callExpr, call aggregateCall, args []value) (string, error) {
	var b strings.Builder
	b.WriteString(call.name + "(")
	switch {
	case c.distinct && len(call.args) > 1:
		return "", t.fail(c.at(), stateUnsupported, "%s(DISTINCT …) of several arguments is not supported: use a subquery with SELECT DISTINCT", c.name)
	case c.distinct:
		b.WriteString("DISTINCT ")
	}
	b.WriteString(strings.Join(call.args, ", "))
	if c.orderBy != nil {
		order, err := t.orderKeys(c.orderBy)
		if err != nil {
			return "", err
		}
		b.WriteString(" ORDER BY " + order)
	} else if c.distinct && call.ordered {
		b.WriteString(" ORDER BY " + args[0].sql)
		if !args[0].notNull {
			b.WriteString(" NULLS LAST")
		}
	}
	b.WriteString(")")
	if c.filter != nil {
		v, err := t.condition(c.filter, "FILTER")
		if err != nil {
			return "", err
		}
		b.WriteString(" FILTER (WHERE " + v.sql + ")")
	}
	if c.over != nil {
		over, err := t.over(c)
		if err != nil {
			return "", err
		}
		b.WriteString(over)
	}
	if call.wrap != "" {
		return strings.Replace(call.wrap, "%s", b.String(), 1), nil
	}
	return b.String(), nil
}

// orderKeys writes the sort keys of an aggregate or a window.
func (t *translator) orderKeys(keys []sortKey) (string, error) {
	texts := make([]string, len(keys))
	for i, k := range keys {
		v, err := t.scalar(k.x)
		if err != nil {
			return "", err
		}
		if v, err = t.asText(v); err != nil {
			return "", err
		}
		if v.typ.OID == sqltype.Interval.OID {
			v = key(v, "pg_interval_key")
		}
		texts[i] = v.sql + direction(k, v.notNull)
	}
	return strings.Join(texts, ", "), nil
}

func (t *translator) arity(c *callExpr, args []value, n int) error {
	if len(args) != n || c.star {
		return t.noFunction(c.at(), c.name, args)
	}
	for _, a := range args {
		if a.row {
			return t.noFunction(c.at(), c.name, args)
		}
	}
	return nil
}

func aggregateCount(t *translator, c *callExpr, args []value) (aggregateCall, error) {
	if c.star {
		return aggregateCall{name: "count", args: []string{"*"}, typ: sqltype.Int8}, nil
	}
	if len(args) == 1 && args[0].row { // a row of a table is never NULL as a whole
		if c.distinct {
			return aggregateCall{}, t.fail(c.at(), stateUnsupported, "count(DISTINCT row) is not supported: use a subquery with SELECT DISTINCT")
		}
		return aggregateCall{name: "count", args: []string{"*"}, typ: sqltype.Int8}, nil
	}
	if err := t.arity(c, args, 1); err != nil {
		return aggregateCall{}, err
	}
	x, err := t.asText(args[0])
	return aggregateCall{name: "count", args: []string{x.sql}, typ: sqltype.Int8}, err
}

func aggregateSum(t *translator, c *callExpr, args []value) (aggregateCall, error) {
	if err := t.arity(c, args, 1); err != nil {
		return aggregateCall{}, err
	}
	x := args[0]
	call := aggregateCall{name: "sum", args: []string{x.sql}, typ: x.typ}
	switch {
	case x.open():
	case x.typ.OID == sqltype.Int2.OID, x.typ.OID == sqltype.Int4.OID:
		call.typ = sqltype.Int8
	case x.typ.OID == sqltype.Int8.OID:
		call.typ = scaled(0)
	case isFloat(x.typ):
		call.typ = base(x.typ)
	case x.typ.OID == sqltype.Numeric.OID:
		if call.name = "pg_numeric_sum"; c.over != nil {
			call.name, call.wrap = "sum", "pg_cast_numeric(%s, 701, -1)"
		}
		if scale, ok := scaleOf(x.typ); ok {
			call.typ = scaled(scale)
		}
	case x.typ.OID == sqltype.Interval.OID && c.over == nil:
		call.name = "pg_interval_sum"
	default:
		return call, t.noFunction(c.at(), c.name, args)
	}
	return call, nil
}

func aggregateAvg(t *translator, c *callExpr, args []value) (aggregateCall, error) {
	if err := t.arity(c, args, 1); err != nil {
		return aggregateCall{}, err
	}
	x := args[0]
	call := aggregateCall{name: "avg", args: []string{x.sql}, typ: sqltype.Float8}
	switch {
	case x.open(), isFloat(x.typ):
	case isInteger(x.typ), x.typ.OID == sqltype.Numeric.OID:
		call.typ = sqltype.Numeric
		if call.name = "pg_numeric_avg"; c.over != nil {
			call.name, call.wrap = "avg", "pg_cast_numeric(%s, 701, -1)"
		}
	case x.typ.OID == sqltype.Interval.OID && c.over == nil:
		call.name, call.typ = "pg_interval_avg", sqltype.Interval
	default:
		return call, t.noFunction(c.at(), c.name, args)
	}
	return call, nil
}

func aggregateExtreme(t *translator, c *callExpr, args []value) (aggregateCall, error) {
	if err := t.arity(c, args, 1); err != nil {
		return aggregateCall{}, err
	}
	x, err := t.asText(args[0])
	if err != nil {
		return aggregateCall{}, err
	}
	switch {
	case x.typ.OID == sqltype.Interval.OID && c.over == nil:
		return aggregateCall{name: "pg_interval_" + c.name, args: []string{x.sql}, typ: x.typ}, nil
	case x.typ.OID == sqltype.Bool.OID, x.typ.OID == sqltype.UUID.OID, isJSON(x.typ), x.typ.OID == sqltype.Bytea.OID, x.typ.OID == sqltype.Interval.OID:
		return aggregateCall{}, t.noFunction(c.at(), c.name, args)
	case isArray(x.typ):
		return aggregateCall{}, t.fail(c.at(), stateUnsupported, "the order of arrays is not supported: use their elements")
	}
	typ := x.typ
	if typ.OID == sqltype.Varchar.OID || typ.OID == sqltype.Name.OID {
		typ = sqltype.Text
	}
	return aggregateCall{name: c.name, args: []string{x.sql}, typ: typ}, nil
}

func aggregateBool(t *translator, c *callExpr, args []value) (aggregateCall, error) {
	if err := t.arity(c, args, 1); err != nil {
		return aggregateCall{}, err
	}
	x, err := t.resolve(args[0], sqltype.Bool)
	if err != nil {
		return aggregateCall{}, err
	}
	if x.known() && x.typ.OID != sqltype.Bool.OID {
		return aggregateCall{}, t.noFunction(c.at(), c.name, args)
	}
	name := "min"
	if c.name == "bool_or" {
		name = "max"
	}
	return aggregateCall{name: name, args: []string{x.sql}, typ: sqltype.Bool}, nil
}

func aggregateString(t *translator, c *callExpr, args []value) (aggregateCall, error) {
	if err := t.arity(c, args, 2); err != nil {
		return aggregateCall{}, err
	}
	for i := range args {
		var err error
		if args[i], err = t.asText(args[i]); err != nil {
			return aggregateCall{}, err
		}
		if args[i].known() && !isString(args[i].typ) {
			return aggregateCall{}, t.noFunction(c.at(), c.name, args)
		}
	}
	call := aggregateCall{name: "string_agg", args: []string{args[0].sql, args[1].sql}, typ: sqltype.Text, ordered: true}
	if c.distinct && args[1].sql == "','" {
		call.name, call.args = "group_concat", call.args[:1]
	}
	if c.orderBy == nil && c.over == nil && !c.distinct {
		call.name = "pg_string_agg"
	}
	return call, nil
}

func aggregateArray(t *translator, c *callExpr, args []value) (aggregateCall, error) {
	if err := t.arity(c, args, 1); err != nil {
		return aggregateCall{}, err
	}
	x, err := t.asText(args[0])
	if err != nil {
		return aggregateCall{}, err
	}
	typ, ok := base(x.typ).Array()
	if !ok {
		if !x.open() {
			return aggregateCall{}, t.fail(c.at(), stateUnsupported, "arrays of type %s are not supported", x.typ.SQL())
		}
		typ = sqltype.TextArray
	}
	// Without rows PostgreSQL returns NULL, SQLite an empty array.
	return aggregateCall{name: "json_group_array", args: []string{jsonElement(x.sql, x.typ)}, typ: typ, wrap: "nullif(%s, '[]')", ordered: true}, nil
}

func aggregateJSON(t *translator, c *callExpr, args []value) (aggregateCall, error) {
	if len(args) != 1 {
		return aggregateCall{}, t.noFunction(c.at(), c.name, args)
	}
	x, err := t.toJSON(args[0])
	if err != nil {
		return aggregateCall{}, err
	}
	typ := sqltype.JSON
	if c.name == "jsonb_agg" {
		typ = sqltype.JSONB
	}
	return aggregateCall{name: "pg_" + c.name, args: []string{x.sql}, typ: typ}, nil
}

func aggregateObject(t *translator, c *callExpr, args []value) (aggregateCall, error) {
	if len(args) != 2 {
		return aggregateCall{}, t.noFunction(c.at(), c.name, args)
	}
	k, err := t.textOf(args[0])
	if err != nil {
		return aggregateCall{}, err
	}
	x, err := t.toJSON(args[1])
	if err != nil {
		return aggregateCall{}, err
	}
	typ := sqltype.JSON
	if c.name == "jsonb_object_agg" {
		typ = sqltype.JSONB
	}
	return aggregateCall{name: "pg_" + c.name, args: []string{k.sql, x.sql}, typ: typ}, nil
}

func aggregateDeviation(t *translator, c *callExpr, args []value) (aggregateCall, error) {
	if err := t.arity(c, args, 1); err != nil {
		return aggregateCall{}, err
	}
	x := args[0]
	if c.over != nil {
		return aggregateCall{}, t.fail(c.at(), stateUnsupported, "%s over a window is not supported", c.name)
	}
	name := map[string]string{"stddev": "stddev_samp", "variance": "var_samp"}[c.name]
	if name == "" {
		name = c.name
	}
	switch {
	case isFloat(x.typ), x.open():
		return aggregateCall{name: "pg_float8_" + name, args: []string{x.sql}, typ: sqltype.Float8}, nil
	case isNumber(x.typ):
		return aggregateCall{name: "pg_numeric_" + name, args: []string{x.sql}, typ: sqltype.Numeric}, nil
	}
	return aggregateCall{}, t.noFunction(c.at(), c.name, args)
}

func aggregateBits(t *translator, c *callExpr, args []value) (aggregateCall, error) {
	if err := t.arity(c, args, 1); err != nil {
		return aggregateCall{}, err
	}
	if !isInteger(args[0].typ) || c.over != nil {
		return aggregateCall{}, t.noFunction(c.at(), c.name, args)
	}
	return aggregateCall{name: "pg_" + c.name, args: []string{args[0].sql}, typ: args[0].typ}, nil
}

func aggregateTwo(t *translator, c *callExpr, args []value) (aggregateCall, error) {
	return aggregateCall{}, t.fail(c.at(), stateUnsupported, "%s is not supported: compute it from sum() and count()", c.name)
}

func aggregatePercentile(t *translator, c *callExpr, _ []value) (aggregateCall, error) {
	return aggregateCall{}, t.fail(c.at(), stateUnsupported, "%s is not supported: order the rows and take one by LIMIT and OFFSET", c.name)
}
