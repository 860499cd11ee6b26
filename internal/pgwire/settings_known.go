package pgwire

import (
	"strconv"
	"strings"
)

// setting is a parameter of PostgreSQL's that clients set or ask for.
type setting struct {
	value string
	about string
	// fixed says that it cannot be set.
	fixed bool
	// check returns the canonical form of a value; nil takes any.
	check func(string) (string, bool)
	// allowed says in words what check takes.
	allowed string
	// unsupported says that other values exist, only not here.
	unsupported bool
}

// report is a setting that the client is told of, by the name it expects.
type report struct{ name, shown string }

var reports = []report{
	{"server_version", "server_version"}, {"server_encoding", "server_encoding"},
	{"client_encoding", "client_encoding"}, {"application_name", "application_name"},
	{"default_transaction_read_only", "default_transaction_read_only"}, {"in_hot_standby", "in_hot_standby"},
	{"is_superuser", "is_superuser"}, {"session_authorization", "session_authorization"},
	{"datestyle", "DateStyle"}, {"intervalstyle", "IntervalStyle"}, {"timezone", "TimeZone"},
	{"integer_datetimes", "integer_datetimes"}, {"standard_conforming_strings", "standard_conforming_strings"},
}

// one allows values that mean the same as the first.
func one(canonical string, also ...string) func(string) (string, bool) {
	return func(v string) (string, bool) {
		v = strings.ToLower(strings.TrimSpace(v))
		if v == strings.ToLower(canonical) || v == "default" {
			return canonical, true
		}
		for _, a := range also {
			if v == a {
				return canonical, true
			}
		}
		return "", false
	}
}

func boolean(v string) (string, bool) {
	switch strings.ToLower(strings.TrimSpace(v)) {
	case "on", "true", "t", "yes", "y", "1":
		return "on", true
	case "off", "false", "f", "no", "n", "0":
		return "off", true
	}
	return "", false
}

func integer(v string) (string, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 32)
	return strconv.FormatInt(n, 10), err == nil
}

func duration(v string) (string, bool) {
	_, ok := parseDuration(v)
	return strings.TrimSpace(v), ok
}

// dateStyle takes the ISO style in any order of its fields: output is always
// ISO, and input of other forms is not read.
func dateStyle(v string) (string, bool) {
	order := "MDY"
	for part := range strings.SplitSeq(strings.ToUpper(v), ",") {
		switch part = strings.TrimSpace(part); part {
		case "ISO", "DEFAULT", "":
		case "MDY", "DMY", "YMD":
			order = part
		default:
			return "", false
		}
	}
	return "ISO, " + order, true
}

// zone takes the names of UTC, which is the only zone.
func zone(v string) (string, bool) {
	switch strings.ToLower(strings.Trim(strings.TrimSpace(v), "'")) {
	case "utc", "etc/utc", "gmt", "etc/gmt", "z", "zulu", "0", "+00", "+00:00", "utc0", "universal", "uct", "default", "local":
		return "UTC", true
	}
	return "", false
}

// printable keeps what a log may show: other characters become "?".
func printable(v string) (string, bool) {
	b := []byte(v)
	for i, c := range b {
		if c < 32 || c > 126 {
			b[i] = '?'
		}
	}
	if len(b) > 63 {
		b = b[:63]
	}
	return string(b), true
}

func isolation(v string) (string, bool) {
	switch v = strings.ToLower(strings.TrimSpace(v)); v {
	case "serializable", "repeatable read", "read committed", "read uncommitted", "default":
		return "serializable", true
	}
	return "", false
}

// searchPath accepts a path that has public: names are looked up there and
// nowhere else.
func searchPath(v string) (string, bool) {
	for name := range strings.SplitSeq(v, ",") {
		if name = strings.TrimSpace(name); strings.EqualFold(name, "public") || name == `"public"` {
			return v, true
		}
	}
	return "", false
}

func messageLevel(v string) (string, bool) {
	switch v = strings.ToLower(strings.TrimSpace(v)); v {
	case "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "info", "notice", "warning", "error":
		return v, true
	}
	return "", false
}

const (
	wantsBoolean  = "it takes on or off"
	wantsInteger  = "it takes a whole number"
	wantsDuration = "it takes a time such as 500ms, 30s or 5min"
)

// known are the settings that are there. Those without a check, or whose check
// takes anything, change nothing here: clients set them by habit.
var known = map[string]setting{
	"application_name":                    {check: printable, about: "name of the client's program"},
	"backslash_quote":                     {value: "safe_encoding"},
	"bytea_output":                        {value: "hex", check: one("hex"), allowed: "bytes are shown as hex only", unsupported: true},
	"check_function_bodies":               {value: "on", check: boolean, allowed: wantsBoolean},
	"client_encoding":                     {value: "UTF8", check: one("UTF8", "utf-8", "unicode", "'utf8'"), allowed: "only UTF8 is spoken", unsupported: true, about: "encoding of the client"},
	"client_min_messages":                 {value: "notice", check: messageLevel, allowed: "it takes a level such as warning"},
	"cursor_tuple_fraction":               {value: "0.1"},
	"datestyle":                           {value: "ISO, MDY", check: dateStyle, allowed: "dates are shown in ISO form only", unsupported: true, about: "form of dates"},
	"deadlock_timeout":                    {value: "1s", check: duration, allowed: wantsDuration},
	"default_table_access_method":         {value: "heap"},
	"default_tablespace":                  {},
	"default_toast_compression":           {value: "pglz"},
	"default_transaction_deferrable":      {value: "off", check: boolean, allowed: wantsBoolean},
	"default_transaction_isolation":       {value: "serializable", check: isolation, allowed: "it takes an isolation level", about: "every transaction is serializable"},
	"default_transaction_read_only":       {value: "off", check: boolean, allowed: wantsBoolean, about: "whether transactions may only read"},
	"enable_bitmapscan":                   {value: "on", check: boolean, allowed: wantsBoolean},
	"enable_hashjoin":                     {value: "on", check: boolean, allowed: wantsBoolean},
	"enable_indexscan":                    {value: "on", check: boolean, allowed: wantsBoolean},
	"enable_mergejoin":                    {value: "on", check: boolean, allowed: wantsBoolean},
	"enable_nestloop":                     {value: "on", check: boolean, allowed: wantsBoolean},
	"enable_seqscan":                      {value: "on", check: boolean, allowed: wantsBoolean},
	"escape_string_warning":               {value: "on", check: boolean, allowed: wantsBoolean},
	"extra_float_digits":                  {value: "1", check: integer, allowed: wantsInteger},
	"geqo":                                {value: "on", check: boolean, allowed: wantsBoolean},
	"gin_fuzzy_search_limit":              {value: "0", check: integer, allowed: wantsInteger},
	"idle_in_transaction_session_timeout": {value: "0", check: duration, allowed: wantsDuration, about: "how long a transaction may be idle"},
	"idle_session_timeout":                {value: "0", check: duration, allowed: wantsDuration, about: "how long a session may be idle"},
	"in_hot_standby":                      {value: "off", fixed: true},
	"integer_datetimes":                   {value: "on", fixed: true},
	"intervalstyle":                       {value: "postgres", check: one("postgres"), allowed: "intervals are shown in the postgres form only", unsupported: true, about: "form of intervals"},
	"is_superuser":                        {value: "off", fixed: true},
	"jit":                                 {value: "off", check: boolean, allowed: wantsBoolean},
	"lc_collate":                          {value: "C", fixed: true},
	"lc_ctype":                            {value: "C", fixed: true},
	"lc_messages":                         {value: "C"},
	"lc_monetary":                         {value: "C"},
	"lc_numeric":                          {value: "C"},
	"lc_time":                             {value: "C"},
	"lock_timeout":                        {value: "0", check: duration, allowed: wantsDuration, about: "how long to wait for an advisory lock"},
	"maintenance_work_mem":                {value: "64MB"},
	"max_connections":                     {value: "100", fixed: true},
	"max_identifier_length":               {value: "63", fixed: true},
	"max_index_keys":                      {value: "32", fixed: true},
	"max_parallel_workers_per_gather":     {value: "0", check: integer, allowed: wantsInteger},
	"password_encryption":                 {value: "scram-sha-256", fixed: true},
	"plan_cache_mode":                     {value: "auto"},
	"quote_all_identifiers":               {value: "off", check: boolean, allowed: wantsBoolean},
	"random_page_cost":                    {value: "4"},
	"role":                                {value: "none", check: one("none"), allowed: "a session has the rights of its credential", unsupported: true},
	"row_security":                        {value: "on", check: boolean, allowed: wantsBoolean},
	"search_path":                         {value: `"$user", public`, check: searchPath, allowed: "tables are always looked up in the schema public: name it", unsupported: true, about: "there is one schema, public"},
	"seq_page_cost":                       {value: "1"},
	"server_encoding":                     {value: "UTF8", fixed: true},
	"server_version":                      {fixed: true, about: "version of PostgreSQL that clients may take this for"},
	"server_version_num":                  {value: "150000", fixed: true},
	"session_authorization":               {fixed: true},
	"session_replication_role":            {value: "origin", check: one("origin"), allowed: "only origin is offered", unsupported: true},
	"ssl":                                 {value: "on", fixed: true},
	"standard_conforming_strings":         {value: "on", check: one("on", "true", "1", "yes"), allowed: "it is always on", unsupported: true},
	"statement_timeout":                   {value: "0", check: duration, allowed: wantsDuration, about: "how long a statement may run"},
	"synchronize_seqscans":                {value: "on", check: boolean, allowed: wantsBoolean},
	"synchronous_commit":                  {value: "on", check: one("on", "true", "1", "yes", "local", "remote_write", "remote_apply"), allowed: "a commit is always durable", unsupported: true},
	"temp_buffers":                        {value: "8MB"},
	"temp_tablespaces":                    {},
	"timezone":                            {value: "UTC", check: zone, allowed: "UTC is the only zone: convert in the client", unsupported: true, about: "zone of times"},
	"transaction_deferrable":              {value: "off", check: boolean, allowed: wantsBoolean},
	"transaction_isolation":               {value: "serializable", check: isolation, allowed: "it takes an isolation level"},
	"transaction_read_only":               {value: "off", check: boolean, allowed: wantsBoolean},
	"transform_null_equals":               {value: "off", check: one("off", "false", "0", "no"), allowed: "it is always off", unsupported: true},
	"vacuum_cost_delay":                   {value: "0"},
	"work_mem":                            {value: "4MB"},
	"xmloption":                           {value: "content"},
}
