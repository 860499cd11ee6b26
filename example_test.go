package kimberlite_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"kimberlite"
)

// hospital returns a new data directory with one tenant in it, and what
// removes both: the beginning of most examples.
func hospital() (*kimberlite.DB, *kimberlite.Tenant, func()) {
	dir, err := os.MkdirTemp("", "kimberlite-example-")
	if err != nil {
		log.Fatal(err)
	}
	db, err := kimberlite.Open(filepath.Join(dir, "data"), kimberlite.Options{})
	if err != nil {
		log.Fatal(err)
	}
	tenant, err := db.CreateTenant(context.Background(), kimberlite.TenantConfig{
		ID: kimberlite.MustTenantID(1), Name: "hospital-a",
	})
	if err != nil {
		log.Fatal(err)
	}
	return db, tenant, func() {
		if err := errors.Join(db.Close(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}

// Two hospitals on one machine, each with a patient 123 of its own.
func Example() {
	dir, err := os.MkdirTemp("", "kimberlite-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := kimberlite.Open(filepath.Join(dir, "data"), kimberlite.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	ctx := context.Background()
	patients := []string{"Alice Smith", "Bob Johnson"}
	for i, name := range []string{"hospital-a", "hospital-b"} {
		hospital, err := db.CreateTenant(ctx, kimberlite.TenantConfig{
			ID: kimberlite.MustTenantID(uint64(i) + 1), Name: name, Region: "us-east", Retention: 2555 * 24 * time.Hour,
		})
		if err != nil {
			log.Fatal(err)
		}
		if _, err := hospital.Exec(ctx, "CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT NOT NULL)"); err != nil {
			log.Fatal(err)
		}
		if _, err := hospital.Exec(ctx, "INSERT INTO patients VALUES (?, ?)", 123, patients[i]); err != nil {
			log.Fatal(err)
		}
	}
	for _, info := range db.Tenants() {
		hospital, err := db.Tenant(info.ID)
		if err != nil {
			log.Fatal(err)
		}
		var name string
		if err := hospital.QueryRow(ctx, "SELECT name FROM patients WHERE id = 123").Scan(&name); err != nil {
			log.Fatal(err)
		}
		fmt.Println(info.Name, name)
	}
	// Output:
	// hospital-a Alice Smith
	// hospital-b Bob Johnson
}

// In production the master key is kept away from the data: a file of 32 random
// bytes, or of 64 hexadecimal digits, that its owner alone may read.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "kimberlite-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	key := filepath.Join(dir, "master.key")
	if err := os.WriteFile(key, []byte("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"), 0o600); err != nil {
		log.Fatal(err)
	}

	options := kimberlite.Options{MasterKey: "file://" + key, MaxOpenTenants: 100}
	db, err := kimberlite.Open(filepath.Join(dir, "data"), options)
	if err != nil {
		log.Fatal(err)
	}
	_, err = kimberlite.Open(filepath.Join(dir, "data"), options)
	fmt.Println("opened again:", kimberlite.KindOf(err))
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}

	if err := os.Remove(key); err != nil {
		log.Fatal(err)
	}
	_, err = kimberlite.Open(filepath.Join(dir, "data"), options)
	fmt.Println("without its key:", kimberlite.KindOf(err))
	// Output:
	// opened again: in_use
	// without its key: key_unavailable
}

func ExampleDB_CreateTenant() {
	db, _, done := hospital()
	defer done()
	ctx := context.Background()

	clinic := kimberlite.TenantConfig{
		ID:        kimberlite.MustTenantID(7),
		Name:      "clinic",
		Region:    "eu-central",
		Retention: 10 * 365 * 24 * time.Hour,
		Quota:     kimberlite.Limits{MaxLogSize: 1 << 30, MaxProjections: 1 << 30, MaxOpsPerSec: 1000, MaxConcurrentOps: 50},
	}
	if _, err := db.CreateTenant(ctx, clinic); err != nil {
		log.Fatal(err)
	}
	_, err := db.CreateTenant(ctx, clinic)
	fmt.Println(kimberlite.KindOf(err))

	info, err := db.TenantInfo(clinic.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.ID, info.Name, info.Region, info.Quota.MaxOpsPerSec)
	// Output:
	// already_exists
	// 7 clinic eu-central 1000
}

func ExampleTenant_Exec() {
	_, hospital, done := hospital()
	defer done()
	ctx := context.Background()

	// Several statements are one transaction.
	_, err := hospital.Exec(ctx, `
		CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
		CREATE INDEX patients_by_name ON patients (name);`)
	if err != nil {
		log.Fatal(err)
	}
	r, err := hospital.Exec(ctx, "INSERT INTO patients (name) VALUES ($1), ($2)", "Alice Smith", "Bob Johnson")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.RowsAffected, "rows, the last is", r.LastInsertID)

	_, err = hospital.Exec(ctx, "INSERT INTO patients VALUES (1, 'Somebody else')")
	fmt.Println(kimberlite.IsKind(err, kimberlite.Constraint), err)
	// Output:
	// 2 rows, the last is 2
	// true sql: UNIQUE constraint failed: patients.id
}

func ExampleTenant_Query() {
	_, hospital, done := hospital()
	defer done()
	ctx := context.Background()
	_, err := hospital.Exec(ctx, `
		CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT NOT NULL, born TEXT);
		INSERT INTO patients VALUES (123, 'Alice Smith', '1985-03-15'), (124, 'Carol Jones', NULL);`)
	if err != nil {
		log.Fatal(err)
	}

	rows, err := hospital.Query(ctx, "SELECT id, name, born FROM patients WHERE id >= ? ORDER BY id", 100)
	if err != nil {
		log.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var (
			id   int64
			name string
			born *time.Time // nil for NULL
		)
		if err := rows.Scan(&id, &name, &born); err != nil {
			log.Fatal(err)
		}
		fmt.Println(id, name, born)
	}
	if err := rows.Err(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 123 Alice Smith 1985-03-15 00:00:00 +0000 UTC
	// 124 Carol Jones <nil>
}

func ExampleTenant_Insert() {
	_, hospital, done := hospital()
	defer done()
	ctx := context.Background()
	_, err := hospital.Exec(ctx, `CREATE TABLE patients (
		id INTEGER PRIMARY KEY, full_name TEXT NOT NULL, born TEXT, ward TEXT DEFAULT 'general')`)
	if err != nil {
		log.Fatal(err)
	}

	type Patient struct {
		ID       int64
		FullName string // the column full_name
		Born     *time.Time
		Ward     string `kimberlite:"ward,omitzero"`
		Note     string `kimberlite:"-"`
	}
	born := time.Date(1985, 3, 15, 0, 0, 0, 0, time.UTC)
	r, err := hospital.Insert(ctx, "patients", []Patient{
		{ID: 123, FullName: "Alice Smith", Born: &born},
		{ID: 124, FullName: "Carol Jones", Ward: "surgery"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.RowsAffected, "rows")

	var ward string
	if err := hospital.QueryRow(ctx, "SELECT ward FROM patients WHERE id = 123").Scan(&ward); err != nil {
		log.Fatal(err)
	}
	fmt.Println(ward)
	// Output:
	// 2 rows
	// general
}

func ExampleTenant_Begin() {
	_, hospital, done := hospital()
	defer done()
	ctx := context.Background()
	_, err := hospital.Exec(ctx, `
		CREATE TABLE beds (ward TEXT PRIMARY KEY, free INT NOT NULL CHECK (free >= 0));
		INSERT INTO beds VALUES ('general', 2), ('surgery', 0);`)
	if err != nil {
		log.Fatal(err)
	}

	move := func(from, to string) error {
		tx, err := hospital.Begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback() // after Commit it does nothing
		if _, err := tx.Exec(ctx, "UPDATE beds SET free = free + 1 WHERE ward = ?", from); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE beds SET free = free - 1 WHERE ward = ?", to); err != nil {
			return err
		}
		_, err = tx.Commit(ctx)
		return err
	}
	fmt.Println(move("surgery", "general"))
	fmt.Println(move("general", "surgery"))
	fmt.Println(move("general", "surgery"))
	// Output:
	// <nil>
	// <nil>
	// sql: CHECK constraint failed: free >= 0
}

func ExampleTenant_Append() {
	_, hospital, done := hospital()
	defer done()
	ctx := context.Background()
	if _, err := hospital.CreateStream(ctx, "referrals"); err != nil {
		log.Fatal(err)
	}

	for _, text := range []string{`{"to":"cardiology"}`, `{"to":"surgery"}`} {
		at, err := hospital.Append(ctx, "referrals", kimberlite.Message{ContentType: "application/json", Data: []byte(text)})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("durable at", at)
	}
	// Output:
	// durable at 0
	// durable at 1
}

// Every table is a stream of its row events, too.
func ExampleTenant_Read() {
	_, hospital, done := hospital()
	defer done()
	ctx := context.Background()
	_, err := hospital.Exec(ctx, `
		CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
		INSERT INTO patients VALUES (123, 'Alice Smith');
		UPDATE patients SET name = 'Alice Jones' WHERE id = 123;
		DELETE FROM patients WHERE id = 123;`)
	if err != nil {
		log.Fatal(err)
	}

	events, next, err := hospital.Read(ctx, "patients", kimberlite.NewOffset(0), 100)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range events {
		fmt.Println(e.Offset, e.Kind, e.Before, e.After)
	}
	fmt.Println("read on from", next)
	// Output:
	// 0 insert [] [{id 123} {name Alice Smith}]
	// 1 update [{id 123} {name Alice Smith}] [{id 123} {name Alice Jones}]
	// 2 delete [{id 123} {name Alice Jones}] []
	// read on from 3
}

func ExampleTenant_Tail() {
	_, hospital, done := hospital()
	defer done()
	ctx := context.Background()
	if _, err := hospital.CreateStream(ctx, "referrals"); err != nil {
		log.Fatal(err)
	}
	appended := make(chan error, 1)
	go func() {
		for _, text := range []string{"cardiology", "surgery", "end"} {
			if _, err := hospital.Append(ctx, "referrals", kimberlite.Message{Data: []byte(text)}); err != nil {
				appended <- err
				return
			}
		}
		appended <- nil
	}()

	errEnd := errors.New("that was the last")
	err := hospital.Tail(ctx, "referrals", kimberlite.NewOffset(0), func(e kimberlite.Event) error {
		if string(e.Data) == "end" {
			return errEnd
		}
		fmt.Println(e.Offset, string(e.Data))
		return nil
	})
	fmt.Println(err, <-appended)
	// Output:
	// 0 cardiology
	// 1 surgery
	// that was the last <nil>
}

func ExampleQuotaError() {
	db, hospital, done := hospital()
	defer done()
	ctx := context.Background()
	limits := kimberlite.Limits{MaxLogSize: 4 << 10}
	if err := db.SetTenant(ctx, hospital.ID(), kimberlite.TenantChange{Quota: &limits}); err != nil {
		log.Fatal(err)
	}
	if _, err := hospital.Exec(ctx, "CREATE TABLE scans (data BLOB)"); err != nil {
		log.Fatal(err)
	}

	_, err := hospital.Exec(ctx, "INSERT INTO scans VALUES (zeroblob(5000))")
	var e *kimberlite.Error
	if errors.As(err, &e) && e.Quota != nil {
		fmt.Println(e.Kind, "for tenant", e.Tenant)
		fmt.Println(e.Quota.Limit, "is", e.Quota.Value, "and waiting helps:", e.Quota.RetryAfter > 0)
	}
	// Output:
	// quota_exceeded for tenant 1
	// max_log_size is 4096 and waiting helps: false
}

func ExampleTenant_RotateKey() {
	_, hospital, done := hospital()
	defer done()
	ctx := context.Background()
	if _, err := hospital.Exec(ctx, "CREATE TABLE t (v); INSERT INTO t VALUES ('sealed under DEK 1')"); err != nil {
		log.Fatal(err)
	}

	for _, level := range []kimberlite.KeyLevel{kimberlite.LevelDEK, kimberlite.LevelKEK} {
		if err := hospital.RotateKey(ctx, level); err != nil {
			log.Fatal(err)
		}
	}
	status, err := hospital.KeyStatus()
	if err != nil {
		log.Fatal(err)
	}
	var v string
	if err := hospital.QueryRow(ctx, "SELECT v FROM t").Scan(&v); err != nil {
		log.Fatal(err)
	}
	fmt.Println("KEK", status.KEK, "DEK", status.DEK, "and still readable:", v)
	// Output: KEK 2 DEK 2 and still readable: sealed under DEK 1
}

// Whoever has the files can check the chains, without any key.
func ExampleVerifyPath() {
	dir, err := os.MkdirTemp("", "kimberlite-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	data := filepath.Join(dir, "data")
	db, err := kimberlite.Open(data, kimberlite.Options{})
	if err != nil {
		log.Fatal(err)
	}
	hospital, err := db.CreateTenant(ctx, kimberlite.TenantConfig{ID: kimberlite.MustTenantID(1), Name: "hospital-a"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := hospital.Exec(ctx, "CREATE TABLE t (v); INSERT INTO t VALUES (1)"); err != nil {
		log.Fatal(err)
	}
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}

	report, err := kimberlite.VerifyPath(ctx, data, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range report.Tenants {
		fmt.Println("tenant", t.Tenant, "has", t.Records, "records;", "problems:", report.Count())
	}

	// One bit of one record flips.
	segments, err := filepath.Glob(filepath.Join(data, "shards/1/tenants/1/log/*.segment"))
	if err != nil {
		log.Fatal(err)
	}
	bytes, err := os.ReadFile(segments[0])
	if err != nil {
		log.Fatal(err)
	}
	bytes[len(bytes)-1] ^= 1
	if err := os.WriteFile(segments[0], bytes, 0o600); err != nil {
		log.Fatal(err)
	}
	report, err = kimberlite.VerifyPath(ctx, data, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range report.All() {
		fmt.Println("tenant", p.Tenant, "is damaged in", filepath.Base(p.File), "at byte", p.Offset)
	}
	// Output:
	// tenant 1 has 1 records; problems: 0
	// tenant 1 is damaged in 00000000000000000000.segment at byte 96
}

func ExampleWithIdempotencyKey() {
	_, hospital, done := hospital()
	defer done()
	ctx := context.Background()
	if _, err := hospital.Exec(ctx, "CREATE TABLE payments (id INTEGER PRIMARY KEY, amount INT)"); err != nil {
		log.Fatal(err)
	}

	once := kimberlite.WithIdempotencyKey(ctx, "payment 2026-17")
	for range 2 { // the answer to the first got lost, say
		r, err := hospital.Exec(once, "INSERT INTO payments (amount) VALUES (?)", 90)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("payment", r.LastInsertID)
	}
	_, err := hospital.Exec(once, "INSERT INTO payments (amount) VALUES (?)", 91)
	fmt.Println(kimberlite.KindOf(err))

	var n int
	if err := hospital.QueryRow(ctx, "SELECT count(*) FROM payments").Scan(&n); err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "row")
	// Output:
	// payment 1
	// payment 1
	// idempotency_mismatch
	// 1 row
}

// A credential's secret is shown once; what happened is in the audit trail.
func ExampleDB_CreateCredential() {
	db, hospital, done := hospital()
	defer done()
	ctx := context.Background()
	secret, info, err := db.CreateCredential(ctx, kimberlite.CredentialConfig{
		Tenant: hospital.ID(), Name: "app", Role: kimberlite.RoleWriter, Expires: time.Now().Add(90 * 24 * time.Hour),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Name, info.Role, info.State, secret[:len("kmb_1_1_")])
	if err := db.RevokeCredential(ctx, hospital.ID(), "app"); err != nil {
		log.Fatal(err)
	}
	entries, _, err := hospital.Audit(ctx, kimberlite.NewOffset(0), 0)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range entries {
		fmt.Println(e.Principal, e.Action, e.Object, e.Outcome)
	}
	// Output:
	// app writer active kmb_1_1_
	// system tenant.create 1 ok
	// embedded credential.create app ok
	// embedded credential.revoke app ok
}
