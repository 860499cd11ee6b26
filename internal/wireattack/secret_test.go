package wireattack

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"sync"
	"unicode/utf16"
)

// mark is a part of all that is the victim's: names of its tables, columns,
// streams, credentials and itself, and its values.
const mark = "vq7k9zward"

// markNumber begins the victim's numbers.
const markNumber = "79190002"

// ownMark is a part of the attacker's values: they may show in its results,
// never in an error or in the log.
const ownMark = "zk5own-marker"

// forms are the marks as they could be dressed up, in lower case.
var forms = dressed(mark)

// dressed returns a mark as text, hexadecimal, base64 at each of its three
// alignments, UTF-16 and reversed.
func dressed(mark string) map[string][]byte {
	all := map[string][]byte{"text": []byte(mark), "hexadecimal": []byte(hex.EncodeToString([]byte(mark))), "number": []byte(markNumber)}
	for skip := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", skip) + mark))
		from, to := (skip*4+2)/3, len(text)-4 // whole characters of the mark
		all["base64 "+string(rune('0'+skip))] = []byte(strings.ToLower(text[from:to]))
	}
	var wide []byte
	for _, unit := range utf16.Encode([]rune(mark)) {
		wide = append(wide, byte(unit), byte(unit>>8))
	}
	reversed := []byte(mark)
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	all["UTF-16"], all["reversed"] = wide, reversed
	return all
}

// leak says which of the victim's marks stands in what came back, or "".
func leak(b []byte) string {
	lower := bytes.ToLower(b)
	for name, form := range forms {
		if bytes.Contains(lower, form) {
			return name
		}
	}
	return ""
}

// tap is told all bytes that came to a client. It remembers whether any of
// them was the victim's.
type tap struct {
	mu    sync.Mutex // guards all below
	tail  []byte     // of what was looked at, for marks across two writes
	found string
	first []byte // what came, up to a limit
	n     int64
}

// tapKeeps is how much of what came a tap keeps to show it.
const tapKeeps = 1 << 20

// Write implements [io.Writer].
func (t *tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	joined := p
	if len(t.tail) > 0 {
		joined = append(bytes.Clone(t.tail), p[:min(len(p), 64)]...)
		if t.found == "" {
			t.found = leak(joined)
		}
		joined = append(t.tail, p...)
	}
	if t.found == "" {
		t.found = leak(p)
	}
	t.tail = bytes.Clone(joined[max(0, len(joined)-64):])
	t.first = append(t.first, p[:min(len(p), max(0, tapKeeps-len(t.first)))]...)
	t.n += int64(len(p))
	return len(p), nil
}

// take returns what was found, and what came since the last call.
func (t *tap) take() (found string, first []byte, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found, first, n = t.found, t.first, t.n
	t.found, t.first, t.n, t.tail = "", nil, 0, nil
	return found, first, n
}
