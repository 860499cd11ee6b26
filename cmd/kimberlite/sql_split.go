package main

import (
	"strings"

	"kimberlite/internal/fault"
)

// maxStatement is the longest statement that is read before it is given up;
// the database takes less than that.
const maxStatement = 16 << 20

// statement is one statement of a script.
type statement struct {
	text string
	line int // where it begins, from 1
	// words are its first ones in upper case, comments left out.
	words []string
	// returns says that it has rows to show: it reads, or has RETURNING.
	returns bool
}

// leadingWords are as many words as tell what a statement is.
const leadingWords = 5

// longestWord is more than any word that is looked at has.
const longestWord = 32

// splitter cuts a script into statements at the semicolons that end them, not
// at those in quotes, comments and triggers. What the statements mean is for
// the database to say.
type splitter struct {
	buf     []byte // of the statement at hand
	line    int    // lines read so far
	begun   int    // line where the statement at hand begins
	state   lexState
	word    []byte
	maybe   byte // a '-' or '/' that may begin a comment, or 0
	last    byte // the byte before, inside a block comment
	tooLong bool

	words []string
	// writes, returning: the statement has such a word.
	writes, returning bool
	// afterSemicolon and end follow the ";END;" that ends a trigger.
	afterSemicolon, end bool
}

// lexState is what the next byte is part of.
type lexState byte

const (
	inCode         lexState = 0
	inSingle       lexState = '\''
	inDouble       lexState = '"'
	inBacktick     lexState = '`'
	inBracket      lexState = ']'
	inLineComment  lexState = '-'
	inBlockComment lexState = '*'
)

// feed takes more text and returns the statements that it completes.
func (s *splitter) feed(text []byte) []statement {
	var done []statement
	for _, c := range text {
		if c == '\n' {
			s.line++
		}
		if st, ok := s.step(c); ok {
			done = append(done, st)
		}
	}
	return done
}

// rest returns what stands after the last semicolon, if there is anything.
func (s *splitter) rest() (statement, bool) {
	s.endWord()
	s.operator()
	if s.begun == 0 {
		s.reset()
		return statement{}, false
	}
	return s.take(), true
}

// blank says that no statement has begun.
func (s *splitter) blank() bool { return s.begun == 0 && s.state == inCode }

// step takes one byte and says whether it ends a statement.
func (s *splitter) step(c byte) (statement, bool) {
	if len(s.buf) >= maxStatement {
		s.tooLong = true
	} else {
		s.buf = append(s.buf, c)
	}
	if s.state != inCode {
		s.inside(c)
		return statement{}, false
	}
	if isWordByte(c) {
		s.operator()
		if len(s.word) < longestWord {
			s.word = append(s.word, c)
		}
		s.mark()
		return statement{}, false
	}
	s.endWord()
	switch {
	case c == '-' && s.maybe == '-':
		s.maybe, s.state = 0, inLineComment
		return statement{}, false
	case c == '*' && s.maybe == '/':
		s.maybe, s.last, s.state = 0, 0, inBlockComment
		return statement{}, false
	}
	s.operator()
	switch {
	case c == '-' || c == '/':
		s.maybe = c
	case c == ';':
		return s.semicolon()
	case c > ' ':
		s.significant()
		s.quote(c)
	}
	return statement{}, false
}

// operator settles that the '-' or '/' before began no comment.
func (s *splitter) operator() {
	if s.maybe != 0 {
		s.maybe = 0
		s.significant()
	}
}

// significant notes a byte that is neither space, comment, word nor semicolon.
func (s *splitter) significant() {
	s.mark()
	s.afterSemicolon, s.end = false, false
}

// quote notes that a quoted text begins.
func (s *splitter) quote(c byte) {
	switch c {
	case '\'', '"', '`':
		s.state = lexState(c)
	case '[':
		s.state = inBracket
	}
}

// inside takes a byte of a quoted text or of a comment. A doubled quote ends
// one text and begins the next, which comes to the same.
func (s *splitter) inside(c byte) {
	switch s.state {
	case inLineComment:
		if c == '\n' {
			s.state = inCode
		}
	case inBlockComment:
		if c == '/' && s.last == '*' {
			s.state = inCode
		}
		s.last = c
	default:
		if c == byte(s.state) {
			s.state = inCode
		}
	}
}

// mark notes that a statement has begun.
func (s *splitter) mark() {
	if s.begun == 0 {
		s.begun = s.line + 1
	}
}

func isWordByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}

// endWord looks at the word that has just ended.
func (s *splitter) endWord() {
	if len(s.word) == 0 {
		return
	}
	word := strings.ToUpper(string(s.word))
	s.word = s.word[:0]
	if len(s.words) < leadingWords {
		s.words = append(s.words, word)
	}
	switch word {
	case "INSERT", "UPDATE", "DELETE", "REPLACE":
		s.writes = true
	case "RETURNING":
		s.returning = true
	}
	s.end = word == "END" && s.afterSemicolon
	s.afterSemicolon = false
}

// semicolon ends the statement, unless it stands inside a trigger.
func (s *splitter) semicolon() (statement, bool) {
	if s.isTrigger() && !s.end {
		s.afterSemicolon = true
		return statement{}, false
	}
	if s.begun == 0 {
		s.reset()
		return statement{}, false
	}
	return s.take(), true
}

func (s *splitter) isTrigger() bool {
	words := s.words
	if len(words) > 0 && words[0] == "EXPLAIN" {
		words = words[1:]
	}
	if len(words) < 2 || words[0] != "CREATE" {
		return false
	}
	return words[1] == "TRIGGER" || len(words) > 2 && words[2] == "TRIGGER"
}

// take returns the statement at hand and begins the next.
func (s *splitter) take() statement {
	st := statement{text: strings.TrimSpace(string(s.buf)), line: s.begun, words: s.words, returns: s.hasRows()}
	if s.tooLong {
		st.text = ""
	}
	s.reset()
	return st
}

func (s *splitter) reset() { *s = splitter{line: s.line} }

// hasRows guesses whether the statement has rows to show. A wrong guess costs
// nothing but the count of changed rows.
func (s *splitter) hasRows() bool {
	if len(s.words) == 0 || s.returning {
		return true
	}
	switch s.words[0] {
	case "SELECT", "VALUES", "EXPLAIN", "PRAGMA":
		return true
	case "WITH":
		return !s.writes
	}
	return false
}

// errTooLong is the error for a statement over maxStatement.
func errTooLong() error {
	return fault.New("sql", fault.TooLarge, "the statement is longer than %d MiB", maxStatement>>20)
}

// control is what a statement means for the session.
type control int

const (
	plain control = iota
	begin
	commit
	rollback
)

// control tells BEGIN, COMMIT and ROLLBACK, which a session runs itself.
func (st *statement) control() control {
	if len(st.words) == 0 {
		return plain
	}
	second := ""
	if len(st.words) > 1 {
		second = st.words[1]
	}
	switch st.words[0] {
	case "BEGIN":
		return begin
	case "START":
		if second == "TRANSACTION" {
			return begin
		}
	case "COMMIT":
		return commit
	case "END":
		if second == "" || second == "TRANSACTION" {
			return commit
		}
	case "ROLLBACK":
		if second != "TO" && (len(st.words) < 3 || st.words[2] != "TO") {
			return rollback
		}
	}
	return plain
}
