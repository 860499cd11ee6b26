package oracle_test

import (
	"strings"
	"testing"
)

// TestEveryListedFunctionCanBeCalled holds pg_proc to what there is: a call
// with NULLs of the listed types may fail, but not for want of the function.
func TestEveryListedFunctionCanBeCalled(t *testing.T) {
	conn := openKimberlite(t, openDoor(t), 1, "functions")
	listed := ask(t.Context(), conn, &testCase{sql: `SELECT proname, prokind, pg_get_function_arguments(oid), proretset
		FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace ORDER BY 1, 3`})
	if len(listed) < 300 {
		t.Fatalf("pg_proc lists %d functions:\n%s", len(listed), strings.Join(listed, "\n"))
	}
	missing := 0
	for _, line := range listed[2:] {
		fields := strings.Split(strings.TrimPrefix(line, "> "), "\t")
		sql := "SELECT " + callOf(fields[0], fields[1], fields[2], fields[3] == "t")
		got := ask(t.Context(), conn, &testCase{sql: sql})
		if last := got[len(got)-1]; strings.HasSuffix(last, "42883") || strings.HasSuffix(last, "0A000") {
			missing++
			t.Errorf("%s\n%s", sql, last)
		}
	}
	t.Logf("%d listed, %d missing", len(listed)-2, missing)
}

// callOf writes a call with NULLs of the argument types.
func callOf(name, kind, arguments string, rows bool) string {
	var args []string
	if arguments != "" {
		for _, a := range strings.Split(arguments, ", ") {
			a, variadic := strings.CutPrefix(a, "VARIADIC ")
			switch {
			case strings.Contains(a, "any") && strings.HasSuffix(a, "array") && a != "anynonarray":
				a = "int4[]"
			case strings.Contains(a, "any"):
				a = "int4"
			case variadic:
				a = strings.TrimSuffix(a, "[]")
			}
			args = append(args, "NULL::"+a)
		}
	}
	call := name + "(" + strings.Join(args, ", ") + ")"
	switch {
	case name == "count" && len(args) == 0:
		call = "count(*)"
	case kind == "w":
		call += " OVER ()"
	case rows:
		return "* FROM " + call + " AS x"
	}
	return call
}
