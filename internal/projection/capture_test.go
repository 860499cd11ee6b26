package projection

import (
	"context"
	"strings"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// captured are scripts, one transaction a line, whose events must replay to
// the same tables.
var captured = map[string]string{
	"rowid table without key": `
		CREATE TABLE t(a, b TEXT)
		INSERT INTO t VALUES(1,'x'),(2,NULL),(3,x'00ff')
		UPDATE t SET b='y' WHERE a>1
		UPDATE t SET rowid=rowid+100 WHERE a=1
		DELETE FROM t WHERE a=2`,
	"integer primary key": `
		CREATE TABLE t(a, id INTEGER PRIMARY KEY, b)
		INSERT INTO t(a,b) VALUES(1,1),(2,2),(3,3)
		UPDATE t SET id=id+10
		UPDATE t SET a=a*2
		DELETE FROM t WHERE id=12`,
	"only an integer primary key": `
		CREATE TABLE t(id INTEGER PRIMARY KEY)
		INSERT INTO t VALUES(1),(5),(7)
		UPDATE t SET id=id WHERE id=5
		UPDATE t SET id=6 WHERE id=5`,
	"integer primary key desc is not the rowid": `
		CREATE TABLE t(id INTEGER PRIMARY KEY DESC, a)
		INSERT INTO t VALUES(5,1),(3,2)
		UPDATE t SET id=id+1
		DELETE FROM t WHERE id=4`,
	"text primary key": `
		CREATE TABLE t(id TEXT PRIMARY KEY COLLATE NOCASE, a)
		INSERT INTO t VALUES('A',1),('b',2)
		UPDATE t SET id='B' WHERE a=2
		REPLACE INTO t VALUES('a',3)`,
	"without rowid": `
		CREATE TABLE t(x TEXT, y INT, z INT, PRIMARY KEY(z,x)) WITHOUT ROWID
		INSERT INTO t VALUES('a',2,3),('b',3,3),('c',4,5)
		UPDATE t SET y=9
		UPDATE t SET z=z+10, x=x||'!'
		REPLACE INTO t VALUES('a!',4,13)
		DELETE FROM t WHERE x LIKE 'b%'`,
	"without rowid, case of the key changes": `
		CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, v) WITHOUT ROWID
		INSERT INTO t VALUES('key',1)
		UPDATE t SET k='KEY'
		DELETE FROM t WHERE k='Key'`,
	"generated columns": `
		CREATE TABLE t(a INT, v INT AS (a*2) VIRTUAL, b REAL, s INT AS (a+1) STORED, c TEXT)
		INSERT INTO t(a,b,c) VALUES(1,5,'x'),(2,6.5,'y')
		ALTER TABLE t ADD COLUMN w AS (c||'!')
		UPDATE t SET a=a+1, b=7
		DELETE FROM t WHERE a=3`,
	"generated column before the key": `
		CREATE TABLE t(g AS (id+1), id INTEGER PRIMARY KEY, h AS (x||x) STORED, x)
		INSERT INTO t(x) VALUES('p'),('q')
		UPDATE t SET id=id+5, x='r' WHERE id=2
		DELETE FROM t WHERE x='p'`,
	"replace meets several rows": `
		CREATE TABLE t(a UNIQUE, b UNIQUE, c)
		INSERT INTO t VALUES(1,1,'x'),(2,2,'y'),(3,3,'z')
		REPLACE INTO t VALUES(1,2,'new')
		UPDATE OR REPLACE t SET a=3 WHERE a=1
		CREATE TABLE u(a UNIQUE ON CONFLICT REPLACE, b NOT NULL ON CONFLICT REPLACE DEFAULT 7)
		INSERT INTO u VALUES(1,1)
		INSERT INTO u VALUES(1,NULL)`,
	"upsert": `
		CREATE TABLE t(k PRIMARY KEY, n INT)
		INSERT INTO t VALUES('a',1) ON CONFLICT(k) DO UPDATE SET n=n+1
		INSERT INTO t VALUES('a',1),('b',1) ON CONFLICT(k) DO UPDATE SET n=n+excluded.n
		INSERT INTO t VALUES('a',1) ON CONFLICT DO NOTHING`,
	"cascades": `
		CREATE TABLE p(id INTEGER PRIMARY KEY, x); CREATE TABLE c(p REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE); CREATE TABLE n(p REFERENCES p ON DELETE SET NULL)
		INSERT INTO p VALUES(1,1),(2,2),(3,3); INSERT INTO c VALUES(1),(1),(2); INSERT INTO n VALUES(1),(3)
		UPDATE p SET id=20 WHERE id=2
		DELETE FROM p WHERE id=1
		REPLACE INTO p VALUES(3,4)
		DROP TABLE p`,
	"triggers": `
		CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE log(what, id)
		CREATE TRIGGER b BEFORE INSERT ON t BEGIN INSERT INTO log VALUES('before',new.id); END
		CREATE TRIGGER i AFTER INSERT ON t BEGIN INSERT INTO log VALUES('after',new.id); UPDATE t SET a=a+100 WHERE id=new.id; END
		CREATE TRIGGER d AFTER DELETE ON t BEGIN DELETE FROM log WHERE id=old.id; END
		INSERT INTO t VALUES(1,1),(2,2)
		UPDATE t SET a=0
		DELETE FROM t WHERE id=1
		CREATE TRIGGER skip BEFORE UPDATE ON t WHEN new.a>5 BEGIN SELECT raise(IGNORE); END
		INSERT INTO t VALUES(5,1); UPDATE t SET a=9`,
	"instead of trigger on a view": `
		CREATE TABLE t(a, b); CREATE VIEW v AS SELECT a, b+1 AS c FROM t
		CREATE TRIGGER vi INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES(new.a,new.c-1); END
		INSERT INTO v VALUES(1,10),(2,20)`,
	"delete without where": `
		CREATE TABLE t(a); INSERT INTO t VALUES(1),(2),(3)
		DELETE FROM t
		INSERT INTO t VALUES(4); DELETE FROM t; INSERT INTO t VALUES(5)`,
	"insert select and create as": `
		CREATE TABLE t(a INT, b REAL); INSERT INTO t VALUES(1,1),(2,2.5)
		INSERT INTO t SELECT a+10, b FROM t
		CREATE TABLE c AS SELECT a, b, random() AS r, 'x'||a AS s FROM t WHERE a<11
		UPDATE c SET a=0
		CREATE TABLE IF NOT EXISTS c AS SELECT 1
		CREATE TABLE empty AS SELECT * FROM t WHERE 0`,
	"alter": `
		CREATE TABLE t(a, b UNIQUE); INSERT INTO t VALUES(1,'x'),(2,'y'); CREATE INDEX i ON t(a); CREATE VIEW v AS SELECT a FROM t
		ALTER TABLE t ADD COLUMN c DEFAULT 7
		UPDATE t SET a=5 WHERE b='x'
		DELETE FROM t WHERE b='y'
		ALTER TABLE t RENAME COLUMN a TO alpha
		INSERT INTO t VALUES(8,'z',9)
		ALTER TABLE t RENAME TO u
		INSERT INTO u VALUES(9,'w',9)
		DROP VIEW v
		DROP INDEX i
		ALTER TABLE u DROP COLUMN alpha
		UPDATE u SET c=c+1; INSERT INTO u VALUES('q',1)`,
	"alter of a parent": `
		CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(x REFERENCES p(id)); INSERT INTO p VALUES(1); INSERT INTO c VALUES(1)
		ALTER TABLE p RENAME COLUMN id TO key
		ALTER TABLE p RENAME TO parent
		INSERT INTO parent VALUES(2); INSERT INTO c VALUES(2)`,
	"drop and create anew": `
		CREATE TABLE t(a); INSERT INTO t VALUES(1)
		DROP TABLE t; CREATE TABLE t(a, b INTEGER PRIMARY KEY); INSERT INTO t VALUES(1,2)
		DROP TABLE IF EXISTS t
		CREATE TABLE t(z INT) STRICT`,
	"strict": `
		CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c REAL, d ANY, e BLOB) STRICT
		INSERT INTO t VALUES(1,'x',2,'3',x''),(2,'y',2.5,3,NULL)
		UPDATE t SET c=4, d=x'01'`,
	"autoincrement": `
		CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, u UNIQUE)
		INSERT INTO t(u) VALUES('a'),('b')
		INSERT OR IGNORE INTO t(u) VALUES('a')
		DELETE FROM t
		INSERT INTO t(u) VALUES('c')
		INSERT OR IGNORE INTO t(u) VALUES('c')
		INSERT INTO t VALUES(100,'d'); DELETE FROM t WHERE id=100
		UPDATE t SET id=500 WHERE u='c'
		ALTER TABLE t RENAME TO t2
		INSERT INTO t2(u) VALUES('e')
		CREATE TABLE z(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO z SELECT 1 WHERE 0
		INSERT INTO z VALUES(-5)
		CREATE TABLE gone(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO gone VALUES(9); DROP TABLE gone
		CREATE TABLE gone(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO gone DEFAULT VALUES
		INSERT OR IGNORE INTO t2(u) VALUES('e')
		INSERT OR IGNORE INTO t2(id,u) VALUES(9000,'e')`,
	"values of every kind": `
		CREATE TABLE t(a, r REAL, i INT, x TEXT, n NUMERIC)
		INSERT INTO t VALUES(9223372036854775807, 9e999, -9223372036854775808, char(0,65,0), 1e3)
		INSERT INTO t VALUES(-0.0, -0.0, 3.7, 12, '12.50')
		INSERT INTO t VALUES(CAST(x'ff61' AS TEXT), '', x'', x'', zeroblob(5000))
		UPDATE t SET x=printf('%.*c', 9000, 'x') WHERE i=3.7`,
	"odd names": `
		CREATE TABLE "select ""from"""("a b", "c""d", [e.f] TEXT, 'g' INTEGER PRIMARY KEY)
		INSERT INTO "select ""from""" VALUES(1,2,3,4)
		UPDATE "select ""from""" SET "a b"=9
		CREATE TABLE Ünïcode(ключ); INSERT INTO Ünïcode VALUES('значение')
		CREATE INDEX "in""dex" ON "select ""from"""("c""d")`,
	"rowid names that are columns": `
		CREATE TABLE t(rowid TEXT, oid INT, a); INSERT INTO t VALUES('x',1,2),('y',2,3)
		UPDATE t SET rowid='z' WHERE a=2
		CREATE TABLE u(rowid, oid, _rowid_, id INTEGER PRIMARY KEY); INSERT INTO u VALUES(1,2,3,4)
		UPDATE u SET rowid=9, id=8
		DELETE FROM t WHERE a=3`,
	"returning and common table expressions": `
		CREATE TABLE t(id INTEGER PRIMARY KEY, a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<50) INSERT INTO t SELECT i, i*i FROM n RETURNING id
		UPDATE t SET a=o.a FROM (SELECT id+1 AS j, a FROM t) AS o WHERE o.j=t.id
		DELETE FROM t WHERE id%3=0 RETURNING a`,
	"expression and partial indexes": `
		CREATE TABLE t(a, b); CREATE UNIQUE INDEX i ON t(lower(a)) WHERE b>0
		INSERT INTO t VALUES('X',1),('y',0),('Y',0)
		UPDATE t SET b=-b`,
	"or fail is undone whole": `
		CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES(2)
		!INSERT OR FAIL INTO t VALUES(1),(2),(3)
		INSERT INTO t VALUES(9); !INSERT OR FAIL INTO t VALUES(1),(2),(3)
		!INSERT OR ROLLBACK INTO t VALUES(7),(2)`,
}

// run carries out one line of a script as a transaction; statements with a
// leading ! must fail.
func (f *fixture) run(line string) error {
	_, err := f.txn("", func(g *Group) (record.Result, error) {
		var last error
		for _, part := range splitScript(line) {
			text, wanted := strings.CutPrefix(part, "!")
			_, err := g.Exec(context.Background(), text, nil)
			if wanted != (err != nil) {
				f.t.Errorf("%s: error %v", part, err)
			}
			if !wanted && err != nil {
				last = err
			}
		}
		return record.Result{}, last
	})
	return err
}

// splitScript splits at "; " outside of BEGIN…END.
func splitScript(line string) []string {
	if strings.Contains(line, "CREATE TRIGGER") {
		return []string{line}
	}
	return strings.Split(line, "; ")
}

func TestEventsReplayToTheSameTables(t *testing.T) {
	for name, script := range captured {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{})
			for line := range strings.Lines(script) {
				line = strings.TrimSpace(line)
				if line == "" {
					continue
				}
				err := f.run(line)
				if err != nil && !strings.Contains(line, "OR ROLLBACK") {
					t.Fatalf("%s: %v", line, err)
				}
			}
			f.checkRebuild()
		})
	}
}

func TestTablesWhoseRowsCannotBeNamedAreRefused(t *testing.T) {
	f := newFixture(t, Options{})
	_, err := f.exec(`CREATE TABLE t(rowid, oid, _rowid_)`)
	wantKind(t, err, fault.Unsupported)
	f.mustExec(`CREATE TABLE t(rowid, oid, x)`)
	_, err = f.exec(`ALTER TABLE t ADD COLUMN _rowid_`)
	wantKind(t, err, fault.SQL)
	f.mustExec(`INSERT INTO t VALUES(1,2,3)`)
	f.checkRebuild()
}
