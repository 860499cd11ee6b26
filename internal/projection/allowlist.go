package projection

import "strings"

// allowedFunctions are the SQL functions that a client may call: those of
// SQLite that compute a value from their arguments, the time or chance, and
// touch nothing else. decimal_mul, decimal_pow2 and json_patch are left out: one call can
// take hours, and nothing can end it.
var allowedFunctions = words(`
	-> ->> abs acos acosh asin asinh atan atan2 atanh avg base64 ceil ceiling changes char coalesce concat
	concat_ws cos cosh count cume_dist current_date current_time current_timestamp date datetime decimal
	decimal_add decimal_cmp decimal_sub decimal_sum degrees dense_rank
	exp first_value floor format glob group_concat hex if ifnull iif instr json json_array json_array_insert
	json_array_length json_each json_error_position json_extract json_group_array json_group_object json_insert
	json_object json_pretty json_quote json_remove json_replace json_set json_tree json_type json_valid
	jsonb jsonb_array jsonb_array_insert jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert
	jsonb_object jsonb_remove jsonb_replace jsonb_set julianday lag last_insert_rowid last_value
	lead length like likelihood likely ln log log10 log2 lower ltrim match max median min mod nth_value ntile
	nullif octet_length percent_rank percentile percentile_cont percentile_disc pi pow power printf quote
	radians raise random randomblob rank regexp regexpi replace round row_number rtrim sign sin sinh soundex
	sqlite_version sqrt strftime string_agg substr substring subtype sum tan tanh time timediff total
	total_changes trim trunc typeof unhex unicode unistr unistr_quote unixepoch unlikely upper uuid uuid_str
	uuid_blob gen_random_uuid zeroblob ieee754 ieee754_exponent ieee754_from_blob ieee754_from_int
	ieee754_inc ieee754_mantissa ieee754_to_blob ieee754_to_int generate_series`)

// alterFunctions are what ALTER TABLE calls to rewrite the schema. SQLite lets
// nobody else call them.
var alterFunctions = words(`
	sqlite_rename_table sqlite_rename_column sqlite_rename_test sqlite_rename_quotefix sqlite_drop_column
	sqlite_add_constraint sqlite_drop_constraint sqlite_find_constraint sqlite_fail`)

type pragmaRule uint8

const (
	pragmaWithout      pragmaRule = 1 // allowed without an argument
	pragmaWithArgument pragmaRule = 2 // the argument is a name
)

// allowedPragmas are those that describe the tenant's own schema.
var allowedPragmas = map[string]pragmaRule{
	"table_info": pragmaWithArgument, "table_xinfo": pragmaWithArgument, "table_list": pragmaWithArgument,
	"index_list": pragmaWithArgument, "index_info": pragmaWithArgument, "index_xinfo": pragmaWithArgument,
	"foreign_key_list": pragmaWithArgument, "foreign_key_check": pragmaWithArgument,
	"collation_list": pragmaWithout, "function_list": pragmaWithout, "foreign_keys": pragmaWithout,
	"recursive_triggers": pragmaWithout, "encoding": pragmaWithout, "page_size": pragmaWithout,
	"page_count": pragmaWithout, "freelist_count": pragmaWithout, "schema_version": pragmaWithout,
	"compile_options": pragmaWithout, "query_only": pragmaWithout, "journal_mode": pragmaWithout,
}

func words(list string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(list) {
		m[w] = true
	}
	return m
}
