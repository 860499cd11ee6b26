package main

import (
	"math"
	"strconv"
	"strings"
)

// The types that --create gives to columns.
const (
	typeInteger = "INTEGER"
	typeReal    = "REAL"
	typeText    = "TEXT"
)

// inference finds the narrowest type that keeps every value of every column
// as it is written: what would lose a leading zero or a digit stays text.
type inference struct {
	null  string
	kinds []kindSet
	names []string
}

// kindSet says what a column's values have in common.
type kindSet struct {
	seen           bool // a value that is not NULL
	notInteger     bool
	notReal        bool
	integerTooLong bool // an integer that REAL would round
}

func newInference(names []string, null string) *inference {
	return &inference{null: null, kinds: make([]kindSet, len(names)), names: names}
}

// row looks at a row's values.
func (n *inference) row(fields []string) {
	for i, field := range fields {
		k := &n.kinds[i]
		if field == n.null || (k.notInteger && k.notReal) {
			continue
		}
		k.seen = true
		switch {
		case isPlainInteger(field):
			k.integerTooLong = k.integerTooLong || len(field) > maxRealDigits
		case isPlainReal(field):
			k.notInteger = true
		default:
			k.notInteger, k.notReal = true, true
		}
	}
}

// types returns each column's type.
func (n *inference) types() []string {
	types := make([]string, len(n.kinds))
	for i, k := range n.kinds {
		switch {
		case !k.seen || k.notReal || isCodeName(n.names[i]):
			types[i] = typeText
		case !k.notInteger:
			types[i] = typeInteger
		case k.integerTooLong:
			types[i] = typeText
		default:
			types[i] = typeReal
		}
	}
	return types
}

// maxRealDigits is how many digits a REAL keeps for certain.
const maxRealDigits = 15

// isPlainInteger says whether a text is the one way to write an integer of 64
// bits: "7", "-7", but not "007", "+7" or "7 ".
func isPlainInteger(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && strconv.FormatInt(n, 10) == s
}

// isPlainReal says whether a text is a decimal number that REAL keeps: digits,
// a point, digits, without a zero before other digits.
func isPlainReal(s string) bool {
	whole, decimals, ok := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	if !ok || !isDigits(whole) || !isDigits(decimals) || (len(whole) > 1 && whole[0] == '0') {
		return false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) {
		return false
	}
	significant := strings.TrimLeft(whole+decimals, "0")
	if len(strings.TrimRight(significant, "0")) <= maxRealDigits {
		return true
	}
	// A longer one is kept when it is the shortest form of its own number.
	return strconv.FormatFloat(f, 'f', -1, 64) == strings.TrimRight(s, "0")
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// codeWords end the names of columns whose digits name something: they are
// text even where no value of this file begins with a zero.
var codeWords = []string{"zip", "zipcode", "postcode", "postalcode", "ssn", "phone", "fax", "code", "passport", "icd", "snomed", "npi", "mrn"}

func isCodeName(name string) bool {
	folded := strings.ToLower(name)
	words := strings.FieldsFunc(folded, func(r rune) bool { return r == '_' || r == '-' || r == ' ' || r == '.' })
	if len(words) == 0 {
		return false
	}
	last := words[len(words)-1]
	for _, w := range codeWords {
		if last == w || (w == "code" && strings.HasSuffix(last, w)) {
			return true
		}
	}
	return false
}
