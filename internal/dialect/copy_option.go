package dialect

// copyOptions reads the options of COPY in either syntax.
func (t *translator) copyOptions(p *parser, o *CopyOptions) error {
	given := map[string]bool{}
	p.word("with")
	var err error
	if p.punct("(") {
		for {
			if err = t.copyOption(p, o, given); err != nil {
				return err
			}
			if !p.punct(",") {
				break
			}
		}
		err = p.expectPunct(")")
	} else {
		for err == nil && p.peek().kind == tokWord && !p.peek().is("where") {
			err = t.oldCopyOption(p, o, given)
		}
	}
	if err != nil {
		return err
	}
	return t.settleCopy(p, o, given)
}

// copyOption reads an option in parentheses.
func (t *translator) copyOption(p *parser, o *CopyOptions, given map[string]bool) error {
	n := p.next()
	if n.kind != tokWord {
		p.at--
		return p.unexpected()
	}
	if given[n.value] {
		return t.fail(n.start, stateSyntax, "conflicting or redundant options: %s", n.value)
	}
	given[n.value] = true
	switch n.value {
	case "format":
		f := p.next()
		switch fold(f.value) {
		case "text":
		case "csv":
			o.CSV = true
		case "binary":
			o.Binary = true
		default:
			return t.fail(f.start, stateBadParameter, "COPY format %q not recognized", f.value)
		}
		return nil
	case "delimiter", "null", "quote", "escape", "encoding":
		return p.copyText(o, n)
	case "header":
		return p.copyHeader(o)
	case "freeze":
		p.copyBool()
		return nil
	case "force_quote", "force_not_null", "force_null":
		if n.value == "force_quote" && p.operator("*") {
			o.ForceQuoteAll = true
			return nil
		}
		names, err := p.names()
		o.force(n.value, names)
		return err
	}
	return t.fail(n.start, stateSyntax, "option %q not recognized", n.value)
}

func (o *CopyOptions) force(what string, names []string) {
	switch what {
	case "force_quote":
		o.ForceQuote = names
	case "force_not_null":
		o.ForceNotNull = names
	case "force_null":
		o.ForceNull = names
	}
}

// copyBool reads a boolean that may be left out.
func (p *parser) copyBool() bool {
	switch v := p.peek(); {
	case v.punct(","), v.punct(")"), v.kind == tokEnd:
		return true
	default:
		p.next()
		switch fold(v.value) {
		case "false", "off", "0":
			return false
		}
		return true
	}
}

func (p *parser) copyHeader(o *CopyOptions) error {
	if p.word("match") {
		o.Header, o.HeaderMatch = true, true
		return nil
	}
	o.Header = p.copyBool()
	return nil
}

// copyText reads an option whose value is a string.
func (p *parser) copyText(o *CopyOptions, n token) error {
	v := p.next()
	if v.kind != tokString && v.kind != tokWord && v.kind != tokQuoted {
		p.at--
		return p.unexpected()
	}
	switch n.value {
	case "delimiter":
		o.Delimiter = v.value
	case "null":
		o.Null = v.value
	case "quote":
		o.Quote = v.value
	case "escape":
		o.Escape = v.value
	case "encoding":
		switch fold(v.value) {
		case "utf8", "utf-8", "unicode":
		default:
			return p.unsupported(v.start, "COPY in encoding %s is not supported: use UTF8", v.value)
		}
	}
	return nil
}

// oldCopyOption reads an option as it was before PostgreSQL 9.
func (t *translator) oldCopyOption(p *parser, o *CopyOptions, given map[string]bool) error {
	n := p.next()
	given[n.value] = true
	switch n.value {
	case "binary":
		o.Binary = true
		return nil
	case "csv":
		o.CSV = true
		return nil
	case "header":
		o.Header = true
		return nil
	case "freeze":
		return nil
	case "delimiter", "delimiters", "null", "quote", "escape", "encoding":
		p.word("as")
		if n.value == "delimiters" {
			n.value = "delimiter"
			given["delimiter"] = true
		}
		return p.copyText(o, n)
	case "force":
		return t.oldForce(p, o)
	}
	p.at--
	return p.unexpected()
}

func (t *translator) oldForce(p *parser, o *CopyOptions) error {
	var what string
	switch {
	case p.word("quote"):
		what = "force_quote"
		if p.operator("*") {
			o.ForceQuoteAll = true
			return nil
		}
	case p.words("not", "null"):
		what = "force_not_null"
	case p.word("null"):
		what = "force_null"
	default:
		return p.unexpected()
	}
	var names []string
	for {
		name, err := p.name()
		if err != nil {
			return err
		}
		names = append(names, name)
		if !p.punct(",") {
			o.force(what, names)
			return nil
		}
	}
}

// settleCopy fills in the defaults of CSV and checks the whole.
func (t *translator) settleCopy(p *parser, o *CopyOptions, given map[string]bool) error {
	at := p.peek().start
	if o.Binary {
		return t.settleBinary(at, o, given)
	}
	if o.CSV {
		if !given["delimiter"] {
			o.Delimiter = ","
		}
		if !given["null"] {
			o.Null = ""
		}
		if o.Escape == "" {
			o.Escape = o.Quote
		}
	} else {
		o.Quote = ""
		switch {
		case given["quote"], given["escape"]:
			return t.fail(at, stateUnsupported, "COPY quote and escape are available only in CSV mode")
		case o.ForceQuoteAll, o.ForceQuote != nil, o.ForceNotNull != nil, o.ForceNull != nil:
			return t.fail(at, stateUnsupported, "COPY force_quote, force_not_null and force_null are available only in CSV mode")
		}
	}
	switch {
	case len(o.Delimiter) != 1:
		return t.fail(at, stateUnsupported, "COPY delimiter must be a single one-byte character")
	case o.Delimiter == "\n" || o.Delimiter == "\r" || !o.CSV && (isIdentByte(o.Delimiter[0]) || o.Delimiter == "\\" || o.Delimiter == "."):
		return t.fail(at, stateBadParameter, "COPY delimiter cannot be %q", o.Delimiter)
	case o.CSV && (len(o.Quote) != 1 || len(o.Escape) != 1):
		return t.fail(at, stateUnsupported, "COPY quote and escape must be a single one-byte character")
	case o.CSV && o.Delimiter == o.Quote:
		return t.fail(at, stateBadParameter, "COPY delimiter and quote must be different")
	case o.From && (o.ForceQuoteAll || o.ForceQuote != nil):
		return t.fail(at, stateUnsupported, "COPY force_quote is only available using COPY TO")
	case !o.From && (o.ForceNotNull != nil || o.ForceNull != nil):
		return t.fail(at, stateUnsupported, "COPY force_not_null and force_null are only available using COPY FROM")
	case o.HeaderMatch && !o.From:
		return t.fail(at, stateUnsupported, "cannot use \"match\" with HEADER in COPY TO")
	}
	return nil
}

// settleBinary refuses what has no meaning in the binary format.
func (t *translator) settleBinary(at int, o *CopyOptions, given map[string]bool) error {
	switch {
	case o.CSV:
		return t.fail(at, stateSyntax, "conflicting or redundant options: format")
	case given["delimiter"]:
		return t.fail(at, stateSyntax, "cannot specify DELIMITER in BINARY mode")
	case given["null"]:
		return t.fail(at, stateSyntax, "cannot specify NULL in BINARY mode")
	case o.Header:
		return t.fail(at, stateUnsupported, "cannot specify HEADER in BINARY mode")
	case given["quote"], given["escape"], o.ForceQuoteAll, o.ForceQuote != nil, o.ForceNotNull != nil, o.ForceNull != nil:
		return t.fail(at, stateUnsupported, "COPY quote, escape and force_… are available only in CSV mode")
	}
	return nil
}
