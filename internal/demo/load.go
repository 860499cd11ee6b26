package demo

import (
	"context"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strconv"
	"time"

	"kimberlite"
	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
)

const (
	day           = quantity.Day
	retentionDays = 2555
)

// createHospitals is step 1.
func (d *demo) createHospitals(ctx context.Context) error {
	rows := [][]string{{"ID", "NAME", "REGION", "RETENTION", "MAX LOG", "MAX TABLES"}}
	for _, h := range d.hospitals {
		t, err := d.db.CreateTenant(ctx, h.config)
		if err != nil {
			return err
		}
		h.t = t
		info, err := t.Info()
		if err != nil {
			return err
		}
		rows = append(rows, []string{
			info.ID.String(), info.Name, info.Region, quantity.FormatDuration(info.Retention),
			quantity.FormatSize(info.Quota.MaxLogSize), quantity.FormatSize(info.Quota.MaxProjections),
		})
	}
	d.out.table(rows)
	keyA, err := d.hospitals[0].t.KeyStatus()
	if err != nil {
		return err
	}
	keyB, err := d.hospitals[1].t.KeyStatus()
	if err != nil {
		return err
	}
	return d.out.holds(len(keyA.PublicKey) > 0 && !slices.Equal(keyA.PublicKey, keyB.PublicKey),
		"each has keys of its own: every byte on disk is sealed under its own DEK, every chain head signed by its own key")
}

// loadRecords is step 2: every second patient is at hospital-b, and all that
// belongs to a patient goes where the patient is.
func (d *demo) loadRecords(ctx context.Context) error {
	start := time.Now()
	at := map[string]int{} // patient → hospital
	var total int64
	for i := range tables {
		n, err := d.loadTable(ctx, &tables[i], at)
		if err != nil {
			return err
		}
		total += n
	}
	rows := [][]string{{"TABLE", d.hospitals[0].config.Name, d.hospitals[1].config.Name}}
	var counted int64
	counts := [2]map[string]int64{}
	for i, h := range d.hospitals {
		var err error
		if counts[i], err = h.countRows(ctx); err != nil {
			return err
		}
	}
	for _, s := range tables {
		a, b := counts[0][s.name], counts[1][s.name]
		counted += a + b
		rows = append(rows, []string{s.name, strconv.FormatInt(a, 10), strconv.FormatInt(b, 10)})
	}
	d.out.table(rows)
	took := time.Since(start)
	return d.out.holds(counted == total, "all %d rows of the Synthea files are at one hospital or the other (%.0f rows/s, each transaction durable)",
		total, float64(total)/took.Seconds())
}

// loadTable loads one file into both hospitals, one transaction each.
func (d *demo) loadTable(ctx context.Context, s *schema, at map[string]int) (int64, error) {
	split, err := s.split(at)
	if err != nil {
		return 0, err
	}
	var n int64
	for i, h := range d.hospitals {
		if _, err := h.t.Exec(ctx, s.create()); err != nil {
			return n, err
		}
		if _, err := h.t.ExecBatch(ctx, s.insert(), split[i]); err != nil {
			return n, err
		}
		n += int64(len(split[i]))
	}
	return n, nil
}

// split reads a table's file and deals its rows out by patient. Patients
// themselves are dealt out in turn.
func (s *schema) split(at map[string]int) (rows [2][][]any, err error) {
	file, err := Open(s.name)
	if err != nil {
		return rows, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	r := csv.NewReader(file)
	header, err := r.Read()
	if err != nil {
		return rows, unreadable(s.name, err)
	}
	stored := s.stored()
	places := make([]int, len(stored))
	for i, c := range stored {
		if places[i] = slices.Index(header, c.from); places[i] < 0 {
			return rows, broken("the file of %s has a column %s", s.name, c.from)
		}
	}
	patient := slices.Index(header, s.patient)
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, unreadable(s.name, err)
		}
		id := record[patient]
		if _, known := at[id]; !known {
			at[id] = len(at) % 2
		}
		rows[at[id]] = append(rows[at[id]], values(record, places))
	}
}

func unreadable(name string, err error) error {
	return fault.Wrap("demo", fault.Internal, err, "the file of %s cannot be read", name)
}

// values picks a row's fields; an empty one is NULL. SQLite turns the texts
// into the columns' types.
func values(record []string, places []int) []any {
	out := make([]any, len(places))
	for i, p := range places {
		if record[p] != "" {
			out[i] = record[p]
		}
	}
	return out
}

// countRows counts every table's rows.
func (h *hospital) countRows(ctx context.Context) (map[string]int64, error) {
	counts := map[string]int64{}
	for _, s := range tables {
		n, err := count(ctx, h.t, "SELECT count(*) FROM "+s.name)
		if err != nil {
			return nil, err
		}
		counts[s.name] = n
	}
	return counts, nil
}

// count runs a query for one number.
func count(ctx context.Context, t *kimberlite.Tenant, sql string, args ...any) (int64, error) {
	var n int64
	err := t.QueryRow(ctx, sql, args...).Scan(&n)
	return n, err
}
