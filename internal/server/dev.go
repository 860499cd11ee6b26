package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"kimberlite/internal/access"
	"kimberlite/internal/clock"
	"kimberlite/internal/fault"
	"kimberlite/internal/node"
)

// devOperator is the name of the operator that Dev makes.
const devOperator = "dev"

// Dev is what a development server keeps in DATA/dev: a certificate for this
// machine, an operator's token, and where it listens.
type Dev struct {
	// Dir is the directory, as an absolute path.
	Dir string
	// CA, Token and Address are the paths of its files.
	CA, Token, Address string

	clock clock.Clock
	mu    sync.Mutex // guards at
	at    Addresses
}

// NewDev returns the configuration of a development server on a data
// directory, which the environment has no part in, and its files. The
// addresses must be loopback ones.
func NewDev(data string, at Addresses) (*Config, *Dev, error) {
	data, err := filepath.Abs(data)
	if err != nil {
		return nil, nil, fault.Wrap("dev", fault.Invalid, err, "the data directory has no absolute path")
	}
	dir := filepath.Join(data, "dev")
	c := Default()
	c.Data.Dir = data
	c.PG.Addr, c.RPC.Addr, c.Operator.Addr = at.PG, at.RPC, at.Operator
	c.PG.TLSCert, c.PG.TLSKey = filepath.Join(dir, devCert), filepath.Join(dir, devKey)
	c.Server.ShutdownTimeout /= 6
	for _, addr := range []string{at.PG, at.RPC, at.Operator} {
		if addr != "" && !isLoopback(addr) {
			return nil, nil, fault.New("dev", fault.Invalid, "%q is not a loopback address: kimberlite dev serves this machine alone, kimberlite serve the network", addr)
		}
	}
	return c, &Dev{
		Dir: dir, CA: filepath.Join(dir, devCA), Token: filepath.Join(dir, "operator.token"), Address: filepath.Join(dir, "address.json"),
		clock: clock.System{},
	}, c.Validate()
}

// Prepare makes what is missing of the files; it is for Options.
func (d *Dev) Prepare(ctx context.Context, a *access.Authority, at Addresses) error {
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return fault.Wrap("dev", fault.Unavailable, err, "cannot make %s", d.Dir)
	}
	if err := ensureDevCertificate(d.Dir, d.clock); err != nil {
		return err
	}
	if err := d.ensureToken(ctx, a); err != nil {
		return err
	}
	doc, err := json.MarshalIndent(struct {
		Addresses
		CA string `json:"ca"`
	}{at, d.CA}, "", "  ")
	if err != nil {
		return fault.Wrap("dev", fault.Internal, err, "the addresses cannot be written")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = at
	return writeFile(d.Address, append(doc, '\n'), 0o644)
}

// Addresses returns where the server listens, once Prepare was called.
func (d *Dev) Addresses() Addresses {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at
}

// ensureToken keeps the operator's token that is there if it still proves an
// operator, and makes a new one otherwise.
func (d *Dev) ensureToken(ctx context.Context, a *access.Authority) error {
	text, err := os.ReadFile(d.Token)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fault.Wrap("dev", fault.Unavailable, err, "cannot read the operator's token")
	default:
		session, err := a.Token(ctx, strings.TrimSpace(string(text)), netip.IPv6Loopback())
		if err == nil {
			operator := session.Principal().Operator
			session.Close()
			if operator {
				return os.Chmod(d.Token, 0o600)
			}
		}
	}
	if err := a.RevokeOperator(ctx, devOperator); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	secret, err := a.CreateOperator(ctx, devOperator)
	if err != nil {
		return err
	}
	return writeFile(d.Token, []byte(secret+"\n"), 0o600)
}

// FirstSteps are names for a first tenant and credential.
type FirstSteps struct {
	// TenantID and Tenant are a tenant's id and name; NewTenant says that it
	// is to be made.
	TenantID, Tenant string
	NewTenant        bool
	// Credential is a name that no credential of the tenant has.
	Credential string
}

// FirstSteps returns names that can be used right now: the first tenant there
// is, or one to be made, and a credential to be made.
func (s *Server) FirstSteps(ctx context.Context) (FirstSteps, error) {
	first := FirstSteps{TenantID: "1", Tenant: "hospital-a", NewTenant: true, Credential: "app"}
	tenants := s.node.States()
	if len(tenants) == 0 {
		return first, nil
	}
	t := slices.MinFunc(tenants, func(a, b node.Listed) int { return cmp.Compare(a.ID.Uint64(), b.ID.Uint64()) })
	first.TenantID, first.Tenant, first.NewTenant = t.ID.String(), t.Name, false
	known, err := s.authority.List(ctx, t.ID)
	if err != nil {
		return first, err
	}
	taken := map[string]bool{}
	for _, c := range known {
		taken[c.Name] = true
	}
	for i := 2; taken[first.Credential]; i++ {
		first.Credential = "app" + strconv.Itoa(i)
	}
	return first, nil
}

// DataDir returns the data directory.
func (s *Server) DataDir() string { return s.node.Dir() }
