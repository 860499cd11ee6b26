package sqlfunc

import (
	"math/big"
	"strings"

	"kimberlite/internal/sqltype"
)

// numberText is to_char of a number, with the patterns 9 0 . , D G FM S MI PR $.
func numberText(v any, format string) (any, error) {
	r := rational(v)
	if r == nil {
		return nil, fail(stateOutOfRange, "the value is no finite number")
	}
	p, err := numberTemplate(format)
	if err != nil {
		return nil, err
	}
	digits := new(big.Rat).Abs(r).FloatString(len(p.fraction))
	whole, fraction, _ := strings.Cut(digits, ".")
	if whole == "0" {
		whole = ""
	}
	places := strings.Count(p.whole, "9") + strings.Count(p.whole, "0")
	overflow := len(whole) > places
	body := p.fillWhole(whole, places, overflow) + p.fillFraction(fraction, overflow)
	return p.signed(body, r.Sign() < 0), nil
}

// numberForm is a parsed template: digits before and after the point.
type numberForm struct {
	whole, fraction string // of 9, 0 and ,
	fill            bool
	sign            string // "", "S", "MI", "PR"
	signAfter       bool
	currency        bool
	point           bool
}

func numberTemplate(format string) (numberForm, error) {
	p := numberForm{fill: true}
	for s := strings.ToUpper(format); s != ""; {
		switch {
		case strings.HasPrefix(s, "FM"):
			p.fill = false
			s = s[2:]
			continue
		case strings.HasPrefix(s, "MI"), strings.HasPrefix(s, "PR"):
			p.sign = s[:2]
			s = s[2:]
			continue
		}
		switch c := s[0]; c {
		case '9', '0', ',', 'G':
			if c == 'G' {
				c = ','
			}
			if p.point {
				p.fraction += string(c)
			} else {
				p.whole += string(c)
			}
		case '.', 'D':
			p.point = true
		case 'S':
			p.sign, p.signAfter = "S", p.whole != "" || p.fraction != ""
		case '$', 'L':
			p.currency = true
		case ' ':
		default:
			return p, fail(stateNotSupported, "a template pattern of to_char is not supported for numbers: 9 0 . , D G FM S MI PR $ are")
		}
		s = s[1:]
	}
	return p, nil
}

func (p numberForm) fillWhole(whole string, places int, overflow bool) string {
	whole = strings.Repeat(" ", max(0, places-len(whole))) + whole
	var b strings.Builder
	i, started := 0, false
	for _, c := range p.whole {
		if c == ',' {
			if started {
				b.WriteByte(',')
			} else if p.fill {
				b.WriteByte(' ')
			}
			continue
		}
		d := whole[i]
		i++
		switch {
		case overflow:
			b.WriteByte('#')
			started = true
		case d != ' ':
			b.WriteByte(d)
			started = true
		case started || c == '0' || !p.point && i == places:
			b.WriteByte('0')
			started = true
		case p.fill:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func (p numberForm) fillFraction(fraction string, overflow bool) string {
	if !p.point {
		return ""
	}
	if overflow {
		return "." + strings.Repeat("#", len(p.fraction))
	}
	if !p.fill { // zeros at the end go, but for those that a 0 asks for
		keep := strings.LastIndexByte(p.fraction, '0') + 1
		for len(fraction) > keep && strings.HasSuffix(fraction, "0") {
			fraction = fraction[:len(fraction)-1]
		}
	}
	return "." + fraction
}

func (p numberForm) signed(body string, negative bool) string {
	blank := ""
	if p.fill {
		blank = " "
	}
	mark := blank
	if negative {
		mark = "-"
	}
	trimmed := strings.TrimLeft(body, " ")
	lead := body[:len(body)-len(trimmed)]
	if p.currency {
		trimmed = "$" + trimmed
	}
	switch p.sign {
	case "S":
		if mark = "+"; negative {
			mark = "-"
		}
		if p.signAfter {
			return lead + trimmed + mark
		}
	case "MI":
		return lead + trimmed + mark
	case "PR":
		if negative {
			return lead + "<" + trimmed + ">"
		}
		return blank + lead + trimmed + blank
	}
	return lead + mark + trimmed
}

// readNumber is to_number: it takes the digits, the point and the sign.
func readNumber(s string) (any, error) {
	var b strings.Builder
	negative := false
	for _, c := range s {
		switch {
		case c >= '0' && c <= '9', c == '.':
			b.WriteRune(c)
		case c == '-' || c == '<':
			negative = true
		}
	}
	number := b.String()
	if negative {
		number = "-" + number
	}
	return sqltype.Numeric.Input(number)
}
