package demo

import (
	"context"
	"fmt"
	"strings"

	"kimberlite"
)

// Patient is a row of patients as an application would hold it.
type Patient struct {
	ID        string
	First     string
	Last      string
	BirthDate string
	Gender    string
}

// samePatient is step 3.
func (d *demo) samePatient(ctx context.Context) error {
	for _, h := range d.hospitals {
		p := Patient{ID: "123", First: h.patient.first, Last: h.patient.last, BirthDate: h.patient.born, Gender: h.patient.gender}
		if _, err := h.t.Insert(ctx, "patients", p); err != nil {
			return err
		}
	}
	for _, h := range d.hospitals {
		name, err := h.patient123(ctx)
		if err != nil {
			return err
		}
		d.out.say("%s: SELECT first, last, birth_date FROM patients WHERE id = '123'", h.config.Name)
		want := fmt.Sprintf("%s %s, born %s", h.patient.first, h.patient.last, h.patient.born)
		if err := d.out.holds(name == want, "%s", want); err != nil {
			return err
		}
	}
	return nil
}

// patient123 reads the one row that the hospital has under this id.
func (h *hospital) patient123(ctx context.Context) (string, error) {
	rows, err := h.t.Query(ctx, "SELECT first, last, birth_date FROM patients WHERE id = ?", "123")
	if err != nil {
		return "", err
	}
	defer rows.Close() //nolint:errcheck // it has been read to its end, or failed
	var found []string
	for rows.Next() {
		var first, last, born string
		if err := rows.Scan(&first, &last, &born); err != nil {
			return "", err
		}
		found = append(found, fmt.Sprintf("%s %s, born %s", first, last, born))
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", broken("%s has one patient 123, not %d", h.config.Name, len(found))
	}
	return found[0], nil
}

// isolation is step 4.
func (d *demo) isolation(ctx context.Context) error {
	a, b := d.hospitals[0], d.hospitals[1]
	for _, pair := range [][2]*hospital{{a, b}, {b, a}} {
		own, other := pair[0], pair[1]
		n, err := count(ctx, own.t, "SELECT count(*) FROM patients WHERE last = ?", other.patient.last)
		if err != nil {
			return err
		}
		err = d.out.holds(n == 0, "%s finds nobody called %s", own.config.Name, other.patient.last)
		if err != nil {
			return err
		}
	}
	if err := d.shareNoPatient(ctx, a, b); err != nil {
		return err
	}
	file := strings.ReplaceAll(d.config.Dir+"/shards/1/tenants/1/projection.db", "'", "''")
	for _, attempt := range []struct {
		what, sql string
		kinds     []kimberlite.Kind
	}{
		{"hospital-b names hospital-a's table", `SELECT count(*) FROM "hospital-a".patients`, []kimberlite.Kind{kimberlite.SQL, kimberlite.Denied}},
		{"hospital-b attaches hospital-a's file", "ATTACH '" + file + "' AS a", []kimberlite.Kind{kimberlite.Denied}},
		{"hospital-b copies its tables to a plain file", "VACUUM INTO '/tmp/plain.db'", []kimberlite.Kind{kimberlite.Denied, kimberlite.Unsupported}},
		{"hospital-b makes SQLite's schema writable", "PRAGMA writable_schema = on", []kimberlite.Kind{kimberlite.Denied}},
	} {
		_, err := b.t.Exec(ctx, attempt.sql)
		if err := d.refused(attempt.what+": "+attempt.sql, err, attempt.kinds...); err != nil {
			return err
		}
	}
	return nil
}

// shareNoPatient checks that no patient but 123 is at both.
func (d *demo) shareNoPatient(ctx context.Context, a, b *hospital) error {
	rows, err := a.t.Query(ctx, "SELECT id FROM patients WHERE id <> '123'")
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // it has been read to its end, or failed
	var shared int64
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		n, err := count(ctx, b.t, "SELECT count(*) FROM patients WHERE id = ?", id)
		if err != nil {
			return err
		}
		shared += n
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return d.out.holds(shared == 0, "none of hospital-a's Synthea patients is at hospital-b")
}
