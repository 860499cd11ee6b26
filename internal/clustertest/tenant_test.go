package clustertest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// resident is one tenant of the cluster, and its clients.
type resident struct {
	id      int
	name    string
	region  string
	secret  string
	history *history
}

// createTenant makes a tenant with its table, and flags such as
// "--max-ops-per-sec", "100".
func (d *deployment) createTenant(id int, region string, flags ...string) *resident {
	d.tb.Helper()
	r := &resident{id: id, name: fmt.Sprintf("tenant-%d", id), region: region, history: newHistory()}
	d.run(append([]string{"tenant", "create", "--id", strconv.Itoa(id), "--name", r.name, "--region", region}, flags...)...)
	var made struct {
		Secret string `json:"secret"`
	}
	if err := json.Unmarshal([]byte(d.run("credential", "create", "--tenant", strconv.Itoa(id), "--name", "app", "--role", "owner", "--json")), &made); err != nil {
		d.tb.Fatal(err)
	}
	r.secret = made.Secret
	d.until("the table of "+r.name, patience, func() error {
		conn, err := d.dial(context.Background(), r, d.all()[0])
		if err != nil {
			return err
		}
		defer conn.Close(context.Background())
		_, err = conn.Exec(context.Background(), "CREATE TABLE IF NOT EXISTS entry (id bigint PRIMARY KEY)")
		return err
	})
	return r
}

// dial connects to a tenant at a node, wherever the tenant is.
func (d *deployment) dial(ctx context.Context, r *resident, m *member) (*pgx.Conn, error) {
	host, port, err := net.SplitHostPort(m.pg)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	roots, err := d.roots()
	if err != nil {
		return nil, err
	}
	config.Host, config.Port, config.User, config.Password, config.Database = host, uint16(number), "app@"+r.name, r.secret, r.name
	config.TLSConfig = &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS13}
	config.Fallbacks = nil
	return pgx.ConnectConfig(ctx, config)
}

func (d *deployment) roots() (*x509.CertPool, error) {
	text, err := os.ReadFile(d.ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", d.ca)
	}
	return pool, nil
}

// load runs clients of the tenants, at all nodes, until the function that it
// returns is called.
func (d *deployment) load(tenants []*resident, clients int, seed uint64) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, r := range tenants {
		for i := range clients {
			c := &client{
				id: r.id*100 + i, history: r.history, limit: 4 * time.Second,
				random: rand.New(rand.NewPCG(seed, uint64(r.id*100+i))),
				connect: func(ctx context.Context, random *rand.Rand) (*pgx.Conn, error) {
					members := d.all()
					return d.dial(ctx, r, members[random.IntN(len(members))])
				},
			}
			all.Go(func() { c.work(ctx) })
		}
	}
	return func() {
		cancel()
		all.Wait()
	}
}

// table returns the ids of a tenant's table as a node gives them.
func (d *deployment) table(r *resident, m *member) ([]int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := d.dial(ctx, r, m)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT id FROM entry ORDER BY id")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}
