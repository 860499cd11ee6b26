package torture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"kimberlite"
)

// attackWorld is a database on disk with three tenants: the first holds
// secrets, the second attacks, the third is a bystander who must notice
// nothing. Its data directory, working directory and temporary directory are
// known to be empty of anything else, so that a file that appears is seen.
type attackWorld struct {
	t        testing.TB
	dir      string // the data directory
	work     string // the working directory
	tmp      string // the directory for temporary files
	options  kimberlite.Options
	db       *kimberlite.DB
	victim   *kimberlite.Tenant
	attacker *kimberlite.Tenant
	other    *kimberlite.Tenant
	log      *attackLog
	secrets  *attackSecrets

	// before is the victim as it must stay.
	before victimState
	// writes counts the rows that the checks have put into each bystander.
	writes int64
	// goroutines is how many run when nothing does.
	goroutines int
	// files are open outside the data directory from the start.
	files map[string]bool
	// timeout is the limit of a statement, slack what may come on top.
	timeout, slack time.Duration
	// said is the text of the attack under way: errors may repeat it.
	said string
	// operator says that whoever is told of an error has named the directory,
	// so that paths in it tell nothing new.
	operator bool
	// attacks counts those that were made.
	attacks int
}

// The tenants' ids.
var (
	victimID   = kimberlite.MustTenantID(1)
	attackerID = kimberlite.MustTenantID(2)
	otherID    = kimberlite.MustTenantID(3)
)

// attackLog collects what the database logs.
type attackLog struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *attackLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *attackLog) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// newAttackWorld makes the tenants and fills them. maxOpen is how many of them
// are open at a time: with fewer than three, each attack and each check closes
// tenants and opens them again, and caches die and come back.
func newAttackWorld(t *testing.T, timeout time.Duration, maxOpen int) *attackWorld {
	t.Helper()
	w := &attackWorld{
		t: t, work: t.TempDir(), tmp: t.TempDir(), log: &attackLog{}, secrets: newAttackSecrets(),
		timeout: timeout, slack: attackSlack,
	}
	w.dir = filepath.Join(t.TempDir(), "data")
	t.Chdir(w.work)
	for _, name := range []string{"TMPDIR", "SQLITE_TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, w.tmp)
	}
	w.options = kimberlite.Options{
		MaxOpenTenants: maxOpen, MaxReaders: 2, StatementTimeout: timeout, TransactionIdle: timeout,
		CheckpointInterval: -1, ReserveBytes: -1,
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	w.openAll()
	t.Cleanup(w.closeAll)
	w.fillVictim()
	for _, x := range []*kimberlite.Tenant{w.attacker, w.other} {
		w.must(x, `CREATE TABLE probe(id INTEGER PRIMARY KEY, note TEXT)`)
		w.must(x, `CREATE TABLE own(id INTEGER PRIMARY KEY AUTOINCREMENT, secret TEXT UNIQUE, n INTEGER CHECK (n < 1000))`)
		w.must(x, `INSERT INTO own(secret, n) VALUES (?, 1)`, w.secrets.own)
		if _, err := x.CreateStream(context.Background(), "feed"); err != nil {
			t.Fatal(err)
		}
	}
	w.before = w.lookAtVictim()
	w.secrets.numbers = w.before.numbers()
	w.check() // opens every tenant once, so that what is normal is known
	runtime.GC()
	w.goroutines = runtime.NumGoroutine()
	w.files = openFiles()
	w.log.take()
	return w
}

func (w *attackWorld) openAll() {
	w.t.Helper()
	db, err := kimberlite.Open(w.dir, w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	w.db = db
	for i, x := range []**kimberlite.Tenant{&w.victim, &w.attacker, &w.other} {
		id := []kimberlite.TenantID{victimID, attackerID, otherID}[i]
		if *x, err = db.Tenant(id); err == nil {
			continue
		}
		*x, err = db.CreateTenant(context.Background(), kimberlite.TenantConfig{ID: id, Name: w.secrets.tenantName(id), Region: "us-east"})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// closeAll closes the database: nothing may be left running.
func (w *attackWorld) closeAll() {
	if err := w.db.Close(); err != nil {
		w.t.Errorf("closing after the attacks: %v", err)
	}
}

func (w *attackWorld) must(x *kimberlite.Tenant, sql string, args ...any) {
	w.t.Helper()
	if _, err := x.Exec(context.Background(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// fillVictim puts secrets wherever a tenant can have any: rows, names of
// tables, columns, indexes, views and triggers, default values, streams,
// messages, content types and idempotency keys.
func (w *attackWorld) fillVictim() {
	w.t.Helper()
	s := w.secrets
	ctx := context.Background()
	w.must(w.victim, fmt.Sprintf(`CREATE TABLE %s(id INTEGER PRIMARY KEY, %s TEXT UNIQUE DEFAULT '%s', doc TEXT)`, s.table, s.column, s.value))
	w.must(w.victim, fmt.Sprintf(`CREATE INDEX %s ON %s(%s)`, s.index, s.table, s.column))
	w.must(w.victim, fmt.Sprintf(`CREATE VIEW %s AS SELECT %s FROM %s`, s.view, s.column, s.table))
	w.must(w.victim, fmt.Sprintf(`CREATE TRIGGER %s AFTER DELETE ON %s BEGIN SELECT '%s'; END`, s.trigger, s.table, s.value))
	rows := make([][]any, 0, 12)
	for i := range cap(rows) {
		rows = append(rows, []any{fmt.Sprintf("%s-%d", s.value, i), strings.Repeat(s.value, 80)})
	}
	if _, err := w.victim.ExecBatch(ctx, fmt.Sprintf(`INSERT INTO %s(%s, doc) VALUES (?, ?)`, s.table, s.column), rows); err != nil {
		w.t.Fatal(err)
	}
	// The table and the stream that the attacker has, too, with secrets in them.
	w.must(w.victim, `CREATE TABLE own(id INTEGER PRIMARY KEY AUTOINCREMENT, secret TEXT UNIQUE, n INTEGER)`)
	w.must(w.victim, `INSERT INTO own VALUES (7919, ?, 7919)`, s.value)
	for _, name := range []string{s.stream, "feed"} {
		if _, err := w.victim.CreateStream(ctx, name); err != nil {
			w.t.Fatal(err)
		}
		for range 3 {
			m := kimberlite.Message{ContentType: "text/" + s.content, Data: []byte(s.message)}
			if _, err := w.victim.Append(ctx, name, m, m); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	_, err := w.victim.Exec(kimberlite.WithIdempotencyKey(ctx, s.key), `INSERT INTO own(id, secret) VALUES (7927, ?)`, s.value+"-keyed")
	if err != nil {
		w.t.Fatal(err)
	}
}

// victimState is everything of the victim that an attack could change.
type victimState struct {
	info    kimberlite.TenantInfo
	usage   kimberlite.Usage
	tables  [32]byte
	streams [32]byte
}

// numbers are counts of the victim's that are long enough to be told from
// others by their digits.
func (v victimState) numbers() []string {
	var all []string
	for _, n := range []int64{v.info.LogBytes, v.usage.LogBytes} {
		if text := fmt.Sprint(n); len(text) >= 5 {
			all = append(all, text)
		}
	}
	return all
}

func (w *attackWorld) lookAtVictim() victimState {
	w.t.Helper()
	ctx := context.Background()
	var v victimState
	var err error
	if v.tables, err = w.victim.TableHash(ctx); err != nil {
		w.t.Fatalf("the victim's tables: %v", err)
	}
	list, err := w.victim.Streams(ctx)
	if err != nil {
		w.t.Fatalf("the victim's streams: %v", err)
	}
	h := sha256.New()
	for _, info := range list {
		events, err := everything(ctx, w.victim, info.Name, 0, 0)
		if err != nil {
			w.t.Fatalf("the victim's stream: %v", err)
		}
		fmt.Fprintln(h, info, events)
	}
	h.Sum(v.streams[:0])
	if v.info, err = w.victim.Info(); err != nil {
		w.t.Fatal(err)
	}
	if v.usage, err = w.victim.Usage(); err != nil {
		w.t.Fatal(err)
	}
	// What looking itself moves is not compared.
	v.usage.Admitted, v.usage.ProjectionBytes = 0, 0
	return v
}

// openFiles lists the regular files that this process has open.
func openFiles() map[string]bool {
	open := map[string]bool{}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return open // not Linux: the directories are walked all the same
	}
	for _, e := range entries {
		if name, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(name, "/") {
			open[name] = true
		}
	}
	return open
}
