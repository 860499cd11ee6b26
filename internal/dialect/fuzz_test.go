package dialect_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/dialect"
	"kimberlite/internal/fault"
)

// FuzzTranslate: whatever the text, there is a translation or an error with
// SQLSTATE and a place in the text, and what is made can be read again.
func FuzzTranslate(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.txt")
	for _, path := range paths {
		for _, sql := range statements(f, path) {
			f.Add(sql)
		}
	}
	s := hospital()
	f.Fuzz(func(t *testing.T, sql string) {
		translated, err := dialect.Translate(sql, nil, env(s))
		if err != nil {
			var e *fault.Error
			if !errors.As(err, &e) {
				t.Fatalf("%T is no fault", err)
			}
			if len(fault.StateOf(err)) != 5 || e.Position < 0 || e.Position > int64(len(sql))+1 {
				t.Fatalf("state %q, position %d of %d bytes", fault.StateOf(err), e.Position, len(sql))
			}
			return
		}
		if translated.Passthrough {
			return
		}
		for _, text := range append(append([]string{translated.SQL}, translated.Before...), translated.After...) {
			if _, err := dialect.Split(text); err != nil {
				t.Fatalf("%q became %q, which cannot be read: %v", sql, text, err)
			}
		}
	})
}

func FuzzSplit(f *testing.F) {
	f.Add("select 1; select ';'; -- x;\nselect $a$;$a$;;")
	f.Add("create trigger t after insert on x begin select case when 1 then 2 end; select 3; end; select 4")
	f.Fuzz(func(t *testing.T, sql string) {
		parts, err := dialect.Split(sql)
		if err != nil {
			return
		}
		for _, p := range parts {
			if !strings.HasPrefix(sql[p.Offset:], p.Text) || p.Text == "" {
				t.Fatalf("part %q is not at %d of %q", p.Text, p.Offset, sql)
			}
		}
	})
}

func TestSplitKeepsStringsAndTriggersWhole(t *testing.T) {
	t.Parallel()
	parts, err := dialect.Split("select 'é;'; /* ; */ create trigger t after insert on x begin select case when 1 then 2 end; select 3; end; ;select 4;")
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		text     string
		position int
	}{{"select 'é;'", 0}, {"create trigger t after insert on x begin select case when 1 then 2 end; select 3; end", 21}, {"select 4", 109}}
	if len(parts) != len(want) {
		t.Fatalf("%d parts: %+v", len(parts), parts)
	}
	for i, w := range want {
		if parts[i].Text != w.text || parts[i].Position != w.position {
			t.Errorf("part %d is %q at %d, want %q at %d", i, parts[i].Text, parts[i].Position, w.text, w.position)
		}
	}
}

func TestDeepAndLongTextsAreRefusedQuickly(t *testing.T) {
	t.Parallel()
	deep := 200_000
	for name, sql := range map[string]string{
		"parentheses": "select " + strings.Repeat("(", deep) + "1" + strings.Repeat(")", deep),
		"queries":     "select " + strings.Repeat("(select ", deep) + "1" + strings.Repeat(")", deep),
		"from":        "select 1 from " + strings.Repeat("(", deep) + "select 1" + strings.Repeat(")", deep),
		"joins":       "select 1 from " + strings.Repeat("((select 1) a join ", 5000) + "x",
		"signs":       "select " + strings.Repeat("- ", deep) + "1",
		"not":         "select " + strings.Repeat("not ", deep) + "true",
		"case":        "select " + strings.Repeat("case when true then ", deep) + "1",
		"casts":       "select 1" + strings.Repeat("::int", 5000),
		"length":      "select '" + strings.Repeat("x", 5<<20) + "'",
		"brackets":    "select a" + strings.Repeat("[", deep),
		"comments":    "select " + strings.Repeat("/*", deep),
		"plus":        "select 1" + strings.Repeat("+1", deep),
	} {
		start := time.Now()
		_, err := dialect.Translate(sql, nil, env(nil))
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

func TestLongChainsOfConditionsStayShallow(t *testing.T) {
	t.Parallel()
	sql := "select id from patient where id = 0" + strings.Repeat(" or id = 1", 5000)
	s, err := dialect.Translate(sql, nil, env(hospital()))
	if err != nil {
		t.Fatal(err)
	}
	depth, most := 0, 0
	for _, c := range s.SQL {
		switch c {
		case '(':
			depth++
			most = max(most, depth)
		case ')':
			depth--
		}
	}
	if most > 20 {
		t.Errorf("5000 conditions nest %d deep", most)
	}
}

func BenchmarkTranslatePointSelect(b *testing.B) {
	e := env(hospital())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dialect.Translate("SELECT id, name, born FROM patient WHERE id = $1", nil, e); err != nil {
			b.Fatal(err)
		}
	}
}
