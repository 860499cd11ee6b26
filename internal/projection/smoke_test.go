package projection

import (
	"testing"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
)

type stmt = *sqlite3.Stmt

func readNames(c *conn) (names []string, err error) {
	err = c.each(`SELECT name FROM sqlite_schema WHERE type='table' ORDER BY name`, func(s stmt) error {
		names = append(names, s.ColumnText(0))
		return nil
	})
	return names, err
}

func TestWhatIsWrittenIsReadAndRebuilt(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE patient(id INTEGER PRIMARY KEY, name TEXT, weight REAL)`)
	res := f.mustExec(`INSERT INTO patient VALUES($1,$2,$3),(2,'Bob',80)`, 1, "Alice", 60.5)
	if res.RowsAffected != 2 || res.LastInsertID != 2 {
		t.Errorf("result %+v", res)
	}
	f.mustExec(`UPDATE patient SET weight=61 WHERE id=1`)
	f.mustExec(`DELETE FROM patient WHERE id=2`)
	if got := f.text(`SELECT id, name, weight FROM patient`); got != "[[1 Alice 61]]" {
		t.Errorf("rows %s", got)
	}
	_, err := f.exec(`INSERT INTO patient VALUES(1,'x',1)`)
	wantKind(t, err, fault.Constraint)
	s, ok := f.Stream("PATIENT")
	if !ok || s.Next.Uint64() != 4 || s.Number != 1 || len(s.Columns) != 3 {
		t.Errorf("stream %+v", s)
	}
	f.checkRebuild()
}
