package driver_test

import (
	"database/sql"
	"testing"

	"kimberlite"
	"kimberlite/driver"
)

func TestDataSourceNames(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]driver.Config{
		"data?tenant=1":               {Dir: "data", Tenant: "1"},
		"./my data?tenant=hospital-a": {Dir: "./my data", Tenant: "hospital-a"},
		"/a?b/c?tenant=1":             {Dir: "/a?b/c", Tenant: "1"},
		"data?tenant=a%26b+c":         {Dir: "data", Tenant: "a&b c"},
		"data?tenant=1&master_key=file%3A%2F%2F%2Fetc%2Fkey": {Dir: "data", Tenant: "1", MasterKey: "file:///etc/key"},
		"data?master_key=file:///etc/key&tenant=1":           {Dir: "data", Tenant: "1", MasterKey: "file:///etc/key"},
	} {
		if got, err := driver.ParseDSN(dsn); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", dsn, got, err, want)
		}
	}
	for _, dsn := range []string{
		"", "data", "?tenant=1", "data?", "data?tenant=", "data?tenant=1&tenant=2", "data?tenant=1&tenants=2", "data?Tenant=1",
		"data?tenant=1;master_key=x", "data?tenant=%zz", "data?tenant=1&mode=ro", "da\x00ta?tenant=1", "data?tenant=1?x=2",
	} {
		_, err := sql.Open("kimberlite", dsn)
		if err == nil {
			t.Errorf("%q was taken", dsn)
			continue
		}
		refused(t, err, kimberlite.Invalid)
	}
}

// FuzzParseDSN holds what is parsed to coming back from its own text.
func FuzzParseDSN(f *testing.F) {
	for _, seed := range []string{
		"data?tenant=1", "?tenant=1", "data?", "", "a?b?tenant=x%00y", "data?tenant=1&master_key=file:///k", "data?tenant=a+b&",
		"data?tenant=1&tenant=1", "data?tenant=%", "data?&&tenant=%C3%28", "\xff?tenant=\xff", "d?tenant=1&master_key=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		c, err := driver.ParseDSN(dsn)
		if err != nil {
			refused(t, err, kimberlite.Invalid)
			return
		}
		if c.Dir == "" || c.Tenant == "" {
			t.Fatalf("%q was taken as %+v", dsn, c)
		}
		if again, err := driver.ParseDSN(c.String()); err != nil || again != c {
			t.Fatalf("%q: %+v came back as %+v, %v", dsn, c, again, err)
		}
	})
}
