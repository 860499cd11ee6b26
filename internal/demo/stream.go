package demo

import (
	"context"
	"strings"

	"kimberlite"
)

// admissions are what step 5 appends.
var admissions = []string{
	`{"patient":"123","ward":"B","event":"admitted"}`,
	`{"patient":"123","ward":"C","event":"moved"}`,
	`{"patient":"123","ward":"C","event":"discharged"}`,
}

// streams is step 5.
func (d *demo) streams(ctx context.Context) error {
	t := d.hospitals[0].t
	if _, err := t.CreateStream(ctx, "admissions"); err != nil {
		return err
	}
	messages := make([]kimberlite.Message, len(admissions))
	for i, text := range admissions {
		messages[i] = kimberlite.Message{ContentType: "application/json", Data: []byte(text)}
	}
	first, err := t.Append(ctx, "admissions", messages...)
	if err != nil {
		return err
	}
	d.out.say("hospital-a appends %d events to the stream admissions, from offset %s, and reads from offset 1:", len(messages), first)
	events, next, err := t.Read(ctx, "admissions", kimberlite.NewOffset(1), 0)
	if err != nil {
		return err
	}
	same := len(events) == 2 && next == kimberlite.NewOffset(3)
	for i, e := range events {
		d.out.say("  %s  %s", e.Offset, e.Data)
		same = same && string(e.Data) == admissions[i+1]
	}
	if err := d.out.holds(same, "they come back in order, each at its offset"); err != nil {
		return err
	}
	_, _, err = d.hospitals[1].t.Read(ctx, "admissions", kimberlite.NewOffset(0), 0)
	if err := d.refused("hospital-b reads the stream admissions", err, kimberlite.NotFound); err != nil {
		return err
	}
	return d.tableAsStream(ctx, t)
}

// tableAsStream shows a table's row events, and the same in SQL.
func (d *demo) tableAsStream(ctx context.Context, t *kimberlite.Tenant) error {
	const correct = "UPDATE patients SET city = 'Boston' WHERE id = '123'"
	if _, err := t.Exec(ctx, correct); err != nil {
		return err
	}
	events, _, err := t.Read(ctx, "patients", kimberlite.NewOffset(0), 0)
	if err != nil {
		return err
	}
	patients, err := count(ctx, t, "SELECT count(*) FROM patients")
	if err != nil {
		return err
	}
	last := events[len(events)-1]
	err = d.out.holds(int64(len(events)) == patients+1 && last.Kind == kimberlite.EventUpdate && fieldOf(last.After, "city") == "Boston" && fieldOf(last.Before, "city") == nil,
		"the table patients is a stream, too: %d events, the last an update of city from NULL to Boston", len(events))
	if err != nil {
		return err
	}
	d.out.say("the same in SQL: SELECT stream, kind, count(*) FROM kimberlite.events GROUP BY stream, kind")
	rows, err := t.Query(ctx, `SELECT stream, kind, count(*) FROM kimberlite.events
		WHERE kind IN ('insert', 'update', 'delete', 'message') GROUP BY stream, kind ORDER BY stream, kind`)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // it has been read to its end, or failed
	cells := [][]string{{"STREAM", "KIND", "EVENTS"}}
	for rows.Next() {
		var stream, kind, n string
		if err := rows.Scan(&stream, &kind, &n); err != nil {
			return err
		}
		cells = append(cells, []string{stream, kind, n})
	}
	if err := rows.Err(); err != nil {
		return err
	}
	d.out.table(cells)
	return d.out.holds(strings.Contains(flat(cells), "admissions message 3") && strings.Contains(flat(cells), "patients update 1"),
		"the log holds what changed, not the statements: tables, streams and SQL all read it")
}

func flat(cells [][]string) string {
	lines := make([]string, len(cells))
	for i, row := range cells {
		lines[i] = strings.Join(row, " ")
	}
	return strings.Join(lines, "\n")
}

// fieldOf returns a field of a row by its name; nil when it is NULL or none.
func fieldOf(row []kimberlite.Field, name string) any {
	for _, f := range row {
		if f.Name == name {
			return f.Value
		}
	}
	return nil
}
