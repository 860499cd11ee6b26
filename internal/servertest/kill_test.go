package servertest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestSIGKILLUnderPgbenchLosesNothingAcknowledged kills the server under the
// load of pgbench, several times. The witness is pgbench's own log: it has a
// line for each transaction whose COMMIT was answered. Client c's k-th
// transaction inserts (round, c, k), so everything up to the last line of each
// client must be there after the restart.
func TestSIGKILLUnderPgbenchLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	const rounds, clients, enough = 3, 8, 400
	p := newPlace(t)
	a := newAuthority(t, p)
	secret := p.bootstrap(t)
	s := p.serve(t, a, "")
	if _, err := s.connect(t, a.file, "hospital-a", secret).Exec(t.Context(),
		"CREATE TABLE t (round bigint, client bigint, n bigint, primary key (round, client, n))"); err != nil {
		t.Fatal(err)
	}
	p.write(t, "load.sql", `\set n :n + 1
BEGIN;
INSERT INTO t VALUES (:round, :client_id, :n);
COMMIT;
`)
	for round := range rounds {
		line := fmt.Sprintf("pgbench -n -M prepared -f load.sql -c %d -j 2 -T 60 -D n=0 -D round=%d -l --log-prefix=ack%d", clients, round, round)
		load := p.background(t, line, s.libpq(a.file, "hospital-a", secret)...)
		watch := s.connect(t, a.file, "hospital-a", secret)
		eventually(t, func() bool {
			var n int
			if err := watch.QueryRow(t.Context(), "SELECT count(*) FROM t WHERE round = $1", round).Scan(&n); err != nil {
				t.Fatalf("%v\n%s", err, load.log.String())
			}
			return n >= enough
		})
		s.signal(t, syscall.SIGKILL)
		s.wait(t)
		load.wait(t)
		acknowledged := witness(t, p.path(fmt.Sprintf("ack%d.*", round)))
		s = p.start(t, nil, "serve", "--config", "kimberlite.toml")
		c := s.connect(t, a.file, "hospital-a", secret)
		total := int64(0)
		for client, last := range acknowledged {
			var n int64
			if err := c.QueryRow(t.Context(), "SELECT count(*) FROM t WHERE round = $1 AND client = $2 AND n BETWEEN 1 AND $3", round, client, last).Scan(&n); err != nil {
				t.Fatal(err)
			}
			if n != last {
				t.Errorf("round %d, client %d: %d of %d acknowledged transactions are there", round, client, n, last)
			}
			total += last
		}
		if len(acknowledged) != clients || total < enough/2 {
			t.Errorf("round %d: the witness saw %d transactions of %d clients:\n%s", round, total, len(acknowledged), load.log.String())
		}
	}
	s.stop(t)
	p.must(t, "kimberlite verify data")
}

// witness reads pgbench's logs and returns, for each client, how many of its
// transactions were acknowledged. Its lines begin with the client's number and
// the transaction's, from 0.
func witness(t *testing.T, pattern string) map[int]int64 {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("pgbench left no log: %v", err)
	}
	count := map[int]int64{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 2 || fields[2] == "failed" {
				continue
			}
			client, err := strconv.Atoi(fields[0])
			if err != nil {
				t.Fatalf("%s: %q", file, lines.Text())
			}
			count[client]++
		}
	}
	return count
}
