package sqltype

// Span is an interval's three parts, which PostgreSQL keeps apart: a month has
// no fixed number of days, and a day none of hours.
type Span struct {
	Months, Days int64
	Micros       int64 // microseconds
}

// ParseSpan reads an interval's stored form, or any text that Interval.Input
// takes.
func ParseSpan(text string) (Span, error) {
	stored, err := Interval.Input(text)
	if err != nil {
		return Span{}, err
	}
	s, _ := stored.(string) // Input of an interval returns its text
	var p span
	if !p.parseISO(s) {
		p = span{}
		if !p.parseWords(s) {
			return Span{}, Interval.invalidText()
		}
	}
	return Span{Months: p.months, Days: p.days, Micros: p.micros}, nil
}

// String returns the stored form.
func (s Span) String() string {
	return span{months: s.Months, days: s.Days, micros: s.Micros}.String()
}
