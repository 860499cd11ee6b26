package pgcatalog

import (
	"hash/fnv"
	"slices"
)

// makers are the tables that have rows; the others are empty, since Kimberlite
// has nothing of the kind.
func makers() map[string]func(*Env, *Table) [][]any {
	return map[string]func(*Env, *Table) [][]any{
		"pg_am": rowsMethod, "pg_attrdef": rowsAttrdef, "pg_attribute": rowsAttribute, "pg_class": rowsClass,
		"pg_collation": rowsCollation, "pg_constraint": rowsConstraint, "pg_database": rowsDatabase,
		"pg_depend": rowsDepend, "pg_index": rowsIndex, "pg_indexes": rowsIndexes, "pg_language": rowsLanguage,
		"pg_namespace": rowsNamespace, "pg_opclass": rowsOperatorClass, "pg_proc": rowsFunction,
		"pg_rewrite": rowsRewrite, "pg_roles": rowsRoles, "pg_sequence": rowsSequence, "pg_sequences": rowsSequences,
		"pg_settings": rowsSettings, "pg_stat_all_tables": rowsStatistics, "pg_stat_user_tables": rowsStatistics,
		"pg_tables": rowsTables, "pg_tablespace": rowsTablespace, "pg_timezone_names": rowsZones,
		"pg_trigger": rowsTrigger, "pg_type": rowsType, "pg_user": rowsUser, "pg_views": rowsViews,
		"information_schema_character_sets":                  rowsCharacterSets,
		"information_schema_check_constraints":               rowsCheckConstraints,
		"information_schema_collations":                      rowsCollations,
		"information_schema_column_privileges":               rowsColumnPrivileges,
		"information_schema_column_udt_usage":                rowsColumnTypes,
		"information_schema_columns":                         rowsColumns,
		"information_schema_constraint_column_usage":         rowsConstraintColumns,
		"information_schema_constraint_table_usage":          rowsConstraintTables,
		"information_schema_element_types":                   rowsElementTypes,
		"information_schema_enabled_roles":                   rowsEnabledRoles,
		"information_schema_information_schema_catalog_name": rowsCatalogName,
		"information_schema_key_column_usage":                rowsKeyColumns,
		"information_schema_referential_constraints":         rowsReferential,
		"information_schema_role_table_grants":               rowsTablePrivileges,
		"information_schema_schemata":                        rowsSchemata,
		"information_schema_sequences":                       rowsInformationSequences,
		"information_schema_table_constraints":               rowsTableConstraints,
		"information_schema_table_privileges":                rowsTablePrivileges,
		"information_schema_tables":                          rowsInformationTables,
		"information_schema_triggers":                        rowsInformationTriggers,
		"information_schema_triggered_update_columns":        nil,
		"information_schema_view_table_usage":                rowsViewTables,
		"information_schema_views":                           rowsInformationViews,
	}
}

func rowsMethod(_ *Env, t *Table) [][]any {
	return [][]any{
		t.row("oid", heapOID, "amname", "heap", "amhandler", "heap_tableam_handler", "amtype", "t"),
		t.row("oid", btreeOID, "amname", "btree", "amhandler", "bthandler", "amtype", "i"),
	}
}

func rowsCollation(_ *Env, t *Table) [][]any {
	return [][]any{
		t.row("oid", 100, "collname", "default", "collnamespace", catalogOID, "collowner", ownerOID, "collprovider", "d",
			"collisdeterministic", true, "collencoding", -1),
		t.row("oid", 950, "collname", "C", "collnamespace", catalogOID, "collowner", ownerOID, "collprovider", "c",
			"collisdeterministic", true, "collencoding", -1, "collcollate", "C", "collctype", "C"),
	}
}

func rowsLanguage(_ *Env, t *Table) [][]any {
	return [][]any{t.row("oid", 12, "lanname", "internal", "lanowner", ownerOID)}
}

func rowsTablespace(_ *Env, t *Table) [][]any {
	return [][]any{t.row("oid", tablespaceOID, "spcname", "pg_default", "spcowner", ownerOID)}
}

func rowsZones(_ *Env, t *Table) [][]any {
	return [][]any{t.row("name", "UTC", "abbrev", "UTC", "utc_offset", "00:00:00", "is_dst", false)}
}

// utf8 is the number of the encoding of every text.
const utf8 = 6

func rowsDatabase(e *Env, t *Table) [][]any {
	return [][]any{t.row("oid", databaseOID, "datname", e.Name, "datdba", ownerOID, "encoding", utf8, "datlocprovider", "c",
		"datallowconn", true, "datconnlimit", -1, "dattablespace", tablespaceOID, "datcollate", "C", "datctype", "C")}
}

// namespaces are the schemas: number and name.
var namespaces = []struct {
	oid  uint32
	name string
}{{catalogOID, "pg_catalog"}, {publicOID, "public"}, {informationOID, "information_schema"}, {kimberliteOID, "kimberlite"}}

// namespaceName returns the name of a schema, "" for none.
func namespaceName(oid uint32) string {
	for _, n := range namespaces {
		if n.oid == oid {
			return n.name
		}
	}
	return ""
}

func rowsNamespace(_ *Env, t *Table) [][]any {
	var rows [][]any
	for _, n := range namespaces {
		rows = append(rows, t.row("oid", n.oid, "nspname", n.name, "nspowner", ownerOID))
	}
	return rows
}

// role is a row of pg_roles.
type role struct {
	oid   uint32
	name  string
	login bool
}

// firstRoleOID begins the numbers of roles, which follow from their names.
const firstRoleOID = 1 << 29

// roles returns the tenant's roles by name: its credentials, and the owner of
// its objects.
func (e *Env) roles() []role {
	names := slices.Clone(e.Roles)
	slices.Sort(names)
	list := []role{{oid: ownerOID, name: ownerName, login: slices.Contains(names, ownerName)}}
	taken := map[uint32]bool{}
	for _, name := range slices.Compact(names) {
		if name == ownerName {
			continue
		}
		h := fnv.New32a()
		h.Write([]byte(name))
		oid := firstRoleOID | h.Sum32()>>4
		for taken[oid] {
			oid++
		}
		taken[oid] = true
		list = append(list, role{oid: oid, name: name, login: true})
	}
	return list
}

func rowsRoles(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, r := range e.roles() {
		rows = append(rows, t.row("oid", r.oid, "rolname", r.name, "rolsuper", false, "rolinherit", true, "rolcreaterole", false,
			"rolcreatedb", false, "rolcanlogin", r.login, "rolreplication", false, "rolconnlimit", -1,
			"rolpassword", hiddenPassword, "rolbypassrls", false))
	}
	return rows
}

// hiddenPassword is what PostgreSQL shows in place of every password.
const hiddenPassword = "********"

func rowsUser(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, r := range e.roles() {
		if r.login {
			rows = append(rows, t.row("usename", r.name, "usesysid", r.oid, "usecreatedb", false, "usesuper", false,
				"userepl", false, "usebypassrls", false, "passwd", hiddenPassword))
		}
	}
	return rows
}

// setting is a row of pg_settings.
type setting struct{ name, value, unit, category, kind, context string }

// settings are those whose value does not depend on the session.
var settings = []setting{
	{"bytea_output", "hex", "", "Client Connection Defaults / Statement Behavior", "enum", "user"},
	{"client_encoding", "UTF8", "", "Client Connection Defaults / Locale and Formatting", "string", "user"},
	{"default_transaction_isolation", "serializable", "", "Client Connection Defaults / Statement Behavior", "enum", "user"},
	{"integer_datetimes", "on", "", "Preset Options", "bool", "internal"},
	{"intervalstyle", "postgres", "", "Client Connection Defaults / Locale and Formatting", "enum", "user"},
	{"lc_collate", "C", "", "Preset Options", "string", "internal"},
	{"lc_ctype", "C", "", "Preset Options", "string", "internal"},
	{"max_identifier_length", "63", "", "Preset Options", "integer", "internal"},
	{"max_index_keys", "32", "", "Preset Options", "integer", "internal"},
	{"search_path", `"$user", public`, "", "Client Connection Defaults / Statement Behavior", "string", "user"},
	{"server_encoding", "UTF8", "", "Preset Options", "string", "internal"},
	{"server_version", ServerVersion, "", "Preset Options", "string", "internal"},
	{"server_version_num", ServerVersionNumber, "", "Preset Options", "integer", "internal"},
	{"standard_conforming_strings", "on", "", "Version and Platform Compatibility / Previous PostgreSQL Versions", "bool", "user"},
	{"timezone", "UTC", "", "Client Connection Defaults / Locale and Formatting", "string", "user"},
	{"transaction_isolation", "serializable", "", "Client Connection Defaults / Statement Behavior", "enum", "user"},
}

// ServerVersion and ServerVersionNumber are the release of PostgreSQL whose
// catalogs these are.
const (
	ServerVersion       = "15.0"
	ServerVersionNumber = "150000"
)

func rowsSettings(_ *Env, t *Table) [][]any {
	var rows [][]any
	for _, s := range settings {
		rows = append(rows, t.row("name", s.name, "setting", s.value, "unit", optional(s.unit), "category", s.category,
			"context", s.context, "vartype", s.kind, "source", "default", "boot_val", s.value, "reset_val", s.value,
			"pending_restart", false))
	}
	return rows
}
