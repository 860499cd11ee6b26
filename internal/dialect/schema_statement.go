package dialect

import (
	"strings"

	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// schemaStatement translates the statements that change the schema, and
// refuses those that are not offered.
func (t *translator) schemaStatement(p *parser, first token) (*Statement, error) {
	switch first.value {
	case "create":
		p.next()
		return t.create(p)
	case "drop":
		p.next()
		return t.drop(p)
	case "alter":
		p.next()
		return t.alter(p)
	case "truncate":
		return t.truncate(p)
	case "comment":
		return nil, p.unsupported(first.start, "COMMENT ON is not supported: keep descriptions in a table of your own")
	}
	if advice, ok := refusedStatements[first.value]; ok {
		return nil, p.unsupported(first.start, "%s is not supported: %s", strings.ToUpper(first.value), advice)
	}
	return nil, p.unexpected()
}

// refusedStatements are statements that are not offered, and what to do
// instead.
var refusedStatements = map[string]string{
	"grant": "a credential's role (owner, writer, reader, auditor) says what it may do", "revoke": "a credential's role says what it may do",
	"listen": "read the event streams", "notify": "append to an event stream", "unlisten": "there are no notifications",
	"do": "run the statements from the client, in a transaction", "call": "there are no procedures",
	"lock": "transactions of a tenant's writers run one after another", "merge": "use INSERT … ON CONFLICT",
	"security": "there are no security labels", "import": "there are no foreign tables", "reassign": "there are no owners of objects",
	"refresh": "there are no materialized views", "load": "there are no libraries to load",
}

// create translates CREATE.
func (t *translator) create(p *parser) (*Statement, error) {
	replace := p.words("or", "replace")
	first := p.peek()
	switch {
	case replace && !first.is("view"):
	case p.word("table"):
		return t.createTable(p)
	case p.word("view"):
		return t.createView(p, replace)
	case p.words("unique", "index"):
		return t.createIndex(p, true)
	case p.word("index"):
		return t.createIndex(p, false)
	case p.word("sequence"):
		return t.createSequence(p)
	case p.word("schema"):
		return t.createSchema(p)
	case p.word("extension"):
		return t.createExtension(p)
	}
	advice := map[string]string{
		"temp": "use a table, or WITH in the query", "temporary": "use a table, or WITH in the query", "local": "use a table",
		"unlogged": "every table is logged: leave UNLOGGED out", "materialized": "use a table that INSERT … SELECT fills",
		"function": "keep the logic in the client, or use SQLite's CREATE TRIGGER … BEGIN … END", "procedure": "keep the logic in the client",
		"trigger": "use SQLite's CREATE TRIGGER … BEGIN … END", "type": "use text with CHECK (column IN (…))",
		"domain": "use a CHECK constraint", "role": "use kimberlite credential create", "user": "use kimberlite credential create",
		"group": "use kimberlite credential create", "database": "use kimberlite tenant create", "rule": "use a trigger",
		"policy": "each tenant sees its own rows only", "publication": "read the event streams", "subscription": "read the event streams",
		"aggregate": "compute in the client", "operator": "use functions", "collation": "text is compared by code points",
		"server": "there are no foreign tables", "foreign": "there are no foreign tables", "statistics": "the planner needs none",
		"tablespace": "the data directory is the operator's", "event": "there are no event triggers", "cast": "use CAST",
	}[first.value]
	if advice == "" {
		return nil, p.unexpected()
	}
	return nil, p.unsupported(first.start, "CREATE %s is not supported: %s", strings.ToUpper(first.value), advice)
}

// createSchema accepts what is there already.
func (t *translator) createSchema(p *parser) (*Statement, error) {
	exists := p.words("if", "not", "exists")
	at := p.peek().start
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	if name == "public" && exists {
		return &Statement{Kind: Nothing, Tag: "CREATE SCHEMA", Notice: `schema "public" already exists, skipping`}, nil
	}
	if name == "public" {
		return nil, t.fail(at, "42P06", "schema \"public\" already exists")
	}
	return nil, p.unsupported(at, "schemas besides public are not supported: use another tenant, or a prefix of the tables' names")
}

// createExtension accepts the extensions whose functions work.
func (t *translator) createExtension(p *parser) (*Statement, error) {
	p.words("if", "not", "exists")
	at := p.peek().start
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	for p.peek().kind == tokWord || p.peek().kind == tokQuoted || p.peek().kind == tokString {
		p.next() // WITH SCHEMA public VERSION … CASCADE
	}
	switch name {
	case "plpgsql":
		return nil, p.unsupported(at, "extension plpgsql is not supported: keep the logic in the client")
	case "uuid-ossp":
		return &Statement{Kind: Nothing, Tag: "CREATE EXTENSION", Notice: "uuid_generate_v4() and gen_random_uuid() are built in; nothing else of \"uuid-ossp\" is offered"}, nil
	case "pgcrypto":
		return &Statement{Kind: Nothing, Tag: "CREATE EXTENSION", Notice: "gen_random_uuid() is built in; nothing else of \"pgcrypto\" is offered"}, nil
	}
	return nil, p.unsupported(at, "extension %q is not supported", name)
}

// createSequence translates CREATE SEQUENCE.
func (t *translator) createSequence(p *parser) (*Statement, error) {
	exists := p.words("if", "not", "exists")
	at := p.peek().start
	name, err := p.newName()
	if err != nil {
		return nil, err
	}
	q := schema.Sequence{Name: name, Start: 1, Increment: 1}
	if err := t.sequenceOptions(p, &q); err != nil {
		return nil, err
	}
	s := &Statement{Kind: DDL, Tag: "CREATE SEQUENCE"}
	if _, there := t.env.Schema.Sequence(name); there {
		if !exists {
			return nil, t.fail(at, "42P07", "relation %q already exists", name)
		}
		s.Kind, s.Notice = Nothing, "relation \""+name+"\" already exists, skipping"
		return s, nil
	}
	s.NewSequences = []schema.Sequence{q}
	return s, nil
}

// createView translates CREATE VIEW.
func (t *translator) createView(p *parser, replace bool) (*Statement, error) {
	t.noParams = "CREATE VIEW"
	exists := p.words("if", "not", "exists")
	at := p.peek().start
	name, err := p.newName()
	if err != nil {
		return nil, err
	}
	var columns []string
	if p.peek().punct("(") {
		if columns, err = p.names(); err != nil {
			return nil, err
		}
	}
	if n := p.peek(); n.is("with") {
		return nil, p.unsupported(n.start, "options of views are not supported")
	}
	if err := p.expect("as"); err != nil {
		return nil, err
	}
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	if n := p.peek(); n.is("with") {
		return nil, p.unsupported(n.start, "WITH CHECK OPTION is not supported: views are read only")
	}
	t.scope = &scope{}
	b, err := t.query(q)
	if err != nil {
		return nil, err
	}
	if err := b.settle(t); err != nil {
		return nil, err
	}
	s := &Statement{Kind: DDL, Tag: "CREATE VIEW"}
	if old, there := t.env.Schema.Table(name); there {
		switch {
		case exists:
			s.Kind = Nothing
			return s, nil
		case !replace || old.Kind != schema.KindView:
			return nil, t.fail(at, "42P07", "relation %q already exists", name)
		}
		s.Before = []string{"DROP VIEW " + quoteName(old.Name)}
	}
	list := make([]string, len(b.cols))
	for i := range b.cols {
		list[i] = b.cols[i].name
		if i < len(columns) {
			list[i] = columns[i]
		}
		if containsFold(list[:i], list[i]) {
			return nil, t.fail(at, stateDuplicate, "column %q specified more than once", list[i])
		}
	}
	s.SQL = "CREATE VIEW " + quoteName(name) + " (" + quoteNames(list) + ") AS " + b.viewMark() + b.render(t)
	return s, nil
}

// viewMark tells the types of a view's columns, where all are known.
func (b *body) viewMark() string {
	types := make([]sqltype.Type, len(b.cols))
	for i, c := range b.cols {
		if types[i] = c.typ; c.typ.OID == 0 || isRegType(c.typ) {
			return ""
		}
	}
	return schema.ViewMark(types)
}

// createIndex translates CREATE INDEX.
func (t *translator) createIndex(p *parser, unique bool) (*Statement, error) {
	t.noParams = "CREATE INDEX"
	p.word("concurrently")
	exists := p.words("if", "not", "exists")
	name := ""
	at := p.peek().start
	var err error
	if !p.peek().is("on") {
		if name, err = p.newName(); err != nil {
			return nil, err
		}
	}
	if err := p.expect("on"); err != nil {
		return nil, err
	}
	p.word("only")
	ref := &tableRef{pos: p.pos()}
	if ref.schema, ref.name, err = p.qualified(); err != nil {
		return nil, err
	}
	rel, sql, err := t.lookupTable(ref)
	if err != nil {
		return nil, err
	}
	if p.word("using") {
		if m := p.peek(); !p.word("btree") {
			return nil, p.unsupported(m.start, "index method %s is not supported: use btree", m.value)
		}
	}
	t.scope = &scope{rels: []*relation{rel}, bare: true, noAgg: "index expressions", noWin: "index expressions"}
	keys, names, err := t.indexKeys(p)
	if err != nil {
		return nil, err
	}
	where, err := t.indexOptions(p)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = t.freeIndexName(rel.name + "_" + strings.Join(names, "_") + "_idx")
	}
	s := &Statement{Kind: DDL, Tag: "CREATE INDEX"}
	if table := t.indexNamed(name); table != nil {
		if !exists {
			return nil, t.fail(at, "42P07", "relation %q already exists", name)
		}
		s.Kind, s.Notice = Nothing, "relation \""+name+"\" already exists, skipping"
		return s, nil
	}
	word := "CREATE INDEX "
	if unique {
		word = "CREATE UNIQUE INDEX "
	}
	s.SQL = word + quoteName(name) + " ON " + sql + " (" + keys + ")" + where
	return s, nil
}

// indexOptions reads WHERE and what else may follow the keys.
func (t *translator) indexOptions(p *parser) (string, error) {
	where := ""
	for {
		switch n := p.peek(); {
		case p.word("where"):
			x, err := p.expr()
			if err != nil {
				return "", err
			}
			v, err := t.condition(x, "WHERE")
			if err != nil {
				return "", err
			}
			where = " WHERE " + v.sql
		case n.is("with") && p.ahead(1).punct("("):
			for p.next(); !p.punct(")"); p.next() {
				if p.peek().kind == tokEnd {
					return "", p.unexpected()
				}
			}
		case n.is("include"), n.is("nulls"), n.is("tablespace"):
			return "", p.unsupported(n.start, "CREATE INDEX … %s is not supported", strings.ToUpper(n.value))
		default:
			return where, nil
		}
	}
}

// indexKeys reads the keys of an index.
func (t *translator) indexKeys(p *parser) (keys string, names []string, err error) {
	if err := p.expectPunct("("); err != nil {
		return "", nil, err
	}
	var texts []string
	for {
		n := p.peek()
		x, err := p.binary(precCollate)
		if err != nil {
			return "", nil, err
		}
		if p.word("collate") {
			_, collation, err := p.anyName()
			if err != nil {
				return "", nil, err
			}
			x = &collateExpr{pos: pos(n.start), x: x, collation: collation}
		}
		v, err := t.scalar(x)
		if err != nil {
			return "", nil, err
		}
		text := v.sql
		if v.column == nil && !v.atom {
			text = "(" + text + ")"
		}
		if v.name == "" || v.name == "?column?" {
			v.name = "expr"
		}
		names = append(names, v.name)
		if c := p.peek(); isName(c) && !c.is("asc") && !c.is("desc") && !c.is("nulls") {
			switch c.value {
			case "text_pattern_ops", "varchar_pattern_ops", "bpchar_pattern_ops", "text_ops", "varchar_ops", "int4_ops", "int8_ops", "uuid_ops", "timestamptz_ops":
				p.next() // the order of bytes, which is the one there is
			default:
				return "", nil, p.unsupported(c.start, "operator class %q is not supported", c.value)
			}
		}
		switch {
		case p.word("asc"):
		case p.word("desc"):
			text += " DESC"
		}
		if p.word("nulls") { // where NULL stands in the index does not change an answer
			if !p.word("first") && !p.word("last") {
				return "", nil, p.unexpected()
			}
		}
		texts = append(texts, text)
		if !p.punct(",") {
			return strings.Join(texts, ", "), names, p.expectPunct(")")
		}
	}
}

func (t *translator) indexNamed(name string) *schema.Table {
	if t.env.Schema == nil {
		return nil
	}
	for _, table := range t.env.Schema.Tables {
		for i := range table.Indexes {
			if fold(table.Indexes[i].Name) == fold(name) {
				return table
			}
		}
	}
	return nil
}

func (t *translator) freeIndexName(name string) string {
	try := shorten(name)
	for i := 1; t.indexNamed(try) != nil; i++ {
		try = shorten(name + itoa(i))
	}
	return try
}
