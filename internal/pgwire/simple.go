package pgwire

import (
	"context"
	"errors"
	"unicode/utf8"

	"kimberlite/internal/dialect"
	"kimberlite/internal/fault"
)

// simpleQuery runs a query string: all of it, or nothing, unless it has its
// own BEGIN and COMMIT. It returns an error when the connection is over.
func (s *session) simpleQuery(body []byte) error {
	text, rest, ok := cutString(body)
	if !ok || len(rest) > 0 {
		return protocolError("a query message is not well formed")
	}
	s.skipping = false
	s.dropStatement("")
	s.dropPortal("")
	err := s.runText(text)
	if err != nil {
		if err := s.fail(err); err != nil {
			return err
		}
	}
	if s.tx.implicit { // a COMMIT or ROLLBACK in the string, and nothing after
		s.tx.implicit = false
	}
	return s.ready()
}

// checkText refuses a text that is no UTF-8.
func checkText(text string) error {
	if !utf8.ValidString(text) {
		return fault.New("sql", fault.Invalid, "invalid byte sequence for encoding \"UTF8\"").WithState("22021")
	}
	return nil
}

// runText runs the statements of a text.
func (s *session) runText(text string) error {
	if err := checkText(text); err != nil {
		return err
	}
	if s.plans.simple[text] != nil { // planned before, so it is one statement
		return s.runPart(text, true, false)
	}
	parts, err := dialect.Split(text)
	if err != nil {
		if s.tx.failed {
			return errAborted()
		}
		return err
	}
	if len(parts) == 0 {
		return s.over(s.w.empty('I'))
	}
	for i, part := range parts {
		if len(parts) > 1 && !s.tx.block {
			s.tx.implicit = true
		}
		if err := s.runPart(part.Text, i == len(parts)-1, len(parts) > 1); err != nil {
			return moved(err, part.Position)
		}
	}
	return nil
}

// over marks an error of writing as the end of the connection.
func (s *session) over(err error) error {
	if err != nil {
		return connection{err}
	}
	return nil
}

// moved shifts the position that an error names from a statement to the text
// that the statement stands in, where that many characters come before it.
func moved(err error, start int) error {
	var e *fault.Error
	if start == 0 || !errors.As(err, &e) || e.File != "" || e.Position == 0 {
		return err
	}
	shifted := *e
	shifted.Position += int64(start)
	return &shifted
}

// runPart runs one statement of a text. last says that none follows, several
// that it shares the text with others.
func (s *session) runPart(text string, last, several bool) error {
	tag := ""
	out, err := s.timed(&tag, func(ctx context.Context) (outcome, error) {
		p, err := s.planText(ctx, text)
		if err != nil {
			return outcome{}, err
		}
		tag = p.st.Tag
		if p.st.Kind == dialect.Empty {
			return outcome{}, nil
		}
		if len(p.params) > 0 && p.st.Kind != dialect.Prepare && p.st.Kind != dialect.Copy {
			return outcome{}, fault.New("sql", fault.SQL, "there is no parameter $1").WithState("42P02")
		}
		w := &rowWriter{s: s, columns: p.columns, describe: p.returns()}
		out, err := s.run(ctx, p, nil, w)
		if err == nil && last && several && s.tx.implicit && !s.tx.block {
			err = s.commit(ctx)
		}
		return out, err
	})
	if err != nil {
		return err
	}
	if tag == "" && out.tag == "" {
		return s.over(s.w.empty('I'))
	}
	return s.over(s.w.commandComplete(out.tag, out.count))
}
