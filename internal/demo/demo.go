package demo

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"kimberlite"
	"kimberlite/internal/fault"
)

// Config says where and how the demo runs.
type Config struct {
	// Dir is the data directory; it must not exist yet, or be empty.
	Dir string
	// MasterKey is the URL of the master key; "" makes one in Dir.
	MasterKey string
	// Program is how the reader calls kimberlite, for the commands to try.
	Program string
	// Logger is the database's; nil logs nothing.
	Logger *slog.Logger
}

// Facts are what the demo found, for scripts.
type Facts struct {
	Data      string          `json:"data"`
	Hospitals []HospitalFacts `json:"hospitals"`
	// Refused are the refusals that the demo provoked, in order.
	Refused []RefusalFacts `json:"refused"`
	// Flipped are the bytes that were changed in a copy of a log, and where
	// the verification found each.
	Flipped []FlipFacts `json:"flipped"`
	// Checks are all claims that were checked and held.
	Checks []string `json:"checks"`
}

// HospitalFacts describe one hospital at the end.
type HospitalFacts struct {
	ID              uint64           `json:"id"`
	Name            string           `json:"name"`
	Region          string           `json:"region"`
	RetentionDays   int              `json:"retention_days"`
	Patient123      string           `json:"patient_123"`
	Rows            map[string]int64 `json:"rows"`
	LogRecords      uint64           `json:"log_records"`
	LogBytes        int64            `json:"log_bytes"`
	ProjectionBytes int64            `json:"projection_bytes"`
	KEKGeneration   uint32           `json:"kek_generation"`
	DEKGeneration   uint32           `json:"dek_generation"`
}

// RefusalFacts describe one refusal.
type RefusalFacts struct {
	What    string `json:"what"`
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Limit   string `json:"limit,omitempty"`
	Value   int64  `json:"value,omitempty"`
	Usage   int64  `json:"usage,omitempty"`
}

// FlipFacts describe one byte that was changed.
type FlipFacts struct {
	File string `json:"file"`
	// Byte was changed; FoundAt is the offset that the verification named,
	// where the record begins that the byte belongs to.
	Byte    int64  `json:"byte"`
	FoundAt int64  `json:"found_at"`
	Message string `json:"message"`
}

// demo is one run.
type demo struct {
	config    Config
	out       *report
	db        *kimberlite.DB
	hospitals [2]*hospital
	facts     *Facts
}

// hospital is one tenant of the demo.
type hospital struct {
	config  kimberlite.TenantConfig
	patient person // the one with id 123
	t       *kimberlite.Tenant
	facts   *HospitalFacts
}

// person is the patient that both hospitals call 123.
type person struct{ first, last, born, gender string }

// step is one numbered step.
type step struct {
	title string
	run   func(d *demo, ctx context.Context) error
}

var steps = []step{
	{"Two hospitals", (*demo).createHospitals},
	{"Patients and their records, loaded", (*demo).loadRecords},
	{"The same patient id at both", (*demo).samePatient},
	{"Neither can reach the other", (*demo).isolation},
	{"Event streams beside tables", (*demo).streams},
	{"Keys rotated while everything stays readable", (*demo).rotateKeys},
	{"Tables thrown away and derived from the log again", (*demo).rebuild},
	{"Closed and opened again", (*demo).reopen},
	{"Sizes and quotas", (*demo).quotas},
	{"Both chains verified", (*demo).verifyChains},
	{"A flipped byte is found", (*demo).flipByte},
}

// Run runs the demo and writes what it does and what that proves to w, which
// may be nil. An error says that a step failed, or that what it claims does
// not hold.
func Run(ctx context.Context, w io.Writer, c Config) (facts *Facts, err error) {
	if w == nil {
		w = io.Discard
	}
	if err := mustBeNew(c.Dir); err != nil {
		return nil, err
	}
	d := &demo{config: c, facts: &Facts{Data: c.Dir}}
	d.out = &report{w: w, facts: d.facts}
	d.hospitals = [2]*hospital{
		newHospital(1, "hospital-a", person{"Alice", "Smith", "1985-03-15", "F"}),
		newHospital(2, "hospital-b", person{"Bob", "Johnson", "1990-07-22", "M"}),
	}
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	d.out.title(c.Dir)
	for i, s := range steps {
		d.out.step(i+1, s.title)
		if err := s.run(d, ctx); err != nil {
			return nil, err
		}
	}
	if err := d.collect(ctx); err != nil {
		return nil, err
	}
	d.out.next(c)
	return d.facts, d.out.failure()
}

func mustBeNew(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fault.Wrap("demo", fault.Invalid, err, "cannot read the directory")
	case len(entries) > 0:
		return fault.New("demo", fault.AlreadyExists, "%s is not empty: name another directory, or remove it", dir)
	}
	return nil
}

func newHospital(id uint64, name string, p person) *hospital {
	return &hospital{
		config: kimberlite.TenantConfig{
			ID: kimberlite.MustTenantID(id), Name: name, Region: "us-east", Retention: retentionDays * day,
			Quota: kimberlite.Limits{MaxLogSize: 64 << 20, MaxProjections: 64 << 20},
		},
		patient: p,
	}
}

func (d *demo) open(ctx context.Context) error {
	db, err := kimberlite.OpenContext(ctx, d.config.Dir, kimberlite.Options{MasterKey: d.config.MasterKey, Logger: d.config.Logger})
	if err != nil {
		return err
	}
	d.db = db
	return nil
}

func (d *demo) close() error {
	if d.db == nil {
		return nil
	}
	db := d.db
	d.db = nil
	return db.Close()
}

// collect notes what the hospitals look like at the end.
func (d *demo) collect(ctx context.Context) error {
	for _, h := range d.hospitals {
		if err := h.collect(ctx); err != nil {
			return err
		}
		d.facts.Hospitals = append(d.facts.Hospitals, *h.facts)
	}
	return nil
}

func (h *hospital) collect(ctx context.Context) error {
	u, err := h.t.Usage()
	if err != nil {
		return err
	}
	k, err := h.t.KeyStatus()
	if err != nil {
		return err
	}
	rows, err := h.countRows(ctx)
	if err != nil {
		return err
	}
	name, err := h.patient123(ctx)
	if err != nil {
		return err
	}
	h.facts = &HospitalFacts{
		ID: h.t.ID().Uint64(), Name: h.config.Name, Region: h.config.Region, RetentionDays: retentionDays, Patient123: name, Rows: rows,
		LogRecords: u.LogRecords, LogBytes: u.LogBytes, ProjectionBytes: u.ProjectionBytes,
		KEKGeneration: k.KEK.Uint32(), DEKGeneration: k.DEK.Uint32(),
	}
	return nil
}

// refused checks that an attempt failed with one of the kinds, shows how, and
// notes it.
func (d *demo) refused(what string, err error, kinds ...kimberlite.Kind) error {
	if err == nil {
		return broken("%s was not refused", what)
	}
	kind := kimberlite.KindOf(err)
	matches := false
	for _, k := range kinds {
		matches = matches || kind == k
	}
	if !matches {
		return fault.Wrap("demo", fault.Internal, err, "%s: this failed otherwise than with one of %v", what, kinds)
	}
	refusal := RefusalFacts{What: what, Kind: kind.String(), Message: err.Error()}
	var e *kimberlite.Error
	if errors.As(err, &e) && e.Quota != nil {
		refusal.Limit, refusal.Value, refusal.Usage = e.Quota.Limit, e.Quota.Value, e.Quota.Usage
	}
	d.facts.Refused = append(d.facts.Refused, refusal)
	d.out.say("%s", what)
	d.out.say("  refused (%s): %s", kind, err)
	return nil
}

// broken is the error for a claim that does not hold.
func broken(format string, args ...any) error {
	return fault.New("demo", fault.Internal, "this does not hold: "+format, args...)
}
