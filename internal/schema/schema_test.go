package schema

import "testing"

func example() *Schema {
	return New(7, []*Table{
		{Name: "Visit", Kind: KindTable, Indexes: []Index{{Name: "visit_pkey", Primary: true}}},
		{Name: "audit", Kind: KindView},
	}, []*Sequence{{Name: "visit_id_seq", Table: "Visit", Column: "id", Start: 1, Increment: 1}})
}

func TestNamesFoldAsSQLiteFoldsThem(t *testing.T) {
	s := example()
	for _, name := range []string{"visit", "VISIT", "Visit"} {
		if table, ok := s.Table(name); !ok || table.Name != "Visit" {
			t.Errorf("%q is not found", name)
		}
	}
	if _, ok := s.Table("vısıt"); ok {
		t.Error("letters beyond ASCII are folded")
	}
	if q, ok := s.Sequence("Visit_ID_seq"); !ok || q.Column != "id" {
		t.Error("the sequence is not found")
	}
	var none *Schema
	if _, ok := none.Table("x"); ok {
		t.Error("no schema has a table")
	}
}

func TestObjectNumbersAreDistinctAndAboveTheSystems(t *testing.T) {
	s := example()
	seen := map[uint32]bool{}
	note := func(oid uint32) {
		if oid < FirstOID || seen[oid] {
			t.Errorf("object number %d is low or used twice", oid)
		}
		seen[oid] = true
	}
	for _, table := range s.Tables {
		note(table.OID)
		for _, i := range table.Indexes {
			note(i.OID)
		}
		if got, ok := s.TableByOID(table.OID); !ok || got != table {
			t.Errorf("%s is not found by its number", table.Name)
		}
	}
	for _, q := range s.Sequences {
		note(q.OID)
		if got, ok := s.SequenceByOID(q.OID); !ok || got != q {
			t.Errorf("%s is not found by its number", q.Name)
		}
		if _, ok := s.TableByOID(q.OID); ok {
			t.Error("a sequence is found as a table")
		}
	}
	if len(seen) != 4 {
		t.Errorf("%d objects, want 4", len(seen))
	}
}

func TestGivenObjectNumbersStay(t *testing.T) {
	s := New(1, []*Table{{Name: "a"}, {Name: "b", OID: 20000}}, nil)
	if b, _ := s.Table("b"); b.OID != 20000 {
		t.Errorf("b has number %d", b.OID)
	}
	if a, _ := s.Table("a"); a.OID != 20001 {
		t.Errorf("a has number %d, want one above those given", a.OID)
	}
}

func TestColumnsAreFoundWithTheirPlace(t *testing.T) {
	table := &Table{Columns: []Column{{Name: "id"}, {Name: "Born"}}}
	if c, at, ok := table.Column("born"); !ok || at != 1 || c.Name != "Born" {
		t.Errorf("got %v at %d", c, at)
	}
	if _, _, ok := table.Column("died"); ok {
		t.Error("a column that is not there is found")
	}
}
