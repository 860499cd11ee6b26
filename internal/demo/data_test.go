package demo_test

import (
	"bytes"
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kimberlite/internal/demo"
	"kimberlite/internal/fault"
)

// tables is what the packed data must hold: rows without the header, and the
// columns that the demo relies on.
var tables = map[string]struct {
	rows    int
	columns int
	named   []string
}{
	"allergies":     {40, 15, []string{"START", "PATIENT", "ENCOUNTER", "CODE", "DESCRIPTION"}},
	"careplans":     {49, 9, []string{"Id", "PATIENT", "ENCOUNTER", "CODE", "DESCRIPTION"}},
	"conditions":    {438, 6, []string{"START", "STOP", "PATIENT", "ENCOUNTER", "CODE", "DESCRIPTION"}},
	"encounters":    {604, 15, []string{"Id", "START", "STOP", "PATIENT", "ORGANIZATION", "PROVIDER", "PAYER"}},
	"immunizations": {29, 6, []string{"DATE", "PATIENT", "ENCOUNTER", "CODE", "DESCRIPTION"}},
	"medications":   {663, 13, []string{"START", "STOP", "PATIENT", "PAYER", "ENCOUNTER", "CODE", "DESCRIPTION"}},
	"observations":  {990, 9, []string{"DATE", "PATIENT", "ENCOUNTER", "CODE", "VALUE", "UNITS", "TYPE"}},
	"organizations": {63, 11, []string{"Id", "NAME", "CITY", "STATE"}},
	"patients":      {27, 25, []string{"Id", "BIRTHDATE", "FIRST", "LAST", "GENDER", "CITY"}},
	"payers":        {10, 21, []string{"Id", "NAME"}},
	"procedures":    {249, 9, []string{"START", "STOP", "PATIENT", "ENCOUNTER", "CODE", "DESCRIPTION"}},
	"providers":     {166, 12, []string{"Id", "ORGANIZATION", "NAME"}},
}

func TestTablesHoldTheSyntheaRowsAndColumns(t *testing.T) {
	t.Parallel()
	if got, want := len(demo.Tables()), len(tables); got != want {
		t.Errorf("%d tables, want %d: %v", got, want, demo.Tables())
	}
	for _, name := range demo.Tables() {
		want, ok := tables[name]
		if !ok {
			t.Errorf("table %q is not expected", name)
			continue
		}
		rows, err := csv.NewReader(bytes.NewReader(readAll(t, name))).ReadAll()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		header := rows[0]
		if len(rows)-1 != want.rows || len(header) != want.columns {
			t.Errorf("%s: %d rows of %d columns, want %d of %d", name, len(rows)-1, len(header), want.rows, want.columns)
		}
		for _, column := range want.named {
			if !slices.Contains(header, column) {
				t.Errorf("%s: no column %s in %v", name, column, header)
			}
		}
	}
}

func TestEveryEncounterAndConditionBelongsToAPackedPatient(t *testing.T) {
	t.Parallel()
	patients := column(t, "patients", "Id")
	for _, name := range []string{"encounters", "conditions", "observations", "medications", "procedures", "allergies", "immunizations"} {
		for i, id := range column(t, name, "PATIENT") {
			if !slices.Contains(patients, id) {
				t.Fatalf("%s row %d belongs to a patient that is not packed", name, i+1)
			}
		}
	}
}

func TestOpenOfAnUnknownTableIsNotFoundAndNamesTheTables(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "patient", "patients.csv", "../data/patients", "/patients", "a\x00b"} {
		r, err := demo.Open(name)
		if r != nil || !fault.Is(err, fault.NotFound) {
			t.Errorf("Open(%q): %v, want not found", name, err)
			continue
		}
		if !strings.Contains(err.Error(), "patients, payers") {
			t.Errorf("Open(%q) does not say which tables there are: %v", name, err)
		}
	}
}

func TestPackedDataCarriesItsLicenceAndOrigin(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{"LICENSE": "Apache License", "README.md": "Synthea"} {
		text, err := os.ReadFile(filepath.Join("data", file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("data/%s does not say %q", file, want)
		}
	}
}

func readAll(t *testing.T, name string) []byte {
	t.Helper()
	r, err := demo.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return text
}

func column(t *testing.T, table, name string) []string {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(readAll(t, table))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.Index(rows[0], name)
	if at < 0 {
		t.Fatalf("%s has no column %s", table, name)
	}
	values := make([]string, 0, len(rows)-1)
	for _, row := range rows[1:] {
		values = append(values, row[at])
	}
	return values
}
