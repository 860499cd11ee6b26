package dialect

// Part is one statement of a text.
type Part struct {
	// Text is the statement without the semicolon.
	Text string
	// Offset is the byte of the whole text where it begins, and Position the
	// character, from 0: what to add to the position of an error.
	Offset, Position int
}

// Split cuts the text of a simple query into its statements, leaving out empty
// ones. A trigger's body stays in one piece. A text that cannot be cut, such
// as one with a string that does not end, is an error.
func Split(text string) ([]Part, error) {
	tokens, err := lex(text)
	if err != nil {
		return nil, err
	}
	var parts []Part
	start, position, counted := -1, 0, 0
	trigger := triggerState{}
	for i, t := range tokens {
		if t.kind == tokEnd || t.punct(";") && !trigger.inside() {
			if start >= 0 {
				for _, r := range text[counted:tokens[start].start] {
					_ = r
					position++
				}
				counted = tokens[start].start
				parts = append(parts, Part{Text: text[tokens[start].start:tokens[i-1].end], Offset: tokens[start].start, Position: position})
			}
			start, trigger = -1, triggerState{}
			continue
		}
		if start < 0 {
			start = i
		}
		trigger.see(t, i-start)
	}
	return parts, nil
}

// triggerState follows SQLite's CREATE TRIGGER … BEGIN …; …; END.
type triggerState struct {
	create, trigger, begun bool
	cases                  int
	ended                  bool
}

func (s *triggerState) inside() bool { return s.begun && !s.ended }

func (s *triggerState) see(t token, n int) {
	switch {
	case n == 0:
		s.create = t.is("create")
	case s.create && !s.trigger && n <= 2 && t.is("trigger"):
		s.trigger = true
	case !s.trigger:
	case t.is("begin"):
		s.begun = true
	case t.is("case"):
		s.cases++
	case t.is("end") && s.cases > 0:
		s.cases--
	case t.is("end") && s.begun:
		s.ended = true
	}
}
