package projection

import (
	"context"
	"fmt"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

func TestTheSchemaTellsWhatPostgreSQLsClientsAskFor(t *testing.T) {
	f := newFixture(t, Options{})
	f.sequence(schema.Sequence{Name: "visit_id_seq", Table: "visit", Column: "id"})
	f.mustExec(`CREATE TABLE ward(id INTEGER PRIMARY KEY, name TEXT NOT NULL)`)
	f.mustExec(`CREATE TABLE visit(
		id pg_int4 NOT NULL PRIMARY KEY DEFAULT (nextval('visit_id_seq')),
		ward INTEGER CONSTRAINT in_ward REFERENCES ward ON DELETE CASCADE, -- where, "quoted" (not a name
		code pg_varchar(8) DEFAULT 'x,(' UNIQUE,
		"from" pg_date, "to" pg_date,
		CONSTRAINT "right way round" CHECK ("from" <= "to"), CHECK (length(code) > 2),
		CONSTRAINT once UNIQUE (ward, "from"), FOREIGN KEY (code) REFERENCES other(a))`)
	f.mustExec(`CREATE INDEX by_day ON visit("from", lower(code)) WHERE ward IS NOT NULL; CREATE VIEW current AS SELECT id, "to" FROM visit`)
	f.mustExec(`CREATE TRIGGER tr AFTER INSERT ON visit BEGIN SELECT 1; END`)
	f.mustExec(`CREATE TABLE pair(a TEXT, b TEXT, PRIMARY KEY(b, a)) WITHOUT ROWID`)
	s, err := f.DB.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v, ok := s.Table("VISIT")
	if !ok || v.Kind != schema.KindTable || len(v.Columns) != 5 {
		t.Fatalf("visit is %+v", v)
	}
	id, _, _ := v.Column("id")
	if id.Type != sqltype.Int4 || !id.Enforced || !id.NotNull || id.PrimaryKey != 1 || id.Sequence != "visit_id_seq" || id.Default != "nextval('visit_id_seq')" {
		t.Errorf("id is %+v", id)
	}
	if code, _, _ := v.Column("code"); code.Type != sqltype.Varchar.WithMod(12) || code.Default != "'x,('" {
		t.Errorf("code is %+v", code)
	}
	got := ""
	for _, i := range v.Indexes {
		got += fmt.Sprintf("%s %v %v %v %v %q; ", i.Name, i.Unique, i.Primary, i.Constraint, i.Columns, i.Where)
	}
	if want := `visit_pkey true true true [id] ""; visit_code_key true false true [code] ""; once true false true [ward from] ""; by_day false false false [from ] "ward IS NOT NULL"; `; got != want {
		t.Errorf("indexes\n %s\nwant\n %s", got, want)
	}
	if got := fmt.Sprintf("%+v", v.ForeignKeys); got != "[{Name:in_ward Columns:[ward] RefTable:ward RefColumns:[id] OnUpdate:NO ACTION OnDelete:CASCADE} {Name:visit_code_fkey Columns:[code] RefTable:other RefColumns:[a] OnUpdate:NO ACTION OnDelete:NO ACTION}]" {
		t.Errorf("foreign keys %s", got)
	}
	if got := fmt.Sprintf("%q", v.Checks); got != `[{"right way round" "\"from\" <= \"to\""} {"visit_check" "length(code) > 2"}]` {
		t.Errorf("checks %s", got)
	}
	if len(v.Triggers) != 1 || v.Triggers[0].Name != "tr" {
		t.Errorf("triggers %v", v.Triggers)
	}
	if w, _ := s.Table("ward"); w.Columns[0].Identity != "d" || len(w.Indexes) != 1 || w.Indexes[0].Name != "ward_pkey" {
		t.Errorf("ward is %+v", w)
	}
	if p, _ := s.Table("pair"); !p.WithoutRowID || fmt.Sprint(p.Indexes[0].Columns) != "[b a]" {
		t.Errorf("pair is %+v", p)
	}
	if c, _ := s.Table("current"); c.Kind != schema.KindView || len(c.Columns) != 2 || c.Columns[1].Type != sqltype.Date {
		t.Errorf("the view is %+v", c)
	}
	if e, ok := s.Table("kimberlite.events"); !ok || e.Kind != schema.KindSystem || len(e.Columns) < 5 {
		t.Errorf("the system table is %+v", e)
	}
	for _, table := range s.Tables {
		if hasPrefixFold(table.Name, internalPrefix) || hasPrefixFold(table.Name, "sqlite_") {
			t.Errorf("%s is in the schema", table.Name)
		}
	}
}

func TestTheSchemaIsTheSameUntilItChanges(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE a(x)`)
	first, err := f.DB.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.mustExec(`INSERT INTO a VALUES(1)`)
	if again, err := f.DB.Schema(t.Context()); err != nil || again != first {
		t.Errorf("an insert made another schema (%v)", err)
	}
	f.mustExec(`CREATE TABLE b(x)`)
	second, err := f.DB.Schema(t.Context())
	if err != nil || second.Version <= first.Version {
		t.Errorf("version %d after %d (%v)", second.Version, first.Version, err)
	}
	if _, ok := first.Table("b"); ok {
		t.Error("a schema that was handed out has changed")
	}
	other := openFixture(t, f.fs, Options{})
	other.mustExec(`CREATE TABLE c(x)`)
	other.mustExec(`CREATE TABLE d(x)`) // as many changes as before
	if s, err := other.DB.Schema(t.Context()); err != nil || s.Version == second.Version {
		t.Errorf("a projection that was opened again has the version of the one before (%v)", err)
	}
}

func TestATransactionSeesItsOwnSchema(t *testing.T) {
	f := newFixture(t, Options{})
	_, err := f.txn("", func(g *Group) (record.Result, error) {
		if _, err := g.Exec(t.Context(), `CREATE TABLE a(x pg_uuid)`, nil); err != nil {
			return record.Result{}, err
		}
		s, err := g.Schema(t.Context())
		if err != nil {
			return record.Result{}, err
		}
		if _, ok := s.Table("a"); !ok {
			t.Error("the table is not in the transaction's schema")
		}
		d, err := g.Describe(t.Context(), `SELECT x AS y, 1+1 FROM a WHERE x=?1`)
		if err != nil {
			return record.Result{}, err
		}
		if got := fmt.Sprintf("%+v", d); got != "{ReadOnly:true Params:1 Columns:[{Name:y Declared:pg_uuid Table:a Column:x} {Name:1+1 Declared: Table: Column:}]}" {
			t.Errorf("described as %s", got)
		}
		if d, err = g.Describe(t.Context(), `SELECT relname FROM pg_class WHERE relname='a'`); err != nil || !d.ReadOnly {
			t.Errorf("%+v (%v)", d, err)
		}
		rows := 0
		_, err = g.Query(t.Context(), `SELECT relname FROM pg_class WHERE relname='a'`, nil, func(*Row) error {
			rows++
			return nil
		})
		if rows != 1 {
			t.Errorf("the catalog shows %d tables of the transaction", rows)
		}
		if committed, err := f.DB.Schema(t.Context()); err != nil || committed.Version == s.Version || len(committed.Tables) != len(systemTables) {
			t.Errorf("others see the transaction's schema (%v)", err)
		}
		return record.Result{}, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDescribingRunsNothing(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)`)
	before := f.hash()
	ctx := context.Background()
	for range 2 { // once compiled, once remembered
		d, err := f.DB.Describe(ctx, AccessOwner, `INSERT INTO t(v) VALUES($1) RETURNING id, upper(v) AS u`)
		if err != nil || d.ReadOnly || d.Params != 1 || len(d.Columns) != 2 || d.Columns[0].Table != "t" || d.Columns[0].Declared != "INTEGER" || d.Columns[1] != (ColumnInfo{Name: "u"}) {
			t.Fatalf("%+v (%v)", d, err)
		}
	}
	if d, err := f.DB.Describe(ctx, AccessOwner, `DROP TABLE t`); err != nil || d.ReadOnly || len(d.Columns) != 0 {
		t.Errorf("%+v (%v)", d, err)
	}
	if f.hash() != before {
		t.Error("describing has changed something")
	}
	_, err := f.DB.Describe(ctx, AccessReader, `DELETE FROM t`)
	wantKind(t, err, fault.Denied)
	_, err = f.DB.Describe(ctx, AccessOwner, `SELECT 1; SELECT 2`)
	wantKind(t, err, fault.Invalid)
}

func TestTheCatalogAnswersFromTheTenantsOwnSchema(t *testing.T) {
	f := newFixture(t, Options{Identity: func() Identity { return Identity{Name: "ward-7", Roles: []string{"app"}} }})
	f.mustExec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v pg_varchar(3))`)
	if got := f.text(`SELECT relname FROM pg_class WHERE relname IN ('t','t_pkey') ORDER BY 1`); got != "[[t] [t_pkey]]" {
		t.Errorf("pg_class: %s", got)
	}
	if got := f.text(`SELECT a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid=c.oid WHERE c.relname='t' AND a.attnum>0 ORDER BY a.attnum`); got != "[[id] [v]]" {
		t.Errorf("pg_attribute: %s", got)
	}
	if got := f.text(`SELECT format_type(1043, 7)`); got != "[[character varying(3)]]" {
		t.Errorf("format_type: %s", got)
	}
	if got := f.text(`SELECT datname FROM pg_database`); got != "[[ward-7]]" {
		t.Errorf("pg_database: %s", got)
	}
	f.mustExec(`CREATE VIEW names AS SELECT relname FROM pg_class`)
	if got := f.text(`SELECT count(*)>0 FROM names WHERE relname='t'`); got != "[[1]]" {
		t.Errorf("a view over the catalog: %s", got)
	}
	f.mustExec(`CREATE TABLE u(id INTEGER PRIMARY KEY)`)
	if got := f.text(`SELECT count(*) FROM pg_class WHERE relname='u'`); got != "[[1]]" {
		t.Errorf("a new table is not in the catalog: %s", got)
	}
	for _, sql := range []string{`CREATE TABLE pg_class(x)`, `CREATE VIEW pg_type AS SELECT 1`, `ALTER TABLE u RENAME TO pg_attribute`, `INSERT INTO pg_class(relname) VALUES('x')`, `DROP TABLE pg_class`} {
		if _, err := f.exec(sql); err == nil {
			t.Errorf("%s: taken", sql)
		}
	}
	f.checkRebuild()
}

func FuzzScanConstraints(f *testing.F) {
	f.Add(`CREATE TABLE t(a INT CONSTRAINT c CHECK (a>0), UNIQUE(a), FOREIGN KEY (a) REFERENCES b)`)
	f.Add(`CREATE TABLE "t"([a] , 'b' CHECK(`)
	f.Add(`CREATE TABLE t(PRIMARY KEY`)
	f.Fuzz(func(t *testing.T, sql string) {
		found := scanConstraints(sql)
		found.apply(&schema.Table{Name: "t"})
		_ = whereOf(sql)
	})
}
