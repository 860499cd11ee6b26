package sqltype

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// wrongStored is the refusal of a value whose sort is not that of the type.
func (t Type) wrongStored(v any) error {
	sort := "a value of no known sort"
	switch v.(type) {
	case int64:
		sort = "an integer"
	case float64:
		sort = "a floating-point number"
	case string:
		sort = "a text"
	case []byte:
		sort = "bytes"
	}
	return fail(stateWrongType, "%s is no stored %s: cast it to the column's type", sort, t.SQL())
}

// Check says whether a value is a stored form of the type, in range and within
// the type's modifier; nil always is. The error is a *fault.Error with its
// SQLSTATE.
func (t Type) Check(v any) error {
	if t.checkPlain(v) {
		return nil
	}
	return t.checkAny(v)
}

func (t Type) checkAny(v any) error {
	switch v := v.(type) {
	case nil:
		return nil
	case int64:
		return t.checkStoredInteger(v)
	case float64:
		switch t.OID {
		case Float4.OID, Float8.OID:
			if math.IsNaN(v) {
				return t.outOfRange()
			}
			return nil
		case Numeric.OID:
			return t.checkNumeric(v)
		}
		return t.wrongStored(v)
	case string:
		return t.checkString(v)
	case []byte:
		if t.OID == Bytea.OID {
			return nil
		}
	}
	return t.wrongStored(v)
}

func (t Type) checkStoredInteger(n int64) error {
	switch t.OID {
	case Int8.OID, Float4.OID, Float8.OID:
		return nil
	case Int2.OID, Int4.OID, OIDType.OID, XID.OID,
		Regclass.OID, Regtype.OID, Regproc.OID, Regnamespace.OID, Regrole.OID:
		if low, high := t.bounds(); n < low || n > high {
			return t.outOfRange()
		}
		return nil
	case Bool.OID:
		if n != 0 && n != 1 {
			return t.wrongStored(n)
		}
		return nil
	case Numeric.OID:
		return t.checkNumeric(n)
	}
	return t.wrongStored(n)
}

func (t Type) checkString(s string) error {
	switch t.OID {
	case Text.OID, Unknown.OID, NodeTree.OID:
		return checkText(s)
	case Varchar.OID:
		if n, ok := t.Length(); ok && len(s) > n && utf8.RuneCountInString(s) > n {
			return fail(stateTooLong, "value too long for type %s", t.SQL())
		}
		return checkText(s)
	case BPChar.OID, Name.OID, Char.OID:
		v, err := t.limitText(s, false)
		if err != nil {
			return err
		}
		if v != s {
			return t.wrongStored(s)
		}
		return checkText(s)
	case Date.OID, Time.OID, Timestamp.OID, Timestamptz.OID:
		return t.checkMoment(s)
	case Interval.OID:
		return t.checkSame(s)
	case UUID.OID:
		return t.checkSame(s)
	case JSON.OID, JSONB.OID:
		if err := checkText(s); err != nil {
			return err
		}
		if !t.isJSON(s) {
			return fail(stateInvalidText, "the value is no stored %s: cast it to the column's type", t.SQL())
		}
		return nil
	}
	if e, ok := t.Element(); ok {
		return t.checkArray(e, s)
	}
	return t.wrongStored(s)
}

// checkMoment checks a stored time, its digits included.
func (t Type) checkMoment(s string) error {
	at, ok := t.stored(s)
	if !ok {
		return fail(stateInvalidDatetime, "the text is no stored %s: cast it to the column's type", t.SQL())
	}
	if t.OID != Date.OID && t.digits() < 6 && roundTo(time.Duration(at.Nanosecond()), t.digits()) != time.Duration(at.Nanosecond()) {
		return fail(stateInvalidDatetime, "the time has more than %d digits of a second: cast it to %s", t.digits(), t.SQL())
	}
	return nil
}

// checkSame checks that Input leaves a text as it is.
func (t Type) checkSame(s string) error {
	v, err := t.Input(s)
	if err != nil {
		return err
	}
	if v != s {
		return t.wrongStored(s)
	}
	return nil
}

// Cast converts any stored value to the type, as an explicit CAST does: long
// texts are cut, numbers rounded. What cannot be converted is a *fault.Error
// with its SQLSTATE.
func (t Type) Cast(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil //nolint:nilnil // NULL stays NULL
	case int64:
		return t.castInteger(v)
	case float64:
		return t.castFloat(v)
	case string:
		return t.castString(v)
	case []byte:
		if t.OID == Bytea.OID {
			return v, nil
		}
		if t.Category() == 'S' || t.OID == Unknown.OID {
			b, err := Bytea.AppendText(nil, v)
			return string(b), err
		}
	}
	return nil, t.cannotCast()
}

func (t Type) cannotCast() error {
	return fail(stateCannotCast, "the value cannot be cast to type %s", t.SQL())
}

func (t Type) castInteger(n int64) (any, error) {
	switch t.OID {
	case Bool.OID:
		if n != 0 {
			return int64(1), nil
		}
		return int64(0), nil
	case Int2.OID, Int4.OID, Int8.OID, OIDType.OID, XID.OID,
		Regclass.OID, Regtype.OID, Regproc.OID, Regnamespace.OID, Regrole.OID:
		return t.checkInteger(n)
	case Float4.OID, Float8.OID:
		return t.checkFloat(float64(n))
	}
	return t.castNumberText(n)
}

// castNumberText casts a number to numeric, to a string, or to JSON.
func (t Type) castNumberText(v any) (any, error) {
	switch {
	case t.OID == Numeric.OID:
		d, ok := decimalOf(v)
		if !ok {
			return nil, t.outOfRange()
		}
		if _, isFloat := v.(float64); isFloat && len(d.digits) > maxDigits {
			d.round(maxDigits - d.point) // PostgreSQL takes 15 digits of a float8, too
		}
		return t.numericOf(d)
	case t.Category() == 'S' || t.OID == JSON.OID || t.OID == JSONB.OID || t.OID == Unknown.OID:
		source := Float8
		if _, ok := v.(int64); ok {
			source = Int8
		}
		b, err := source.AppendText(nil, v)
		if err != nil {
			return nil, err
		}
		return t.castString(string(b))
	}
	return nil, t.cannotCast()
}

func (t Type) castFloat(f float64) (any, error) {
	switch t.OID {
	case Bool.OID:
		if f != 0 {
			return int64(1), nil
		}
		return int64(0), nil
	case Int2.OID, Int4.OID, Int8.OID, OIDType.OID:
		r := math.Round(f)
		if math.IsNaN(r) || r < -0x1p63 || r >= 0x1p63 {
			return nil, t.outOfRange()
		}
		return t.checkInteger(int64(r))
	case Float4.OID, Float8.OID:
		return t.checkFloat(f)
	}
	return t.castNumberText(f)
}

func (t Type) castString(s string) (any, error) {
	switch t.OID {
	case Varchar.OID, BPChar.OID, Name.OID, Char.OID:
		if err := checkText(s); err != nil {
			return nil, err
		}
		return t.limitText(s, true)
	case Int2.OID, Int4.OID, Int8.OID:
		return t.Input(s)
	}
	if _, ok := t.Element(); ok && strings.HasPrefix(s, "[") {
		if t.Check(s) == nil {
			return s, nil
		}
	}
	return t.Input(s)
}
