package pgwire

import (
	"bytes"
	"fmt"

	"kimberlite/internal/fault"
)

// copyFormat is how the lines of a COPY are written.
type copyFormat struct {
	csv       bool
	header    bool
	delimiter byte
	quote     byte   // CSV
	escape    byte   // CSV
	null      string // how NULL is written
	// forceNull and forceNotNull are by column; nil for none.
	forceNull, forceNotNull []bool
	// forceQuote is for writing, by column.
	forceQuote []bool
}

// Limits of COPY FROM STDIN.
const (
	maxCopyLine = 32 << 20
)

// field is one field of a line. Its text is valid until the next line.
type field struct {
	text []byte
	null bool
}

// copyParser cuts the bytes of COPY FROM STDIN, as they come, into lines and
// fields. It holds one unfinished line at most.
type copyParser struct {
	f    copyFormat
	rest []byte // of the line that has not ended
	// scanned is how much of rest is known to hold no end of the line.
	scanned int
	inQuote bool // at scanned
	line    int64
	started bool // the header line is behind
	ended   bool // "\." was met
	fields  []field
	text    []byte // of unescaped fields
	ends    []int
}

func newCopyParser(f copyFormat) *copyParser { return &copyParser{f: f} }

func (p *copyParser) number() int64 { return p.line }

// bad is an error of the input, with its line.
func (p *copyParser) bad(format string, args ...any) *fault.Error {
	return fault.New("copy", fault.Invalid, "line %d: %s", p.line, fmt.Sprintf(format, args...)).WithState("22P04")
}

// feed takes more bytes and gives fn each line that they finish.
func (p *copyParser) feed(data []byte, fn func([]field) error) error {
	if p.ended {
		return nil // what follows the end is ignored
	}
	p.rest = append(p.rest, data...)
	at := 0
	for {
		end, next, ok := p.lineEnd(at, false)
		if !ok {
			break
		}
		if err := p.one(p.rest[at:end], fn); err != nil || p.ended {
			return err
		}
		at = next
		p.scanned, p.inQuote = at, false
	}
	if at > 0 {
		n := copy(p.rest, p.rest[at:])
		p.rest, p.scanned = p.rest[:n], p.scanned-at
	}
	if len(p.rest) > maxCopyLine {
		p.line++
		return p.bad("it is longer than %d bytes", maxCopyLine)
	}
	return nil
}

// finish takes the last line, which may have no end.
func (p *copyParser) finish(fn func([]field) error) error {
	if p.ended || len(p.rest) == 0 {
		return nil
	}
	end, _, ok := p.lineEnd(0, true)
	if !ok {
		end = len(p.rest)
		if p.inQuote {
			p.line++
			return p.bad("unterminated CSV quoted field")
		}
	}
	return p.one(p.rest[:end], fn)
}

// lineEnd looks for the end of the line that begins at from.
func (p *copyParser) lineEnd(from int, last bool) (end, next int, ok bool) {
	b := p.rest
	i := max(p.scanned, from)
	for ; i < len(b); i++ {
		c := b[i]
		switch {
		case p.f.csv && c == p.f.quote:
			// An escaped quote flips it twice, so that where quote and
			// escape are the same character this is right.
			p.inQuote = !p.inQuote
		case p.f.csv && p.inQuote && c == p.f.escape:
			if i+1 == len(b) && !last {
				p.scanned = i
				return 0, 0, false
			}
			i++
		case p.f.csv && p.inQuote:
		case c == '\n':
			return i, i + 1, true
		case c == '\r':
			if i+1 == len(b) && !last { // "\r\n" may be cut in two
				p.scanned = i
				return 0, 0, false
			}
			if i+1 < len(b) && b[i+1] == '\n' {
				return i, i + 2, true
			}
			return i, i + 1, true
		case c == '\\' && !p.f.csv:
			if i+1 == len(b) && !last {
				p.scanned = i
				return 0, 0, false
			}
			i++ // a backslash before the end of a line keeps it in the field
		}
	}
	p.scanned = min(i, len(b))
	return 0, 0, false
}

// one deals with one line.
func (p *copyParser) one(line []byte, fn func([]field) error) error {
	p.line++
	if p.f.csv { // a quoted field may hold ends of lines
		defer func(n int) { p.line += int64(n) }(bytes.Count(line, []byte{'\n'}))
	}
	if p.f.header && !p.started {
		p.started = true
		return nil
	}
	p.started = true
	if string(line) == `\.` {
		p.ended = true
		return nil
	}
	p.fields, p.text, p.ends = p.fields[:0], p.text[:0], p.ends[:0]
	var err error
	if p.f.csv {
		err = p.splitCSV(line)
	} else {
		p.splitText(line)
	}
	if err != nil {
		return err
	}
	return fn(p.fields)
}

// add ends a field whose text was appended to p.text.
func (p *copyParser) add(null bool) {
	p.ends = append(p.ends, len(p.text))
	p.fields = append(p.fields, field{null: null})
}

// place gives the fields their texts once p.text no longer moves.
func (p *copyParser) place() {
	from := 0
	for i, end := range p.ends {
		p.fields[i].text = p.text[from:end:end]
		from = end
	}
}

// splitText splits a line of the text format.
func (p *copyParser) splitText(line []byte) {
	for {
		end, escaped := len(line), false
		for i := 0; i < len(line); i++ {
			if line[i] == '\\' {
				escaped = true
				i++
			} else if line[i] == p.f.delimiter {
				end = i
				break
			}
		}
		raw := line[:end]
		null := string(raw) == p.f.null
		switch {
		case null:
		case escaped:
			p.text = unescape(p.text, raw)
		default:
			p.text = append(p.text, raw...)
		}
		p.add(null)
		if end == len(line) {
			break
		}
		line = line[end+1:]
	}
	p.place()
}

// unescape appends a field of the text format without its backslashes.
func unescape(dst, raw []byte) []byte {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' || i+1 == len(raw) {
			dst = append(dst, raw[i])
			continue
		}
		i++
		switch c := raw[i]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'v':
			dst = append(dst, '\v')
		case '0', '1', '2', '3', '4', '5', '6', '7':
			n := 0
			for j := 0; j < 3 && i < len(raw) && raw[i] >= '0' && raw[i] <= '7'; j++ {
				n = n*8 + int(raw[i]-'0')
				i++
			}
			i--
			dst = append(dst, byte(n))
		case 'x':
			n, digits := 0, 0
			for digits < 2 && i+1 < len(raw) {
				d := bytes.IndexByte([]byte("0123456789abcdef"), raw[i+1]|0x20)
				if d < 0 {
					break
				}
				n, digits, i = n*16+d, digits+1, i+1
			}
			if digits == 0 {
				dst = append(dst, 'x')
			} else {
				dst = append(dst, byte(n))
			}
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// splitCSV splits a line of CSV, which may hold ends of lines between quotes.
func (p *copyParser) splitCSV(line []byte) error {
	for i := 0; ; {
		from, quoted, inQuote := len(p.text), false, false
		for ; i < len(line); i++ {
			c := line[i]
			if inQuote {
				switch {
				case c == p.f.escape && i+1 < len(line) && (line[i+1] == p.f.quote || line[i+1] == p.f.escape):
					i++
					p.text = append(p.text, line[i])
				case c == p.f.quote:
					inQuote = false
				default:
					p.text = append(p.text, c)
				}
				continue
			}
			if c == p.f.delimiter {
				break
			}
			if c == p.f.quote {
				quoted, inQuote = true, true
				continue
			}
			p.text = append(p.text, c)
		}
		if inQuote {
			return p.bad("unterminated CSV quoted field")
		}
		n := len(p.fields)
		isNull := string(p.text[from:]) == p.f.null
		null := isNull && !quoted && !at(p.f.forceNotNull, n) || isNull && quoted && at(p.f.forceNull, n)
		if null {
			p.text = p.text[:from]
		}
		p.add(null)
		if i >= len(line) {
			break
		}
		i++ // the delimiter; a field follows, maybe an empty one
	}
	p.place()
	return nil
}

func at(flags []bool, i int) bool { return i >= 0 && i < len(flags) && flags[i] }

// appendCopyField appends one field of COPY TO STDOUT.
func (f *copyFormat) appendField(dst, text []byte, null bool, i int, alone bool) []byte {
	switch {
	case null:
		return append(dst, f.null...)
	case f.csv:
		return f.appendCSV(dst, text, i, alone)
	}
	for _, c := range text {
		switch c {
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\v':
			dst = append(dst, '\\', 'v')
		case '\\':
			dst = append(dst, '\\', '\\')
		default:
			if c == f.delimiter {
				dst = append(dst, '\\')
			}
			dst = append(dst, c)
		}
	}
	return dst
}

func (f *copyFormat) appendCSV(dst, text []byte, i int, alone bool) []byte {
	quote := at(f.forceQuote, i) || string(text) == f.null || alone && string(text) == `\.`
	for _, c := range text {
		if c == f.delimiter || c == f.quote || c == '\n' || c == '\r' {
			quote = true
			break
		}
	}
	if !quote {
		return append(dst, text...)
	}
	dst = append(dst, f.quote)
	for _, c := range text {
		if c == f.quote || c == f.escape {
			dst = append(dst, f.escape)
		}
		dst = append(dst, c)
	}
	return append(dst, f.quote)
}
