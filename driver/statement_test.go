package driver_test

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"kimberlite"
)

func TestStatementsSayWhatTheyDid(t *testing.T) {
	t.Parallel()
	db := one(t)
	exec(t, db, "CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
	r := exec(t, db, "INSERT INTO p (name) VALUES (?), (?)", "Alice", "Bob")
	if n, err := r.RowsAffected(); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	if id, err := r.LastInsertId(); err != nil || id != 2 {
		t.Fatal(id, err)
	}
	exec(t, db, "UPDATE p SET name = upper(name); DELETE FROM p WHERE id = 2") // one transaction
	if name := get[string](t, db, "SELECT name FROM p"); name != "ALICE" {
		t.Fatal(name)
	}
	if id := get[int64](t, db, "INSERT INTO p (name) VALUES ('Carol') RETURNING id"); id != 2 {
		t.Fatal(id)
	}
	if n := get[int](t, db, "SELECT count(*) FROM p"); n != 2 {
		t.Fatal(n)
	}
	for query, kind := range map[string]kimberlite.Kind{
		"SELEC 1": kimberlite.SQL, "SELECT * FROM nowhere": kimberlite.SQL,
		"INSERT INTO p VALUES (1, NULL)": kimberlite.Constraint, "": kimberlite.Invalid,
		"ATTACH 'x' AS y": kimberlite.Denied,
	} {
		if _, err := db.Exec(query); query != "" || err != nil {
			refused(t, err, kind)
		}
	}
}

func TestRowsCarryNamesTypesAndValues(t *testing.T) {
	t.Parallel()
	db := one(t)
	exec(t, db, "CREATE TABLE p (id INTEGER PRIMARY KEY, name varchar(20), weight REAL, photo BLOB)")
	exec(t, db, "INSERT INTO p VALUES (1, 'Alice', 61.5, x'00ff'), (2, NULL, NULL, NULL)")
	rows, err := db.Query("SELECT *, 1 + 1 AS two FROM p ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil || len(types) != 5 {
		t.Fatal(types, err)
	}
	for i, want := range [][2]string{{"id", "INTEGER"}, {"name", "VARCHAR(20)"}, {"weight", "REAL"}, {"photo", "BLOB"}, {"two", ""}} {
		if got := types[i]; got.Name() != want[0] || got.DatabaseTypeName() != want[1] {
			t.Errorf("column %d is %s %s, want %v", i, got.Name(), got.DatabaseTypeName(), want)
		}
	}
	type row struct {
		id     int64
		name   sql.NullString
		weight sql.Null[float64]
		photo  []byte
		two    int
	}
	var got [2]row
	for i := range got {
		r := &got[i]
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		if err := rows.Scan(&r.id, &r.name, &r.weight, &r.photo, &r.two); err != nil {
			t.Fatal(err)
		}
	}
	if a := got[0]; a.id != 1 || a.name.String != "Alice" || a.weight.V != 61.5 || string(a.photo) != "\x00\xff" || a.two != 2 {
		t.Fatalf("%+v", a)
	}
	if b := got[1]; b.id != 2 || b.name.Valid || b.weight.Valid || b.photo != nil {
		t.Fatalf("%+v", b)
	}
	if rows.Next() || rows.Err() != nil {
		t.Fatal("a third row", rows.Err())
	}
}

func TestNullsGoInAndOut(t *testing.T) {
	t.Parallel()
	db := one(t)
	exec(t, db, "CREATE TABLE n (id INTEGER PRIMARY KEY, v)")
	var none *string
	for i, v := range []any{nil, none, sql.NullString{}, sql.NullInt64{}, sql.Null[time.Time]{}, []byte(nil)} {
		exec(t, db, "INSERT INTO n VALUES (?, ?)", i, v)
		if got := get[*string](t, db, "SELECT v FROM n WHERE id = ?", i); got != nil {
			t.Errorf("%T came back as %q", v, *got)
		}
	}
	var s string
	if err := db.QueryRow("SELECT v FROM n WHERE id = 0").Scan(&s); err == nil {
		t.Error("NULL went into a string")
	}
	if err := db.QueryRow("SELECT v FROM n WHERE id = 99").Scan(&s); !errors.Is(err, sql.ErrNoRows) {
		t.Error(err)
	}
}

// own is a named type of a program's.
type own int32

// pair is a driver.Valuer of a program's.
type pair struct{ a, b string }

func (p pair) Value() (driver.Value, error) { return p.a + "/" + p.b, nil }

// failing is a driver.Valuer that has no value.
type failing struct{}

func (failing) Value() (driver.Value, error) { return nil, errors.New("no value today") }

func TestArgumentsOfAllUsualTypes(t *testing.T) {
	t.Parallel()
	db := one(t)
	text := "by pointer"
	for _, c := range []struct{ in, want any }{
		{int64(-1), int64(-1)}, {7, int64(7)}, {uint8(7), int64(7)}, {own(7), int64(7)}, {true, int64(1)}, {false, int64(0)},
		{1.5, 1.5}, {float32(0.5), 0.5}, {"text", "text"}, {&text, text}, {pair{"x", "y"}, "x/y"}, {&pair{"x", "y"}, "x/y"},
		{sql.NullString{String: "s", Valid: true}, "s"}, {"", ""}, {"a\x00b", "a\x00b"},
	} {
		if got := get[any](t, db, "SELECT ?", c.in); got != c.want {
			t.Errorf("%T(%v) came back as %T(%v)", c.in, c.in, got, got)
		}
	}
	if got := get[[]byte](t, db, "SELECT ?", []byte{0, 255}); string(got) != "\x00\xff" {
		t.Errorf("%x", got)
	}
	for _, bad := range []any{make(chan int), struct{}{}, uint64(1 << 63), failing{}, sql.Out{Dest: &text}, map[string]int{}} {
		refused(t, db.QueryRow("SELECT ?", bad).Err(), kimberlite.Invalid)
	}
	for _, args := range [][]any{nil, {1}, {1, 2, 3}} {
		refused(t, db.QueryRow("SELECT ?, ?", args...).Err(), kimberlite.Invalid)
	}
}

func TestArgumentsByNumberAndByName(t *testing.T) {
	t.Parallel()
	db := one(t)
	if got := get[string](t, db, "SELECT $2 || $1 || $2", "a", "b"); got != "bab" {
		t.Error(got)
	}
	if got := get[string](t, db, "SELECT :x || @y || :x", sql.Named("y", "b"), sql.Named("x", "a")); got != "aba" {
		t.Error(got)
	}
	refused(t, db.QueryRow("SELECT :x", sql.Named("z", 1)).Err(), kimberlite.Invalid)
	refused(t, db.QueryRow("SELECT :x", 1).Err(), kimberlite.Invalid)
	refused(t, db.QueryRow("SELECT :x", sql.Named("x", 1), sql.Named("z", 1)).Err(), kimberlite.Invalid)
	refused(t, db.QueryRow("SELECT ?", sql.Named("x", 1)).Err(), kimberlite.Invalid)
	stmt, err := db.Prepare("SELECT :x + 1")
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	var n int
	if err := stmt.QueryRow(sql.Named("x", 41)).Scan(&n); err != nil || n != 42 {
		t.Error(n, err)
	}
}

func TestTimesComeBackAsTimesWhereTheColumnIsDeclaredSo(t *testing.T) {
	t.Parallel()
	db := one(t)
	exec(t, db, "CREATE TABLE e (a TIMESTAMP, b datetime, c TEXT, d DATE)")
	when := time.Date(2026, 2, 3, 4, 5, 6, 789, time.FixedZone("", 3600))
	exec(t, db, "INSERT INTO e VALUES (?, ?, ?, '1985-03-15')", when, when, when)
	var a, b time.Time
	var c, d, a2 string
	if err := db.QueryRow("SELECT a, b, c, d, a FROM e").Scan(&a, &b, &c, &d, &a2); err != nil {
		t.Fatal(err)
	}
	if !a.Equal(when) || !b.Equal(when) || a.Location() != time.UTC {
		t.Errorf("%s and %s, want %s", a, b, when)
	}
	if want := "2026-02-03T03:05:06.000000789Z"; c != want || a2 != want {
		t.Errorf("%s and %s, want %s", c, a2, want)
	}
	if d != "1985-03-15" {
		t.Errorf("a date came back as %s", d)
	}
	exec(t, db, "UPDATE e SET a = 'noon', b = 12")
	if err := db.QueryRow("SELECT a, b FROM e").Scan(&c, &d); err != nil || c != "noon" || d != "12" {
		t.Error(c, d, err)
	}
}

func TestPreparedStatementsRunManyTimesAndAreCheckedWhenMade(t *testing.T) {
	t.Parallel()
	db := one(t)
	insert, err := db.Prepare("INSERT INTO t VALUES (?, ?)")
	if err != nil {
		t.Fatal(err)
	}
	defer insert.Close()
	for i := range 10 {
		if _, err := insert.Exec(100+i, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if n := get[int](t, db, "SELECT count(*) FROM t WHERE id >= 100"); n != 10 {
		t.Fatal(n)
	}
	nowhere, err := db.Prepare("SELECT * FROM nowhere")
	if err == nil {
		defer nowhere.Close()
	}
	refused(t, err, kimberlite.SQL)
	exec(t, db, "DROP TABLE t")
	_, err = insert.Exec(1, "x")
	refused(t, err, kimberlite.SQL)
	exec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
	if _, err := insert.Exec(1, "x"); err != nil {
		t.Fatal(err)
	}
}
