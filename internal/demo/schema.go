package demo

import "strings"

// schema is how one Synthea file becomes a table.
type schema struct {
	name    string
	columns []field
	key     string // the primary key, "" when a column declares it
	patient string // the CSV column that says whose a row is
	indexes []string
}

// field is a column and the CSV column that it comes from; "" for none.
type field struct{ name, declared, from string }

// reference makes a column point at a patient, an encounter, or both.
const (
	ofPatient    = "TEXT NOT NULL REFERENCES patients(id)"
	ofEncounter  = "TEXT NOT NULL REFERENCES encounters(id)"
	maybeOfVisit = "TEXT REFERENCES encounters(id)"
)

// tables are in an order in which each refers only to those before it. Codes
// and ids are text: their digits are names, not numbers.
var tables = []schema{
	{name: "patients", patient: "Id", columns: []field{
		{"id", "TEXT PRIMARY KEY NOT NULL", "Id"}, {"first", "TEXT NOT NULL", "FIRST"}, {"last", "TEXT NOT NULL", "LAST"},
		{"birth_date", "TEXT NOT NULL", "BIRTHDATE"}, {"death_date", "TEXT", "DEATHDATE"},
		{"gender", "TEXT NOT NULL CHECK (gender IN ('F','M'))", "GENDER"}, {"ssn", "TEXT", "SSN"},
		{"city", "TEXT", "CITY"}, {"state", "TEXT", "STATE"}, {"zip", "TEXT", "ZIP"}, {"lat", "REAL", "LAT"}, {"lon", "REAL", "LON"},
		{"expenses", "REAL", "HEALTHCARE_EXPENSES"}, {"coverage", "REAL", "HEALTHCARE_COVERAGE"},
	}},
	{name: "encounters", patient: "PATIENT", columns: []field{
		{"id", "TEXT PRIMARY KEY NOT NULL", "Id"}, {"patient", ofPatient, "PATIENT"},
		{"start", "TEXT NOT NULL", "START"}, {"stop", "TEXT", "STOP"}, {"class", "TEXT NOT NULL", "ENCOUNTERCLASS"},
		{"code", "TEXT NOT NULL", "CODE"}, {"description", "TEXT NOT NULL", "DESCRIPTION"},
		{"cost", "REAL", "TOTAL_CLAIM_COST"}, {"coverage", "REAL", "PAYER_COVERAGE"}, {"reason", "TEXT", "REASONDESCRIPTION"},
	}, indexes: []string{"patient"}},
	{name: "conditions", patient: "PATIENT", key: "patient, encounter, code", columns: []field{
		{"patient", ofPatient, "PATIENT"}, {"encounter", ofEncounter, "ENCOUNTER"}, {"code", "TEXT NOT NULL", "CODE"},
		{"description", "TEXT NOT NULL", "DESCRIPTION"}, {"start", "TEXT NOT NULL", "START"}, {"stop", "TEXT", "STOP"},
	}},
	{name: "observations", patient: "PATIENT", columns: []field{
		{"id", "INTEGER PRIMARY KEY", ""}, {"patient", ofPatient, "PATIENT"}, {"encounter", maybeOfVisit, "ENCOUNTER"},
		{"date", "TEXT NOT NULL", "DATE"}, {"category", "TEXT", "CATEGORY"}, {"code", "TEXT NOT NULL", "CODE"},
		{"description", "TEXT NOT NULL", "DESCRIPTION"}, {"value", "TEXT NOT NULL", "VALUE"}, {"units", "TEXT", "UNITS"}, {"type", "TEXT NOT NULL", "TYPE"},
	}, indexes: []string{"patient, code, date"}},
	{name: "medications", patient: "PATIENT", columns: []field{
		{"id", "INTEGER PRIMARY KEY", ""}, {"patient", ofPatient, "PATIENT"}, {"encounter", ofEncounter, "ENCOUNTER"},
		{"start", "TEXT NOT NULL", "START"}, {"stop", "TEXT", "STOP"}, {"code", "TEXT NOT NULL", "CODE"}, {"description", "TEXT NOT NULL", "DESCRIPTION"},
		{"dispenses", "INTEGER NOT NULL", "DISPENSES"}, {"cost", "REAL NOT NULL", "TOTALCOST"}, {"reason", "TEXT", "REASONDESCRIPTION"},
	}, indexes: []string{"patient"}},
	{name: "procedures", patient: "PATIENT", key: "patient, encounter, code, start", columns: []field{
		{"patient", ofPatient, "PATIENT"}, {"encounter", ofEncounter, "ENCOUNTER"}, {"code", "TEXT NOT NULL", "CODE"},
		{"start", "TEXT NOT NULL", "START"}, {"stop", "TEXT", "STOP"}, {"description", "TEXT NOT NULL", "DESCRIPTION"},
		{"cost", "REAL", "BASE_COST"}, {"reason", "TEXT", "REASONDESCRIPTION"},
	}},
	{name: "allergies", patient: "PATIENT", key: "patient, code", columns: []field{
		{"patient", ofPatient, "PATIENT"}, {"encounter", ofEncounter, "ENCOUNTER"}, {"code", "TEXT NOT NULL", "CODE"}, {"system", "TEXT", "SYSTEM"},
		{"description", "TEXT NOT NULL", "DESCRIPTION"}, {"start", "TEXT NOT NULL", "START"}, {"stop", "TEXT", "STOP"},
		{"category", "TEXT", "CATEGORY"}, {"reaction", "TEXT", "DESCRIPTION1"}, {"severity", "TEXT", "SEVERITY1"},
	}},
	{name: "immunizations", patient: "PATIENT", key: "patient, date, code", columns: []field{
		{"patient", ofPatient, "PATIENT"}, {"encounter", ofEncounter, "ENCOUNTER"}, {"date", "TEXT NOT NULL", "DATE"},
		{"code", "TEXT NOT NULL", "CODE"}, {"description", "TEXT NOT NULL", "DESCRIPTION"}, {"cost", "REAL", "BASE_COST"},
	}},
}

// create returns the statements that make the table.
func (s *schema) create() string {
	parts := make([]string, 0, len(s.columns)+1)
	for _, c := range s.columns {
		parts = append(parts, c.name+" "+c.declared)
	}
	if s.key != "" {
		parts = append(parts, "PRIMARY KEY ("+s.key+")")
	}
	var b strings.Builder
	b.WriteString("CREATE TABLE " + s.name + " (" + strings.Join(parts, ", ") + ");")
	for _, on := range s.indexes {
		b.WriteString(" CREATE INDEX " + s.name + "_by_" + strings.ReplaceAll(on, ", ", "_") + " ON " + s.name + " (" + on + ");")
	}
	return b.String()
}

// stored returns the columns that come from the file.
func (s *schema) stored() []field {
	var out []field
	for _, c := range s.columns {
		if c.from != "" {
			out = append(out, c)
		}
	}
	return out
}

// insert returns the statement that inserts one row of the stored columns.
func (s *schema) insert() string {
	stored := s.stored()
	names := make([]string, len(stored))
	for i, c := range stored {
		names[i] = c.name
	}
	return "INSERT INTO " + s.name + " (" + strings.Join(names, ", ") + ") VALUES (" +
		strings.TrimSuffix(strings.Repeat("?, ", len(stored)), ", ") + ")"
}
