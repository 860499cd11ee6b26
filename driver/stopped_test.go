package driver

import (
	"path/filepath"
	"testing"

	"kimberlite"
)

// The disk's failure is a mark here: what a failed disk does is tested where
// disks are.
func TestAfterTheDiskFailedTheDirectoryIsOpenedAgainOnceAllConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	db, err := kimberlite.Open(dir, kimberlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.CreateTenant(t.Context(), kimberlite.TenantConfig{ID: kimberlite.MustTenantID(1), Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	source := Config{Dir: dir, Tenant: "1"}.String()
	var held []*conn
	for range 2 {
		c, err := Driver{}.Open(source)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c.(*conn))
	}
	if err := held[0].failed(&kimberlite.Error{Kind: kimberlite.Conflict}); err == nil || !held[1].IsValid() {
		t.Fatal("any error stops the directory")
	}
	if err := held[0].failed(&kimberlite.Error{Kind: kimberlite.Stopped}); !kimberlite.IsKind(err, kimberlite.Stopped) {
		t.Fatal(err)
	}
	for _, c := range held {
		if c.IsValid() {
			t.Error("a connection to a stopped directory is given out again")
		}
		if _, err := (Driver{}).Open(source); !kimberlite.IsKind(err, kimberlite.Unavailable) {
			t.Errorf("a connection to a stopped directory: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if c.IsValid() {
			t.Error("a closed connection is valid")
		}
	}
	c, err := Driver{}.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
