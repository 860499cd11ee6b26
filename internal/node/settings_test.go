package node_test

import (
	"testing"

	"github.com/pelletier/go-toml/v2"

	"kimberlite/internal/fault"
	"kimberlite/internal/node"
)

// FuzzDecodeSettings holds the decoder to refusing with a kind of its own,
// and to reading back what it has read.
func FuzzDecodeSettings(f *testing.F) {
	good := "format = 1\nnode = 1\nmaster_key = 'file:master.key'\nmaster_key_version = '0123456789abcdef'\n"
	for _, seed := range []string{
		good, "", "\x00\x00", "format = 2\n", "format = -1", "format = 1\n", good + "more = 1\n", good + "[table]\nx = 1\n",
		"format = 1\nnode = 18446744073709551615\n", "format = 1e3", "format = 'one'", "= 1", "format = 1\nformat = 1\n",
		"# only a comment\n", "\xff\xfe", "format = 1\nnode = 1\nmaster_key = \"\\u0000\"\nmaster_key_version = 'x'\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := node.DecodeSettings(data)
		if err != nil {
			if kind := fault.KindOf(err); kind != fault.Invalid && kind != fault.Incompatible && kind != fault.Corruption {
				t.Fatalf("%s: %v", kind, err)
			}
			return
		}
		if s.Format != 1 || s.Node == 0 || s.MasterKey == "" || s.MasterKeyVersion == "" {
			t.Fatalf("taken: %+v", s)
		}
		text, err := toml.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := node.DecodeSettings(text); err != nil || again != s {
			t.Fatalf("%+v came back as %+v, %v", s, again, err)
		}
	})
}
