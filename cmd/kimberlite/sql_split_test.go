package main

import (
	"slices"
	"strings"
	"testing"
)

// splitAll cuts a text at once.
func splitAll(text string) []statement {
	var s splitter
	all := s.feed([]byte(text))
	if st, ok := s.rest(); ok {
		all = append(all, st)
	}
	return all
}

func TestStatementsEndAtTheirOwnSemicolons(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                           nil,
		" ;; ; \n":                   nil,
		"-- only a comment\n":        nil,
		"/* ; */":                    nil,
		"SELECT 1":                   {"SELECT 1"},
		"SELECT 1;SELECT 2;":         {"SELECT 1;", "SELECT 2;"},
		"SELECT ';'; SELECT 2":       {"SELECT ';';", "SELECT 2"},
		"SELECT 'it''s;'; x":         {"SELECT 'it''s;';", "x"},
		`SELECT ";"; x`:              {`SELECT ";";`, "x"},
		"SELECT `;`; x":              {"SELECT `;`;", "x"},
		"SELECT [;]; x":              {"SELECT [;];", "x"},
		"SELECT 1 -- ; no\n+1; x":    {"SELECT 1 -- ; no\n+1;", "x"},
		"SELECT 1 /* ; */ +1; x":     {"SELECT 1 /* ; */ +1;", "x"},
		"SELECT 1 /*/ ; */ +1; x":    {"SELECT 1 /*/ ; */ +1;", "x"},
		"SELECT 4/2*1; x":            {"SELECT 4/2*1;", "x"},
		"SELECT 1-1;-1;/x":           {"SELECT 1-1;", "-1;", "/x"},
		"SELECT 1- -1; x":            {"SELECT 1- -1;", "x"},
		"SELECT 'unfinished; x":      {"SELECT 'unfinished; x"},
		"SELECT 1 /* unfinished ; x": {"SELECT 1 /* unfinished ; x"},
		"CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END; x": {
			"CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END;", "x",
		},
		"create temp trigger t begin select case when 1 then 2 end; end ; x": {
			"create temp trigger t begin select case when 1 then 2 end; end ;", "x",
		},
		"EXPLAIN CREATE TRIGGER t BEGIN SELECT 1; -- END;\n END; x": {
			"EXPLAIN CREATE TRIGGER t BEGIN SELECT 1; -- END;\n END;", "x",
		},
		"CREATE TABLE trigger_end (a); x": {"CREATE TABLE trigger_end (a);", "x"},
	} {
		var got []string
		for _, st := range splitAll(text) {
			got = append(got, st.text)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestSplitterKnowsWhatReturnsRows(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		"SELECT 1": true, "select 1": true, "VALUES (1)": true, "EXPLAIN SELECT 1": true, "PRAGMA table_info(t)": true,
		"WITH a AS (SELECT 1) SELECT * FROM a": true, "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a": false,
		"INSERT INTO t VALUES (1)": false, "INSERT INTO t VALUES (1) RETURNING a": true, "DELETE FROM t RETURNING *": true,
		"UPDATE t SET a = 'RETURNING'": false, "CREATE TABLE returning_t (a)": false, "/* SELECT */ DROP TABLE t": false,
		"(SELECT 1)": true,
	} {
		if st := splitAll(sql)[0]; st.returns != want {
			t.Errorf("%q: returns rows: %v, want %v", sql, st.returns, want)
		}
	}
}

func TestSplitterKnowsTransactionStatements(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]control{
		"BEGIN": begin, "begin immediate": begin, "BEGIN TRANSACTION;": begin, "START TRANSACTION": begin, "/* x */ BEGIN": begin,
		"COMMIT": commit, "end": commit, "END TRANSACTION;": commit, "COMMIT TRANSACTION": commit,
		"ROLLBACK": rollback, "ROLLBACK TRANSACTION": rollback, "ROLLBACK TO a": plain, "ROLLBACK TRANSACTION TO a": plain,
		"SAVEPOINT a": plain, "SELECT 1": plain, "\"BEGIN\"": plain, "START": plain,
	} {
		if got := splitAll(sql)[0].control(); got != want {
			t.Errorf("%q: %d, want %d", sql, got, want)
		}
	}
}

func TestStatementsKnowTheirLines(t *testing.T) {
	t.Parallel()
	var lines []int
	for _, st := range splitAll("\n-- x\nSELECT\n1;SELECT 2;\n\n\nSELECT 3") {
		lines = append(lines, st.line)
	}
	if !slices.Equal(lines, []int{3, 4, 7}) {
		t.Errorf("lines %v", lines)
	}
}

func TestTooLongStatementIsGivenUpAndTheNextIsNot(t *testing.T) {
	t.Parallel()
	all := splitAll("SELECT '" + strings.Repeat("x", maxStatement) + "'; SELECT 2;")
	if len(all) != 2 || all[0].text != "" || all[1].text != "SELECT 2;" {
		t.Errorf("%d statements", len(all))
	}
}

// FuzzSplitterLosesNothing demands that pieces give what the whole gives, and
// that all significant text is in some statement.
func FuzzSplitterLosesNothing(f *testing.F) {
	for _, seed := range []string{
		"SELECT 1; SELECT 2", "CREATE TRIGGER t BEGIN SELECT 1; END; x", "'a''b;'--\n;/**/-;", "[;]`;`\";\"", "/*/;*/;-/", "END;END;",
	} {
		f.Add(seed, 3)
	}
	f.Fuzz(func(t *testing.T, text string, piece int) {
		whole := splitAll(text)
		var s splitter
		var pieces []statement
		for i := 0; i < len(text); {
			end := min(len(text), i+max(1, piece%64))
			pieces = append(pieces, s.feed([]byte(text[i:end]))...)
			i = end
		}
		if st, ok := s.rest(); ok {
			pieces = append(pieces, st)
		}
		if len(whole) != len(pieces) {
			t.Fatalf("%d statements at once, %d in pieces", len(whole), len(pieces))
		}
		rest := text
		for i, st := range whole {
			if st.text != pieces[i].text || st.line != pieces[i].line || st.returns != pieces[i].returns {
				t.Fatalf("%+v at once, %+v in pieces", st, pieces[i])
			}
			at := strings.Index(rest, st.text)
			if st.text == "" || at < 0 {
				t.Fatalf("%q is not in what is left of %q", st.text, text)
			}
			rest = rest[at+len(st.text):]
		}
	})
}
