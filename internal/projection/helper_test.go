package projection

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/pagestore"
	"kimberlite/internal/record"
	"kimberlite/internal/seal"
)

var tenantOne = ident.MustTenantID(1)

// oneKey is a key source with one generation.
type oneKey struct{ dek *seal.DEK }

func (k oneKey) Current() ident.KeyGeneration { return ident.NewKeyGeneration(1) }

func (k oneKey) DEK(g ident.KeyGeneration) (*seal.DEK, error) {
	if g != ident.NewKeyGeneration(1) {
		return nil, fault.New("test", fault.NotFound, "no such generation")
	}
	return k.dek, nil
}

func newKeys(t testing.TB) oneKey {
	t.Helper()
	dek, err := seal.NewDEK(tenantOne, ident.NewKeyGeneration(1), make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return oneKey{dek}
}

// fixture is a projection on a disk in memory.
type fixture struct {
	*DB
	t     testing.TB
	fs    disk.FS
	store *pagestore.Store
	keys  oneKey
	// payloads are all that was committed.
	payloads []ApplyRecord
}

const testPath = "/p/projection.db"

func newFixture(t testing.TB, o Options) *fixture {
	t.Helper()
	fs := disk.NewMem()
	if err := fs.MkdirAll("/p", 0o700); err != nil {
		t.Fatal(err)
	}
	return openFixture(t, fs, o)
}

func openFixture(t testing.TB, fs disk.FS, o Options) *fixture {
	t.Helper()
	f := &fixture{t: t, fs: fs, keys: newKeys(t)}
	var err error
	f.store, err = pagestore.Open(pagestore.Options{FS: fs, Path: testPath, Tenant: tenantOne, Keys: f.keys})
	if err != nil {
		t.Fatal(err)
	}
	o.Store, o.Tenant = f.store, tenantOne
	f.DB, err = Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.DB.Close(); err != nil {
			t.Error(err)
		}
		if err := f.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// nextApplied is where the projection stands after one more record.
func (f *fixture) nextApplied() Applied {
	a := f.DB.Applied()
	n := a.Next.Uint64()
	next := Applied{
		Next: a.Next.Next(), Segment: n / 100, Byte: int64(n%100) * 64,
		Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Hour),
	}
	copy(next.LastHash[:], fmt.Sprintf("hash of record %d", n))
	return next
}

// txn runs fn as a transaction of its own and commits it.
func (f *fixture) txn(key string, fn func(g *Group) (record.Result, error)) (record.Result, error) {
	f.t.Helper()
	g, err := f.DB.BeginGroup(context.Background())
	if err != nil {
		return record.Result{}, err
	}
	defer func() { _ = g.Rollback() }() // after Commit it does nothing
	if err := g.BeginTxn(); err != nil {
		return record.Result{}, err
	}
	res, err := fn(g)
	if err == nil {
		err = g.EndTxn(key, [16]byte{1}, res)
	}
	if err != nil {
		return res, err
	}
	return res, f.commit(g)
}

// commit prepares and commits a group, and keeps its payload as it would come
// back from the log.
func (f *fixture) commit(g *Group) error {
	f.t.Helper()
	at := f.nextApplied()
	if len(g.Payload().Txns) > 0 {
		b, err := record.EncodePayload(nil, g.Payload())
		if err != nil {
			return err
		}
		p, err := record.DecodePayload(b)
		if err != nil {
			return err
		}
		f.payloads = append(f.payloads, ApplyRecord{Payload: p, Time: at.Time, At: at})
	}
	if err := g.Prepare(at); err != nil {
		return err
	}
	return g.Commit()
}

func (f *fixture) exec(sql string, args ...any) (record.Result, error) {
	f.t.Helper()
	return f.txn("", func(g *Group) (record.Result, error) { return g.Exec(context.Background(), sql, args) })
}

func (f *fixture) mustExec(sql string, args ...any) record.Result {
	f.t.Helper()
	res, err := f.exec(sql, args...)
	if err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
	return res
}

// rows reads a whole result.
func (f *fixture) rows(sql string, args ...any) ([][]any, error) {
	f.t.Helper()
	r, err := f.DB.Read(context.Background())
	if err != nil {
		return nil, err
	}
	defer r.Release()
	var all [][]any
	err = r.Each(context.Background(), sql, args, func(row *Row) error {
		values := make([]any, row.Len())
		for i := range values {
			values[i] = row.Value(i)
		}
		all = append(all, values)
		return nil
	})
	return all, err
}

func (f *fixture) text(sql string, args ...any) string {
	f.t.Helper()
	rows, err := f.rows(sql, args...)
	if err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
	return fmt.Sprint(rows)
}

func (f *fixture) hash() [32]byte {
	f.t.Helper()
	sum, err := f.DB.TableHash(context.Background())
	if err != nil {
		f.t.Fatal(err)
	}
	return sum
}

// rebuilt applies all payloads to an empty projection, as many to one SQLite
// transaction as step says.
func (f *fixture) rebuilt(step int) *fixture {
	f.t.Helper()
	other := newFixture(f.t, Options{})
	for at := 0; at < len(f.payloads); at += step {
		if err := other.DB.ApplyAll(context.Background(), f.payloads[at:min(len(f.payloads), at+step)]); err != nil {
			f.t.Fatalf("apply from record %d: %v", at, err)
		}
	}
	return other
}

// checkRebuild fails when the log does not give the same tables.
func (f *fixture) checkRebuild() {
	f.t.Helper()
	other := f.rebuilt(3)
	if f.hash() != other.hash() {
		f.t.Fatalf("a rebuild differs:\n%s", difference(f.dump(), other.dump()))
	}
}

// dump is the content of a projection, to be read by people.
func (f *fixture) dump() string {
	out := ""
	err := f.DB.ownRead(func(c *conn) error {
		tables, err := readNames(c)
		if err != nil {
			return err
		}
		for _, name := range append([]string{"sqlite_schema"}, tables...) {
			out += name + ":\n"
			err := c.each("SELECT * FROM "+quoteName(name), func(s stmt) error {
				for i := range s.ColumnCount() {
					v, _ := columnValue(s, i)
					out += fmt.Sprintf(" %v", v)
				}
				out += "\n"
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	return out
}

func wantKind(t testing.TB, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("error %v, want kind %v", err, kind)
	}
}

// difference lists the lines that only one of two texts has.
func difference(a, b string) string {
	out := ""
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		other := strings.Split(pair[1], "\n")
		for _, line := range strings.Split(pair[0], "\n") {
			if !slices.Contains(other, line) {
				out += line + "\n"
			}
		}
		out += "---\n"
	}
	return out
}
