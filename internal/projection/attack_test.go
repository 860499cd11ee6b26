package projection

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// attacks are statements that aim at what a client must not reach, with the
// kinds of refusal that are right for each.
var attacks = []struct {
	sql   string
	kinds []fault.Kind
}{
	// Other databases and files.
	{`ATTACH 'x.db' AS x`, denied},
	{`ATTACH DATABASE 'file:x.db?vfs=os' AS x`, denied},
	{`ATTACH 'file:/tmp/x?vfs=os&mode=rwc' AS x`, denied},
	{`ATTACH '' AS x`, denied},
	{`ATTACH ':memory:' AS x`, denied},
	{`attach/**/database(char(120))as x`, denied},
	{`ATTACH (SELECT 'x') AS x KEY 'k'`, denied},
	{`DETACH kimberlite`, denied},
	{`DETACH DATABASE main`, denied},
	{`VACUUM`, refused},
	{`VACUUM main`, refused},
	{`VACUUM INTO 'leak.db'`, refused},
	{`VACUUM INTO 'file:leak.db?vfs=os'`, refused},
	{`SELECT load_extension('x')`, refused},
	{`SELECT readfile('/etc/passwd')`, refused},
	{`SELECT writefile('x', 'y')`, refused},
	{`SELECT edit('x')`, refused},
	{`SELECT fts3_tokenizer('simple')`, refused},
	{`SELECT sqlite_log(1, 'x')`, refused},
	{`SELECT sqlite_rename_table(1,2,3,4,5,6,7)`, refused},
	{`SELECT sqlite_compileoption_get(0)`, refused},
	{`SELECT * FROM fsdir('/')`, refused},
	// The schema and our own tables.
	{`INSERT INTO sqlite_schema VALUES('table','x','x',2,'CREATE TABLE x(a)')`, refused},
	{`UPDATE sqlite_master SET sql='x'`, refused},
	{`DELETE FROM sqlite_master`, refused},
	{`DELETE FROM sqlite_temp_master`, refused},
	{`UPDATE sqlite_sequence SET seq=1`, refused},
	{`DELETE FROM sqlite_sequence`, refused},
	{`DROP TABLE sqlite_sequence`, refused},
	{`SELECT * FROM _kimberlite_meta`, denied},
	{`SELECT key FROM main._KIMBERLITE_idempotency`, denied},
	{`SELECT (SELECT count(*) FROM _kimberlite_stream)`, denied},
	{`INSERT INTO _kimberlite_meta VALUES(0,'')`, denied},
	{`UPDATE _kimberlite_meta SET v=0`, denied},
	{`DELETE FROM "_kimberlite_index"`, denied},
	{`DROP TABLE _kimberlite_meta`, denied},
	{`ALTER TABLE _kimberlite_meta RENAME TO x`, denied},
	{`ALTER TABLE _kimberlite_meta ADD COLUMN x`, denied},
	{`CREATE INDEX x ON _kimberlite_meta(v)`, denied},
	{`CREATE TRIGGER x AFTER INSERT ON _kimberlite_meta BEGIN SELECT 1; END`, denied},
	{`CREATE TABLE _kimberlite_x(a)`, denied},
	{`CREATE TABLE Kimberlite_x(a)`, denied},
	{`CREATE VIEW kimberlite AS SELECT 1`, denied},
	{`CREATE TABLE sqlite_x(a)`, refused},
	{`ALTER TABLE t RENAME TO _kimberlite_t`, denied},
	{`CREATE TABLE x(a REFERENCES _kimberlite_idempotency(id) ON DELETE CASCADE)`, denied},
	{`ALTER TABLE t ADD COLUMN x REFERENCES "_Kimberlite_stream"(number)`, denied},
	{`INSERT INTO kimberlite.events(stream) VALUES('x')`, refused},
	{`DELETE FROM kimberlite.streams`, refused},
	{`DROP TABLE kimberlite.events`, refused},
	{`CREATE TABLE kimberlite.x(a)`, denied},
	{`CREATE VIEW v AS SELECT * FROM kimberlite.events`, refused},
	// Virtual and temporary tables.
	{`CREATE VIRTUAL TABLE x USING fts5(a)`, refused},
	{`CREATE VIRTUAL TABLE x USING kimberlite_events`, refused},
	{`CREATE VIRTUAL TABLE temp.x USING kimberlite_usage`, refused},
	{`CREATE VIRTUAL TABLE x USING dbstat`, refused},
	{`SELECT * FROM sqlite_dbpage`, refused},
	{`SELECT * FROM dbstat`, refused},
	{`SELECT * FROM sqlite_stmt`, refused},
	{`SELECT * FROM bytecode('SELECT 1')`, refused},
	{`CREATE TEMP TABLE x(a)`, refused},
	{`CREATE TABLE temp.x(a)`, refused},
	{`CREATE TEMP VIEW x AS SELECT 1`, refused},
	{`CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END`, refused},
	// Settings.
	{`PRAGMA writable_schema=ON`, denied},
	{`PRAGMA writable_schema=RESET`, denied},
	{`PRAGMA journal_mode=WAL`, denied},
	{`PRAGMA journal_mode=DELETE`, denied},
	{`PRAGMA main.journal_mode=OFF`, denied},
	{`PRAGMA temp_store=FILE`, denied},
	{`PRAGMA temp_store_directory='/tmp'`, denied},
	{`PRAGMA cache_size=1000000`, denied},
	{`PRAGMA cache_spill=1`, denied},
	{`PRAGMA mmap_size=1000000`, denied},
	{`PRAGMA page_size=8192`, denied},
	{`PRAGMA max_page_count=100000`, denied},
	{`PRAGMA hard_heap_limit=0`, denied},
	{`PRAGMA soft_heap_limit=0`, denied},
	{`PRAGMA foreign_keys=OFF`, denied},
	{`PRAGMA defer_foreign_keys=ON`, denied},
	{`PRAGMA ignore_check_constraints=ON`, denied},
	{`PRAGMA recursive_triggers=ON`, denied},
	{`PRAGMA trusted_schema=ON`, denied},
	{`PRAGMA legacy_alter_table=ON`, denied},
	{`PRAGMA user_version=9`, denied},
	{`PRAGMA application_id=9`, denied},
	{`PRAGMA query_only=OFF`, denied},
	{`PRAGMA locking_mode=EXCLUSIVE`, denied},
	{`PRAGMA secure_delete=ON`, denied},
	{`PRAGMA encoding='UTF-16'`, denied},
	{`PRAGMA auto_vacuum=1`, denied},
	{`PRAGMA incremental_vacuum(5)`, denied},
	{`PRAGMA wal_checkpoint(TRUNCATE)`, denied},
	{`PRAGMA database_list`, denied},
	{`PRAGMA integrity_check`, denied},
	{`PRAGMA quick_check`, denied},
	{`PRAGMA optimize`, denied},
	{`PRAGMA shrink_memory`, denied},
	{`PRAGMA threads=8`, denied},
	{`PRAGMA no_such_pragma`, denied},
	{`PRAGMA experimental_pragma_20251114`, denied},
	{`PRAGMA schema_version=7`, denied},
	{`SELECT * FROM pragma_database_list`, refused},
	{`SELECT * FROM pragma_user_version`, refused},
	{`EXPLAIN PRAGMA writable_schema=ON`, denied},
	// Transactions and maintenance.
	{`BEGIN`, refused}, {`BEGIN EXCLUSIVE`, refused}, {`COMMIT`, refused}, {`END`, refused}, {`ROLLBACK`, refused},
	{`SAVEPOINT x`, refused}, {`RELEASE txn`, refused}, {`ROLLBACK TO txn`, refused}, {`ROLLBACK TO statement`, refused},
	{`ANALYZE`, refused}, {`ANALYZE t`, refused}, {`REINDEX`, refused}, {`REINDEX t`, refused},
	// Hidden behind something harmless.
	{`SELECT 1; ATTACH 'x' AS y`, refused},
	{`SELECT 1 /* */; -- x` + "\n" + `PRAGMA writable_schema=1`, refused},
	{"SELECT 1\x00; DROP TABLE t", []fault.Kind{fault.Invalid}},
}

var (
	denied  = []fault.Kind{fault.Denied, fault.Unsupported}
	refused = []fault.Kind{fault.Denied, fault.Unsupported, fault.SQL, fault.Invalid}
)

func isOneOf(err error, kinds []fault.Kind) bool {
	for _, k := range kinds {
		if fault.Is(err, k) {
			return true
		}
	}
	return false
}

// TestAttacksAreRefused runs each attack as a reader and as a writer, between
// work that must go on unharmed.
func TestAttacksAreRefused(t *testing.T) {
	if len(attacks) < 60 {
		t.Fatalf("only %d attacks", len(attacks))
	}
	t.Chdir(t.TempDir())
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, secret UNIQUE); INSERT INTO t(secret) VALUES('s3cret')`)
	before := f.hash()
	r, err := f.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	for _, a := range attacks {
		err := r.Each(t.Context(), a.sql, nil, func(*Row) error { return nil })
		if !isOneOf(err, a.kinds) && !isOneOf(err, refused) {
			t.Errorf("reader: %s: %v", a.sql, err)
		}
		_, err = f.exec(a.sql)
		if !isOneOf(err, a.kinds) {
			t.Errorf("writer: %s: %v", a.sql, err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error tells row data: %v", a.sql, err)
		}
	}
	if f.hash() != before || f.text(`SELECT * FROM t`) != "[[1 s3cret]]" {
		t.Error("an attack has changed something")
	}
	f.mustExec(`INSERT INTO t(secret) VALUES('x')`)
	entries, err := os.ReadDir(".")
	if err != nil || len(entries) != 0 {
		t.Errorf("files have appeared: %v, %v", entries, err)
	}
	f.checkRebuild()
}

// TestTriggersReachNoFurtherThanStatements plants what is not looked at when
// it is created.
func TestTriggersReachNoFurtherThanStatements(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a)`)
	for _, body := range []string{
		`INSERT INTO _kimberlite_meta VALUES(77,1)`, `DELETE FROM _kimberlite_stream`, `UPDATE sqlite_sequence SET seq=1`,
		`INSERT INTO t SELECT sql FROM sqlite_dbpage`, `SELECT load_extension('x')`, `SELECT v FROM _kimberlite_meta`,
	} {
		_, err := f.exec(`CREATE TRIGGER x AFTER INSERT ON t BEGIN ` + body + `; END`)
		if err != nil {
			continue // refused at once is better still
		}
		_, err = f.exec(`INSERT INTO t VALUES(1)`)
		if !isOneOf(err, refused) {
			t.Errorf("%s: %v", body, err)
		}
		f.mustExec(`DROP TRIGGER x`)
	}
	for _, view := range []string{`SELECT * FROM _kimberlite_meta`, `SELECT load_extension('x')`} {
		if _, err := f.exec(`CREATE VIEW x AS ` + view); err != nil {
			continue
		}
		_, err := f.rows(`SELECT * FROM x`)
		if !isOneOf(err, refused) {
			t.Errorf("%s: %v", view, err)
		}
		f.mustExec(`DROP VIEW x`)
	}
}

func TestHarmlessStatementsWork(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT REFERENCES p, b REAL); CREATE INDEX i ON t(a)`)
	for _, sql := range []string{
		`PRAGMA table_info(t)`, `PRAGMA table_xinfo('t')`, `PRAGMA index_list(t)`, `PRAGMA index_info(i)`, `PRAGMA index_xinfo(i)`,
		`PRAGMA foreign_key_list(t)`, `PRAGMA foreign_key_check`, `PRAGMA collation_list`, `PRAGMA table_list`, `PRAGMA foreign_keys`,
		`SELECT * FROM pragma_table_info('t')`, `SELECT name FROM sqlite_schema`, `SELECT name FROM sqlite_master`,
		`SELECT datetime('now'), json_extract('{"a":1}','$.a'), random(), upper('x'), printf('%d',1), regexp('a','b')`,
		`SELECT value FROM json_each('[1,2]')`, `SELECT value FROM generate_series(1,3)`, `EXPLAIN QUERY PLAN SELECT * FROM t`,
		`SELECT row_number() OVER (ORDER BY a) FROM t`, `VALUES(1),(2)`,
		`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 5) SELECT * FROM n`,
		`SELECT * FROM kimberlite.streams`, `SELECT * FROM kimberlite.events`, `SELECT * FROM kimberlite.usage`,
		`SELECT last_insert_rowid(), changes(), total_changes(), sqlite_version()`,
	} {
		if _, err := f.rows(sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		if ok, err := f.ReadOnly(t.Context(), AccessOwner, sql); !ok || err != nil {
			t.Errorf("%s: read only %v, %v", sql, ok, err)
		}
	}
	for _, sql := range []string{`INSERT INTO t VALUES(1,1,1)`, `CREATE TABLE x(a)`, `DELETE FROM t RETURNING id`, `SELECT 1; SELECT 2`, `DROP TABLE t`} {
		if ok, err := f.ReadOnly(t.Context(), AccessOwner, sql); ok || err != nil {
			t.Errorf("%s: read only %v, %v", sql, ok, err)
		}
	}
	_, err := f.ReadOnly(t.Context(), AccessOwner, `SELECT * FROM nowhere`)
	wantKind(t, err, fault.SQL)
	f.mustExec(`CREATE TABLE nowhere(a)`)
	if ok, err := f.ReadOnly(t.Context(), AccessOwner, `SELECT * FROM nowhere`); !ok || err != nil {
		t.Errorf("after the table was made: %v, %v", ok, err)
	}
}

// TestLimitsRefuseWhatIsTooMuch has one statement for each limit.
func TestLimitsRefuseWhatIsTooMuch(t *testing.T) {
	f := newFixture(t, Options{Limits: Limits{
		StatementTimeout: time.Minute, MaxStatementBytes: 200_000, MaxValueBytes: 1 << 20, MaxMemoryBytes: 24 << 20,
		MaxResultRows: 1000, MaxResultBytes: 1 << 20, MaxColumns: 100,
	}})
	f.mustExec(`CREATE TABLE t(a)`)
	chain := `CREATE VIEW v0 AS SELECT a FROM t`
	f.mustExec(chain)
	for i := range 300 {
		if _, err := f.exec(strings.NewReplacer("#", strings.Repeat("x", i), "%", strings.Repeat("x", i+1)).Replace(`CREATE VIEW w% AS SELECT a FROM ` + map[bool]string{true: "v0", false: "w#"}[i == 0])); err != nil {
			t.Fatal(err)
		}
		if i > 200 {
			break
		}
	}
	for name, c := range map[string]struct {
		sql  string
		kind fault.Kind
	}{
		"recursive bomb":       {bomb + `SELECT count(*) FROM n`, fault.Timeout},
		"join bomb":            {bomb + `, m(j) AS (SELECT i FROM n LIMIT 100000) SELECT count(*) FROM m a, m b, m c`, fault.Timeout},
		"huge statement":       {`SELECT '` + strings.Repeat("x", 100<<20) + `'`, fault.TooLarge},
		"long statement":       {`SELECT '` + strings.Repeat("x", 200_001) + `'`, fault.TooLarge},
		"huge value":           {`SELECT zeroblob(2000000)`, fault.TooLarge},
		"huger value":          {`SELECT zeroblob(9223372036854775807)`, fault.TooLarge},
		"huge text":            {`SELECT printf('%.*c', 2000000000, 'x')`, fault.TooLarge},
		"doubling":             {`WITH RECURSIVE d(x) AS (SELECT 'xx' UNION ALL SELECT x||x FROM d) SELECT max(length(x)) FROM d`, fault.TooLarge},
		"aggregate":            {`SELECT length(group_concat(hex(zeroblob(1000)))) FROM (` + bomb + `SELECT i FROM n LIMIT 3000)`, fault.TooLarge},
		"sort in memory":       {`SELECT count(*) FROM (SELECT x FROM (` + bomb + `SELECT i||zeroblob(1000000) AS x FROM n LIMIT 40) ORDER BY x LIMIT 100 OFFSET 1)`, fault.TooLarge},
		"deep expression":      {`SELECT ` + strings.Repeat("(1+", 500) + "1" + strings.Repeat(")", 500), fault.TooLarge},
		"deeper expression":    {`SELECT ` + strings.Repeat("- ", 90_000) + "1", fault.TooLarge},
		"many columns":         {`SELECT ` + strings.Repeat("1,", 200) + "1", fault.TooLarge},
		"wide star":            {`SELECT * FROM ` + strings.Repeat("kimberlite.events,", 20) + `t`, fault.TooLarge},
		"many terms":           {`SELECT 1 ` + strings.Repeat("UNION ALL SELECT 1 ", 200), fault.TooLarge},
		"many arguments":       {`SELECT max(1` + strings.Repeat(",1", 500) + `)`, fault.TooLarge},
		"many parameters":      {`SELECT ?40000`, fault.TooLarge},
		"long pattern":         {`SELECT 'x' LIKE '` + strings.Repeat("%x", 3000) + `'`, fault.TooLarge},
		"many rows":            {bomb + `SELECT i FROM n`, fault.TooLarge},
		"many bytes":           {bomb + `SELECT hex(zeroblob(5000)) FROM n`, fault.TooLarge},
		"views on views":       {`SELECT * FROM w` + strings.Repeat("x", 201), noKind},
		"nested json":          {`SELECT json_valid('` + strings.Repeat("[", 50000) + `')`, noKind},
		"deep subqueries":      {strings.Repeat("SELECT * FROM (", 2000) + "SELECT 1" + strings.Repeat(")", 2000), fault.TooLarge},
		"catastrophic pattern": {`SELECT regexp('(a*)*b', '` + strings.Repeat("a", 20000) + `')`, noKind},
	} {
		t.Run(name, func(t *testing.T) {
			// Only what never ends by itself is given little time.
			f.DB.limits.StatementTimeout = time.Minute
			if c.kind != fault.TooLarge {
				f.DB.limits.StatementTimeout = 100 * time.Millisecond
			}
			start := time.Now()
			_, err := f.rows(c.sql)
			if c.kind != noKind {
				wantKind(t, err, c.kind)
			} else if fault.Is(err, fault.Corruption) {
				t.Error(err)
			}
			if took := time.Since(start); c.kind != fault.TooLarge && took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	if _, err := f.rows(`SELECT 1`); err != nil {
		t.Error(err)
	}
}

func TestACallerWhoGivesUpIsNotKeptWaiting(t *testing.T) {
	f := newFixture(t, Options{MaxReaders: 1})
	f.mustExec(`CREATE TABLE t(a)`)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	r, err := f.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Query(ctx, bomb+`SELECT count(*) FROM n`, nil)
	wantKind(t, err, fault.Timeout)
	_, err = f.Read(ctx) // the only reader is taken
	wantKind(t, err, fault.Timeout)
	r.Release()
	_, err = f.txn("", func(g *Group) (record.Result, error) { return g.Exec(ctx, `INSERT INTO t VALUES(1)`, nil) })
	wantKind(t, err, fault.Timeout)
	canceled, stop := context.WithCancel(t.Context())
	stop()
	_, err = f.BeginGroup(canceled)
	wantKind(t, err, fault.Canceled)
	f.mustExec(`INSERT INTO t VALUES(2)`)
}

// noKind stands for statements that need not fail.
const noKind = fault.Kind(255)
