package pgwire

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
)

// copySignature begins every file in COPY's binary format.
const copySignature = "PGCOPY\n\xff\r\n\x00"

// Flags of the binary format's header: those that must be understood, and that
// rows begin with an OID.
const (
	copyCriticalFlags = 0xffff0000
	copyWithOIDs      = 1 << 16
)

// copyInput cuts the bytes of COPY FROM STDIN into rows of fields.
type copyInput interface {
	// feed takes more bytes and gives fn each row that they finish.
	feed(data []byte, fn func([]field) error) error
	// finish says that no more come.
	finish(fn func([]field) error) error
	// number is the row's that fn is given: a line, or a tuple.
	number() int64
	// bad is an error of the input, with that number.
	bad(format string, args ...any) *fault.Error
}

// binaryParser cuts the binary format into tuples. It holds one unfinished
// tuple at most, of maxCopyLine bytes.
type binaryParser struct {
	columns int
	begun   bool   // the header is behind, but for
	skip    uint32 // bytes of its extension
	ended   bool   // the trailer was met
	tuple   int64
	rest    []byte // of the tuple that has not ended
	// at is how much of rest is cut into fields, once inside says that the
	// number of fields was read.
	at     int
	inside bool
	fields []field
	spans  [][2]int
}

func (p *binaryParser) number() int64 { return p.tuple }

func (p *binaryParser) bad(format string, args ...any) *fault.Error {
	return fault.New("copy", fault.Invalid, "line %d: %s", p.tuple, fmt.Sprintf(format, args...)).WithState("22P04")
}

func (p *binaryParser) feed(data []byte, fn func([]field) error) error {
	p.rest = append(p.rest, data...)
	from := 0
	for {
		n, err := p.step(p.rest[from:], fn)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		from += n
	}
	if from > 0 {
		p.rest = p.rest[:copy(p.rest, p.rest[from:])]
	}
	return nil
}

// finish accepts the end instead of a tuple, as PostgreSQL does.
func (p *binaryParser) finish(func([]field) error) error {
	switch {
	case !p.begun:
		return p.bad("COPY file signature not recognized")
	case len(p.rest) > 0 || p.skip > 0:
		return p.bad("unexpected EOF in COPY data")
	}
	return nil
}

// step deals with the next thing in b and returns how long it was, 0 when not
// all of it is there.
func (p *binaryParser) step(b []byte, fn func([]field) error) (int, error) {
	switch {
	case !p.begun:
		return p.header(b)
	case p.skip > 0:
		n := min(len(b), int(p.skip))
		p.skip -= uint32(n) //nolint:gosec // at most skip
		return n, nil
	case p.ended && len(b) > 0:
		return 0, p.bad("received copy data after EOF marker")
	case len(b) < 2:
		return 0, nil
	}
	if !p.inside {
		n := int16(binary.BigEndian.Uint16(b)) //nolint:gosec // two's complement
		if n == -1 {
			p.ended = true
			return 2, nil
		}
		p.tuple++
		if int(n) != p.columns {
			return 0, p.bad("row field count is %d, expected %d", n, p.columns)
		}
		p.inside, p.at, p.spans = true, 2, p.spans[:0]
	}
	if done, err := p.cut(b); !done || err != nil {
		return 0, err
	}
	p.fields = p.fields[:0]
	for _, s := range p.spans {
		if s[0] < 0 {
			p.fields = append(p.fields, field{null: true})
			continue
		}
		p.fields = append(p.fields, field{text: b[s[0]:s[1]:s[1]]})
	}
	p.inside = false
	return p.at, fn(p.fields)
}

// cut notes where the tuple's fields are in b, as far as they are there.
func (p *binaryParser) cut(b []byte) (done bool, err error) {
	for len(p.spans) < p.columns {
		if len(b) < p.at+4 {
			return false, nil
		}
		switch n := int32(binary.BigEndian.Uint32(b[p.at:])); { //nolint:gosec // two's complement
		case n == -1:
			p.spans = append(p.spans, [2]int{-1, -1})
			p.at += 4
		case n < 0:
			return false, p.bad("invalid field size")
		case p.at+4+int(n) > maxCopyLine:
			return false, p.bad("it is longer than %d bytes", maxCopyLine)
		case len(b) < p.at+4+int(n):
			return false, nil
		default:
			p.spans = append(p.spans, [2]int{p.at + 4, p.at + 4 + int(n)})
			p.at += 4 + int(n)
		}
	}
	return true, nil
}

// header reads the signature, the flags and the length of the extension.
func (p *binaryParser) header(b []byte) (int, error) {
	const length = len(copySignature) + 8
	if seen := min(len(b), len(copySignature)); string(b[:seen]) != copySignature[:seen] {
		return 0, p.bad("COPY file signature not recognized")
	}
	if len(b) < length {
		return 0, nil
	}
	switch flags := binary.BigEndian.Uint32(b[len(copySignature):]); {
	case flags&copyWithOIDs != 0:
		return 0, p.bad("invalid COPY file header (WITH OIDS)")
	case flags&copyCriticalFlags != 0:
		return 0, p.bad("unrecognized critical flags in COPY file header")
	}
	if p.skip = binary.BigEndian.Uint32(b[len(copySignature)+4:]); p.skip > math.MaxInt32 {
		return 0, p.bad("invalid COPY file header (missing length)")
	}
	p.begun = true
	return length, nil
}

// copyRows takes the rows of COPY TO STDOUT.
type copyRows interface {
	row(row *projection.Row) error
	end() (outcome, error)
}

// binaryOutput sends rows in the binary format.
type binaryOutput struct {
	s       *session
	p       *plan
	columns []column
	rows    int64
}

// begin tells the client that data comes, and sends the header.
func (o *binaryOutput) begin() error {
	if o.columns != nil {
		return nil
	}
	o.columns = o.p.copyColumns()
	m := &pgproto3.CopyOutResponse{OverallFormat: formatBinary, ColumnFormatCodes: binaryFormats(len(o.columns))}
	if err := o.s.over(o.s.w.send(m)); err != nil {
		return err
	}
	return o.data(append([]byte(copySignature), make([]byte, 8)...))
}

func binaryFormats(n int) []uint16 {
	formats := make([]uint16, n)
	for i := range formats {
		formats[i] = formatBinary
	}
	return formats
}

// data sends bytes as they are.
func (o *binaryOutput) data(bytes []byte) error {
	b := o.s.w.out()
	start := len(b)
	w := rowWriter{s: o.s}
	return w.keep(finish(append(header(b, 'd'), bytes...), start))
}

// row sends one tuple. It looks like a row of a result, which is written
// already, behind another letter.
func (o *binaryOutput) row(row *projection.Row) error {
	if err := o.begin(); err != nil {
		return err
	}
	b := o.s.w.out()
	start := len(b)
	b, err := appendRow(b, o.columns, []int16{formatBinary}, row)
	w := rowWriter{s: o.s}
	if err != nil {
		w.put(b)
		return err
	}
	b[start] = 'd'
	o.rows++
	return w.keep(b)
}

// end sends the trailer.
func (o *binaryOutput) end() (outcome, error) {
	if err := o.begin(); err != nil {
		return outcome{}, err
	}
	if err := o.data([]byte{0xff, 0xff}); err != nil {
		return outcome{}, err
	}
	return outcome{"COPY", o.rows}, o.s.over(o.s.w.empty('c'))
}
