package torture

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"kimberlite/internal/seal"
)

// insecure turns sealing off.
func insecure(k seal.KeySource) seal.KeySource { return plaintext{k} }

// forms returns the ways in which a text could stand in a file.
func forms(text string) map[string][]byte {
	var little, big []byte
	for _, c := range []byte(text) {
		little = append(little, c, 0)
		big = append(big, 0, c)
	}
	all := map[string][]byte{
		"text": []byte(text), "capitals": []byte(strings.ToUpper(text)),
		"UTF-16 little": little, "UTF-16 big": big,
		"hex": []byte(hex.EncodeToString([]byte(text))), "capital hex": []byte(strings.ToUpper(hex.EncodeToString([]byte(text)))),
	}
	// In base64 the text can begin at any of three places of a group of four
	// characters; those that it shares with its neighbours are left out.
	for before := range 3 {
		code := base64.StdEncoding.EncodeToString([]byte("xxx"[:before] + text))
		from := []int{0, 2, 3}[before]
		to := (before + len(text)) * 8 / 6
		all[fmt.Sprintf("base64 at %d", before)] = []byte(code[from:to])
	}
	return all
}

func TestTheSearchFindsASecretInEveryForm(t *testing.T) {
	for name, form := range secretForms {
		data := append(append(bytes.Repeat([]byte{0xa5}, 1000), form...), 'x')
		if found := secretIn(data); found != name {
			t.Errorf("%s is found as %q", name, found)
		}
	}
	for before := range 9 {
		code := base64.StdEncoding.EncodeToString([]byte("0123456789"[:before] + secret + "tail"))
		if secretIn([]byte(code)) == "" {
			t.Errorf("base64 after %d bytes is not found", before)
		}
	}
	if found := secretIn([]byte("zq7kx9vw3tj")); found != "" {
		t.Errorf("a part is found as %s", found)
	}
}
