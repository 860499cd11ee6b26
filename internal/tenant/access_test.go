package tenant_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/credential"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/projection"
	"kimberlite/internal/quota"
	"kimberlite/internal/schema"
	"kimberlite/internal/tenant"
)

var accesses = []projection.Access{
	projection.AccessOwner, projection.AccessWriter, projection.AccessReader, projection.AccessAuditor, projection.AccessOperator,
}

// roles is a tenant with something of everything, and a handle for each role.
func roles(t *testing.T) (owner *tenant.Tenant, as map[projection.Access]*tenant.Tenant) {
	r := newRig(t, nil)
	owner = r.create(t, 1, quota.Limits{})
	exec(t, owner, `CREATE TABLE patients(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT)`)
	exec(t, owner, `CREATE TABLE visits(id INTEGER PRIMARY KEY, patient INTEGER REFERENCES patients)`)
	exec(t, owner, `CREATE TABLE seen(n INTEGER)`)
	exec(t, owner, `INSERT INTO patients(name) VALUES ('Alice Smith')`)
	exec(t, owner, `CREATE VIEW names AS SELECT name FROM patients`)
	exec(t, owner, `CREATE TRIGGER count_visits AFTER INSERT ON visits BEGIN INSERT INTO seen(n) VALUES (NEW.id); END`)
	if _, err := owner.CreateStream(ctx, tenant.Request{}, "notes"); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Append(ctx, tenant.Request{}, "notes", []projection.Message{{Data: []byte("secret note")}}); err != nil {
		t.Fatal(err)
	}
	as = map[projection.Access]*tenant.Tenant{}
	for _, a := range accesses {
		as[a] = owner.As(tenant.Actor{Name: a.String(), Access: a, Remote: "192.0.2.9"})
	}
	return owner, as
}

func drain(rows *tenant.Rows, err error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		_ = tenant.Values(&rows.Row)
	}
	return rows.Err()
}

func TestEachRoleMayDoWhatItIsForAndNothingElse(t *testing.T) {
	o, w, rd, au := projection.AccessOwner, projection.AccessWriter, projection.AccessReader, projection.AccessAuditor
	all, rows, writes, owns, audits := []projection.Access{o, w, rd, au}, []projection.Access{o, w, rd}, []projection.Access{o, w},
		[]projection.Access{o}, []projection.Access{o, au}
	none, manages := []projection.Access{}, []projection.Access{o, projection.AccessOperator}
	query := func(sql string) func(*tenant.Tenant) error {
		return func(h *tenant.Tenant) error { return drain(h.Query(ctx, sql, nil)) }
	}
	execute := func(sql string) func(*tenant.Tenant) error {
		return func(h *tenant.Tenant) error { _, err := h.Exec(ctx, tenant.Request{}, sql, nil); return err }
	}
	inTx := func(sql string) func(*tenant.Tenant) error {
		return func(h *tenant.Tenant) error {
			x, err := h.Begin(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = x.Rollback() }()
			_, err = x.Exec(ctx, sql, nil)
			return err
		}
	}
	txQuery := func(sql string) func(*tenant.Tenant) error {
		return func(h *tenant.Tenant) error {
			x, err := h.Begin(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = x.Rollback() }()
			_, err = x.Query(ctx, sql, nil, func(*projection.Row) error { return nil })
			return err
		}
	}
	n := 0
	unique := func() string { n++; return fmt.Sprint("u", n) }
	cases := map[string]struct {
		may []projection.Access
		run func(*tenant.Tenant) error
	}{
		"read rows":                    {rows, query(`SELECT * FROM patients`)},
		"count rows":                   {rows, query(`SELECT count(*) FROM patients`)},
		"whether there are rows":       {rows, query(`SELECT EXISTS(SELECT 1 FROM patients)`)},
		"a constant for each row":      {rows, query(`SELECT 1 FROM patients`)},
		"the number of rows by a join": {rows, query(`SELECT 1 FROM sqlite_schema, patients`)},
		"rows by a subquery":           {rows, query(`SELECT (SELECT name FROM patients)`)},
		"rows by WITH":                 {rows, query(`WITH p AS (SELECT * FROM patients) SELECT * FROM p`)},
		"rows by a view":               {rows, query(`SELECT * FROM names`)},
		"rows by the order of others":  {rows, query(`SELECT 1 ORDER BY (SELECT name FROM patients)`)},
		"rows by EXPLAIN":              {rows, query(`EXPLAIN SELECT * FROM patients`)},
		"counters of rows":             {rows, query(`SELECT * FROM sqlite_sequence`)},
		"a check of foreign keys":      {rows, query(`PRAGMA foreign_key_check`)},
		"the same as a table":          {rows, query(`SELECT * FROM pragma_foreign_key_check`)},
		"events in SQL":                {rows, query(`SELECT * FROM kimberlite.events`)},
		"the catalog":                  {all, query(`SELECT name, sql FROM sqlite_schema`)},
		"columns of a table":           {all, query(`PRAGMA table_info(patients)`)},
		"the same of a table":          {all, query(`SELECT * FROM pragma_table_info('patients')`)},
		"PostgreSQL's catalog":         {all, query(`SELECT relname FROM pg_class`)},
		"streams in SQL":               {all, query(`SELECT * FROM kimberlite.streams`)},
		"usage in SQL":                 {all, query(`SELECT * FROM kimberlite.usage`)},
		"audit in SQL":                 {audits, query(`SELECT * FROM kimberlite.audit`)},
		"audit by WITH":                {audits, query(`WITH a AS (SELECT * FROM kimberlite.audit) SELECT count(*) FROM a`)},
		"rows in a transaction":        {rows, txQuery(`SELECT * FROM patients`)},
		"INSERT":                       {writes, execute(`INSERT INTO patients(name) VALUES ('x')`)},
		"UPDATE":                       {writes, execute(`UPDATE patients SET name=name`)},
		"DELETE":                       {writes, execute(`DELETE FROM patients WHERE id<0`)},
		"a trigger's INSERT":           {writes, execute(`INSERT INTO visits(patient) VALUES (NULL)`)},
		"INSERT in a transaction":      {writes, inTx(`INSERT INTO patients(name) VALUES ('x')`)},
		"INSERT by a query":            {writes, txQuery(`INSERT INTO patients(name) VALUES ('x') RETURNING id`)},
		"CREATE TABLE":                 {owns, func(h *tenant.Tenant) error { return execute("CREATE TABLE " + unique() + "(x)")(h) }},
		"CREATE TABLE AS": {owns, func(h *tenant.Tenant) error {
			return execute("CREATE TABLE " + unique() + " AS SELECT * FROM patients")(h)
		}},
		"CREATE TABLE in a transaction": {owns, inTx(`CREATE TABLE inside(x)`)},
		"CREATE VIEW":                   {owns, func(h *tenant.Tenant) error { return execute("CREATE VIEW " + unique() + " AS SELECT 1")(h) }},
		"CREATE INDEX":                  {owns, func(h *tenant.Tenant) error { return execute("CREATE INDEX " + unique() + " ON patients(name)")(h) }},
		"CREATE TRIGGER": {owns, func(h *tenant.Tenant) error {
			return execute("CREATE TRIGGER " + unique() + " AFTER DELETE ON seen BEGIN SELECT 1; END")(h)
		}},
		"ALTER TABLE":                      {owns, func(h *tenant.Tenant) error { return execute("ALTER TABLE seen ADD COLUMN " + unique())(h) }},
		"DROP TABLE":                       {owns, inTx(`DROP TABLE seen`)},
		"DROP VIEW":                        {owns, inTx(`DROP VIEW names`)},
		"DROP INDEX of none":               {owns, inTx(`DROP TRIGGER count_visits`)},
		"write the catalog":                {none, execute(`DELETE FROM sqlite_schema`)},
		"write the audit trail":            {none, execute(`DELETE FROM kimberlite.audit`)},
		"write credentials":                {none, execute(`DELETE FROM _kimberlite_credential`)},
		"several statements, one too many": {owns, func(h *tenant.Tenant) error { return execute("DELETE FROM seen; CREATE TABLE " + unique() + "(x)")(h) }},
		"describe a read":                  {rows, func(h *tenant.Tenant) error { _, err := h.Describe(ctx, `SELECT * FROM patients`); return err }},
		"ask whether a read only reads":    {rows, func(h *tenant.Tenant) error { _, err := h.ReadOnly(ctx, `SELECT * FROM patients`); return err }},
		"ask whether a write only reads":   {writes, func(h *tenant.Tenant) error { _, err := h.ReadOnly(ctx, `DELETE FROM patients`); return err }},
		"the schema":                       {all, func(h *tenant.Tenant) error { _, err := h.Schema(ctx); return err }},
		"a batch": {writes, func(h *tenant.Tenant) error {
			_, err := h.ExecBatch(ctx, tenant.Request{}, `INSERT INTO seen(n) VALUES (?)`, [][]any{{1}, {2}})
			return err
		}},
		"a write that returns rows": {writes, func(h *tenant.Tenant) error {
			_, err := h.QueryWrite(ctx, tenant.Request{}, `INSERT INTO seen(n) VALUES (1) RETURNING n`, nil, func() {}, func(*projection.Row) error { return nil })
			return err
		}},
		"append": {writes, func(h *tenant.Tenant) error {
			_, err := h.Append(ctx, tenant.Request{}, "notes", []projection.Message{{Data: []byte("x")}})
			return err
		}},
		"append in a transaction": {writes, func(h *tenant.Tenant) error {
			x, err := h.Begin(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = x.Rollback() }()
			_, err = x.Append(ctx, "notes", []projection.Message{{Data: []byte("x")}})
			return err
		}},
		"read a stream": {rows, func(h *tenant.Tenant) error {
			_, err := h.ReadStream(ctx, "notes", ident.Offset{}, 0, func(*tenant.StreamEvent) error { return nil })
			return err
		}},
		"read a table's stream": {rows, func(h *tenant.Tenant) error {
			_, err := h.ReadStream(ctx, "patients", ident.Offset{}, 0, func(*tenant.StreamEvent) error { return nil })
			return err
		}},
		"tail a stream": {rows, func(h *tenant.Tenant) error {
			stop := fault.New("test", fault.Closed, "seen")
			if err := h.Tail(ctx, "notes", ident.Offset{}, func(*tenant.StreamEvent) error { return stop }); !fault.Is(err, fault.Closed) {
				return err
			}
			return nil
		}},
		"create a stream": {owns, func(h *tenant.Tenant) error { _, err := h.CreateStream(ctx, tenant.Request{}, unique()); return err }},
		"create a sequence": {owns, func(h *tenant.Tenant) error {
			return h.CreateSequence(ctx, schema.Sequence{Name: unique(), Start: 1, Increment: 1})
		}},
		"list streams": {all, func(h *tenant.Tenant) error { _, err := h.Streams(ctx); return err }},
		"hash tables":  {rows, func(h *tenant.Tenant) error { _, err := h.TableHash(ctx); return err }},
		"read audit": {audits, func(h *tenant.Tenant) error {
			_, err := h.Audit(ctx, ident.Offset{}, 1, func(*tenant.AuditEntry) error { return nil })
			return err
		}},
		"rebuild":      {manages, func(h *tenant.Tenant) error { return h.Rebuild(ctx) }},
		"rotate a DEK": {manages, func(h *tenant.Tenant) error { return h.RotateDEK(ctx) }},
		"rotate a KEK": {manages, func(h *tenant.Tenant) error { return h.RotateKEK(ctx) }},
		"credentials":  {manages, func(h *tenant.Tenant) error { _, err := h.Credentials(ctx); return err }},
		"a transaction": {all, func(h *tenant.Tenant) error {
			x, err := h.Begin(ctx)
			if err == nil {
				err = x.Rollback()
			}
			return err
		}},
	}
	owner, as := roles(t)
	for name, c := range cases {
		for _, a := range accesses {
			// Twice, since the second time statements come from a cache, and
			// after the owner has put them there.
			_ = c.run(owner.As(tenant.Actor{Name: "warm", Access: projection.AccessOwner}))
			for round := range 2 {
				err := c.run(as[a])
				if may := slices.Contains(c.may, a); may != (err == nil) {
					t.Errorf("%s, %s, round %d: %v", a, name, round, err)
				} else if !may && len(c.may) > 0 && (!fault.Is(err, fault.Denied) || fault.StateOf(err) != "42501") {
					t.Errorf("%s, %s: %v (%s)", a, name, err, fault.StateOf(err))
				}
			}
		}
	}
}

func TestDeniedSaysWhatIsMissing(t *testing.T) {
	_, as := roles(t)
	for sql, want := range map[string]string{
		`INSERT INTO patients(name) VALUES ('Bob')`: "the role reader may not write: this takes the role writer or owner",
		`SELECT * FROM kimberlite.audit`:            "the role reader may not read the audit trail: this takes the role auditor or owner",
	} {
		_, err := as[projection.AccessReader].ReadOnly(ctx, sql)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Bob") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestAReaderNeverHoldsTheWriter(t *testing.T) {
	owner, as := roles(t)
	x, err := as[projection.AccessReader].Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Rollback() }()
	if _, err := x.Exec(ctx, `SELECT 1`, nil); !fault.Is(err, fault.Denied) {
		t.Fatal(err)
	}
	limit, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := owner.Exec(limit, tenant.Request{}, `INSERT INTO seen(n) VALUES (1)`, nil); err != nil {
		t.Fatal(err)
	}
}

func TestATableDoesNotPassForACatalog(t *testing.T) {
	owner, _ := roles(t)
	exec(t, owner, `CREATE TABLE plain(x)`)
	for _, sql := range []string{
		`CREATE TABLE pragma_index_list(secret TEXT)`, `CREATE VIEW pragma_index_info AS SELECT name FROM patients`,
		`ALTER TABLE plain RENAME TO Pragma_table_info`, `CREATE TABLE pragma_anything(x)`, `CREATE TABLE pg_class(x)`,
	} {
		if _, err := owner.Exec(ctx, tenant.Request{}, sql, nil); !fault.Is(err, fault.Denied) {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// marker is in a stored credential and nowhere else.
const marker = "MarkerOfACredential"

func TestNoStatementReadsCredentials(t *testing.T) {
	r := newRig(t, nil)
	owner := r.create(t, 1, quota.Limits{})
	exec(t, owner, `CREATE TABLE t(x)`)
	_, err := owner.CreateCredential(ctx, credential.Record{Name: marker, Role: credential.Reader}, func(r *credential.Record) error {
		return r.SetSecret("secret", zeros{})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`SELECT * FROM _kimberlite_credential`, `SELECT * FROM main._kimberlite_credential`, `SELECT * FROM "_KIMBERLITE_CREDENTIAL"`,
		`SELECT count(*) FROM _kimberlite_credential`, `SELECT (SELECT data FROM _kimberlite_credential)`,
		`WITH c AS (SELECT * FROM _kimberlite_credential) SELECT * FROM c`,
		`SELECT 1 WHERE EXISTS (SELECT 1 FROM _kimberlite_credential)`, `EXPLAIN SELECT * FROM _kimberlite_credential`,
		`INSERT INTO t SELECT data FROM _kimberlite_credential`, `UPDATE _kimberlite_credential SET data=NULL`,
		`DELETE FROM _kimberlite_credential`, `INSERT INTO _kimberlite_credential VALUES (9, 'x')`,
		`CREATE TABLE u AS SELECT * FROM _kimberlite_credential`,
		`CREATE INDEX i ON _kimberlite_credential(data)`, `CREATE INDEX i ON t(x) WHERE x IN (SELECT data FROM _kimberlite_credential)`,
		`CREATE TRIGGER g AFTER INSERT ON _kimberlite_credential BEGIN SELECT 1; END`,
		`CREATE TABLE f(x REFERENCES _kimberlite_credential(id))`, `ALTER TABLE _kimberlite_credential RENAME TO mine`,
		`ALTER TABLE t RENAME TO _kimberlite_credential`, `DROP TABLE _kimberlite_credential`, `DROP TABLE IF EXISTS _kimberlite_credential`,
		`CREATE TABLE _kimberlite_credential(x)`, `VACUUM INTO '/tmp/x'`, `ATTACH '/tmp/x' AS y`,
	} {
		if err := tryBoth(owner, sql); err == nil {
			t.Errorf("%s ran", sql)
		} else if strings.Contains(err.Error(), marker) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	// What may be made may not be used.
	for _, sql := range []string{
		`CREATE VIEW v AS SELECT * FROM _kimberlite_credential`, `SELECT * FROM v`,
		`CREATE TRIGGER leak AFTER INSERT ON t BEGIN UPDATE t SET x=(SELECT data FROM _kimberlite_credential); END`, `INSERT INTO t VALUES (1)`,
		`SELECT * FROM t`, `SELECT * FROM kimberlite.events`, `SELECT * FROM kimberlite.events WHERE stream='_kimberlite_credential'`,
		`SELECT * FROM kimberlite.events WHERE stream='_kimberlite_audit'`, `SELECT * FROM kimberlite.streams`, `SELECT * FROM sqlite_schema`,
		`PRAGMA table_info(_kimberlite_credential)`, `SELECT * FROM pragma_index_list('_kimberlite_credential')`, `SELECT * FROM pragma_table_list`,
		`SELECT * FROM pg_class`, `SELECT * FROM pg_attribute`,
	} {
		rows, err := owner.Query(ctx, sql, nil)
		if err != nil {
			_, _ = owner.Exec(ctx, tenant.Request{}, sql, nil)
			continue
		}
		for rows.Next() {
			if text := fmt.Sprint(tenant.Values(&rows.Row)...); strings.Contains(text, marker) || strings.Contains(text, "token_hash") {
				t.Errorf("%s returned a credential", sql)
			}
			if strings.Contains(sql, "stream='_kimb") || strings.Contains(sql, "kimberlite.streams") && strings.Contains(fmt.Sprint(tenant.Values(&rows.Row)...), "_kimberlite_") {
				t.Errorf("%s shows an internal stream", sql)
			}
		}
		if err := rows.Err(); err != nil && strings.Contains(err.Error(), marker) {
			t.Errorf("%s: %v", sql, err)
		}
		rows.Close()
	}
	for _, stream := range []string{"_kimberlite_credential", "_kimberlite_audit"} {
		if _, err := owner.ReadStream(ctx, stream, ident.Offset{}, 0, func(*tenant.StreamEvent) error { return nil }); !fault.Is(err, fault.NotFound) {
			t.Errorf("reading %s: %v", stream, err)
		}
		if _, err := owner.Append(ctx, tenant.Request{}, stream, []projection.Message{{Data: []byte("{}")}}); !fault.Is(err, fault.NotFound) {
			t.Errorf("appending to %s: %v", stream, err)
		}
		if _, err := owner.CreateStream(ctx, tenant.Request{}, stream); !fault.Is(err, fault.Denied) {
			t.Errorf("creating %s: %v", stream, err)
		}
	}
	if got, err := owner.Credentials(ctx); err != nil || len(got) != 1 || got[0].Name != marker {
		t.Fatal(got, err)
	}
}

// zeros is a source of random bytes that is none.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func tryBoth(h *tenant.Tenant, sql string) error {
	if err := drain(h.Query(ctx, sql, nil)); err == nil {
		return nil
	}
	_, err := h.Exec(ctx, tenant.Request{}, sql, nil)
	return err
}

func TestTheTrailHoldsNoTextOfStatements(t *testing.T) {
	owner, as := roles(t)
	exec(t, owner, `CREATE TABLE diagnoses(x TEXT DEFAULT 'HIV positive')`)
	_, _ = as[projection.AccessReader].Query(ctx, `SELECT 'HIV positive' FROM kimberlite.audit`, nil)
	var all []string
	_, err := owner.Audit(ctx, ident.Offset{}, 0, func(e *tenant.AuditEntry) error {
		all = append(all, fmt.Sprint(*e))
		return nil
	})
	if err != nil || len(all) == 0 || !strings.Contains(strings.Join(all, "\n"), "diagnoses") {
		t.Fatal(all, err)
	}
	if strings.Contains(strings.Join(all, "\n"), "HIV") {
		t.Fatal("a literal of a statement is in the trail")
	}
}

func TestDeniedStatementsAreInTheTrailAndFew(t *testing.T) {
	owner, as := roles(t)
	for range 500 {
		if err := drain(as[projection.AccessReader].Query(ctx, `SELECT * FROM kimberlite.audit`, nil)); !fault.Is(err, fault.Denied) {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for found := 0; found == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no entry")
		}
		_, err := owner.Audit(ctx, ident.Offset{}, 0, func(e *tenant.AuditEntry) error {
			if e.Action == "access.deny" && e.Principal == "reader" && e.Remote == "192.0.2.9" {
				found++
			}
			return nil
		})
		if err != nil || found > 2 {
			t.Fatal(found, err)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestTailAuditFollows(t *testing.T) {
	owner, _ := roles(t)
	stop, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	seen := make(chan string, 100)
	done := make(chan error, 1)
	go func() {
		done <- owner.TailAudit(stop, ident.Offset{}, func(e *tenant.AuditEntry) error {
			seen <- e.Object
			if e.Object == "last" {
				return fault.New("test", fault.Closed, "enough")
			}
			return nil
		})
	}()
	<-seen // the first entry
	if err := owner.RotateDEK(ctx); err != nil {
		t.Fatal(err)
	}
	exec(t, owner, `CREATE TABLE last(x)`)
	if err := <-done; !fault.Is(err, fault.Closed) {
		t.Fatal(err)
	}
}
