package pgcatalog

import (
	"fmt"
	"strings"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// clinic is a schema with one of everything, as the PostgreSQL door makes it.
func clinic() *schema.Schema {
	with := func(t sqltype.Type, mod int32) sqltype.Type { return t.WithMod(mod) }
	patients := &schema.Table{
		Name: "patients", Kind: schema.KindTable,
		Columns: []schema.Column{
			{Name: "id", Type: sqltype.Int4, NotNull: true, PrimaryKey: 1, Sequence: "patients_id_seq", Default: "nextval('patients_id_seq')"},
			{Name: "mrn", Type: with(sqltype.Varchar, 24), NotNull: true},
			{Name: "name", Type: sqltype.Text, NotNull: true},
			{Name: "born", Type: sqltype.Date},
			{Name: "active", Type: sqltype.Bool, NotNull: true, Default: "1"},
			{Name: "balance", Type: with(sqltype.Numeric, 655366), Default: "0"},
			{Name: "meta", Type: sqltype.JSONB},
			{Name: "created_at", Type: sqltype.Timestamptz, NotNull: true, Default: "(now())"},
		},
		Indexes: []schema.Index{
			{Name: "patients_pkey", Unique: true, Primary: true, Constraint: true, Columns: []string{"id"}},
			{Name: "patients_mrn_key", Unique: true, Constraint: true, Columns: []string{"mrn"}},
			{Name: "patients_lower", Unique: true, Columns: []string{""}, Where: "active",
				SQL: `CREATE UNIQUE INDEX patients_lower ON patients (lower(name)) WHERE active`},
		},
		Checks: []schema.Check{{Name: "name_not_empty", Expr: "name <> ''"}},
	}
	visits := &schema.Table{
		Name: "visits", Kind: schema.KindTable,
		Columns: []schema.Column{
			{Name: "id", Type: sqltype.Int8, NotNull: true, PrimaryKey: 1, Sequence: "visits_id_seq", Default: "nextval('visits_id_seq')"},
			{Name: "patient_id", Type: sqltype.Int4, NotNull: true},
			{Name: "at", Type: sqltype.Timestamp, NotNull: true},
			{Name: "note", Type: sqltype.Text},
			{Name: "code", Type: with(sqltype.BPChar, 7)},
			{Name: "blob", Type: sqltype.Bytea},
			{Name: "u", Type: sqltype.UUID},
			{Name: "score", Type: sqltype.Float8},
		},
		Indexes: []schema.Index{
			{Name: "visits_pkey", Unique: true, Primary: true, Constraint: true, Columns: []string{"id"}},
			{Name: "visits_patient_at", Unique: true, Constraint: true, Columns: []string{"patient_id", "at"}},
			{Name: "visits_at", Columns: []string{"at"}, SQL: `CREATE INDEX visits_at ON visits (at DESC)`},
		},
		ForeignKeys: []schema.ForeignKey{{Name: "visits_patient_id_fkey", Columns: []string{"patient_id"}, RefTable: "patients",
			RefColumns: []string{"id"}, OnUpdate: "NO ACTION", OnDelete: "CASCADE"}},
	}
	view := &schema.Table{
		Name: "active_patients", Kind: schema.KindView,
		Columns: []schema.Column{{Name: "id", Type: sqltype.Int4}, {Name: "name", Type: sqltype.Text}},
		SQL:     "CREATE VIEW active_patients AS SELECT id, name FROM patients WHERE active",
	}
	ids := &schema.Table{
		Name: "ident", Kind: schema.KindTable,
		Columns: []schema.Column{
			{Name: "id", Type: sqltype.Int4, NotNull: true, PrimaryKey: 1, Sequence: "ident_id_seq", Identity: "a"},
			{Name: "k", Type: sqltype.Int2}, {Name: "Mixed Case", Type: sqltype.Text},
		},
		Indexes: []schema.Index{{Name: "ident_pkey", Unique: true, Primary: true, Constraint: true, Columns: []string{"id"}}},
	}
	return schema.New(7, []*schema.Table{patients, visits, view, ids}, []*schema.Sequence{
		{Name: "patients_id_seq", Table: "patients", Column: "id", Start: 1, Increment: 1},
		{Name: "visits_id_seq", Table: "visits", Column: "id", Start: 1, Increment: 1},
		{Name: "ident_id_seq", Table: "ident", Column: "id", Start: 1, Increment: 1},
		{Name: "loose", Start: 5, Increment: 2},
	})
}

func clinicEnv() *Env {
	return &Env{Tenant: ident.MustTenantID(7), Name: "ref", Roles: []string{"app", "reports"}, Schema: clinic()}
}

func TestEveryRowFitsItsTable(t *testing.T) {
	for _, e := range []*Env{clinicEnv(), {}} {
		for _, table := range Tables() {
			for _, row := range table.Rows(e) {
				if len(row) != len(table.Columns) {
					t.Fatalf("%s: a row of %d values for %d columns", table.Name, len(row), len(table.Columns))
				}
				for i, v := range row {
					c := table.Columns[i]
					switch v.(type) {
					case nil:
						if c.notNull {
							t.Errorf("%s.%s is NULL", table.Name, c.Name)
						}
					case int64, float64, string, []byte:
						switch c.Type {
						case sqltype.Regproc, sqltype.Regtype, sqltype.Int2Vector, sqltype.OIDVector:
							continue // PostgreSQL's own text
						}
						if err := c.Type.Check(v); err != nil {
							t.Errorf("%s.%s: %#v is no %s: %v", table.Name, c.Name, v, c.Type.SQL(), err)
						}
					default:
						t.Errorf("%s.%s is a %T", table.Name, c.Name, v)
					}
				}
			}
		}
	}
}

func TestEveryTypeHasItsRow(t *testing.T) {
	for _, k := range sqltype.All() {
		f := types().byOID[k.OID]
		if f == nil || f.name != k.Name() {
			t.Errorf("type %s (%d) has the row %v", k.Name(), k.OID, f)
			continue
		}
		if string(k.Category()) != f.category {
			t.Errorf("type %s is of category %c, and %s in PostgreSQL", k.Name(), k.Category(), f.category)
		}
		if int(k.Size()) != f.length && k != sqltype.ACLItem { // wider in later releases
			t.Errorf("type %s has %d bytes, and %d in PostgreSQL", k.Name(), k.Size(), f.length)
		}
		if a, ok := k.Array(); ok && a.OID != f.array {
			t.Errorf("type %s has the array %d, and %d in PostgreSQL", k.Name(), a.OID, f.array)
		}
	}
}

func TestEveryMakerIsOfATable(t *testing.T) {
	for name := range makers() {
		if table(name) == nil {
			t.Errorf("there is no table %s", name)
		}
	}
}

func TestEveryFunctionIsListedInPgProc(t *testing.T) {
	ours := map[string]bool{}
	for _, f := range Functions() {
		ours[f.Name] = true
		internal := strings.HasSuffix(f.Name, "_text") || strings.HasPrefix(f.Name, "to_reg") && strings.HasSuffix(f.Name, "_oid")
		if strings.HasPrefix(f.Name, "inet_") || internal {
			continue // of a type that is not here; what the dialect writes for a cast
		}
		found := false
		for _, p := range procedures().list {
			found = found || p.name == f.Name && (len(p.arguments) == f.Args || p.variadic != 0)
		}
		if !found {
			t.Errorf("pg_proc does not list %s with %d arguments", f.Name, f.Args)
		}
	}
}

func TestNoFunctionIsThereTwice(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Functions() {
		k := fmt.Sprint(f.Name, "/", f.Args)
		if seen[k] {
			t.Errorf("%s is there twice", k)
		}
		seen[k] = true
	}
}

// say calls a function and writes its answer.
func say(t *testing.T, e *Env, name string, args ...any) string {
	t.Helper()
	for _, f := range Functions() {
		if f.Name == name && (f.Args == len(args) || f.Args < 0) {
			v, err := f.Call(e, args)
			if err != nil {
				return "error " + fault.StateOf(err)
			}
			return fmt.Sprint(v)
		}
	}
	t.Fatalf("there is no %s with %d arguments", name, len(args))
	return ""
}

func TestFunctionsAnswerAsPostgreSQL(t *testing.T) {
	e := clinicEnv()
	c := e.catalog()
	oid := func(name string) int64 { return int64(c.byName[name].oid) }
	key := func(name string) int64 {
		for _, k := range c.constraints {
			if k.name == name {
				return int64(k.oid)
			}
		}
		return 0
	}
	for _, k := range []struct {
		name string
		args []any
		want string
	}{
		{"format_type", []any{int64(1043), int64(24)}, "character varying(20)"},
		{"format_type", []any{int64(1700), int64(655366)}, "numeric(10,2)"},
		{"format_type", []any{int64(1042), nil}, "character"},
		{"format_type", []any{int64(1042), int64(-1)}, "bpchar"},
		{"format_type", []any{int64(1184), int64(3)}, "timestamp(3) with time zone"},
		{"format_type", []any{int64(1009), int64(-1)}, "text[]"},
		{"format_type", []any{int64(2276), int64(-1)}, `"any"`},
		{"format_type", []any{int64(0), nil}, "-"},
		{"format_type", []any{int64(99999), nil}, "???"},
		{"format_type", []any{nil, nil}, "<nil>"},
		{"pg_get_indexdef", []any{oid("patients_lower")}, "CREATE UNIQUE INDEX patients_lower ON public.patients USING btree (lower(name)) WHERE active"},
		{"pg_get_indexdef", []any{oid("visits_at"), int64(0), int64(1)}, "CREATE INDEX visits_at ON visits USING btree (at DESC)"},
		{"pg_get_indexdef", []any{oid("visits_patient_at"), int64(2), int64(1)}, "at"},
		{"pg_get_indexdef", []any{oid("visits_patient_at"), int64(3), int64(1)}, ""},
		{"pg_get_indexdef", []any{int64(1)}, "<nil>"},
		{"pg_get_constraintdef", []any{key("patients_pkey")}, "PRIMARY KEY (id)"},
		{"pg_get_constraintdef", []any{key("visits_patient_at")}, "UNIQUE (patient_id, at)"},
		{"pg_get_constraintdef", []any{key("name_not_empty")}, "CHECK ((name <> ''))"},
		{"pg_get_constraintdef", []any{key("name_not_empty"), int64(1)}, "CHECK (name <> '')"},
		{"pg_get_constraintdef", []any{key("visits_patient_id_fkey"), int64(1)}, "FOREIGN KEY (patient_id) REFERENCES patients(id) ON DELETE CASCADE"},
		{"pg_get_viewdef", []any{oid("active_patients"), int64(1)}, " SELECT id, name FROM patients WHERE active;"},
		{"pg_get_serial_sequence", []any{"patients", "id"}, "public.patients_id_seq"},
		{"pg_get_serial_sequence", []any{"public.ident", "id"}, "public.ident_id_seq"},
		{"pg_get_serial_sequence", []any{"patients", "name"}, "<nil>"},
		{"pg_get_serial_sequence", []any{"nowhere", "name"}, "error 42P01"},
		{"pg_get_serial_sequence", []any{"patients", "nowhere"}, "error 42703"},
		{"pg_get_userbyid", []any{int64(10)}, "owner"},
		{"pg_get_userbyid", []any{int64(12345)}, "unknown (OID=12345)"},
		{"pg_table_is_visible", []any{oid("patients")}, "1"},
		{"pg_table_is_visible", []any{int64(99)}, "<nil>"},
		{"to_regclass_oid", []any{"pg_catalog.pg_class"}, "1259"},
		{"to_regclass_oid", []any{"PATIENTS"}, fmt.Sprint(oid("patients"))},
		{"to_regclass_oid", []any{`"PATIENTS"`}, "error 42P01"},
		{"to_regclass_oid", []any{"16384"}, "16384"},
		{"to_regclass", []any{"nowhere"}, "<nil>"},
		{"to_regclass", []any{"public.visits"}, fmt.Sprint(oid("visits"))},
		{"regclass_text", []any{oid("patients")}, "patients"},
		{"regclass_text", []any{int64(1259)}, "pg_class"},
		{"regclass_text", []any{int64(13425)}, "information_schema.tables"},
		{"regclass_text", []any{int64(0)}, "-"},
		{"regclass_text", []any{int64(77)}, "77"},
		{"to_regtype_oid", []any{"character varying(20)"}, "1043"},
		{"to_regtype_oid", []any{"nothing"}, "error 42704"},
		{"regtype_text", []any{int64(1042)}, "character"},
		{"regtype_text", []any{int64(1007)}, "integer[]"},
		{"to_regnamespace_oid", []any{"public"}, "2200"},
		{"regnamespace_text", []any{int64(11)}, "pg_catalog"},
		{"regproc_text", []any{int64(1081)}, "format_type"},
		{"quote_ident", []any{"select"}, `"select"`},
		{"quote_ident", []any{"a b"}, `"a b"`},
		{"quote_ident", []any{"_ok1"}, "_ok1"},
		{"quote_literal", []any{`it's`}, `'it''s'`},
		{"quote_literal", []any{`a\b`}, `E'a\\b'`},
		{"quote_nullable", []any{nil}, "NULL"},
		{"array_to_string", []any{"[1,2,null]", ","}, "1,2"},
		{"array_to_string", []any{"[1,2,null]", ",", "*"}, "1,2,*"},
		{"array_to_string", []any{`{a,"b c",NULL}`, "|", "-"}, "a|b c|-"},
		{"array_to_string", []any{"1 2 3", ","}, "1,2,3"},
		{"array_to_string", []any{nil, ","}, "<nil>"},
		{"array_length", []any{"[1,2]", int64(1)}, "2"},
		{"array_length", []any{"[1,2]", int64(2)}, "<nil>"},
		{"array_length", []any{"[]", int64(1)}, "<nil>"},
		{"array_upper", []any{"1 2 3", int64(1)}, "3"},
		{"cardinality", []any{"[]"}, "0"},
		{"array_position", []any{"1 2 3", int64(3)}, "3"},
		{"pg_size_pretty", []any{int64(10239)}, "10239 bytes"},
		{"pg_size_pretty", []any{int64(10240)}, "10 kB"},
		{"pg_size_pretty", []any{int64(1536 * 1024)}, "1536 kB"},
		{"pg_size_pretty", []any{int64(20971519)}, "20 MB"},
		{"pg_size_pretty", []any{int64(123456789012)}, "115 GB"},
		{"has_table_privilege", []any{"patients", "SELECT"}, "1"},
		{"has_table_privilege", []any{"app", "active_patients", "INSERT"}, "0"},
		{"has_table_privilege", []any{"pg_class", "DELETE"}, "0"},
		{"has_table_privilege", []any{"nowhere", "SELECT"}, "error 42P01"},
		{"has_schema_privilege", []any{"public", "CREATE"}, "1"},
		{"has_schema_privilege", []any{"pg_catalog", "CREATE"}, "0"},
		{"has_database_privilege", []any{"ref", "CONNECT"}, "1"},
		{"has_database_privilege", []any{"hospital-b", "CONNECT"}, "error 3D000"},
		{"pg_get_function_arguments", []any{int64(1081)}, "oid, integer"},
		{"pg_get_function_result", []any{int64(1081)}, "text"},
		{"current_schemas", []any{int64(1)}, `["pg_catalog","public"]`},
		{"pg_encoding_to_char", []any{int64(6)}, "UTF8"},
	} {
		if got := say(t, e, k.name, k.args...); got != k.want {
			t.Errorf("%s%v = %s, want %s", k.name, k.args, got, k.want)
		}
	}
}

// pick returns columns of the first row of a table whose column has a value.
func pick(t *testing.T, e *Env, name, column string, value any, columns ...string) string {
	t.Helper()
	k := table(name)
	for _, row := range k.Rows(e) {
		if fmt.Sprint(row[k.byID[column]]) != fmt.Sprint(value) {
			continue
		}
		parts := make([]string, len(columns))
		for i, c := range columns {
			parts[i] = fmt.Sprint(row[k.byID[c]])
		}
		return strings.Join(parts, "|")
	}
	return "none"
}

// The right sides are what PostgreSQL 15 shows for the same tables.
func TestRowsAreAsPostgreSQLs(t *testing.T) {
	e := clinicEnv()
	for _, k := range []struct {
		table, column string
		value         any
		columns, want string
	}{
		{"pg_class", "relname", "patients", "relkind relnatts relchecks relhasindex relhastriggers relpersistence relreplident relam", "r|8|1|1|1|p|d|2"},
		{"pg_class", "relname", "active_patients", "relkind relnatts relhasrules relreplident relam relfilenode", "v|2|1|n|0|0"},
		{"pg_class", "relname", "patients_lower", "relkind relnatts relam relreplident", "i|1|403|n"},
		{"pg_class", "relname", "loose", "relkind relnatts", "S|3"},
		{"pg_class", "relname", "pg_class", "oid relkind relnatts relnamespace", "1259|r|33|11"},
		{"pg_attribute", "attname", "mrn", "atttypid attlen attnum atttypmod attalign attstorage attnotnull atthasdef attcollation", "1043|-1|2|24|i|x|1|0|100"},
		{"pg_attribute", "attname", "balance", "atttypid attlen attnum atttypmod attalign attstorage attnotnull atthasdef", "1700|-1|6|655366|i|m|0|1"},
		{"pg_index", "indexrelid", e.catalog().byName["patients_lower"].oid, "indnatts indisunique indisprimary indkey indcollation indclass indoption indexprs indpred", "1|1|0|0|100|3126|0|lower(name)|active"},
		{"pg_index", "indexrelid", e.catalog().byName["visits_patient_at"].oid, "indnatts indisunique indkey indcollation indclass indoption", "2|1|2 3|0 0|1978 3128|0 0"},
		{"pg_index", "indexrelid", e.catalog().byName["visits_at"].oid, "indisunique indkey indoption", "0|3|3"},
		{"pg_constraint", "conname", "visits_patient_id_fkey", "contype confupdtype confdeltype confmatchtype conkey confkey connoinherit", "f|a|c|s|[2]|[1]|1"},
		{"pg_constraint", "conname", "patients_pkey", "contype conkey confkey connoinherit confupdtype", "p|[1]|<nil>|1| "},
		{"pg_constraint", "conname", "name_not_empty", "contype conkey conindid connoinherit", "c|[3]|0|0"},
		{"pg_sequence", "seqstart", 5, "seqtypid seqincrement seqmax seqmin seqcache seqcycle", "20|2|9223372036854775807|1|1|0"},
		{"pg_type", "typname", "int4", "oid typlen typbyval typcategory typarray typinput typalign", "23|4|1|N|1007|int4in|i"},
		{"pg_database", "datname", "ref", "encoding datallowconn datconnlimit", "6|1|-1"},
		{"pg_roles", "rolname", "app", "rolsuper rolcanlogin rolpassword", "0|1|********"},
		{"pg_indexes", "indexname", "visits_at", "schemaname tablename indexdef", "public|visits|CREATE INDEX visits_at ON public.visits USING btree (at DESC)"},
		{"pg_attrdef", "adbin", "true", "adnum", "5"},
		{"pg_attrdef", "adbin", "nextval('patients_id_seq'::regclass)", "adnum", "1"},
		{"pg_depend", "deptype", "i", "classid refclassid", "1259|1259"},
		{"information_schema_columns", "column_name", "mrn", "data_type character_maximum_length character_octet_length is_nullable udt_name column_default", "character varying|20|80|NO|varchar|<nil>"},
		{"information_schema_columns", "column_name", "balance", "data_type numeric_precision numeric_precision_radix numeric_scale column_default", "numeric|10|10|2|0"},
		{"information_schema_columns", "column_name", "score", "data_type numeric_precision numeric_precision_radix numeric_scale", "double precision|53|2|<nil>"},
		{"information_schema_columns", "column_name", "born", "data_type datetime_precision", "date|0"},
		{"information_schema_columns", "is_identity", "YES", "table_name column_name identity_generation identity_start identity_maximum", "ident|id|ALWAYS|1|2147483647"},
		{"information_schema_tables", "table_name", "active_patients", "table_type is_insertable_into", "VIEW|NO"},
		{"information_schema_key_column_usage", "constraint_name", "visits_patient_id_fkey", "column_name ordinal_position position_in_unique_constraint", "patient_id|1|1"},
		{"information_schema_referential_constraints", "constraint_name", "visits_patient_id_fkey", "unique_constraint_name match_option update_rule delete_rule", "patients_pkey|NONE|NO ACTION|CASCADE"},
		{"information_schema_constraint_column_usage", "constraint_name", "visits_patient_id_fkey", "table_name column_name", "patients|id"},
	} {
		if got := pick(t, e, k.table, k.column, k.value, strings.Fields(k.columns)...); got != k.want {
			t.Errorf("%s of %v: %s = %s, want %s", k.table, k.value, k.columns, got, k.want)
		}
	}
}

func TestFindReturnsEveryRowThatMayMatch(t *testing.T) {
	e := clinicEnv()
	for _, k := range Tables() {
		for _, row := range k.Rows(e) {
			for column, v := range row {
				if v == nil {
					continue
				}
				if !contains(k.Find(clinicEnv(), column, v), row) && !contains(k.Find(e, column, v), row) {
					t.Fatalf("%s.%s: no row for %v", k.Name, k.Columns[column].Name, v)
				}
				break // the first column of each, and below the names
			}
		}
	}
	class := table("pg_class")
	for _, v := range []any{"patients", int64(1259), "1259", 1259.0} {
		column := class.byID["relname"]
		if v != "patients" {
			column = class.byID["oid"]
		}
		if rows := class.Find(e, column, v); len(rows) != 1 {
			t.Errorf("%v finds %d rows", v, len(rows))
		}
	}
	if class.Find(e, 0, nil) != nil || class.Find(e, 99, int64(1)) != nil {
		t.Error("nothing was asked for, and rows came")
	}
}

func contains(rows [][]any, row []any) bool {
	for _, r := range rows {
		if fmt.Sprint(r) == fmt.Sprint(row) {
			return true
		}
	}
	return false
}

// A tenant's answers are made of its own Env: those of two tenants have
// nothing of each other's.
func TestNothingOfAnotherTenantAppears(t *testing.T) {
	mine := clinicEnv()
	theirs := &Env{Tenant: ident.MustTenantID(8), Name: "hospital-b", Roles: []string{"secret-role"}, Schema: schema.New(1,
		[]*schema.Table{{Name: "secret_table", Kind: schema.KindTable, Columns: []schema.Column{{Name: "secret_column", Type: sqltype.Text}}}}, nil)}
	for _, k := range Tables() {
		k.Rows(theirs)
		for _, row := range k.Rows(mine) {
			if s := fmt.Sprint(row); strings.Contains(s, "secret") || strings.Contains(s, "hospital-b") {
				t.Fatalf("%s shows %s", k.Name, s)
			}
		}
	}
}

func TestANewSchemaIsSeenAtOnce(t *testing.T) {
	e := clinicEnv()
	before := len(table("pg_class").Rows(e))
	e.Schema = schema.New(8, nil, nil)
	if after := len(table("pg_class").Rows(e)); after >= before {
		t.Errorf("%d relations of an empty schema, %d before", after, before)
	}
	e.Forget()
	if got := table("pg_attribute").Find(e, 0, int64(1259)); len(got) != 33 {
		t.Errorf("pg_class has %d columns after Forget", len(got))
	}
}

func FuzzTexts(f *testing.F) {
	for _, s := range []string{
		`CREATE INDEX "a b" ON t (lower(x) DESC NULLS LAST, "y z" COLLATE "C") WHERE x > '('`, `a."b""c"`, `((1 + 2))`, `-- c`, `/* x`,
		`CREATE TRIGGER x AFTER UPDATE OF a ON t WHEN (new.a > 1) BEGIN SELECT 1; END`, `[`, `'`, `{a,"b`, `[1,`,
	} {
		f.Add(s)
	}
	e := clinicEnv()
	f.Fuzz(func(t *testing.T, s string) {
		tokens(s)
		keyParts(&schema.Index{SQL: s})
		stripParens(s)
		describeTrigger(s)
		expressionText(s, sqltype.Text)
		elements(s)
		e.named(s)
		viewText(&schema.Table{Kind: schema.KindView, SQL: s})
		if q := quoteIdent(s); s != "" {
			if _, name, ok := nameParts(q); ok && name != s {
				t.Errorf("%q is quoted as %s, which names %q", s, q, name)
			}
		}
	})
}
