package driver_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"kimberlite"
	"kimberlite/driver"
)

// The tenant must exist: the embedded API or the command line creates it.
func Example() {
	temp, err := os.MkdirTemp("", "kimberlite-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(temp)
	dir := filepath.Join(temp, "data")
	embedded, err := kimberlite.Open(dir, kimberlite.Options{})
	if err != nil {
		log.Fatal(err)
	}
	config := kimberlite.TenantConfig{ID: kimberlite.MustTenantID(1), Name: "hospital-a"}
	_, err = embedded.CreateTenant(context.Background(), config)
	if err := errors.Join(err, embedded.Close()); err != nil {
		log.Fatal(err)
	}

	db, err := sql.Open("kimberlite", dir+"?tenant=hospital-a")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT NOT NULL)"); err != nil {
		log.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO patients VALUES (?, ?)", 123, "Alice Smith"); err != nil {
		log.Fatal(err)
	}
	var name string
	if err := db.QueryRow("SELECT name FROM patients WHERE id = ?", 123).Scan(&name); err != nil {
		log.Fatal(err)
	}
	fmt.Println(name)
	// Output: Alice Smith
}

func ExampleConfig_String() {
	config := driver.Config{Dir: "/var/lib/kimberlite", Tenant: "hospital-a", MasterKey: "file:///etc/kimberlite/master.key"}
	fmt.Println(config)
	// Output: /var/lib/kimberlite?master_key=file%3A%2F%2F%2Fetc%2Fkimberlite%2Fmaster.key&tenant=hospital-a
}
