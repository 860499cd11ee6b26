// Package sqltype is PostgreSQL's types over SQLite's values.
//
// It guarantees one stored form for each value of a type, so that equality,
// keys and the order of times work in SQLite as they do in PostgreSQL: Input
// and InputBinary produce that form, Check recognises it, AppendText and
// AppendBinary turn it into what PostgreSQL sends. Its errors carry PostgreSQL's
// SQLSTATE and never the value. It is pure: no clock, no I/O; it knows nothing
// of connections, tables or SQL texts.
//
// The dialect, the catalog, the functions and the PostgreSQL door call it, and
// the projection to check rows.
//
// Values are nil, int64, float64, string or []byte. Stored forms:
//
//	bool                 int64 0 or 1
//	int2 int4 int8 oid   int64
//	float4 float8        float64 or int64; never NaN
//	numeric              int64, or float64 of at most 15 significant digits
//	text varchar name    string; varchar(n) of at most n characters
//	bpchar(n)            string without trailing blanks, padded on output
//	date                 "2026-11-23"
//	time                 "20:00:00.500000"
//	timestamp            "2026-11-23 20:00:00.500000"
//	timestamptz          "2026-11-23 20:00:00.500000Z", always UTC
//	interval             PostgreSQL's own output, "1 day 02:00:00"
//	uuid                 lower case with dashes
//	json                 the text as given; jsonb normalised as PostgreSQL prints it
//	bytea                []byte
//	arrays               a JSON array of the elements' stored forms (bytea as "\\x…",
//	                     bool as true and false), so that json_each reads them
//
// Years are 0001 to 9999; infinite times and years BC are refused with 0A000.
package sqltype
