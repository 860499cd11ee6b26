package pgwire

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/dialect"
	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
	"kimberlite/internal/sqltype"
	"kimberlite/internal/tenant"
)

// Sizes of the portions in which COPY FROM STDIN inserts rows.
const (
	copyBatchRows  = 512
	copyBatchBytes = 1 << 20
)

// copyFormatOf reads the options of a COPY.
func copyFormatOf(o *dialect.CopyOptions) (copyFormat, error) {
	f := copyFormat{csv: o.CSV, header: o.Header, delimiter: '\t', quote: '"', escape: '"', null: `\N`}
	if o.CSV {
		f.delimiter, f.null = ',', ""
	}
	one := func(dst *byte, v, what string) error {
		switch {
		case v == "":
		case len(v) != 1:
			return fault.New("copy", fault.Unsupported, "COPY %s must be a single one-byte character", what)
		default:
			*dst = v[0]
		}
		return nil
	}
	if err := one(&f.delimiter, o.Delimiter, "delimiter"); err != nil {
		return f, err
	}
	if err := one(&f.quote, o.Quote, "quote"); err != nil {
		return f, err
	}
	f.escape = f.quote
	if err := one(&f.escape, o.Escape, "escape"); err != nil {
		return f, err
	}
	if o.Null != "" {
		f.null = o.Null
	}
	f.forceNull = flagsOf(o.Columns, o.ForceNull)
	f.forceNotNull = flagsOf(o.Columns, o.ForceNotNull)
	f.forceQuote = flagsOf(o.Columns, o.ForceQuote)
	if o.ForceQuoteAll {
		f.forceQuote = flagsOf(o.Columns, o.Columns)
	}
	return f, nil
}

// flagsOf says of each column whether it is among the chosen.
func flagsOf(columns, chosen []string) []bool {
	if len(chosen) == 0 {
		return nil
	}
	flags := make([]bool, len(columns))
	for i, c := range columns {
		for _, name := range chosen {
			flags[i] = flags[i] || strings.EqualFold(c, name)
		}
	}
	return flags
}

// runCopy runs COPY.
func (s *session) runCopy(ctx context.Context, p *plan) (outcome, error) {
	if err := s.mayWrite(p); err != nil {
		return outcome{}, err
	}
	f, err := copyFormatOf(p.st.Copy)
	if err != nil {
		return outcome{}, err
	}
	if !p.st.Copy.From {
		return s.copyOut(ctx, p, f)
	}
	own := !s.tx.open()
	if own {
		s.tx.implicit = true
	}
	out, err := s.copyIn(ctx, p, f)
	if own {
		if err == nil {
			err = s.commit(ctx)
		} else {
			s.endTransaction(false)
		}
	}
	return out, err
}

// copyIn reads rows from the client and inserts them.
func (s *session) copyIn(ctx context.Context, p *plan, f copyFormat) (outcome, error) {
	tx, err := s.enter(ctx)
	if err != nil {
		return outcome{}, err
	}
	m := &pgproto3.CopyInResponse{ColumnFormatCodes: make([]uint16, len(p.params))}
	if p.st.Copy.Binary {
		m = &pgproto3.CopyInResponse{OverallFormat: formatBinary, ColumnFormatCodes: binaryFormats(len(p.params))}
	}
	if err := s.over(s.w.send(m)); err != nil {
		return outcome{}, err
	}
	if err := s.over(s.flush()); err != nil {
		return outcome{}, err
	}
	c := &copier{s: s, ctx: ctx, tx: tx, p: p, header: p.st.Copy.HeaderMatch}
	f.header = f.header && !c.header
	c.parser = newCopyParser(f)
	if c.binary = p.st.Copy.Binary; c.binary {
		c.parser = &binaryParser{columns: len(p.params)}
	}
	s.copyFrom(true)
	unwatch := context.AfterFunc(ctx, s.interruptCopy)
	err = c.read()
	unwatch()
	s.copyFrom(false)
	if err == nil {
		err = c.flush()
	}
	// What went wrong with an earlier row comes first, and nothing may be
	// under way any more when the transaction ends.
	if earlier := c.settle(); earlier != nil {
		err = earlier
	}
	if err != nil {
		return outcome{}, err
	}
	return outcome{"COPY", c.rows}, nil
}

// copier collects rows of COPY FROM STDIN and inserts them in portions, one
// while it reads the next.
type copier struct {
	s      *session
	ctx    context.Context
	tx     *tenant.Tx
	p      *plan
	parser copyInput
	binary bool
	header bool // the next line names the columns, and must do so rightly
	rows   int64

	batch copyBatch // that is being filled
	// other is the portion before, which inserted is told of if one is under
	// way.
	other    copyBatch
	underWay bool
	inserted chan error
}

// read takes the client's messages until it says that it is done.
func (c *copier) read() error {
	for {
		if err := c.ctx.Err(); err != nil {
			return fault.OfContext("copy", c.ctx)
		}
		kind, body, err := c.s.r.next()
		if errors.Is(err, os.ErrDeadlineExceeded) && c.ctx.Err() != nil {
			continue // it is said above why
		}
		if err != nil {
			return connection{err}
		}
		switch kind {
		case 'd':
			if err := c.parser.feed(body, c.row); err != nil {
				return err
			}
		case 'c':
			return c.parser.finish(c.row)
		case 'f':
			return fault.New("copy", fault.Canceled, "COPY from stdin failed: the client gave up").WithState("57014")
		case 'H', 'S': // as PostgreSQL does
		case 'X':
			return connection{errClientLeft}
		default:
			return connection{protocolError("the message type 0x%02x is out of place during COPY", kind)}
		}
	}
}

var errClientLeft = fault.New("copy", fault.Canceled, "the client left")

// row takes one line.
func (c *copier) row(fields []field) error {
	columns := c.p.st.Copy.Columns
	if c.header {
		c.header = false
		for i, f := range fields {
			if i >= len(columns) || !strings.EqualFold(string(f.text), columns[i]) {
				return c.parser.bad("column name mismatch in the header: field %d is not the column of the table", i+1)
			}
		}
		if len(fields) != len(columns) {
			return c.parser.bad("wrong number of fields in the header: %d and not %d", len(fields), len(columns))
		}
		return nil
	}
	if len(fields) > len(columns) {
		return c.parser.bad("extra data after last expected column")
	}
	if len(fields) < len(columns) {
		return c.parser.bad("missing data for column %q", columns[len(fields)])
	}
	args := c.batch.row(len(fields))
	for i, f := range fields {
		if f.null {
			continue
		}
		var err error
		if c.binary {
			args[i], err = c.p.params[i].InputBinary(f.text)
		} else {
			args[i], err = c.p.params[i].Input(c.batch.text(f.text))
		}
		if err != nil {
			state := fault.StateOf(err)
			return fault.Wrap("copy", fault.KindOf(err), err, "line %d, column %q", c.parser.number(), columns[i]).WithState(state)
		}
		c.batch.bytes += len(f.text) + 16
	}
	c.batch.lines = append(c.batch.lines, c.parser.number())
	c.rows++
	if len(c.batch.rows) >= copyBatchRows || c.batch.bytes >= copyBatchBytes {
		return c.flush()
	}
	return nil
}

// copyOut sends the rows of a query as lines.
func (s *session) copyOut(ctx context.Context, p *plan, f copyFormat) (outcome, error) {
	var o copyRows = &copyOutput{s: s, p: p, f: f}
	if p.st.Copy.Binary {
		o = &binaryOutput{s: s, p: p}
	}
	if s.tx.open() {
		tx, err := s.enter(ctx)
		if err != nil {
			return outcome{}, err
		}
		if _, err := tx.Query(ctx, p.st.SQL, nil, o.row); err != nil {
			return outcome{}, err
		}
		return o.end()
	}
	rows, err := s.tenant.Query(ctx, p.st.SQL, nil)
	if err != nil {
		return outcome{}, err
	}
	defer rows.Close()
	for rows.Next() {
		if err := o.row(&rows.Row); err != nil {
			return outcome{}, err
		}
	}
	if err := rows.Err(); err != nil {
		return outcome{}, err
	}
	return o.end()
}

// copyOutput writes the lines of COPY TO STDOUT.
type copyOutput struct {
	s       *session
	p       *plan
	f       copyFormat
	columns []column
	begun   bool
	text    []byte
	rows    int64
}

// begin tells the client that lines come, and sends the header line.
func (o *copyOutput) begin() error {
	if o.begun {
		return nil
	}
	o.begun = true
	o.columns = o.p.copyColumns()
	m := &pgproto3.CopyOutResponse{ColumnFormatCodes: make([]uint16, len(o.columns))}
	if err := o.s.over(o.s.w.send(m)); err != nil || !o.f.header {
		return err
	}
	return o.line(func(dst []byte) ([]byte, error) {
		for i, c := range o.columns {
			if i > 0 {
				dst = append(dst, o.f.delimiter)
			}
			dst = o.f.appendField(dst, []byte(c.name), false, -1, len(o.columns) == 1)
		}
		return dst, nil
	})
}

// copyColumns are the columns of COPY TO STDOUT.
func (p *plan) copyColumns() []column {
	columns := make([]column, len(p.st.Columns))
	for i, c := range p.st.Columns {
		t := c.Type
		if t.IsZero() {
			t = sqltype.Text
		}
		columns[i] = newColumn(c.Name, t)
	}
	return columns
}

// line sends one line.
func (o *copyOutput) line(fill func(dst []byte) ([]byte, error)) error {
	b := o.s.w.out()
	start := len(b)
	b, err := fill(header(b, 'd'))
	if err != nil {
		o.s.w.buf = b[:start]
		return err
	}
	w := rowWriter{s: o.s}
	return w.keep(finish(append(b, '\n'), start))
}

// row sends one row.
func (o *copyOutput) row(row *projection.Row) error {
	if err := o.begin(); err != nil {
		return err
	}
	o.rows++
	return o.line(func(dst []byte) ([]byte, error) {
		for i := range o.columns {
			if i > 0 {
				dst = append(dst, o.f.delimiter)
			}
			class := row.Class(i)
			if class == projection.ClassNull {
				dst = o.f.appendField(dst, nil, true, i, false)
				continue
			}
			var err error
			if o.text, err = appendColumn(o.text[:0], &o.columns[i], formatText, row, i, class); err != nil {
				return dst, err
			}
			dst = o.f.appendField(dst, o.text, false, i, len(o.columns) == 1)
		}
		return dst, nil
	})
}

// end ends the lines.
func (o *copyOutput) end() (outcome, error) {
	if err := o.begin(); err != nil {
		return outcome{}, err
	}
	return outcome{"COPY", o.rows}, o.s.over(o.s.w.empty('c'))
}
