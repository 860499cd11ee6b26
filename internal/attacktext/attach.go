package attacktext

import (
	"path/filepath"

	"kimberlite/internal/fault"
)

// Attach returns statements that try to reach another database or file. The files that they
// name do exist: the victim's projection stands on the disk.
func Attach(p Place) []Statement {
	denied := Kinds(fault.Denied)
	target := filepath.Join(p.Data, "shards/1/tenants/1/projection.db")
	leak := filepath.Join(p.Temp, "k2leak.db")
	return []Statement{
		{"attach the victim's file", `ATTACH '` + target + `' AS x`, nil, denied},
		{"attach with DATABASE", `ATTACH DATABASE '` + target + `' AS x`, nil, denied},
		{"attach in mixed case", `aTtAcH dAtAbAsE '` + target + `' aS x`, nil, denied},
		{"attach between comments", "/* */ATTACH/**/ -- x\n'" + target + "'/**/AS/**/x", nil, denied},
		{"attach in double quotes", `ATTACH "` + target + `" AS "x"`, nil, denied},
		{"attach in brackets", `ATTACH [` + target + `] AS [x]`, nil, denied},
		{"attach in backquotes", "ATTACH `" + target + "` AS `x`", nil, denied},
		{"attach behind a byte order mark", "\ufeffATTACH '" + target + "' AS x", nil, denied},
		{"attach behind odd spaces", "\t\r\n\f ATTACH\f'" + target + "'\rAS\tx", nil, denied},
		{"attach behind semicolons", ";;; ;ATTACH '" + target + "' AS x", nil, denied},
		{"attach with wide letters", "ＡＴＴＡＣＨ '" + target + "' AS x", nil, Kinds(fault.SQL)},
		{"attach by a long s and a dotless i", "ATTACH 'x' Aſ x", nil, Kinds(fault.SQL)},
		{"attach an expression", `ATTACH char(47)||'tmp'||char(47)||'k2leak.db' AS x`, nil, denied},
		{"attach by a parameter", `ATTACH ? AS x`, []any{target}, denied},
		{"attach under a parameter's name", `ATTACH 'x' AS ?`, []any{"kimberlite"}, denied},
		{"attach by a subquery", `ATTACH (SELECT secret FROM own) AS x`, nil, Kinds(fault.Denied, fault.SQL)},
		{"attach with a key", `ATTACH '` + target + `' AS x KEY 'k'`, nil, denied},
		{"attach as a URI", `ATTACH 'file:` + target + `' AS x`, nil, denied},
		{"attach as a URI with the system's VFS", `ATTACH 'file:` + target + `?vfs=os&mode=ro' AS x`, nil, denied},
		{"attach as a URI with another VFS", `ATTACH 'file:` + target + `?vfs=unix-none&immutable=1' AS x`, nil, denied},
		{"attach as an encoded URI", `ATTACH 'file:%2Ftmp%2Fk2leak.db?vfs=os&mode=rwc' AS x`, nil, denied},
		{"attach as a URI with an authority", `ATTACH 'file://localhost` + target + `?nolock=1' AS x`, nil, denied},
		{"attach our own VFS", `ATTACH 'file:projection.db?vfs=kimberlite' AS x`, nil, denied},
		{"attach our own VFS under a guess", `ATTACH 'file:00000000000000000000000000000000?vfs=kimberlite' AS x`, nil, denied},
		{"attach our own VFS without a name", `ATTACH 'file:?vfs=kimberlite' AS x`, nil, denied},
		{"attach a database in memory", `ATTACH ':memory:' AS x`, nil, denied},
		{"attach memdb", `ATTACH 'file:/victim?vfs=memdb' AS x`, nil, denied},
		{"attach a shared database in memory", `ATTACH 'file:shared?mode=memory&cache=shared' AS x`, nil, denied},
		{"attach a temporary database", `ATTACH '' AS x`, nil, denied},
		{"attach over the system tables", `ATTACH '' AS kimberlite`, nil, denied},
		{"attach over main", `ATTACH '` + target + `' AS main`, nil, denied},
		{"attach a relative path", `ATTACH '../1/projection.db' AS x`, nil, denied},
		{"attach the process's memory", `ATTACH '/proc/self/mem' AS x`, nil, denied},
		{"attach the master key", `ATTACH '` + filepath.Join(p.Data, "master.key") + `' AS x`, nil, denied},
		{"attach, explained", `EXPLAIN ATTACH '` + leak + `' AS x`, nil, denied},
		{"detach the system tables", `DETACH kimberlite`, nil, denied},
		{"detach main", `DETACH DATABASE 'main'`, nil, denied},
		{"detach temp", `DETACH temp`, nil, denied},
		{"detach by a parameter", `DETACH ?`, []any{"kimberlite"}, denied},

		{"vacuum", `VACUUM`, nil, Kinds(fault.Unsupported)},
		{"vacuum the system tables", `VACUUM kimberlite`, nil, Kinds(fault.Unsupported)},
		{"vacuum into a file", `VACUUM INTO '` + leak + `'`, nil, Kinds(fault.Unsupported)},
		{"vacuum into the working directory", `VACUUM INTO 'k2leak.db'`, nil, Kinds(fault.Unsupported)},
		{"vacuum into the victim's file", `VACUUM main INTO '` + target + `'`, nil, Kinds(fault.Unsupported)},
		{"vacuum into a URI", `VACUUM INTO 'file:k2leak.db?vfs=os'`, nil, Kinds(fault.Unsupported)},
		{"vacuum into a parameter", `VACUUM INTO ?`, []any{leak}, Kinds(fault.Unsupported)},
		{"vacuum into an expression", `VACUUM INTO (SELECT '/tmp/k2leak.db')`, nil, Kinds(fault.Unsupported)},

		{"a schema that is not there", `SELECT * FROM x.own`, nil, Kinds(fault.SQL)},
		{"the victim's id as a schema", `SELECT * FROM "1".own`, nil, Kinds(fault.SQL)},
		{"the victim's name as a schema", `SELECT * FROM "tenants/1".own`, nil, Kinds(fault.SQL)},
		{"a path as a table", `SELECT * FROM "../1/projection.db"`, nil, Kinds(fault.SQL)},
		{"the victim's table by name", `SELECT * FROM patients_of_tenant_1`, nil, Kinds(fault.SQL)},
		{"a table of the same name", `SELECT * FROM own`, nil, Succeeds},
		{"the other's counter", `SELECT * FROM sqlite_sequence`, nil, Succeeds},
	}
}

// Extensions returns statements that try to reach files, memory or code by functions and
// virtual tables.
func Extensions(p Place) []Statement {
	unsupported, sql := Kinds(fault.Unsupported), Kinds(fault.SQL)
	// Those that this build of SQLite does not even have.
	gone := Kinds(fault.Denied, fault.SQL)
	key := filepath.Join(p.Data, "master.key")
	return []Statement{
		{"load_extension", `SELECT load_extension('/tmp/k2leak.so')`, nil, gone},
		{"load_extension with an entry", `SELECT load_extension('k2leak', 'sqlite3_init')`, nil, gone},
		{"readfile", `SELECT readfile('` + key + `')`, nil, gone},
		{"writefile", `SELECT writefile('` + filepath.Join(p.Temp, "k2leak") + `', 'x')`, nil, gone},
		{"edit", `SELECT edit('x', 'sh -c id')`, nil, gone},
		{"lsmode", `SELECT lsmode(33188)`, nil, gone},
		{"fsdir", `SELECT * FROM fsdir('/')`, nil, sql},
		{"fsdir as a table", `SELECT * FROM fsdir WHERE path = '/'`, nil, sql},
		{"lines_read", `SELECT * FROM lines_read('` + key + `')`, nil, sql},
		{"fts3_tokenizer with a pointer", `SELECT fts3_tokenizer('simple', x'4141414141414141')`, nil, gone},
		{"fts3_tokenizer", `SELECT hex(fts3_tokenizer('simple'))`, nil, gone},
		{"sqlite_log", `SELECT sqlite_log(1, 'forged')`, nil, gone},
		{"sqlite_compileoption_get", `SELECT sqlite_compileoption_get(1)`, nil, gone},
		{"sqlite_offset", `SELECT sqlite_offset(secret) FROM own`, nil, gone},
		{"sqlite_source_id", `SELECT sqlite_source_id()`, nil, gone},
		{"sqlite_filestat", `SELECT sqlite_filestat('main')`, nil, gone},
		{"sqlite_rename_table", `SELECT sqlite_rename_table('main','table','own','CREATE TABLE own(a)','own','x',0)`, nil, gone},
		{"sqlite_fail", `SELECT sqlite_fail('x', 1)`, nil, gone},
		{"getenv", `SELECT getenv('HOME')`, nil, gone},
		{"shell", `SELECT shell('id'), system('id')`, nil, gone},
		{"blob io", `SELECT writeblob('main','own','secret',1,0,'x')`, nil, gone},
		{"blob open", `SELECT openblob('main','own','secret',1,0,'x')`, nil, gone},
		{"serdes", `SELECT sqlite_serialize('main'), serialize()`, nil, gone},
		{"dbpage", `SELECT data FROM sqlite_dbpage WHERE pgno = 1`, nil, gone},
		{"dbpage of another schema", `SELECT data FROM sqlite_dbpage('kimberlite')`, nil, gone},
		{"write to dbpage", `UPDATE sqlite_dbpage SET data = zeroblob(4096) WHERE pgno = 1`, nil, gone},
		{"dbstat", `SELECT * FROM dbstat`, nil, sql},
		{"dbstat with a schema", `SELECT * FROM dbstat('main', 1)`, nil, sql},
		{"sqlite_stmt", `SELECT sql FROM sqlite_stmt`, nil, gone},
		{"sqlite_memstat", `SELECT * FROM sqlite_memstat`, nil, gone},
		{"bytecode", `SELECT * FROM bytecode('SELECT * FROM own')`, nil, sql},
		{"tables_used", `SELECT * FROM tables_used('SELECT * FROM own')`, nil, sql},
		{"carray", `SELECT * FROM carray(1, 100, 'int64')`, nil, sql},
		{"completion", `SELECT * FROM completion('', '')`, nil, sql},
		{"statement_vtab", `SELECT * FROM statement('SELECT 1')`, nil, sql},
		{"csv", `CREATE VIRTUAL TABLE x USING csv(filename='` + key + `')`, nil, unsupported},
		{"csv in temp", `CREATE VIRTUAL TABLE temp.x USING csv(filename='/etc/passwd')`, nil, unsupported},
		{"fts5", `CREATE VIRTUAL TABLE x USING fts5(a)`, nil, unsupported},
		{"fts5 in disguise", `CREATE/**/VIRTUAL/**/TABLE IF NOT EXISTS "own2" USING "fts5"(a, content='own')`, nil, unsupported},
		{"rtree", `CREATE VIRTUAL TABLE x USING rtree(id, a, b)`, nil, unsupported},
		{"geopoly", `CREATE VIRTUAL TABLE x USING geopoly(a)`, nil, unsupported},
		{"dbstat as a table", `CREATE VIRTUAL TABLE x USING dbstat(main)`, nil, unsupported},
		{"our own module", `CREATE VIRTUAL TABLE x USING kimberlite_events`, nil, unsupported},
		{"our own module over itself", `CREATE VIRTUAL TABLE kimberlite.x USING kimberlite_usage`, nil, Kinds(fault.Denied, fault.Unsupported)},
		{"our own module as a function", `SELECT * FROM kimberlite_events`, nil, sql},
		{"generate_series as a table", `CREATE VIRTUAL TABLE x USING generate_series`, nil, unsupported},
		{"json_each on what is no JSON", `SELECT * FROM own, json_each(own.secret)`, nil, sql},
		{"json_each on a blob", `SELECT * FROM json_each(x'FFFFFFFFFFFFFFFFFF')`, nil, sql},
		{"json_each as a table", `SELECT * FROM json_each`, nil, Succeeds},
		{"json path with row data", `SELECT json_extract('{}', secret) FROM own`, nil, sql},
		{"json set with row data", `SELECT json_set('{}', secret, 1) FROM own`, nil, sql},
		{"json arrow with row data", `SELECT secret ->> secret FROM own`, nil, sql},
		{"json table with row data", `SELECT * FROM own, json_tree('[]', own.secret)`, nil, sql},
		{"regexp with row data", `SELECT 'x' REGEXP secret || '(' FROM own`, nil, AnyKind},
		{"write to json_each", `INSERT INTO json_each VALUES(1)`, nil, Kinds(fault.Denied, fault.SQL)},
		{"match", `SELECT * FROM own WHERE secret MATCH 'x'`, nil, gone},
		{"a function that is not there", `SELECT kimberlite_tenant(1)`, nil, gone},
		{"a list of functions", `SELECT name FROM pragma_function_list`, nil, Succeeds},
		{"a list of modules", `SELECT name FROM pragma_module_list`, nil, gone},
	}
}
