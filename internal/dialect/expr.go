package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// expr translates an expression.
func (t *translator) expr(e expr) (value, error) {
	if t.depth++; t.depth > maxDepth {
		return value{}, tooComplex(t.text, e.at(), "the statement nests deeper than %d levels", maxDepth)
	}
	defer func() { t.depth-- }()
	mark := 0
	s := t.scope
	if s != nil {
		mark = len(s.refs)
	}
	v, err := t.dispatch(e)
	if err == nil && s != nil && len(s.groups) > 0 && len(s.refs) > mark && s.groups[v.sql] {
		s.refs = s.refs[:mark]
	}
	return v, err
}

func (t *translator) dispatch(e expr) (value, error) {
	switch e := e.(type) {
	case *literal:
		return t.literal(e)
	case *param:
		return t.param(e)
	case *columnRef:
		if e.star {
			return value{}, t.fail(e.at(), stateSyntax, "* is not allowed here")
		}
		return t.resolveColumn(e)
	case *unaryExpr:
		return t.unary(e)
	case *binaryExpr:
		if e.op == "and" || e.op == "or" {
			return t.logic(e)
		}
		return t.binary(e)
	case *castExpr:
		return t.cast(e)
	case *callExpr:
		return t.call(e)
	case *caseExpr:
		return t.caseExpr(e)
	case *isExpr:
		return t.is(e)
	case *inExpr:
		return t.in(e)
	case *betweenExpr:
		return t.between(e)
	case *likeExpr:
		return t.like(e)
	case *quantified:
		return t.quantified(e)
	case *subquery:
		return t.subquery(e)
	case *arrayExpr:
		return t.array(e)
	case *rowExpr:
		return t.rowValue(e)
	case *collateExpr:
		return t.collate(e)
	case *subscript:
		return t.subscript(e)
	case *defaultExpr:
		return value{}, t.fail(e.at(), stateSyntax, "DEFAULT is not allowed in this context")
	}
	return value{}, t.fail(e.at(), stateUnsupported, "this expression is not supported")
}

// scalar translates an expression that must be one value, no row or list.
func (t *translator) scalar(e expr) (value, error) {
	v, err := t.expr(e)
	if err != nil {
		return v, err
	}
	return t.single(v)
}

func (t *translator) single(v value) (value, error) {
	if v.row {
		return value{}, t.fail(v.at, stateUnsupported, "a row as a value is not supported here: name its columns")
	}
	return t.materialise(v)
}

// condition translates an expression that must be boolean.
func (t *translator) condition(e expr, what string) (value, error) {
	v, err := t.scalar(e)
	if err != nil {
		return v, err
	}
	if v, err = t.resolve(v, sqltype.Bool); err != nil {
		return v, err
	}
	if v.known() && v.typ.OID != sqltype.Bool.OID {
		return v, t.fail(e.at(), stateMismatch, "argument of %s must be type boolean, not type %s", what, base(v.typ).SQL())
	}
	return v, nil
}

func (t *translator) literal(e *literal) (value, error) {
	v := value{name: "?column?", atom: true, notNull: true, at: e.at()}
	switch e.kind {
	case litNull:
		v.typ, v.sql, v.leaf, v.notNull = sqltype.Unknown, "NULL", e, false
	case litTrue, litFalse:
		v.typ, v.sql = sqltype.Bool, "1"
		if e.kind == litFalse {
			v.sql = "0"
		}
	case litString:
		v.typ, v.sql, v.leaf = sqltype.Unknown, quoteText(e.text), e
	case litInteger:
		v.typ, v.sql = integerType(e.text), e.text
		if v.typ.OID == sqltype.Numeric.OID {
			return t.numericLiteral(e, v)
		}
		v.sql = strings.TrimLeft(strings.TrimPrefix(e.text, "-"), "0")
		if v.sql == "" {
			v.sql = "0"
		}
		if e.text[0] == '-' {
			v.sql, v.atom = "-"+v.sql, false
		}
	case litDecimal:
		return t.numericLiteral(e, v)
	}
	return v, nil
}

// integerType is the smallest type from int4 on that holds an integer.
func integerType(text string) sqltype.Type {
	for _, typ := range []sqltype.Type{sqltype.Int4, sqltype.Int8} {
		if _, err := typ.Input(text); err == nil {
			return typ
		}
	}
	return sqltype.Numeric
}

func (t *translator) numericLiteral(e *literal, v value) (value, error) {
	stored, err := sqltype.Numeric.Input(e.text)
	if err != nil {
		// A number beyond the digits of numeric is still one of float8.
		return value{}, placed(err, t.text, e.at())
	}
	v.typ, v.sql = sqltype.Numeric, literalOf(stored)
	v.atom = v.sql[0] != '-'
	mantissa, _, exponent := strings.Cut(strings.ToLower(e.text), "e")
	if _, fraction, ok := strings.Cut(mantissa, "."); ok && !exponent {
		v.typ = scaled(len(fraction))
	}
	return v, nil
}

// floatLiteral is a number that is cast to a float, which may have more digits
// than numeric keeps.
func (t *translator) floatLiteral(e *literal, to sqltype.Type) (value, error) {
	stored, err := to.Input(e.text)
	if err != nil {
		return value{}, placed(err, t.text, e.at())
	}
	v := value{typ: to, sql: literalOf(stored), notNull: true, name: to.Name(), at: e.at()}
	v.atom = v.sql[0] != '-'
	return v, nil
}

func (t *translator) param(e *param) (value, error) {
	v := value{typ: sqltype.Unknown, sql: "?" + itoa(e.n), atom: true, leaf: e, name: "?column?", at: e.at()}
	for len(t.params) < e.n {
		t.params = append(t.params, sqltype.Type{})
	}
	if t.noParams != "" {
		return v, t.fail(e.at(), stateNoParameter, "there is no parameter $%d: %s cannot have parameters", e.n, t.noParams)
	}
	if p := t.params[e.n-1]; p.OID != 0 && p.OID != sqltype.Unknown.OID {
		v.typ, v.leaf = p, nil
	}
	return v, nil
}

func (t *translator) cast(e *castExpr) (value, error) {
	if e.to.serial != "" {
		return value{}, t.fail(e.to.at(), stateNoObject, "type %q does not exist", e.to.name)
	}
	if a, ok := e.x.(*arrayExpr); ok && len(a.elems) == 0 && isArray(e.to.typ) {
		v := atomOf(e.to.typ, "'[]'")
		v.name, v.notNull, v.at = "array", true, e.at()
		return v, nil
	}
	if number, ok := e.x.(*literal); ok && isFloat(e.to.typ) && (number.kind == litInteger || number.kind == litDecimal) {
		return t.floatLiteral(number, e.to.typ)
	}
	v, err := t.expr(e.x)
	if err != nil {
		return v, err
	}
	if v.row {
		return v, t.fail(e.at(), stateUnsupported, "a cast of a row is not supported")
	}
	name := v.name
	if name == "?column?" || name == "" || e.literal || namedByCast(e.x) {
		name = strings.TrimPrefix(e.to.typ.Name(), "_")
	}
	to := e.to.typ
	_, isParam := v.leaf.(*param)
	text, isText := v.leaf.(*literal)
	cuts := isText && text.kind == litString && isString(to) // where Input would refuse
	if cuts && to.Mod >= 0 {
		to = base(to)
	}
	if v, err = t.convert(v, to, explicit, ""); err != nil {
		return v, err
	}
	if (isParam || cuts) && e.to.typ.Mod >= 0 { // a parameter has no modifier
		v = t.castCall(v, base(e.to.typ), e.to.typ)
	}
	v.name, v.at, v.column = name, e.at(), nil
	return v, nil
}

// namedByCast says that a value has its name from a cast, which gives way to
// that of a cast around it.
func namedByCast(x expr) bool {
	c, ok := x.(*castExpr)
	if !ok {
		return false
	}
	switch c.x.(type) {
	case *literal, *param, *binaryExpr, *unaryExpr:
		return true
	}
	return c.literal || namedByCast(c.x)
}

// logic translates AND and OR. Long chains become a tree of little depth,
// since SQLite bounds the depth.
func (t *translator) logic(e *binaryExpr) (value, error) {
	operands, err := t.chain(e, e.op, nil)
	if err != nil {
		return value{}, err
	}
	texts := make([]string, len(operands))
	for i, v := range operands {
		texts[i] = v.operand()
		if e.op == "and" {
			texts[i] = v.sql
			if v.loose() {
				texts[i] = v.operand()
			}
		}
	}
	return value{typ: sqltype.Bool, sql: balanced(texts, " "+strings.ToUpper(e.op)+" "), name: "?column?", at: e.at()}, nil
}

// loose says that its text binds no tighter than AND.
func (v value) loose() bool {
	return !v.atom
}

// chain collects the operands of a chain of one operator.
func (t *translator) chain(e expr, op string, to []value) ([]value, error) {
	var operands []expr
	for {
		b, ok := e.(*binaryExpr)
		if !ok || b.op != op {
			break
		}
		operands = append(operands, b.y)
		e = b.x
	}
	operands = append(operands, e)
	for i := len(operands) - 1; i >= 0; i-- {
		v, err := t.condition(operands[i], strings.ToUpper(op))
		if err != nil {
			return nil, err
		}
		to = append(to, v)
	}
	return to, nil
}

// balanced joins texts by an operator.
func balanced(texts []string, op string) string {
	if len(texts) <= 16 {
		return strings.Join(texts, op)
	}
	half := len(texts) / 2
	return "(" + balanced(texts[:half], op) + ")" + op + "(" + balanced(texts[half:], op) + ")"
}

// rootOperators are the functions that prefix operators stand for.
var rootOperators = map[string]string{"|/": "sqrt", "||/": "cbrt"}

func (t *translator) unary(e *unaryExpr) (value, error) {
	if e.op == "not" {
		v, err := t.condition(e.x, "NOT")
		return value{typ: sqltype.Bool, sql: "NOT " + v.operand(), notNull: v.notNull, name: "?column?", at: e.at()}, err
	}
	v, err := t.scalar(e.x)
	if err != nil {
		return v, err
	}
	if name := rootOperators[e.op]; name != "" {
		if v, err = t.convert(v, sqltype.Float8, implicit, ""); err != nil {
			return v, err
		}
		v, err = t.callFunction(e.at(), name, []value{v})
		v.name = "?column?"
		return v, err
	}
	if v.unknown() {
		if v, err = t.resolve(v, sqltype.Float8); err != nil {
			return v, err
		}
	}
	out := value{typ: v.typ, notNull: v.notNull, name: "?column?", at: e.at()}
	if scale, ok := scaleOf(v.typ); ok && v.typ.OID == sqltype.Numeric.OID {
		out.typ = scaled(scale)
	}
	switch {
	case e.op == "+" && (isNumber(v.typ) || v.open()):
		out.sql, out.atom = v.sql, v.atom
		return out, nil
	case e.op == "-" && (isFloat(v.typ) || v.open() || v.typ.OID == sqltype.Numeric.OID):
		out.sql = "- " + v.operand()
		return out, nil
	case e.op == "-" && isInteger(v.typ):
		out.sql, out.atom = "pg_"+v.typ.Name()+"_sub(0, "+v.sql+")", true
		return out, nil
	case e.op == "-" && v.typ.OID == sqltype.Interval.OID:
		out.sql, out.atom = "pg_interval_mul("+v.sql+", -1)", true
		return out, nil
	case e.op == "~" && isInteger(v.typ):
		out.sql = "~ " + v.operand()
		return out, nil
	case e.op == "@" && isNumber(v.typ):
		out.sql, out.atom = "abs("+v.sql+")", true
		return out, nil
	}
	return out, t.noOperator(e.at(), e.op, value{}, v)
}

// noOperator is the error for an operator that its operands do not have.
func (t *translator) noOperator(at int, op string, x, y value) error {
	left := ""
	if x.sql != "" || x.list != nil {
		left = base(x.typ).SQL() + " "
	}
	return t.fail(at, stateNoFunction, "operator does not exist: %s%s %s: no operator matches these types, casts may help", left, op, base(y.typ).SQL())
}
