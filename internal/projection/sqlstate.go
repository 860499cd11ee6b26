package projection

import (
	"strings"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
)

// SQLite tells its errors apart by texts and extended codes; PostgreSQL's
// clients by SQLSTATE. What follows is the table between them.

// States that are given in more places than one.
const (
	stateUnique       = "23505"
	stateNotNull      = "23502"
	stateCheck        = "23514"
	stateForeignKey   = "23503"
	stateRestrict     = "23001"
	stateWrongType    = "42804"
	stateRaised       = "P0001"
	stateReadOnly     = "25006"
	stateNoSavepoint  = "3B001"
	stateNoTable      = "42P01"
	stateTwice        = "42P07"
	stateNoObject     = "42704"
	stateSyntax       = "42601"
	stateNotInSession = "55000"
	stateSequenceEnd  = "2200H"
)

// messageStates are parts of SQLite's messages, folded, with the SQLSTATE that
// they mean; the first that fits counts.
var messageStates = []struct{ part, state string }{
	{"no such table", stateNoTable},
	{"no such view", stateNoTable},
	{"no such index", stateNoObject},
	{"no such trigger", stateNoObject},
	{"no such collation", stateNoObject},
	{"no such column", "42703"},
	{"has no column named", "42703"},
	{"unknown column", "42703"},
	{"ambiguous column", "42702"},
	{"no such function", "42883"},
	{"wrong number of arguments", "42883"},
	{"no such savepoint", stateNoSavepoint},
	{"already exists", stateTwice},
	{"there is already", stateTwice},
	{"duplicate column", "42701"},
	{"specified more than once", "42701"},
	{"duplicate with table name", "42712"},
	{"misuse of aggregate", "42803"},
	{"aggregate functions are not allowed", "42803"},
	{"group by clause is required", "42803"},
	{"misuse of window", "42P20"},
	{"on conflict clause does not match", "42P10"},
	{"foreign key mismatch", "42830"},
	{"because it is a view", "42809"},
	{"to delete table", "42809"},
	{"to delete view", "42809"},
	{"may not be modified", "42809"},
	{"may not be dropped", "42809"},
	{"more than one primary key", "42P16"},
	{"syntax error", stateSyntax},
	{"incomplete input", stateSyntax},
	{"unrecognized token", stateSyntax},
	{"values were supplied", stateSyntax},
	{"values for", stateSyntax},
	{"do not have the same number of result columns", stateSyntax},
	{"all values must have the same number of terms", stateSyntax},
	{"term out of range", "42P10"},
	{"sub-select returns", stateSyntax},
	{"row value misused", stateSyntax},
	{"division by zero", "22012"},
	{"integer overflow", "22003"},
	{"malformed json", "22P02"},
	{"unsafe use of", "42501"},
	{"datatype mismatch", stateWrongType},
}

// stateOfMessage returns the SQLSTATE of a message of SQLite, or "" for the
// kind's own.
func stateOfMessage(message string) string {
	low := strings.ToLower(message)
	for _, m := range messageStates {
		if strings.Contains(low, m.part) {
			return m.state
		}
	}
	return ""
}

// constraintError is the error of a violated constraint, with the names that
// SQLite tells.
func constraintError(op, message string, code sqlite3.ExtendedErrorCode) *fault.Error {
	e := fault.New(op, fault.Constraint, "%s", message)
	_, names, _ := strings.Cut(message, " failed: ")
	switch code {
	case sqlite3.CONSTRAINT_UNIQUE, sqlite3.CONSTRAINT_PRIMARYKEY, sqlite3.CONSTRAINT_ROWID:
		return uniqueError(e, names)
	case sqlite3.CONSTRAINT_NOTNULL:
		table, column, _ := strings.Cut(names, ".")
		return e.WithState(stateNotNull).WithConstraint(table, column, "")
	case sqlite3.CONSTRAINT_CHECK:
		return e.WithState(stateCheck).WithConstraint("", "", names)
	case sqlite3.CONSTRAINT_FOREIGNKEY:
		return e.WithState(stateForeignKey)
	case sqlite3.CONSTRAINT_DATATYPE:
		return e.WithState(stateWrongType)
	case sqlite3.CONSTRAINT_TRIGGER:
		return e.WithState(stateRaised)
	}
	return e
}

// uniqueError reads "t.a, t.b" or "index 'name'".
func uniqueError(e *fault.Error, names string) *fault.Error {
	e = e.WithState(stateUnique)
	if index, ok := strings.CutPrefix(names, "index '"); ok {
		return e.WithConstraint("", "", strings.TrimSuffix(index, "'"))
	}
	table, column, _ := strings.Cut(names, ".")
	if strings.Contains(column, ", ") {
		column = ""
	}
	return e.WithConstraint(table, column, "")
}

// positionOf turns a byte of a text into a character, from 1.
func positionOf(sql string, at int) int64 {
	if at < 0 || at > len(sql) {
		return 0
	}
	return int64(utf8.RuneCountInString(sql[:at])) + 1
}
