package dialect

import (
	"strings"

	"kimberlite/internal/pgcatalog"
	"kimberlite/internal/sqltype"
	"sync"
)

// serverVersion is what version() says: clients read the number.
const serverVersion = "PostgreSQL 15.0 (Kimberlite)"

// specialCalls are the functions that need more than a template; init breaks
// the cycle to expr.
var specialCalls map[string]func(t *translator, c *callExpr) (value, error)

func init() {
	specialCalls = map[string]func(t *translator, c *callExpr) (value, error){
		"coalesce": callCoalesce, "nullif": callNullif, "greatest": callExtreme, "least": callExtreme,
		"current_date": callClock, "current_timestamp": callClock, "localtimestamp": callClock,
		"current_time": callClock, "localtime": callClock,
		"current_user": callIdentity, "session_user": callIdentity, "user": callIdentity, "current_role": callIdentity,
		"current_catalog": callIdentity, "current_database": callIdentity, "current_schema": callIdentity, "version": callIdentity,
		"current_schemas": callSchemas, "pg_backend_pid": callBackend, "current_setting": callSetting, "set_config": callSetting,
		"to_json": callToJSON, "to_jsonb": callToJSON, "row_to_json": callToJSON, "array_to_json": callToJSON,
		"json_build_object": callBuild, "jsonb_build_object": callBuild, "json_build_array": callBuild, "jsonb_build_array": callBuild,
		"round": callRound, "array": nil,
	}
	delete(specialCalls, "array")
}

func callCoalesce(t *translator, c *callExpr) (value, error) {
	args, err := t.values(c.args)
	if err != nil {
		return value{}, err
	}
	if len(args) == 0 {
		return value{}, t.fail(c.at(), stateSyntax, "coalesce needs an argument")
	}
	typ, err := t.unify(args, "COALESCE")
	if err != nil {
		return value{}, err
	}
	v := value{typ: typ, sql: args[0].sql, atom: args[0].atom, notNull: args[0].notNull, at: c.at()}
	if len(args) == 1 {
		return v, nil
	}
	texts := make([]string, len(args))
	for i := range args {
		texts[i] = args[i].sql
		v.notNull = v.notNull || args[i].notNull
	}
	v.sql, v.atom = "coalesce("+strings.Join(texts, ", ")+")", true
	return v, nil
}

func callNullif(t *translator, c *callExpr) (value, error) {
	args, err := t.values(c.args)
	if err != nil {
		return value{}, err
	}
	if len(args) != 2 {
		return value{}, t.fail(c.at(), stateSyntax, "nullif takes two arguments")
	}
	x, y, err := t.comparable(c.at(), "=", args[0], args[1])
	if err != nil {
		return value{}, err
	}
	first := args[0]
	if first.unknown() {
		first = x
	}
	sql := "nullif(" + x.sql + ", " + y.sql + ")"
	if x.sql != first.sql {
		sql = "CASE WHEN " + x.operand() + " = " + y.operand() + " THEN NULL ELSE " + first.sql + " END"
	}
	return value{typ: first.typ, sql: sql, atom: true}, nil
}

// callExtreme translates GREATEST and LEAST, which pass over NULL.
func callExtreme(t *translator, c *callExpr) (value, error) {
	args, err := t.values(c.args)
	if err != nil {
		return value{}, err
	}
	if len(args) == 0 {
		return value{}, t.fail(c.at(), stateSyntax, "%s needs an argument", c.name)
	}
	typ, err := t.unify(args, strings.ToUpper(c.name))
	if err != nil {
		return value{}, err
	}
	if isJSON(typ) || isArray(typ) {
		return value{}, t.fail(c.at(), stateUnsupported, "the order of values of type %s is not supported", typ.SQL())
	}
	notNull := true
	texts := make([]string, len(args))
	for i := range args {
		texts[i] = args[i].sql
		notNull = notNull && args[i].notNull
	}
	name := map[string]string{"greatest": "max", "least": "min"}[c.name]
	if !notNull || len(args) == 1 || typ.OID == sqltype.Interval.OID {
		name = "pg_" + c.name
		if typ.OID == sqltype.Interval.OID {
			name = "pg_interval_" + c.name
		}
	}
	return value{typ: typ, sql: name + "(" + strings.Join(texts, ", ") + ")", atom: true, notNull: notNull}, nil
}

// callClock translates CURRENT_TIMESTAMP and its kin.
func callClock(t *translator, c *callExpr) (value, error) {
	sql, typ := "pg_now()", sqltype.Timestamptz
	switch c.name {
	case "current_date":
		sql, typ = "substr(pg_now(), 1, 10)", sqltype.Date
	case "localtimestamp":
		sql, typ = "substr(pg_now(), 1, 26)", sqltype.Timestamp
	case "localtime":
		sql, typ = "substr(pg_now(), 12, 15)", sqltype.Time
	case "current_time":
		return value{}, t.fail(c.at(), stateUnsupported, "CURRENT_TIME has type time with time zone, which is not supported: use localtime or current_timestamp")
	}
	v := atomOf(typ, sql)
	v.notNull = true
	if len(c.args) == 1 {
		l, ok := c.args[0].(*literal)
		if !ok || len(l.text) != 1 {
			return v, t.fail(c.at(), stateBadParameter, "the precision of %s is from 0 to 6", c.name)
		}
		precise := typ.WithMod(int32(min(l.text[0]-'0', 6)))
		v = t.castCall(v, typ, precise)
	}
	return v, nil
}

// callIdentity translates what the session is.
func callIdentity(t *translator, c *callExpr) (value, error) {
	if len(c.args) > 0 {
		return value{}, t.fail(c.at(), stateNoFunction, "function %s takes no arguments", c.name)
	}
	text, typ := t.env.User, sqltype.Name
	switch c.name {
	case "current_catalog", "current_database":
		text = t.env.Database
	case "current_schema":
		text = "public"
	case "version":
		text, typ = serverVersion, sqltype.Text
		if t.env.Setting != nil {
			if v, ok := t.env.Setting("server_version"); ok {
				text = "PostgreSQL " + v + " (Kimberlite)"
			}
		}
	}
	v := atomOf(typ, quoteText(text))
	v.notNull = true
	return v, nil
}

func callSchemas(t *translator, c *callExpr) (value, error) {
	args, err := t.values(c.args)
	if err != nil || len(args) != 1 {
		return value{}, t.noFunction(c.at(), c.name, args)
	}
	if args[0], err = t.resolve(args[0], sqltype.Bool); err != nil {
		return value{}, err
	}
	sql := "CASE WHEN " + args[0].sql + ` THEN '["pg_catalog","public"]' ELSE '["public"]' END`
	switch args[0].sql {
	case "0":
		sql = `'["public"]'`
	case "1":
		sql = `'["pg_catalog","public"]'`
	}
	return atomOf(sqltype.NameArray, sql), nil
}

// callBackend translates pg_backend_pid, a constant of the session.
func callBackend(t *translator, c *callExpr) (value, error) {
	if len(c.args) != 0 {
		return value{}, t.noFunction(c.at(), c.name, make([]value, len(c.args)))
	}
	out := atomOf(sqltype.Int4, itoa(int(t.env.Backend)))
	out.notNull = true
	return out, nil
}

// callSetting translates current_setting and set_config with literal names.
func callSetting(t *translator, c *callExpr) (value, error) {
	if c.name == "set_config" {
		return callSetConfig(t, c)
	}
	if len(c.args) < 1 || len(c.args) > 2 {
		return value{}, t.noFunction(c.at(), c.name, make([]value, len(c.args)))
	}
	name, ok := c.args[0].(*literal)
	if !ok || name.kind != litString {
		return value{}, t.fail(c.at(), stateUnsupported, "current_setting takes a literal name here: use SHOW")
	}
	if t.env.Setting != nil {
		if v, ok := t.env.Setting(fold(name.text)); ok {
			out := atomOf(sqltype.Text, quoteText(v))
			out.notNull = true
			return out, nil
		}
	}
	if len(c.args) == 2 {
		if l, ok := c.args[1].(*literal); ok && (l.kind == litTrue || l.text == "t" || l.text == "true") {
			return atomOf(sqltype.Text, "NULL"), nil
		}
	}
	return value{}, t.fail(name.at(), stateNoObject, "unrecognized configuration parameter %q", name.text)
}

// callSetConfig refuses set_config inside of a larger query: alone it is the
// session's to answer.
func callSetConfig(t *translator, c *callExpr) (value, error) {
	if len(c.args) != 3 {
		return value{}, t.noFunction(c.at(), c.name, make([]value, len(c.args)))
	}
	return value{}, t.fail(c.at(), stateUnsupported, "set_config is supported only as SELECT set_config(…) with literals or parameters: use that, or SET")
}

func callToJSON(t *translator, c *callExpr) (value, error) {
	if len(c.args) != 1 {
		return value{}, t.noFunction(c.at(), c.name, make([]value, len(c.args)))
	}
	v, err := t.expr(c.args[0])
	if err != nil {
		return v, err
	}
	if v, err = t.toJSON(v); err != nil {
		return v, err
	}
	if c.name == "to_jsonb" {
		return atomOf(sqltype.JSONB, "pg_cast_jsonb("+v.sql+", 114, -1)"), nil
	}
	return atomOf(sqltype.JSON, v.sql), nil
}

// callBuild translates json_build_object and its kin.
func callBuild(t *translator, c *callExpr) (value, error) {
	object := strings.HasSuffix(c.name, "object")
	if object && len(c.args)%2 != 0 {
		return value{}, t.fail(c.at(), stateBadParameter, "argument list must have even number of elements")
	}
	texts := make([]string, len(c.args))
	for i, x := range c.args {
		v, err := t.expr(x)
		if err != nil {
			return v, err
		}
		if object && i%2 == 0 {
			if v, err = t.single(v); err == nil {
				v, err = t.textOf(v)
			}
		} else {
			v, err = t.toJSON(v)
		}
		if err != nil {
			return v, err
		}
		texts[i] = v.sql
	}
	name, typ := "pg_"+c.name, sqltype.JSON
	if strings.HasPrefix(c.name, "jsonb") {
		typ = sqltype.JSONB
	}
	return atomOf(typ, name+"("+strings.Join(texts, ", ")+")"), nil
}

// callRound translates round, whose scale shows in the result when it is a
// literal.
func callRound(t *translator, c *callExpr) (value, error) {
	args, err := t.values(c.args)
	if err != nil {
		return value{}, err
	}
	switch {
	case len(args) == 1 && (isFloat(args[0].typ) || args[0].unknown() || isInteger(args[0].typ)):
		x, err := t.convert(args[0], sqltype.Float8, implicit, "")
		return value{typ: sqltype.Float8, sql: "pg_float8_round(" + x.sql + ")", atom: true, notNull: x.notNull}, err
	case len(args) == 1 && (args[0].typ.OID == sqltype.Numeric.OID || args[0].open()):
		return value{typ: scaled(0), sql: "pg_numeric_round(" + args[0].sql + ", 0)", atom: true, notNull: args[0].notNull}, nil
	case len(args) == 2 && !isFloat(args[0].typ):
		x, err := t.convert(args[0], sqltype.Numeric, implicit, "")
		if err != nil {
			return x, err
		}
		n, err := t.convert(args[1], sqltype.Int4, implicit, "")
		if err != nil {
			return n, err
		}
		typ := sqltype.Numeric
		if strings.Trim(n.sql, "0123456789") == "" && len(n.sql) < 3 {
			scale := 0
			for _, d := range n.sql {
				scale = scale*10 + int(d-'0')
			}
			typ = scaled(scale)
		}
		return value{typ: typ, sql: "pg_numeric_round(" + x.sql + ", " + n.sql + ")", atom: true, notNull: x.notNull && n.notNull}, nil
	}
	return value{}, t.noFunction(c.at(), c.name, args)
}

// catalogFunctions are the functions of pgcatalog by name.
var catalogFunctions = sync.OnceValue(func() map[string][]pgcatalog.Function {
	m := map[string][]pgcatalog.Function{}
	for _, f := range pgcatalog.Functions() {
		m[f.Name] = append(m[f.Name], f)
	}
	return m
})

// catalogCall writes the call of a function that describes the schema.
func (t *translator) catalogCall(at int, name string, args []value) (value, error) {
	for _, f := range catalogFunctions()[name] {
		if f.Args != len(args) && f.Args >= 0 {
			continue
		}
		texts := make([]string, len(args))
		for i, a := range args {
			a, err := t.asText(a)
			if err != nil {
				return a, err
			}
			texts[i] = a.sql
		}
		t.catalog = true
		return value{typ: f.Result, sql: quoteName(name) + "(" + strings.Join(texts, ", ") + ")", atom: true}, nil
	}
	return value{}, t.noFunction(at, name, args)
}
