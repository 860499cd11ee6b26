package torture

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"

	"kimberlite"
)

// attackSecrets are the victim's markers: none may come out at the attacker's
// side, in any of their forms.
type attackSecrets struct {
	table, column, index, view, trigger string
	value, stream, message, content     string
	key                                 string
	// own is a value of the attacker's: it may show in results, not in errors.
	own string
	// numbers are counts of the victim's.
	numbers []string
	// forms are the markers as they could be dressed up, in lower case.
	forms [][]byte
}

func newAttackSecrets() *attackSecrets {
	s := &attackSecrets{
		table: "vq7table_marker", column: "vq7column_marker", index: "vq7index_marker", view: "vq7view_marker",
		trigger: "vq7trigger_marker", value: "vq7value-marker", stream: "vq7stream-marker", message: "vq7message-marker",
		content: "vq7content-marker", key: "vq7key-marker", own: "zk5own-marker",
	}
	for _, id := range []kimberlite.TenantID{victimID, otherID} {
		s.forms = append(s.forms, dressed(s.tenantName(id))...)
	}
	for _, m := range []string{
		s.table, s.column, s.index, s.view, s.trigger, s.value, s.stream, s.message, s.content, s.key,
		"vq7", // what they all begin with
	} {
		s.forms = append(s.forms, dressed(m)...)
	}
	return s
}

func (s *attackSecrets) tenantName(id kimberlite.TenantID) string {
	return "ward-wj9-" + id.String()
}

// dressed returns a marker as text, hexadecimal, base64 at each of its three
// alignments, UTF-16 and reversed.
func dressed(marker string) [][]byte {
	forms := [][]byte{[]byte(marker), []byte(hex.EncodeToString([]byte(marker)))}
	for skip := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", skip) + marker))
		from, to := (skip*4+2)/3, len(text)-4 // whole characters of the marker
		if to-from >= 8 {
			forms = append(forms, []byte(strings.ToLower(text[from:to])))
		}
	}
	var wide []byte
	for _, unit := range utf16.Encode([]rune(marker)) {
		wide = append(wide, byte(unit), byte(unit>>8))
	}
	reversed := []byte(marker)
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	return append(forms, wide, reversed)
}

// leak returns what of the victim shows in a text, or "".
func (s *attackSecrets) leak(text string) string {
	lower := bytes.ToLower([]byte(text))
	for _, form := range s.forms {
		if bytes.Contains(lower, form) {
			return string(form)
		}
	}
	for _, n := range s.numbers {
		if strings.Contains(text, n) {
			return "the number " + n
		}
	}
	return ""
}

// attackPaths are what an error must not tell of where files are.
var attackPaths = []string{"projection.db", "shards/", "/tenants/", ".segment", "keyring", "/tmp", "/proc", "goroutine", ".go:"}

// checkError looks at the text of an error that the attacker sees.
func (w *attackWorld) checkError(err error) {
	if err == nil {
		return
	}
	w.t.Helper()
	text := err.Error()
	if w.said != "" && len(w.said) < 64<<10 { // an error may repeat what it was told
		text = strings.NewReplacer(w.said, "", strings.Trim(strconv.Quote(w.said), `"`), "").Replace(text)
	}
	if leak := w.secrets.leak(text); leak != "" {
		w.t.Errorf("the error tells of the victim (%s): %s", leak, text)
	}
	if strings.Contains(text, w.secrets.own) {
		w.t.Errorf("the error tells row data: %s", text)
	}
	for _, path := range append(attackPaths, w.dir, w.work, w.tmp) {
		if !w.operator && strings.Contains(text, path) && !strings.Contains(w.said, path) && !kimberlite.IsKind(err, kimberlite.Corruption) {
			w.t.Errorf("the error tells a path (%s): %s", path, text)
		}
	}
	if len(text) > 2000 {
		w.t.Errorf("the error has %d bytes", len(text))
	}
}

// checkOutput looks at what the attacker was given.
func (w *attackWorld) checkOutput(text string) {
	w.t.Helper()
	if leak := w.secrets.leak(text); leak != "" {
		w.t.Errorf("the result tells of the victim: %s", leak)
	}
}

// check looks at everything that must be as it was.
func (w *attackWorld) check() {
	w.t.Helper()
	if w.goroutines > 0 {
		if leak := w.secrets.leak(w.log.take()); leak != "" {
			w.t.Errorf("the log tells of the victim: %s", leak)
		}
	}
	w.checkBystanders()
	if now := w.lookAtVictim(); now != w.before {
		w.t.Errorf("the victim has changed:\n%+v, was\n%+v", now, w.before)
		w.before = now
	}
	w.checkFiles()
	w.checkGoroutines()
}

// checkBystanders makes the attacker's own tenant and the third one work.
func (w *attackWorld) checkBystanders() {
	w.t.Helper()
	ctx := context.Background()
	w.writes++
	var wg sync.WaitGroup
	for _, x := range []*kimberlite.Tenant{w.attacker, w.other} {
		wg.Go(func() {
			if _, err := x.Exec(ctx, `INSERT INTO probe VALUES (?, 'still here')`, w.writes); err != nil {
				w.t.Errorf("tenant %s cannot write any more: %v", x.ID(), err)
			}
			var n, top int64
			err := x.QueryRow(ctx, `SELECT count(*), max(id) FROM probe WHERE note = 'still here'`).Scan(&n, &top)
			if err != nil || n != w.writes || top != w.writes {
				w.t.Errorf("tenant %s has %d rows up to %d, want %d: %v", x.ID(), n, top, w.writes, err)
			}
		})
	}
	wg.Wait()
}

// attackLayout is every file that belongs into a data directory.
var attackLayout = regexp.MustCompile(`^(node\.toml|LOCK|master\.key|keyring/\d{5}\.keyring` +
	`|replication/(bounds|LOCK|wal\.spare|OPTIONS-\d+|MANIFEST-\d+|marker\.[a-z-]+\.\d+\.[A-Za-z0-9-]+|\d+\.(log|sst))` +
	`|shards/1/tenants/[123]/(projection\.db(\.tmp)?|log/(HEAD|\d{20}\.segment)))$`)

// checkFiles walks the data directory, the working directory and the
// temporary directory, and asks the kernel which files are open.
func (w *attackWorld) checkFiles() {
	w.t.Helper()
	for _, name := range filesUnder(w.t, w.dir) {
		if !attackLayout.MatchString(name) {
			w.t.Errorf("file %s has appeared in the data directory", name)
		}
	}
	for _, dir := range []string{w.work, w.tmp} {
		for _, name := range filesUnder(w.t, dir) {
			w.t.Errorf("file %s has appeared in %s", name, dir)
			_ = os.RemoveAll(filepath.Join(dir, name))
		}
	}
	for _, pattern := range []string{"/tmp/*k2leak*", "/var/tmp/*k2leak*", "/dev/shm/*k2leak*", filepath.Join(w.dir, "..", "*k2leak*")} {
		found, _ := filepath.Glob(pattern)
		for _, name := range found {
			w.t.Errorf("file %s has appeared", name)
			_ = os.Remove(name)
		}
	}
	if w.files == nil {
		return
	}
	for name := range openFiles() {
		inside := strings.HasPrefix(name, w.dir+"/") && !strings.HasSuffix(name, " (deleted)")
		if !inside && !w.files[name] && !strings.HasPrefix(name, "/dev/") && !strings.HasPrefix(name, "/proc/") {
			w.t.Errorf("file %s is open", name)
		}
	}
}

func filesUnder(t interface{ Fatal(...any) }, root string) []string {
	var names []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// checkGoroutines waits until no more goroutines run than when the attacks
// began. The few more are those of tenants that happen to be open.
func (w *attackWorld) checkGoroutines() {
	w.t.Helper()
	const more = 6
	deadline := time.Now().Add(5 * time.Second)
	for w.goroutines > 0 && runtime.NumGoroutine() > w.goroutines+more {
		if time.Now().After(deadline) {
			w.t.Errorf("%d goroutines run, %d did before", runtime.NumGoroutine(), w.goroutines)
			w.goroutines = runtime.NumGoroutine()
			return
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}

// residentBytes is the memory that the process has now, and has had at most.
func residentBytes() (now, most int64) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	for _, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			now = kib << 10
		case "VmHWM:":
			most = kib << 10
		}
	}
	return now, most
}

// printable writes a value as an attacker would look at it: text as it is,
// blobs as text and in hexadecimal.
func printable(v any) string {
	if b, ok := v.([]byte); ok {
		return string(b) + " " + hex.EncodeToString(b)
	}
	return fmt.Sprint(v)
}
