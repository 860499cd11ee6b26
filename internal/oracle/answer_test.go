package oracle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// firstOwnOID is where PostgreSQL begins to number what users make.
const firstOwnOID = 16384

// typeNames are the types that answers name; others are numbers.
var typeNames = map[uint32]string{
	16: "bool", 17: "bytea", 18: `"char"`, 19: "name", 20: "int8", 21: "int2", 22: "int2vector", 23: "int4", 24: "regproc", 25: "text",
	26: "oid", 28: "xid", 30: "oidvector", 114: "json", 194: "pg_node_tree", 700: "float4", 701: "float8", 705: "unknown",
	1034: "aclitem[]", 1042: "bpchar", 1043: "varchar", 1082: "date", 1083: "time", 1114: "timestamp", 1184: "timestamptz",
	1186: "interval", 1700: "numeric", 2205: "regclass", 2206: "regtype", 2249: "record", 2278: "void", 2950: "uuid", 3802: "jsonb",
	1000: "bool[]", 1002: `"char"[]`, 1003: "name[]", 1005: "int2[]", 1007: "int4[]", 1009: "text[]", 1015: "varchar[]", 1016: "int8[]",
	1022: "float8[]", 1028: "oid[]", 1182: "date[]", 1231: "numeric[]", 2951: "uuid[]", 3807: "jsonb[]", 1115: "timestamp[]", 1185: "timestamptz[]",
}

func typeName(oid uint32) string {
	if oid >= firstOwnOID {
		return "composite" // the type of a table's rows: its number is a matter of the order of creation
	}
	if n := typeNames[oid]; n != "" {
		return n
	}
	return fmt.Sprint(oid)
}

// statementLimit is the longest that a statement may take.
const statementLimit = 20 * time.Second

// ask runs a case and returns the answer as lines.
func ask(ctx context.Context, conn *pgconn.PgConn, c *testCase) []string {
	ctx, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	var lines []string
	word := strings.ToUpper(c.sql)
	switch {
	case c.bind != nil:
		lines = askExtended(ctx, conn, c)
	case strings.HasPrefix(word, "COPY") && strings.Contains(word, "FROM STDIN"):
		data := strings.Join(c.input, "\n")
		if len(c.input) > 0 {
			data += "\n"
		}
		tag, err := conn.CopyFrom(ctx, strings.NewReader(data), c.sql)
		lines = outcome(tag, err)
	case strings.HasPrefix(word, "COPY") && strings.Contains(word, "TO STDOUT"):
		var out bytes.Buffer
		tag, err := conn.CopyTo(ctx, &out, c.sql)
		lines = outcome(tag, err)
		for l := range strings.Lines(out.String()) {
			lines = append(lines, "> "+strings.TrimSuffix(l, "\n"))
		}
	default:
		lines = askSimple(ctx, conn, c)
	}
	if len(lines) == 0 {
		lines = []string{ending + " nothing"}
	}
	switch conn.TxStatus() {
	case 'T':
		lines = append(lines, ending+" in a transaction")
	case 'E':
		lines = append(lines, ending+" in a failed transaction")
	}
	return lines
}

func outcome(tag pgconn.CommandTag, err error) []string {
	if err != nil {
		return []string{failure(err)}
	}
	return []string{ending + " " + tag.String()}
}

func failure(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return ending + " ERROR " + e.Code
	}
	return ending + " BROKEN " + err.Error()
}

func askSimple(ctx context.Context, conn *pgconn.PgConn, c *testCase) []string {
	var lines []string
	results := conn.Exec(ctx, c.sql)
	for results.NextResult() {
		rr := results.ResultReader()
		fields := describe(rr.FieldDescriptions())
		rows := readRows(rr, c.sorted)
		tag, err := rr.Close()
		if err != nil {
			continue // Close of all of them reports it
		}
		lines = append(lines, ending+" "+tag.String())
		lines = append(lines, fields...)
		lines = append(lines, rows...)
	}
	if err := results.Close(); err != nil {
		lines = append(lines, failure(err))
	}
	return lines
}

func askExtended(ctx context.Context, conn *pgconn.PgConn, c *testCase) []string {
	s, err := conn.Prepare(ctx, "", c.sql, nil)
	if err != nil {
		return []string{failure(err)}
	}
	parameters := make([]string, len(s.ParamOIDs))
	for i, oid := range s.ParamOIDs {
		parameters[i] = typeName(oid)
	}
	values := make([][]byte, len(c.bind))
	for i, v := range c.bind {
		if v != `\N` {
			values[i] = []byte(v)
		}
	}
	rr := conn.ExecPrepared(ctx, "", values, nil, nil)
	fields := describe(rr.FieldDescriptions())
	rows := readRows(rr, c.sorted)
	tag, err := rr.Close()
	asked := ending + " given " + strings.Join(parameters, ", ")
	if err != nil {
		return []string{asked, failure(err)}
	}
	return slices.Concat([]string{asked, ending + " " + tag.String()}, fields, rows)
}

// describe writes the columns in one line, none when there is none.
func describe(fields []pgconn.FieldDescription) []string {
	if len(fields) == 0 {
		return nil
	}
	parts := make([]string, len(fields))
	for i, f := range fields {
		parts[i] = f.Name + " " + typeName(f.DataTypeOID)
		if f.TypeModifier != -1 {
			parts[i] += fmt.Sprintf("(%d)", f.TypeModifier)
		}
	}
	return []string{"= " + strings.Join(parts, "\t")}
}

var escapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\t", `\t`, "\r", `\r`)

func readRows(rr *pgconn.ResultReader, sorted bool) []string {
	var rows []string
	for rr.NextRow() {
		values := rr.Values()
		parts := make([]string, len(values))
		for i, v := range values {
			parts[i] = `\N`
			if v != nil {
				parts[i] = escapes.Replace(string(v))
			}
		}
		rows = append(rows, "> "+strings.Join(parts, "\t"))
	}
	if sorted {
		slices.Sort(rows)
	}
	return rows
}
