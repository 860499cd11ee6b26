package projection

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2" //nolint:depguard // seeds are printed, so that a failure can be repeated
	"strings"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// generator makes random statements about a few tables. Many of them fail:
// that is part of the point.
type generator struct {
	rng *rand.Rand
	n   int
}

func (g *generator) pick(list ...string) string { return list[g.rng.IntN(len(list))] }

func (g *generator) table() string { return fmt.Sprintf("t%d", g.rng.IntN(5)) }

func (g *generator) column() string { return g.pick("a", "b", "c", "d", "id") }

func (g *generator) value() string {
	switch g.rng.IntN(8) {
	case 0:
		return "NULL"
	case 1:
		return fmt.Sprintf("'s%d'", g.rng.IntN(6))
	case 2:
		return fmt.Sprintf("x'%02x'", g.rng.IntN(256))
	case 3:
		return fmt.Sprintf("%d.5", g.rng.IntN(10))
	case 4:
		return "random()%5"
	case 5:
		return "hex(randomblob(300))"
	}
	return fmt.Sprint(g.rng.IntN(12))
}

func (g *generator) create() string {
	key := g.pick("", " PRIMARY KEY", " INTEGER PRIMARY KEY", " INTEGER PRIMARY KEY AUTOINCREMENT", " TEXT PRIMARY KEY COLLATE NOCASE", " UNIQUE ON CONFLICT REPLACE")
	tail := ""
	if strings.Contains(key, "TEXT") || key == " PRIMARY KEY" {
		tail = g.pick("", " WITHOUT ROWID")
	}
	reference := g.pick("", "", " REFERENCES "+g.table()+" ON DELETE CASCADE ON UPDATE CASCADE", " REFERENCES "+g.table()+"(id) DEFERRABLE INITIALLY DEFERRED")
	return "CREATE TABLE " + g.pick("", "IF NOT EXISTS ") + g.table() + "(" +
		g.pick("a", "a REAL", "a INT DEFAULT 3") + ", id" + key + ", b" + g.pick("", " UNIQUE", " NOT NULL DEFAULT 'd'") +
		g.pick("", ", v AS (a||'v')", ", s AS (b||'s') STORED") + ", c" + reference + ")" + tail
}

func (g *generator) ddl() string {
	t := g.table()
	g.n++
	switch g.rng.IntN(12) {
	case 0, 1, 2, 3:
		return g.create()
	case 4:
		return "DROP TABLE " + t
	case 5:
		return "ALTER TABLE " + t + " ADD COLUMN d" + g.pick("", " DEFAULT 'x'", " REAL DEFAULT 2", " AS (a)")
	case 6:
		return "ALTER TABLE " + t + " DROP COLUMN " + g.column()
	case 7:
		return "ALTER TABLE " + t + " RENAME TO " + g.table()
	case 8:
		return "ALTER TABLE " + t + " RENAME COLUMN " + g.column() + " TO " + g.column()
	case 9:
		return fmt.Sprintf("CREATE %sINDEX i%d ON %s(%s)", g.pick("", "UNIQUE "), g.n, t, g.column())
	case 10:
		return "CREATE TABLE " + t + " AS SELECT * FROM " + g.table()
	}
	return fmt.Sprintf("CREATE TRIGGER r%d %s %s ON %s BEGIN %s; END", g.n, g.pick("BEFORE", "AFTER"),
		g.pick("INSERT", "UPDATE", "DELETE"), t, g.dml())
}

func (g *generator) dml() string {
	t, or := g.table(), g.pick("", "", " OR REPLACE", " OR IGNORE", " OR FAIL")
	switch g.rng.IntN(9) {
	case 0, 1, 2:
		return fmt.Sprintf("INSERT%s INTO %s(a,b) VALUES(%s,%s),(%s,%s)", or, t, g.value(), g.value(), g.value(), g.value())
	case 3:
		return fmt.Sprintf("INSERT%s INTO %s(id,a,b,c) VALUES(%s,%s,%s,%s)", or, t, g.value(), g.value(), g.value(), g.value())
	case 4:
		return fmt.Sprintf("UPDATE%s %s SET %s=%s WHERE %s=%s", or, t, g.column(), g.value(), g.column(), g.value())
	case 5:
		return fmt.Sprintf("UPDATE%s %s SET %s=%s", or, t, g.column(), g.pick(g.value(), g.column(), "id+1", "rowid+3"))
	case 6:
		return fmt.Sprintf("DELETE FROM %s WHERE %s=%s", t, g.column(), g.value())
	case 7:
		return fmt.Sprintf("INSERT%s INTO %s(a,b) SELECT a,b FROM %s LIMIT 5", or, t, g.table())
	}
	return g.pick("DELETE FROM "+t, "INSERT INTO "+t+"(id) VALUES(1) ON CONFLICT DO UPDATE SET a=7", "INSERT OR ROLLBACK INTO "+t+"(id) VALUES(1)")
}

// randomTxn runs a transaction of random statements inside a group.
func (g *generator) randomTxn(t *testing.T, group *Group) {
	if err := group.BeginTxn(); err != nil {
		t.Fatal(err)
	}
	saved := 0
	for range 1 + g.rng.IntN(5) {
		text := g.dml()
		if g.rng.IntN(4) == 0 {
			text = g.ddl()
		}
		switch g.rng.IntN(12) {
		case 0:
			if group.Savepoint() == nil {
				saved++
			}
		case 1:
			if saved > 0 && group.RollbackToSavepoint() == nil {
				saved--
			}
		case 2:
			if saved > 0 && group.ReleaseSavepoint() == nil {
				saved--
			}
		}
		_, err := group.Exec(context.Background(), text, nil)
		if err != nil && (fault.Is(err, fault.Internal) || fault.Is(err, fault.Corruption)) {
			t.Fatalf("%s: %v", text, err)
		}
	}
	for ; saved > 0; saved-- {
		if err := group.ReleaseSavepoint(); err != nil && !errors.Is(err, &fault.Error{Kind: fault.Closed}) {
			t.Fatal(err)
		}
	}
	key := ""
	if g.rng.IntN(4) == 0 {
		key = fmt.Sprintf("key %d", g.rng.IntN(20))
	}
	if g.rng.IntN(5) == 0 || group.EndTxn(key, [16]byte{9}, record.Result{RowsAffected: 3}) != nil {
		if err := group.AbortTxn(); err != nil {
			t.Fatal(err)
		}
	}
	if err := group.Broken(); err != nil {
		t.Fatal(err)
	}
}

func TestRandomWorkRebuildsTheSame(t *testing.T) {
	rounds := uint64(12)
	if testing.Short() || raceEnabled {
		rounds = 3
	}
	for seed := range rounds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			f := newFixture(t, Options{})
			g := &generator{rng: rand.New(rand.NewPCG(seed, 7))}
			for range 5 {
				_, _ = f.exec(g.create()) // some refer to tables that are not there
			}
			for range 40 {
				group, err := f.DB.BeginGroup(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				for range 1 + g.rng.IntN(3) {
					g.randomTxn(t, group)
				}
				if g.rng.IntN(8) == 0 {
					err = group.Rollback()
				} else {
					err = f.commit(group)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			f.checkRebuild()
		})
	}
}
