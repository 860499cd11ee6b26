package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// sessionStatement translates the statements about transactions, settings,
// prepared statements and bulk data.
func (t *translator) sessionStatement(p *parser, first token) (*Statement, bool, error) {
	var s *Statement
	var err error
	switch first.value {
	case "begin", "start":
		s, err = t.begin(p)
	case "commit", "end", "rollback", "abort":
		s, err = t.endTransaction(p, first.value)
	case "savepoint", "release":
		p.next()
		if first.value == "release" {
			p.word("savepoint")
		}
		s = &Statement{Kind: Savepoint, Tag: "SAVEPOINT"}
		if first.value == "release" {
			s = &Statement{Kind: Release, Tag: "RELEASE"}
		}
		s.Name, err = p.name()
	case "set":
		s, err = t.set(p)
	case "show":
		s, err = t.show(p)
	case "reset":
		s, err = t.reset(p)
	case "discard":
		s, err = t.discard(p)
	case "prepare":
		s, err = t.prepare(p)
	case "execute":
		s, err = t.execute(p)
	case "deallocate":
		p.next()
		p.word("prepare")
		s = &Statement{Kind: Deallocate, Tag: "DEALLOCATE"}
		if p.word("all") {
			s.Tag = "DEALLOCATE ALL"
		} else {
			s.Name, err = p.name()
		}
	case "declare":
		s, err = t.declare(p)
	case "fetch", "move":
		s, err = t.fetchCursor(p, first.value)
	case "close":
		s, err = t.closeCursor(p)
	case "copy":
		s, err = t.copy(p)
	case "explain":
		s, err = t.explain(p)
	case "vacuum", "analyze", "analyse", "reindex", "checkpoint", "cluster":
		s, err = t.maintenance(p, first)
	default:
		return nil, false, nil
	}
	return s, true, err
}

// begin reads BEGIN and START TRANSACTION.
func (t *translator) begin(p *parser) (*Statement, error) {
	s := &Statement{Kind: Begin, Tag: "BEGIN"}
	if p.next().value == "start" {
		s.Tag = "START TRANSACTION"
		if err := p.expect("transaction"); err != nil {
			return nil, err
		}
	} else if !p.word("work") {
		p.word("transaction")
	}
	return s, p.transactionModes(&s.TxOptions)
}

// transactionModes reads ISOLATION LEVEL …, READ ONLY and the like.
func (p *parser) transactionModes(o *TxOptions) error {
	for {
		switch {
		case p.words("isolation", "level"):
			switch {
			case p.word("serializable"):
				o.Isolation = "serializable"
			case p.words("repeatable", "read"):
				o.Isolation = "repeatable read"
			case p.words("read", "committed"):
				o.Isolation = "read committed"
			case p.words("read", "uncommitted"):
				o.Isolation = "read uncommitted"
			default:
				return p.unexpected()
			}
		case p.words("read", "only"):
			o.ReadOnly, o.ReadWrite = true, false
		case p.words("read", "write"):
			o.ReadOnly, o.ReadWrite = false, true
		case p.words("not", "deferrable"):
			o.Deferrable = false
		case p.word("deferrable"):
			o.Deferrable = true
		default:
			return nil
		}
		p.punct(",")
	}
}

// endTransaction reads COMMIT and ROLLBACK with their variants.
func (t *translator) endTransaction(p *parser, word string) (*Statement, error) {
	p.next()
	s := &Statement{Kind: Commit, Tag: "COMMIT"}
	if word == "rollback" || word == "abort" {
		s = &Statement{Kind: Rollback, Tag: "ROLLBACK"}
	}
	if at := p.peek(); at.is("prepared") {
		return nil, p.unsupported(at.start, "two-phase commit is not supported")
	}
	if !p.word("work") {
		p.word("transaction")
	}
	if s.Kind == Rollback && p.word("to") {
		p.word("savepoint")
		s.Kind = RollbackTo
		var err error
		s.Name, err = p.name()
		return s, err
	}
	if p.word("and") {
		no := p.word("no")
		if err := p.expect("chain"); err != nil {
			return nil, err
		}
		s.Chain = !no
	}
	return s, nil
}

// set reads SET.
func (t *translator) set(p *parser) (*Statement, error) {
	p.next()
	o := &SetOptions{}
	s := &Statement{Kind: Set, Tag: "SET", Set: o}
	switch {
	case p.word("local"):
		o.Local = true
	case p.word("session"):
		if p.words("characteristics", "as", "transaction") {
			o.Name = "default_transaction_isolation"
			if err := p.transactionModes(&s.TxOptions); err != nil {
				return nil, err
			}
			o.Value = s.TxOptions.Isolation
			if o.Value == "" {
				o.Name, o.Value = "default_transaction_read_only", onOff(s.TxOptions.ReadOnly)
			}
			return s, nil
		}
	}
	switch at := p.peek(); {
	case p.word("transaction"):
		if p.peek().is("snapshot") {
			return nil, p.unsupported(at.start, "SET TRANSACTION SNAPSHOT is not supported")
		}
		s.Set = nil // the options say it all
		return s, p.transactionModes(&s.TxOptions)
	case at.is("constraints"):
		return nil, p.unsupported(at.start, "SET CONSTRAINTS is not supported: declare constraints DEFERRABLE INITIALLY DEFERRED")
	case p.words("time", "zone"):
		o.Name = "timezone"
		if p.word("local") {
			o.Default = true
			return s, nil
		}
		return s, p.settingValue(o)
	case at.is("role"), at.is("session") && p.ahead(1).is("authorization"), at.is("authorization"):
		return nil, p.unsupported(at.start, "roles cannot be changed in a session: connect with the other credential")
	case p.word("names"):
		o.Name = "client_encoding"
		if p.peek().kind == tokEnd || p.peek().punct(";") {
			o.Default = true
			return s, nil
		}
		return s, p.settingValue(o)
	}
	schema, name, err := p.anyName()
	if err != nil {
		return nil, err
	}
	if o.Name = fold(name); schema != "" {
		o.Name = fold(schema) + "." + o.Name
	}
	if !p.word("to") && !p.operator("=") {
		return nil, p.unexpected()
	}
	return s, p.settingValue(o)
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// settingValue reads values with commas between them.
func (p *parser) settingValue(o *SetOptions) error {
	if p.word("default") {
		o.Default = true
		return nil
	}
	var values []string
	for {
		sign := ""
		if p.operator("-") {
			sign = "-"
		} else {
			p.operator("+")
		}
		switch v := p.peek(); v.kind {
		case tokInteger, tokDecimal, tokString, tokWord, tokQuoted:
			p.next()
			if v.is("interval") && p.peek().kind == tokString {
				v = p.next()
				p.intervalField()
			}
			values = append(values, sign+v.value)
		default:
			return p.unexpected()
		}
		if !p.punct(",") {
			o.Value = strings.Join(values, ", ")
			return nil
		}
	}
}

// show reads SHOW.
func (t *translator) show(p *parser) (*Statement, error) {
	p.next()
	s := &Statement{Kind: Show, Tag: "SHOW", Returns: true, ReadOnlyHint: true}
	switch {
	case p.word("all"):
		s.Show = "all"
		s.Columns = []Column{{"name", sqltype.Text}, {"setting", sqltype.Text}, {"description", sqltype.Text}}
		return s, nil
	case p.words("time", "zone"):
		s.Show = "timezone"
	case p.words("transaction", "isolation", "level"):
		s.Show = "transaction_isolation"
	case p.words("session", "authorization"):
		s.Show = "session_authorization"
	default:
		schema, name, err := p.anyName()
		if err != nil {
			return nil, err
		}
		if s.Show = fold(name); schema != "" {
			s.Show = fold(schema) + "." + s.Show
		}
	}
	name := s.Show
	if name == "timezone" {
		name = "TimeZone"
	}
	s.Columns = []Column{{name, sqltype.Text}}
	return s, nil
}

// reset reads RESET.
func (t *translator) reset(p *parser) (*Statement, error) {
	p.next()
	s := &Statement{Kind: Reset, Tag: "RESET"}
	switch at := p.peek(); {
	case p.word("all"):
		s.Name = "all"
		return s, nil
	case p.words("time", "zone"):
		s.Name = "timezone"
		return s, nil
	case p.words("session", "authorization"), p.word("role"):
		// They cannot have been changed.
		s.Kind, s.Notice = Nothing, "the session's role is that of its credential"
		return s, nil
	case at.kind == tokEnd:
		return nil, p.unexpected()
	}
	schema, name, err := p.anyName()
	if s.Name = fold(name); schema != "" {
		s.Name = fold(schema) + "." + s.Name
	}
	return s, err
}

// discard reads DISCARD.
func (t *translator) discard(p *parser) (*Statement, error) {
	p.next()
	s := &Statement{Kind: Discard}
	switch {
	case p.word("all"), p.word("plans"), p.word("sequences"), p.word("temp"):
		s.Name = p.tokens[p.at-1].value
	case p.word("temporary"):
		s.Name = "temp"
	default:
		return nil, p.unexpected()
	}
	s.Tag = "DISCARD " + strings.ToUpper(s.Name)
	return s, nil
}

// maintenance accepts what PostgreSQL's storage needs and ours does by itself.
func (t *translator) maintenance(p *parser, first token) (*Statement, error) {
	for p.peek().kind != tokEnd && !p.peek().punct(";") {
		// INTO is SQLite's: a copy that nobody writes must not be promised.
		if n := p.peek(); n.kind == tokSQLite || n.is("into") {
			return nil, p.unexpected()
		}
		p.next()
	}
	word := strings.ToUpper(first.value)
	if word == "ANALYSE" {
		word = "ANALYZE"
	}
	if word == "CLUSTER" {
		return nil, p.unsupported(first.start, "CLUSTER is not supported: tables are kept in the order of their primary key")
	}
	return &Statement{Kind: Nothing, Tag: word, Notice: word + " is not needed: storage is kept in order as it is written"}, nil
}
