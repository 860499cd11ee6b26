package attacktext

import "kimberlite/internal/fault"

// Pragmas returns statements that try to change how SQLite works, or to make it tell of what is
// not the tenant's.
func Pragmas(p Place) []Statement {
	var attacks []Statement
	for _, text := range []string{
		`writable_schema=ON`, `writable_schema=RESET`, `main.writable_schema(1)`, `"writable_schema"=1`, `WRITABLE_SCHEMA = yes`,
		`temp_store=FILE`, `temp_store_directory='` + p.Temp + `'`, `data_store_directory='` + p.Temp + `'`,
		`journal_mode=WAL`, `journal_mode=DELETE`, `journal_mode=OFF`, `main.journal_mode='persist'`, `journal_size_limit=0`,
		`locking_mode=EXCLUSIVE`, `locking_mode`, `lock_proxy_file='k2leak'`, `lock_status`,
		`mmap_size=268435456`, `page_size=512`, `max_page_count=4294967294`, `cache_size=-1000000`, `cache_spill=1`,
		`hard_heap_limit=0`, `soft_heap_limit=0`, `shrink_memory`, `threads=8`, `busy_timeout=1000000`,
		`key='k'`, `rekey='k'`, `hexkey='00'`, `textkey='k'`, `activate_extensions='see'`, `vfs_list`, `filename`,
		`database_list`, `module_list`, `pragma_list`, `stats`, `lock_timeout`,
		`cell_size_check=OFF`, `trusted_schema=ON`, `query_only=OFF`, `read_uncommitted=1`, `secure_delete=OFF`,
		`foreign_keys=OFF`, `defer_foreign_keys=ON`, `ignore_check_constraints=ON`, `recursive_triggers=ON`,
		`legacy_alter_table=ON`, `legacy_file_format=ON`, `reverse_unordered_selects=ON`, `case_sensitive_like=ON`,
		`count_changes=1`, `full_column_names=1`, `empty_result_callbacks=1`, `automatic_index=0`, `checkpoint_fullfsync=1`,
		`user_version=9`, `user_version`, `application_id=9`, `application_id`, `schema_version=9`, `data_version`, `encoding='UTF-16le'`,
		`auto_vacuum=FULL`, `incremental_vacuum(100)`, `wal_checkpoint(TRUNCATE)`, `wal_autocheckpoint=1`, `synchronous=OFF`,
		`integrity_check`, `quick_check`, `quick_check(own)`, `optimize`, `optimize(0x10002)`, `analysis_limit=1`,
		`parser_trace=1`, `vdbe_trace=1`, `vdbe_debug=1`, `vdbe_listing=1`, `no_such_pragma`, `kimberlite.database_list`,
		`kimberlite.writable_schema=1`, `temp.journal_mode=DELETE`, `compile_options(1)`, `page_count(7)`,
	} {
		attacks = append(attacks, Statement{"pragma " + text, "PRAGMA " + text, nil, Kinds(fault.Denied)})
	}
	for _, name := range []string{"database_list", "user_version", "vfs_list", "module_list", "pragma_list", "integrity_check", "quick_check", "stats", "data_version", "locking_mode"} {
		attacks = append(attacks,
			Statement{"table of pragma " + name, `SELECT * FROM pragma_` + name, nil, Kinds(fault.Denied, fault.SQL)},
			Statement{"table of pragma " + name + " with arguments", `SELECT * FROM pragma_` + name + `('main', 'kimberlite')`, nil, Kinds(fault.Denied, fault.SQL)})
	}
	return append(attacks,
		Statement{"pragma behind a comment", "PRAGMA/**/writable_schema/**/=/**/ON", nil, Kinds(fault.Denied)},
		Statement{"pragma, explained", "EXPLAIN PRAGMA writable_schema=ON", nil, Kinds(fault.Denied)},
		Statement{"two pragmas", "PRAGMA page_size; PRAGMA writable_schema=ON", nil, Kinds(fault.Denied, fault.Invalid)},
		Statement{"pragma with a parameter", "PRAGMA table_info(?)", []any{"own"}, Kinds(fault.SQL)},
		Statement{"table_list of everything", `SELECT * FROM pragma_table_list`, nil, Succeeds},
		Statement{"table_info of our own tables", `SELECT * FROM pragma_table_info('_kimberlite_idempotency')`, nil, Succeeds},
		Statement{"table_info of the system tables", `PRAGMA kimberlite.table_info(events)`, nil, Succeeds},
		Statement{"foreign_key_check of all", `PRAGMA foreign_key_check`, nil, Succeeds},
		Statement{"compile_options", `PRAGMA compile_options`, nil, Succeeds},
		Statement{"page_count", `SELECT * FROM pragma_page_count`, nil, Succeeds},
	)
}
