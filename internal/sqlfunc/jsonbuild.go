package sqlfunc

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// jsonBuildFunctions are json_build_object and its kin, over JSON texts: in
// PostgreSQL's spacing, which differs from that of row_to_json.
func jsonBuildFunctions() []Function {
	return []Function{
		loose("pg_json_build_object", -1, func(args []any) (any, error) { return buildObject(args) }),
		loose("pg_json_build_array", -1, func(args []any) (any, error) { return buildArray(args), nil }),
		loose("pg_jsonb_build_object", -1, func(args []any) (any, error) {
			s, err := buildObject(args)
			if err != nil {
				return nil, err
			}
			return sqltype.JSONB.Input(s)
		}),
		loose("pg_jsonb_build_array", -1, func(args []any) (any, error) { return sqltype.JSONB.Input(buildArray(args)) }),
	}
}

// buildObject writes names and JSON texts as an object.
func buildObject(args []any) (string, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] == nil {
			return "", fail(stateInvalidArgument, "the name of a member of a JSON object must not be null")
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quoted(text(args[i])) + " : " + orNull(args[i+1]))
	}
	return b.String() + "}", nil
}

// buildArray writes JSON texts as an array.
func buildArray(args []any) string {
	parts := make([]string, len(args))
	for i, v := range args {
		parts[i] = orNull(v)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
