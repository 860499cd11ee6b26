package pgwire

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
	"kimberlite/internal/sqltype"
)

// Formats of values on the wire.
const (
	formatText   = 0
	formatBinary = 1
)

// column is a column of a result, as its client was told of it.
type column struct {
	name   string
	typ    sqltype.Type
	table  uint32 // object numbers of where it comes from, 0 for an expression
	number uint16
	short  bool // an integer of at most eight bytes, written straight
	text   bool // its stored text is what is sent, in both formats
}

func newColumn(name string, t sqltype.Type) column {
	c := column{name: name, typ: t}
	switch t.OID {
	case sqltype.Int2.OID, sqltype.Int4.OID, sqltype.Int8.OID, sqltype.OIDType.OID:
		c.short = true
	case sqltype.Text.OID, sqltype.Varchar.OID, sqltype.Name.OID, sqltype.Unknown.OID:
		c.text = true
	}
	return c
}

// formatOf returns the format of column i: none asked for is text, one is for
// all.
func formatOf(formats []int16, i int) int16 {
	switch {
	case len(formats) == 0:
		return formatText
	case len(formats) == 1:
		return formats[0]
	}
	return formats[i]
}

// checkFormats says what is wrong with a list of formats for n values.
func checkFormats(formats []int16, n int, what string) error {
	if len(formats) > 1 && len(formats) != n {
		return protocolError("there are %d formats for %d %s", len(formats), n, what)
	}
	for _, f := range formats {
		if f != formatText && f != formatBinary {
			return fault.New("bind", fault.Invalid, "the format code %d is neither text nor binary", f)
		}
	}
	return nil
}

// appendRow appends a DataRow message for the current row. It runs inside the
// tenant's writer, whom a panic of ours must not reach: that is an error.
func appendRow(dst []byte, columns []column, formats []int16, row *projection.Row) (out []byte, err error) {
	start := len(dst)
	defer func() {
		if recover() != nil {
			out, err = dst[:start], fault.New("result", fault.Internal, "a row could not be written")
		}
	}()
	dst = header(dst, 'D')
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(columns))) //nolint:gosec // SQLite has at most 32,767
	for i := range columns {
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		class := row.Class(i)
		if class == projection.ClassNull {
			binary.BigEndian.PutUint32(dst[at:], math.MaxUint32)
			continue
		}
		if dst, err = appendColumn(dst, &columns[i], formatOf(formats, i), row, i, class); err != nil {
			return dst[:start], err
		}
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4)) //nolint:gosec // values are bounded
	}
	return finish(dst, start), nil
}

// appendColumn appends a value that is not NULL.
func appendColumn(dst []byte, c *column, format int16, row *projection.Row, i int, class projection.Class) ([]byte, error) {
	switch {
	case c.short && class == projection.ClassInteger:
		n := row.Int64(i)
		if format == formatText {
			return strconv.AppendInt(dst, n, 10), nil
		}
		return appendShort(dst, c, n)
	case c.text && class == projection.ClassText:
		return validText(row.Bytes(i, dst), len(dst), c)
	}
	return appendValue(dst, c, format, row.Value(i))
}

// appendShort appends an integer in its binary form.
func appendShort(dst []byte, c *column, n int64) ([]byte, error) {
	switch c.typ.Size() {
	case 2:
		if n >= math.MinInt16 && n <= math.MaxInt16 {
			return binary.BigEndian.AppendUint16(dst, uint16(n)), nil //nolint:gosec // in range
		}
	case 4:
		if n >= math.MinInt32 && n <= math.MaxInt32 || c.typ.OID == sqltype.OIDType.OID && n >= 0 && n <= math.MaxUint32 {
			return binary.BigEndian.AppendUint32(dst, uint32(n)), nil //nolint:gosec // in range
		}
	default:
		return binary.BigEndian.AppendUint64(dst, uint64(n)), nil //nolint:gosec // two's complement is the form
	}
	return dst, fault.New("result", fault.Invalid, "a value of column %q is out of range for type %s", c.name, c.typ.SQL()).WithState("22003")
}

// validText refuses text that the client could not read: SQLite stores any
// bytes, and a zero byte would end a string early.
func validText(dst []byte, from int, c *column) ([]byte, error) {
	for i := from; i < len(dst); i++ {
		if b := dst[i]; b == 0 || b >= utf8.RuneSelf {
			if b == 0 || !utf8.Valid(dst[from:]) {
				return dst[:from], fault.New("result", fault.Invalid, "a value of column %q is not valid UTF-8 text: read it as a blob", c.name).WithState("22021")
			}
			// Valid as a whole; what is left to look for is a zero byte.
			for ; i < len(dst); i++ {
				if dst[i] == 0 {
					return dst[:from], fault.New("result", fault.Invalid, "a value of column %q holds a zero byte: read it as a blob", c.name).WithState("22021")
				}
			}
		}
	}
	return dst, nil
}

// appendValue appends any value that is not NULL. Columns of tables that were
// not declared with PostgreSQL's types may hold what their type does not
// foresee: as text it is shown as SQLite shows it, in binary it is an error.
func appendValue(dst []byte, c *column, format int16, v any) ([]byte, error) {
	from := len(dst)
	if format == formatBinary {
		out, err := c.typ.AppendBinary(dst, v)
		if err != nil {
			return dst[:from], wrongValue(c, err)
		}
		return out, nil
	}
	out, err := c.typ.AppendText(dst, v)
	if err == nil {
		return validText(out, from, c)
	}
	if s, ok := v.(string); ok {
		return validText(append(dst[:from], s...), from, c)
	}
	return dst[:from], wrongValue(c, err)
}

func wrongValue(c *column, err error) error {
	return fault.Wrap("result", fault.Invalid, err, "a value of column %q is none of type %s: cast it, or ask for text", c.name, c.typ.SQL()).WithState(fault.StateOf(err))
}

// computedPrecision is the precision that the dialect gives to a number whose
// digits after the point it has worked out; no column has it.
const computedPrecision = 1000

// sentMod is the modifier that a client is told: -1 for computed numbers, which
// have none in PostgreSQL.
func sentMod(t sqltype.Type) int32 {
	if precision, _, ok := t.Precision(); ok && precision == computedPrecision {
		return -1
	}
	return t.Mod
}

// rowDescription sends what a result's columns are.
func (w *writer) rowDescription(columns []column, formats []int16) error {
	b := w.out()
	start := len(b)
	b = header(b, 'T')
	b = binary.BigEndian.AppendUint16(b, uint16(len(columns))) //nolint:gosec // SQLite has at most 32,767
	for i := range columns {
		c := &columns[i]
		for j := 0; j < len(c.name); j++ {
			if c.name[j] != 0 {
				b = append(b, c.name[j])
			}
		}
		b = append(b, 0)
		b = binary.BigEndian.AppendUint32(b, c.table)
		b = binary.BigEndian.AppendUint16(b, c.number)
		b = binary.BigEndian.AppendUint32(b, c.typ.OID)
		b = binary.BigEndian.AppendUint16(b, uint16(c.typ.Size()))         //nolint:gosec // two's complement is the form
		b = binary.BigEndian.AppendUint32(b, uint32(sentMod(c.typ)))       //nolint:gosec // likewise
		b = binary.BigEndian.AppendUint16(b, uint16(formatOf(formats, i))) //nolint:gosec // 0 or 1
	}
	return w.keep(finish(b, start))
}

// parameterDescription sends what types a statement's parameters have.
func (w *writer) parameterDescription(params []sqltype.Type) error {
	m := &pgproto3.ParameterDescription{ParameterOIDs: make([]uint32, len(params))}
	for i, p := range params {
		m.ParameterOIDs[i] = p.OID
	}
	return w.send(m)
}

// readParameters turns a Bind's parameters into stored values.
func readParameters(types []sqltype.Type, formats []int16, raw [][]byte) ([]any, error) {
	if len(raw) != len(types) {
		return nil, protocolError("bind message supplies %d parameters, but the prepared statement requires %d", len(raw), len(types))
	}
	if err := checkFormats(formats, len(raw), "parameters"); err != nil {
		return nil, err
	}
	args := make([]any, len(raw))
	for i, b := range raw {
		if b == nil {
			continue
		}
		var err error
		if formatOf(formats, i) == formatBinary {
			args[i], err = types[i].InputBinary(b)
		} else if err = validInput(b); err == nil {
			args[i], err = types[i].Input(string(b))
		}
		if err != nil {
			return nil, fault.Wrap("bind", fault.KindOf(err), err, "parameter $%d", i+1)
		}
	}
	return args, nil
}

// validInput refuses bytes that are no text.
func validInput(b []byte) error {
	if !utf8.Valid(b) {
		return fault.New("bind", fault.Invalid, "invalid byte sequence for encoding \"UTF8\"").WithState("22021")
	}
	for _, c := range b {
		if c == 0 {
			return fault.New("bind", fault.Invalid, "invalid byte sequence for encoding \"UTF8\": 0x00").WithState("22021")
		}
	}
	return nil
}
