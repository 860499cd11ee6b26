package pgwire

import "testing"

func TestAClientCreatesWritesAndReads(t *testing.T) {
	d := openDoor(t, nil)
	conn := d.connect(t)
	must(t, conn, "CREATE TABLE t (id bigint PRIMARY KEY, name text)")
	if tag := must(t, conn, "INSERT INTO t (id, name) VALUES ($1, $2)", 1, "a"); tag.String() != "INSERT 0 1" {
		t.Fatalf("tag %q", tag)
	}
	var id int64
	var name string
	check(t, conn.QueryRow(t.Context(), "SELECT id, name FROM t WHERE id = $1", 1).Scan(&id, &name))
	if id != 1 || name != "a" {
		t.Fatalf("read %d, %q", id, name)
	}
}
