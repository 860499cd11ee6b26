package sqlfunc

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"
)

// codingFunctions quote, encode and hash.
func codingFunctions() []Function {
	return []Function{
		strict("pg_quote_ident", 1, func(args []any) (any, error) { return quoteIdentifier(text(args[0])), nil }),
		strict("pg_quote_literal", 1, func(args []any) (any, error) { return quoteLiteral(text(args[0])), nil }),
		loose("pg_quote_nullable", 1, func(args []any) (any, error) {
			if args[0] == nil {
				return "NULL", nil
			}
			return quoteLiteral(text(args[0])), nil
		}),
		strict("pg_to_hex", 1, func(args []any) (any, error) { return strconv.FormatUint(uint64(integer(args[0])), 16), nil }),
		strict("pg_encode", 2, encode), strict("pg_decode", 2, decode),
		strict("pg_convert_from", 2, func(args []any) (any, error) {
			if err := onlyUTF8(text(args[1])); err != nil {
				return nil, err
			}
			if b := blob(args[0]); utf8.Valid(b) {
				return string(b), nil
			}
			return nil, fail(stateNotUTF8, "the bytes are not UTF-8")
		}),
		strict("pg_convert_to", 2, func(args []any) (any, error) { return []byte(text(args[0])), onlyUTF8(text(args[1])) }),
		strict("pg_bytea_concat", 2, func(args []any) (any, error) {
			x, y := blob(args[0]), blob(args[1])
			if len(x)+len(y) > maxText {
				return nil, tooLong()
			}
			return append(append(make([]byte, 0, len(x)+len(y)), x...), y...), nil
		}),
		strict("pg_sha", 2, hash),
	}
}

func onlyUTF8(name string) error {
	switch strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(name)) {
	case "utf8", "unicode":
		return nil
	}
	return fail(stateNotSupported, "no encoding but UTF8 is supported")
}

// keywords are PostgreSQL's reserved words, which quote_ident quotes.
const keywords = ` all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast
 char character check coalesce collate collation column concurrently constraint create cross current_catalog current_date
 current_role current_schema current_time current_timestamp current_user dec decimal default deferrable desc distinct do else
 end except exists extract false fetch float for foreign freeze from full grant greatest group grouping having ilike in initially inner
 inout int integer intersect interval into is isnull join lateral leading least left like limit localtime localtimestamp national
 natural nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay placing position
 precision primary real references returning right row select session_user setof similar smallint some substring symmetric table
 tablesample then time timestamp to trailing treat trim true union unique user using values varchar variadic verbose when where
 window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable `

func quoteIdentifier(s string) string {
	plain := s != ""
	for i, r := range s {
		if r >= 'a' && r <= 'z' || r == '_' || i > 0 && r >= '0' && r <= '9' {
			continue
		}
		plain = false
	}
	if plain && !strings.Contains(strings.ReplaceAll(keywords, "\n", ""), " "+s+" ") {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

func quoteLiteral(s string) string {
	prefix := ""
	if strings.Contains(s, `\`) {
		prefix, s = "E", strings.ReplaceAll(s, `\`, `\\`)
	}
	return prefix + "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

const lineOfBase64 = 76

func encode(args []any) (any, error) {
	b := blob(args[0])
	switch strings.ToLower(text(args[1])) {
	case "hex":
		return made(hex.EncodeToString(b))
	case "base64":
		s := base64.StdEncoding.EncodeToString(b)
		var lines strings.Builder
		for len(s) > lineOfBase64 {
			lines.WriteString(s[:lineOfBase64] + "\n")
			s = s[lineOfBase64:]
		}
		return made(lines.String() + s)
	case "escape":
		var s strings.Builder
		for _, c := range b {
			switch {
			case c == 0 || c >= 0x80:
				s.WriteString(`\` + string([]byte{'0' + c>>6, '0' + c>>3&7, '0' + c&7}))
			case c == '\\':
				s.WriteString(`\\`)
			default:
				s.WriteByte(c)
			}
		}
		return made(s.String())
	}
	return nil, fail(stateInvalidArgument, "unrecognized encoding: use base64, escape or hex")
}

func decode(args []any) (any, error) {
	s := text(args[0])
	blank := strings.NewReplacer(" ", "", "\n", "", "\r", "", "\t", "")
	switch strings.ToLower(text(args[1])) {
	case "hex":
		b, err := hex.DecodeString(blank.Replace(s))
		if err != nil {
			return nil, fail(stateInvalidArgument, "invalid hexadecimal data")
		}
		return b, nil
	case "base64":
		b, err := base64.StdEncoding.DecodeString(blank.Replace(s))
		if err != nil {
			return nil, fail(stateInvalidArgument, "invalid base64 data")
		}
		return b, nil
	case "escape":
		return unescape(s)
	}
	return nil, fail(stateInvalidArgument, "unrecognized encoding: use base64, escape or hex")
}

func unescape(s string) (any, error) {
	b := []byte{}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\':
			b = append(b, s[i])
		case strings.HasPrefix(s[i:], `\\`):
			b = append(b, '\\')
			i++
		default:
			if len(s) < i+4 {
				return nil, fail(stateInvalidText, "invalid input syntax for type bytea")
			}
			n, err := strconv.ParseUint(s[i+1:i+4], 8, 8)
			if err != nil {
				return nil, fail(stateInvalidText, "invalid input syntax for type bytea")
			}
			b = append(b, byte(n))
			i += 3
		}
	}
	return b, nil
}

func hash(args []any) (any, error) {
	b := blob(args[1])
	switch integer(args[0]) {
	case 224:
		sum := sha256.Sum224(b)
		return sum[:], nil
	case 256:
		sum := sha256.Sum256(b)
		return sum[:], nil
	case 384:
		sum := sha512.Sum384(b)
		return sum[:], nil
	}
	sum := sha512.Sum512(b)
	return sum[:], nil
}
