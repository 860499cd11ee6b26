package driver

import (
	"net/url"
	"strings"

	"kimberlite"
)

// Config is what a data source name says.
type Config struct {
	// Dir is the data directory; it must exist.
	Dir string
	// Tenant is the tenant's id, or its name when it is not a number.
	Tenant string
	// MasterKey is the URL of the master key, or "" for the directory's own.
	MasterKey string
}

// ParseDSN reads a data source name: DIRECTORY?tenant=ID_OR_NAME, optionally
// with &master_key=URL. Values are escaped as in a URL's query; the directory
// is taken as it stands up to the last question mark.
func ParseDSN(dsn string) (Config, error) {
	at := strings.LastIndexByte(dsn, '?')
	if at < 0 {
		return Config{}, invalid("the data source names no tenant: write DIRECTORY?tenant=1")
	}
	c := Config{Dir: dsn[:at]}
	values, err := url.ParseQuery(dsn[at+1:])
	if err != nil {
		return Config{}, invalid("what follows the ? in the data source does not parse: write tenant=1")
	}
	for key, v := range values {
		if len(v) != 1 {
			return Config{}, invalid("the data source gives a parameter more than once")
		}
		switch key {
		case "tenant":
			c.Tenant = v[0]
		case "master_key":
			c.MasterKey = v[0]
		default:
			return Config{}, invalid("the data source has an unknown parameter: known are tenant and master_key")
		}
	}
	switch {
	case c.Dir == "":
		return Config{}, invalid("the data source names no directory: write DIRECTORY?tenant=1")
	case strings.ContainsRune(c.Dir, 0):
		return Config{}, invalid("the data source's directory holds a NUL byte")
	case c.Tenant == "":
		return Config{}, invalid("the data source names no tenant: write DIRECTORY?tenant=1")
	}
	return c, nil
}

// String returns the data source name that ParseDSN reads back.
func (c Config) String() string {
	v := url.Values{"tenant": {c.Tenant}}
	if c.MasterKey != "" {
		v.Set("master_key", c.MasterKey)
	}
	return c.Dir + "?" + v.Encode()
}

func (c Config) tenant(db *kimberlite.DB) (*kimberlite.Tenant, error) {
	if strings.Trim(c.Tenant, "0123456789") == "" {
		id, err := kimberlite.ParseTenantID(c.Tenant)
		if err != nil {
			return nil, err
		}
		return db.Tenant(id)
	}
	return db.TenantByName(c.Tenant)
}

func invalid(message string) error {
	return &kimberlite.Error{Op: "data source", Kind: kimberlite.Invalid, Message: message}
}
