package dialect

func (t *translator) schemaStatement(p *parser, first token) (*Statement, error) {
	return nil, p.unexpected()
}
