package torture

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kimberlite"
)

// moved is something done to the files of a closed data directory. victim and
// attacker are the tenants' directories.
type moved struct {
	name string
	do   func(dir, victim, attacker string) error
	// victimHurt says that the victim's own files were touched, so that it may
	// be refused, too. Nothing of it may show, and nothing wrong.
	victimHurt bool
}

const segment = "log/00000000000000000000.segment"

func movedFiles() []moved {
	return []moved{
		{"the victim's projection in its place", func(_, v, a string) error { return copyFile(v+"/projection.db", a+"/projection.db") }, false},
		{"its projection and the victim's swapped", func(_, v, a string) error { return swapPaths(v+"/projection.db", a+"/projection.db") }, true},
		{"the victim's projection by a symbolic link", func(_, v, a string) error { return link(os.Symlink, v+"/projection.db", a+"/projection.db") }, false},
		{"the victim's projection by a hard link", func(_, v, a string) error { return link(os.Link, v+"/projection.db", a+"/projection.db") }, false},
		{"a page of the victim's projection", func(_, v, a string) error { return copyPart(v+"/projection.db", a+"/projection.db", 8192, 4096) }, false},
		{"the second half of the victim's projection", func(_, v, a string) error { return copyPart(v+"/projection.db", a+"/projection.db", 16384, 1<<20) }, false},
		{"a SQLite file of plain text for its projection", func(_, _, a string) error {
			return os.WriteFile(a+"/projection.db", append([]byte("SQLite format 3\x00"), make([]byte, 8176)...), 0o600)
		}, false},
		{"a directory for its projection", func(_, _, a string) error {
			return errors.Join(os.Remove(a+"/projection.db"), os.Mkdir(a+"/projection.db", 0o700))
		}, false},
		{"its projection cut in half", func(_, _, a string) error { return os.Truncate(a+"/projection.db", 8192) }, false},
		{"no projection", func(_, _, a string) error { return os.Remove(a + "/projection.db") }, false},

		{"the victim's segment in its place", func(_, v, a string) error { return copyFile(v+"/"+segment, a+"/"+segment) }, false},
		{"the segments swapped", func(_, v, a string) error { return swapPaths(v+"/"+segment, a+"/"+segment) }, true},
		{"the victim's segment by a symbolic link", func(_, v, a string) error { return link(os.Symlink, v+"/"+segment, a+"/"+segment) }, false},
		{"the victim's segment by a hard link", func(_, v, a string) error { return link(os.Link, v+"/"+segment, a+"/"+segment) }, true},
		{"the victim's segment behind its own", func(_, v, a string) error {
			return copyFile(v+"/"+segment, a+"/log/00000000000000000099.segment")
		}, false},
		{"the victim's records behind its own", func(_, v, a string) error { return appendFile(v+"/"+segment, a+"/"+segment) }, false},
		{"the victim's head in its place", func(_, v, a string) error { return copyFile(v+"/log/HEAD", a+"/log/HEAD") }, false},
		{"the heads swapped", func(_, v, a string) error { return swapPaths(v+"/log/HEAD", a+"/log/HEAD") }, true},
		{"the logs swapped", func(_, v, a string) error { return swapPaths(v+"/log", a+"/log") }, true},
		{"the victim's log by a symbolic link", func(_, v, a string) error { return link(os.Symlink, v+"/log", a+"/log") }, true},

		{"the directories swapped", func(_, v, a string) error { return swapPaths(v, a) }, true},
		{"the victim's directory by a symbolic link", func(_, v, a string) error { return link(os.Symlink, v, a) }, true},
		{"the victim's files in its directory", func(_, v, a string) error {
			return errors.Join(copyFile(v+"/projection.db", a+"/projection.db"), copyFile(v+"/"+segment, a+"/"+segment), copyFile(v+"/log/HEAD", a+"/log/HEAD"))
		}, false},
		{"no directory", func(_, _, a string) error { return os.RemoveAll(a) }, false},

		{"the slots of the keyring swapped", func(dir, _, _ string) error { return swapParts(dir+"/keyring/00001.keyring", 512, 1024, 512) }, true},
		{"the victim's slot in its place", func(dir, _, _ string) error {
			return copyPart2(dir+"/keyring/00001.keyring", 512, 1024, 512)
		}, false},
		{"the victim's wrapped key in its slot", func(dir, _, _ string) error {
			return copyPart2(dir+"/keyring/00001.keyring", 512+40, 1024+40, 74)
		}, false},
	}
}

// TestMovedFilesShowNothingOfAnotherTenant lets somebody who can write to the
// disk, and has no keys, put the victim's files where the attacker's were. The
// attacker sees its own rows or an error, the third tenant notices nothing.
func TestMovedFilesShowNothingOfAnotherTenant(t *testing.T) {
	w := newAttackWorld(t, 2*time.Second, 3)
	ctx := context.Background()
	if err := w.attacker.RebuildProjection(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	original := filepath.Join(filepath.Dir(w.dir), "original")
	if err := os.Rename(w.dir, original); err != nil {
		t.Fatal(err)
	}
	w.goroutines, w.files = 0, nil
	for _, m := range movedFiles() {
		t.Run(m.name, func(t *testing.T) {
			w.t = t
			w.attacks++
			w.move(original, m)
		})
	}
	w.t = t
	w.restore(original)
	w.openAll()
	w.atLeast(25)
}

// restore makes the data directory a copy of the original.
func (w *attackWorld) restore(original string) {
	w.t.Helper()
	err := errors.Join(os.RemoveAll(w.dir), os.CopyFS(w.dir, os.DirFS(original)), os.Chmod(filepath.Join(w.dir, "master.key"), 0o600))
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *attackWorld) move(original string, m moved) {
	w.restore(original)
	tenants := filepath.Join(w.dir, "shards/1/tenants")
	if err := m.do(w.dir, filepath.Join(tenants, "1"), filepath.Join(tenants, "2")); err != nil {
		w.t.Fatal(err)
	}
	_, _ = w.survive(func(ctx context.Context) (string, error) {
		db, err := kimberlite.Open(w.dir, w.options)
		if err != nil {
			w.t.Fatalf("one tenant's files keep the whole directory from opening: %v", err)
		}
		w.db = db
		w.lookAround(ctx, m)
		if err := w.db.Close(); err != nil {
			w.refusedAsMoved("close", attackerID, err)
		}
		if leak := w.secrets.leak(w.log.take()); leak != "" {
			w.t.Errorf("the log tells of the victim: %s", leak)
		}
		return "", nil
	})
}

// lookAround uses all three tenants of a directory whose files were moved.
func (w *attackWorld) lookAround(ctx context.Context, m moved) {
	other, err := w.db.Tenant(otherID)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := other.Exec(ctx, `UPDATE own SET n = 1`); err != nil {
		w.t.Errorf("the third tenant cannot write: %v", err)
	}
	if text, err := drained(other.Query(ctx, `SELECT secret FROM own`)); err != nil || !strings.Contains(text, w.secrets.own) {
		w.t.Errorf("the third tenant cannot read: %q, %v", text, err)
	}
	for range 2 { // the second time it may have been rebuilt
		w.lookMoved(ctx, attackerID, true)
		w.lookMoved(ctx, victimID, m.victimHurt)
	}
}

// lookMoved reads and writes as a tenant whose files may have been touched:
// right rows, or an error that says so.
func (w *attackWorld) lookMoved(ctx context.Context, id kimberlite.TenantID, hurt bool) {
	x, err := w.db.Tenant(id)
	if err != nil {
		w.refusedAsMoved("handle", id, err)
		return
	}
	want, never := w.secrets.own, w.secrets.value
	if id == victimID {
		want, never = never, want
	}
	rows, err := drained(x.Query(ctx, `SELECT secret FROM own ORDER BY id LIMIT 1`))
	switch {
	case err != nil && !hurt:
		w.t.Errorf("tenant %s was not touched and cannot read: %v", id, err)
	case err != nil:
		w.refusedAsMoved("read", id, err)
	case !strings.Contains(rows, want):
		w.t.Errorf("tenant %s reads wrong rows: %.200q", id, rows)
	}
	events, err := everything(ctx, x, "own", 0, 0)
	if err != nil {
		w.refusedAsMoved("stream", id, err)
	}
	feed, err := everything(ctx, x, "feed", 0, 0)
	if err != nil {
		w.refusedAsMoved("stream", id, err)
	}
	if strings.Contains(rows+events+feed, never) {
		w.t.Errorf("tenant %s sees what is not its own", id)
	}
	if id != victimID {
		w.checkOutput(rows + events + feed)
	}
	if _, err := x.Exec(ctx, `UPDATE own SET n = 1 WHERE secret = 'nobody'; INSERT INTO own(n) VALUES (1); DELETE FROM own WHERE secret IS NULL`); err != nil {
		if w.refusedAsMoved("write", id, err); !hurt {
			w.t.Errorf("tenant %s was not touched and cannot write: %v", id, err)
		}
	}
}

// refusedAsMoved says that an error is one of a damaged, missing or foreign
// file, and tells nothing of the victim.
func (w *attackWorld) refusedAsMoved(what string, id kimberlite.TenantID, err error) {
	w.t.Helper()
	if leak := w.secrets.leak(err.Error()); leak != "" && id != victimID {
		w.t.Errorf("%s: the error tells of the victim (%s): %v", what, leak, err)
	}
	switch kimberlite.KindOf(err) {
	case kimberlite.Corruption, kimberlite.KeyInvalid, kimberlite.KeyUnavailable, kimberlite.Incompatible, kimberlite.Unavailable, kimberlite.Stopped:
		w.t.Logf("%s: %s: %v", what, kind(err), err)
	default:
		w.t.Errorf("%s: refused as %s: %v", what, kind(err), err)
	}
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

func appendFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(to)
	if err != nil {
		return err
	}
	return os.WriteFile(to, append(bytes.TrimRight(old, "\x00"), b[64:]...), 0o600)
}

func swapPaths(a, b string) error {
	return errors.Join(os.Rename(a, a+".x"), os.Rename(b, a), os.Rename(a+".x", b))
}

// link puts a link to a path in the place of another.
func link(how func(from, to string) error, from, to string) error {
	return errors.Join(os.RemoveAll(to), how(from, to))
}

// copyPart copies bytes of a file to the same place of another.
func copyPart(from, to string, at, n int) error {
	source, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	target, err := os.ReadFile(to)
	if err != nil {
		return err
	}
	if at < min(len(source), len(target)) {
		copy(target[at:], source[at:min(at+n, len(source))])
	}
	return os.WriteFile(to, target, 0o600)
}

// copyPart2 copies bytes within a file.
func copyPart2(name string, from, to, n int) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	copy(b[to:to+n], b[from:from+n])
	return os.WriteFile(name, b, 0o600)
}

func swapParts(name string, x, y, n int) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	kept := bytes.Clone(b[x : x+n])
	copy(b[x:], b[y:y+n])
	copy(b[y:], kept)
	return os.WriteFile(name, b, 0o600)
}
