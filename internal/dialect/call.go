package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// call translates a function call.
func (t *translator) call(c *callExpr) (value, error) {
	switch c.schema {
	case "", "pg_catalog", "public":
	case "information_schema":
		if c.name != "_pg_expandarray" {
			break
		}
		fallthrough
	default:
		return value{}, t.fail(c.at(), stateNoFunction, "function %s.%s does not exist", c.schema, c.name)
	}
	if c.variadic {
		return value{}, t.fail(c.at(), stateUnsupported, "VARIADIC is not supported: pass the arguments one by one")
	}
	if a, ok := aggregates[c.name]; ok {
		return t.aggregate(c, a)
	}
	if w, ok := windowFunctions[c.name]; ok {
		return t.windowCall(c, w)
	}
	if err := t.plainCall(c); err != nil {
		return value{}, err
	}
	if f := specialCalls[c.name]; f != nil {
		v, err := f(t, c)
		if v.name == "" {
			v.name = c.name
		}
		v.at = c.at()
		return v, err
	}
	args, err := t.values(c.args)
	if err != nil {
		return value{}, err
	}
	v, err := t.callFunction(c.at(), c.name, args)
	if c.name == "extract" && len(c.args) > 0 {
		if field, ok := c.args[0].(*literal); ok && (strings.EqualFold(field.text, "second") || strings.EqualFold(field.text, "epoch")) {
			v.typ = scaled(microDigits)
		}
	}
	v.name, v.at = resultName(c.name), c.at()
	return v, err
}

// microDigits are the digits of a second that times keep.
const microDigits = 6

// plainCall refuses what only aggregates and window functions take.
func (t *translator) plainCall(c *callExpr) error {
	switch {
	case c.over != nil:
		return t.fail(c.at(), stateObjectKind, "OVER specified, but %s is not a window function nor an aggregate function", c.name)
	case c.within != nil:
		return t.fail(c.at(), stateUnsupported, "%s WITHIN GROUP is not supported: order the rows and take one by LIMIT and OFFSET", c.name)
	case c.star || c.distinct || c.orderBy != nil || c.filter != nil:
		return t.fail(c.at(), stateObjectKind, "DISTINCT, ORDER BY, FILTER or * specified, but %s is not an aggregate function", c.name)
	}
	return nil
}

// resultName is what PostgreSQL names the result of a function that its
// grammar has another name for.
func resultName(name string) string {
	if name == "substring_similar" {
		return "substring"
	}
	return name
}

func (t *translator) values(args []expr) ([]value, error) {
	values := make([]value, len(args))
	for i, x := range args {
		var err error
		if values[i], err = t.scalar(x); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// callFunction finds the function that takes the arguments, and writes its
// call.
func (t *translator) callFunction(at int, name string, args []value) (value, error) {
	overloads := functionTable()[name]
	if overloads == nil {
		return t.catalogCall(at, name, args)
	}
	best, bestScore, ties := (*function)(nil), -1, 0
	for i := range overloads {
		f := &overloads[i]
		score, ok := f.score(args)
		if !ok {
			continue
		}
		switch {
		case score > bestScore:
			best, bestScore, ties = f, score, 0
		case score == bestScore && !f.sameShape(best):
			ties++
		}
	}
	if best == nil {
		return value{}, t.noFunction(at, name, args)
	}
	if ties > 0 && bestScore >= 0 && allUnknown(args) && best.ambiguous {
		return value{}, t.fail(at, stateAmbiguousCall, "function %s is not unique: cast its arguments", name)
	}
	return best.write(t, at, args)
}

func allUnknown(args []value) bool {
	for _, a := range args {
		if !a.unknown() {
			return false
		}
	}
	return len(args) > 0
}

// noFunction is the error for a function that is not there for such arguments.
func (t *translator) noFunction(at int, name string, args []value) error {
	names := make([]string, len(args))
	for i, a := range args {
		names[i] = base(a.typ).SQL()
		if a.open() {
			names[i] = "unknown"
		}
	}
	if advice := refusedFunctions[name]; advice != "" {
		return t.fail(at, stateUnsupported, "function %s is not supported: %s", name, advice)
	}
	return t.fail(at, stateNoFunction, "function %s(%s) does not exist, or is not supported: check the name, casts may help", name, strings.Join(names, ", "))
}

// refusedFunctions are those that are known and not offered.
var refusedFunctions = map[string]string{
	"md5": "MD5 is not allowed here (FIPS 140): use encode(sha256(x), 'hex')", "pg_sleep": "wait in the client",
	"dblink": "a tenant sees its own tables only", "lo_import": "use bytea", "pg_read_file": "the server's files are out of reach",
	"pg_notify": "read the event streams", "to_tsvector": "search with ILIKE or regular expressions",
	"to_tsquery": "search with ILIKE or regular expressions", "crypt": "hash passwords in the client",
	"gen_salt": "hash passwords in the client", "digest": "use sha256(), sha384() or sha512()",
	"setseed": "the generator cannot be seeded", "pg_advisory_lock": "transactions of a tenant's writers run one after another",
	"pg_try_advisory_lock": "transactions of a tenant's writers run one after another", "txid_current": "there are no transaction numbers",
	"query_to_xml": "XML is not supported", "xmlagg": "XML is not supported",
	"json_to_record": "use ->> for each column", "json_populate_record": "use ->> for each column",
	"jsonb_to_record": "use ->> for each column", "jsonb_populate_record": "use ->> for each column",
	"json_to_recordset": "use jsonb_array_elements and ->>", "jsonb_to_recordset": "use jsonb_array_elements and ->>",
	"regexp_split_to_table": "use unnest(regexp_split_to_array(…))", "jsonb_path_query": "use -> and #>>",
	"mode": "use count() with ORDER BY and LIMIT",
}

// score says how well arguments fit: more is better.
func (f *function) score(args []value) (int, bool) {
	if len(args) < f.required || len(args) > len(f.params) && !f.variadic {
		return 0, false
	}
	total := 0
	for i, a := range args {
		p := f.param(i)
		switch {
		case p.any:
			total++
		case a.open():
		case a.unknown():
			if isString(p.typ) {
				total += 2
			} else if p.typ.OID == sqltype.Float8.OID || p.typ.OID == sqltype.Timestamptz.OID {
				total++
			}
		case a.typ.OID == p.typ.OID:
			total += 4
		case isString(a.typ) && isString(p.typ):
			total += 3
		case implicitly(a.typ, p.typ):
			total++
			if p.typ.OID == sqltype.Float8.OID || p.typ.OID == sqltype.Timestamptz.OID {
				total++ // preferred types
			}
		case p.array && isArray(a.typ):
		default:
			return 0, false
		}
	}
	return total, true
}

func (f *function) sameShape(g *function) bool { return f.template == g.template }

// param is the parameter that takes an argument.
func (f *function) param(i int) parameter {
	if i >= len(f.params) {
		return f.params[len(f.params)-1]
	}
	return f.params[i]
}

// write writes a call. In a template $1 is the first argument, $* all of
// them, $0 the first one's type as an OID.
func (f *function) write(t *translator, at int, args []value) (value, error) {
	texts := make([]string, len(args))
	notNull := true
	for i, a := range args {
		p := f.param(i)
		var err error
		switch {
		case p.text:
			if a.typ.OID == sqltype.Bool.OID && printing(f.template) {
				a = value{typ: sqltype.Text, sql: "iif(" + a.sql + ", 't', iif(" + a.sql + " IS NULL, NULL, 'f'))", atom: true, notNull: a.notNull, at: a.at}
				break
			}
			a, err = t.textOf(a)
		case p.any:
			a, err = t.asText(a)
		case p.array:
			if a.unknown() {
				a, err = t.resolve(a, sqltype.TextArray)
			}
		default:
			a, err = t.convert(a, p.typ, implicit, "")
		}
		if err != nil {
			return value{}, err
		}
		args[i] = a
		texts[i] = a.sql
		notNull = notNull && a.notNull
	}
	v := value{typ: f.result, sql: fill(f.template, texts, args), atom: true, notNull: notNull && f.strict, at: at}
	if f.resultOf >= 0 && f.resultOf < len(args) {
		v.typ = base(args[f.resultOf].typ)
		if f.element {
			v.typ = elementOf(v.typ)
		}
	}
	return v, nil
}

// printing says that a function writes its arguments as results are written,
// which for truth values is not what a cast to text makes.
func printing(template string) bool {
	return strings.HasPrefix(template, "pg_concat") || strings.HasPrefix(template, "pg_format")
}

// fill puts arguments into a template.
func fill(template string, texts []string, args []value) string {
	var b strings.Builder
	for i := 0; i < len(template); i++ {
		if template[i] != '$' || i+1 == len(template) {
			b.WriteByte(template[i])
			continue
		}
		i++
		switch c := template[i]; {
		case c == '*':
			b.WriteString(strings.Join(texts, ", "))
		case c == '0':
			if len(args) > 0 {
				b.WriteString(itoa(int(args[0].typ.OID)))
			}
		case c == 'e':
			b.WriteString(itoa(int(elementOf(args[0].typ).OID)))
		case isDigit(c) && int(c-'1') < len(texts):
			b.WriteString(texts[c-'1'])
		}
	}
	return b.String()
}
