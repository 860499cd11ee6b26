package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// operationNames are the ends of the functions that calculate.
var operationNames = map[string]string{"+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod", "^": "pow"}

// arithmetic translates + - * / % ^.
func (t *translator) arithmetic(at int, op string, x, y value) (value, error) {
	if v, ok, err := t.dates(at, op, x, y); ok || err != nil {
		return v, err
	}
	if v, ok, err := t.jsonMinus(op, x, y); ok || err != nil {
		return v, err
	}
	var err error
	switch {
	case x.unknown() && y.unknown():
		return value{}, t.fail(at, stateAmbiguousCall, "operator is not unique: unknown %s unknown: cast one side", op)
	case x.unknown():
		x, err = t.resolve(x, base(y.typ))
	case y.unknown():
		y, err = t.resolve(y, base(x.typ))
	}
	if err != nil {
		return x, err
	}
	notNull := x.notNull && y.notNull
	if x.open() || y.open() || x.loosely() && !isNumber(x.typ) || y.loosely() && !isNumber(y.typ) {
		return value{sql: "pg_any_" + operationNames[op] + "(" + x.sql + ", " + y.sql + ")", atom: true}, nil
	}
	if !isNumber(x.typ) || !isNumber(y.typ) {
		return value{}, t.noOperator(at, op, x, y)
	}
	if op == "^" {
		return t.power(x, y)
	}
	wide := widest(x.typ, y.typ)
	if isFloat(wide) && (x.typ.OID != wide.OID || y.typ.OID != wide.OID) {
		wide = sqltype.Float8 // float4 with any other number
	}
	switch {
	case isFloat(wide):
		if op == "%" {
			return value{}, t.noOperator(at, op, x, y)
		}
		return value{typ: wide, sql: "pg_" + wide.Name() + "_" + operationNames[op] + "(" + x.sql + ", " + y.sql + ")", atom: true, notNull: notNull}, nil
	case wide.OID == sqltype.Numeric.OID:
		return value{typ: numericResult(op, x.typ, y.typ), sql: "pg_numeric_" + operationNames[op] + "(" + x.sql + ", " + y.sql + ")", atom: true, notNull: notNull}, nil
	case (op == "/" || op == "%") && smallLiteral(y.sql):
		return value{typ: wide, sql: x.operand() + " " + op + " " + y.sql, notNull: notNull}, nil
	}
	return value{typ: base(wide), sql: "pg_" + base(wide).Name() + "_" + operationNames[op] + "(" + x.sql + ", " + y.sql + ")", atom: true, notNull: notNull}, nil
}

// smallLiteral reports whether a text is a positive integer, by which a
// division can neither fail nor overflow.
func smallLiteral(sql string) bool {
	return len(sql) < 10 && strings.Trim(sql, "0123456789") == "" && sql != "" && sql != "0"
}

// numericResult is the type of a numeric result, with the digits that it
// shows where the types tell.
func numericResult(op string, x, y sqltype.Type) sqltype.Type {
	sx, okX := scaleOf(x)
	sy, okY := scaleOf(y)
	if !okX || !okY {
		return sqltype.Numeric
	}
	switch op {
	case "+", "-", "%":
		return scaled(max(sx, sy))
	case "*":
		return scaled(sx + sy)
	}
	return sqltype.Numeric
}

// power translates ^, which is numeric only when both sides are and one is no
// integer.
func (t *translator) power(x, y value) (value, error) {
	typ := sqltype.Float8
	name := "pg_float8_pow"
	if x.typ.OID == sqltype.Numeric.OID && !isFloat(y.typ) || y.typ.OID == sqltype.Numeric.OID && !isFloat(x.typ) {
		typ, name = sqltype.Numeric, "pg_numeric_pow"
	}
	return value{typ: typ, sql: name + "(" + x.sql + ", " + y.sql + ")", atom: true, notNull: x.notNull && y.notNull}, nil
}

// dateRule is an operation of dates and times.
type dateRule struct {
	op     string
	x, y   uint32
	result sqltype.Type
	call   string
	swap   bool // the call takes the right side first
}

var dateRules = func() []dateRule {
	d, ts, tz := sqltype.Date, sqltype.Timestamp, sqltype.Timestamptz
	iv, tm, i4, f8 := sqltype.Interval, sqltype.Time, sqltype.Int4, sqltype.Float8
	return []dateRule{
		{"+", d.OID, i4.OID, d, "pg_date_add", false}, {"+", i4.OID, d.OID, d, "pg_date_add", true},
		{"-", d.OID, i4.OID, d, "pg_date_sub", false}, {"-", d.OID, d.OID, i4, "pg_date_diff", false},
		{"+", d.OID, iv.OID, ts, "pg_timestamp_add", false}, {"+", iv.OID, d.OID, ts, "pg_timestamp_add", true},
		{"-", d.OID, iv.OID, ts, "pg_timestamp_sub", false},
		{"+", ts.OID, iv.OID, ts, "pg_timestamp_add", false}, {"+", iv.OID, ts.OID, ts, "pg_timestamp_add", true},
		{"-", ts.OID, iv.OID, ts, "pg_timestamp_sub", false}, {"-", ts.OID, ts.OID, iv, "pg_timestamp_diff", false},
		{"+", tz.OID, iv.OID, tz, "pg_timestamptz_add", false}, {"+", iv.OID, tz.OID, tz, "pg_timestamptz_add", true},
		{"-", tz.OID, iv.OID, tz, "pg_timestamptz_sub", false}, {"-", tz.OID, tz.OID, iv, "pg_timestamp_diff", false},
		{"-", d.OID, ts.OID, iv, "pg_timestamp_diff", false}, {"-", ts.OID, d.OID, iv, "pg_timestamp_diff", false},
		{"-", d.OID, tz.OID, iv, "pg_timestamp_diff", false}, {"-", tz.OID, d.OID, iv, "pg_timestamp_diff", false},
		{"-", ts.OID, tz.OID, iv, "pg_timestamp_diff", false}, {"-", tz.OID, ts.OID, iv, "pg_timestamp_diff", false},
		{"+", d.OID, tm.OID, ts, "pg_date_time", false}, {"+", tm.OID, d.OID, ts, "pg_date_time", true},
		{"+", tm.OID, iv.OID, tm, "pg_time_add", false}, {"+", iv.OID, tm.OID, tm, "pg_time_add", true},
		{"-", tm.OID, iv.OID, tm, "pg_time_sub", false}, {"-", tm.OID, tm.OID, iv, "pg_time_diff", false},
		{"+", iv.OID, iv.OID, iv, "pg_interval_add", false}, {"-", iv.OID, iv.OID, iv, "pg_interval_sub", false},
		{"*", iv.OID, f8.OID, iv, "pg_interval_mul", false}, {"*", f8.OID, iv.OID, iv, "pg_interval_mul", true},
		{"/", iv.OID, f8.OID, iv, "pg_interval_div", false},
	}
}()

// dates translates the arithmetic of dates and times.
func (t *translator) dates(at int, op string, x, y value) (value, bool, error) {
	if !isTime(x.typ) && !isTime(y.typ) {
		return value{}, false, nil
	}
	var err error
	switch {
	case x.unknown():
		x, err = t.resolve(x, besideTime(op, y.typ))
	case y.unknown():
		y, err = t.resolve(y, besideTime(op, x.typ))
	}
	if err != nil || x.open() || y.open() {
		if err == nil {
			err = t.fail(at, stateUnsupported, "the type of one side of %s is not known here: cast it", op)
		}
		return value{}, true, err
	}
	for _, r := range dateRules {
		if r.op != op || !fits(x.typ, r.x) || !fits(y.typ, r.y) {
			continue
		}
		if r.swap {
			x, y = y, x
		}
		return value{typ: r.result, sql: r.call + "(" + x.sql + ", " + y.sql + ")", atom: true, notNull: x.notNull && y.notNull}, true, nil
	}
	return value{}, true, t.noOperator(at, op, x, y)
}

func isTime(t sqltype.Type) bool {
	return rankOf(t) > 10 || t.OID == sqltype.Interval.OID || t.OID == sqltype.Time.OID
}

// fits reports whether a type can stand where a rule has one: any number for
// float8, any integer for int4.
func fits(t sqltype.Type, oid uint32) bool {
	switch oid {
	case sqltype.Float8.OID:
		return isNumber(t)
	case sqltype.Int4.OID:
		return t.OID == sqltype.Int4.OID || t.OID == sqltype.Int2.OID
	}
	return t.OID == oid
}

// besideTime is the type of an unknown value beside a date or time: what
// PostgreSQL prefers.
func besideTime(op string, beside sqltype.Type) sqltype.Type {
	switch {
	case op == "*" || op == "/":
		return sqltype.Float8
	case op == "+" && beside.OID == sqltype.Date.OID:
		return sqltype.Int4
	case op == "+" && beside.OID != sqltype.Interval.OID:
		return sqltype.Interval
	}
	return base(beside)
}
