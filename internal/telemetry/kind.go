package telemetry

import "strings"

// kinds of statements by the first word of their command tag.
var tagKinds = map[string]string{
	"SELECT": "select", "FETCH": "select", "VALUES": "select", "TABLE": "select",
	"INSERT": "insert", "UPDATE": "update", "DELETE": "delete", "COPY": "copy", "MERGE": "update",
	"BEGIN": "begin", "START": "begin", "COMMIT": "commit", "END": "commit", "ROLLBACK": "rollback", "ABORT": "rollback",
	"SAVEPOINT": "savepoint", "RELEASE": "savepoint",
	"CREATE": "ddl", "ALTER": "ddl", "DROP": "ddl", "TRUNCATE": "ddl", "REINDEX": "ddl", "COMMENT": "ddl",
	"SET": "session", "SHOW": "session", "RESET": "session", "DISCARD": "session",
	"DEALLOCATE": "session", "PREPARE": "session", "EXECUTE": "execute", "EXPLAIN": "explain",
}

// kindOfTag returns the kind of a statement with a command tag such as
// "INSERT 0 5": one of a closed list, whatever the tag is.
func kindOfTag(tag string) string {
	word, _, _ := strings.Cut(tag, " ")
	if kind, ok := tagKinds[word]; ok {
		return kind
	}
	return kindOther
}
