package projection

import "github.com/ncruces/go-sqlite3"

// Class is how SQLite stores a value.
type Class uint8

// The classes, by SQLite's own numbers.
const (
	ClassInteger = Class(sqlite3.INTEGER)
	ClassFloat   = Class(sqlite3.FLOAT)
	ClassText    = Class(sqlite3.TEXT)
	ClassBlob    = Class(sqlite3.BLOB)
	ClassNull    = Class(sqlite3.NULL)
)

// Class returns how a column's value is stored.
func (r *Row) Class(column int) Class { return Class(r.stmt.ColumnType(column)) }
