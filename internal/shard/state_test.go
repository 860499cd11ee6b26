package shard_test

import (
	"testing"

	"kimberlite/internal/shard"
)

// A state as the version before moves has stored it.
func TestAStateOfThePreviousVersionServes(t *testing.T) {
	st, err := shard.DecodeState([]byte(`{"id":"7","name":"hospital-a","region":"us-east","retention_ns":0,"limits":{},` +
		`"created":"2026-01-02T03:04:05Z","envelope":"c2VhbGVk"}`))
	if err != nil {
		t.Fatal(err)
	}
	if st.Phase != shard.Serving || st.Epoch != 0 || st.Readable("read") != nil {
		t.Errorf("phase %s, epoch %d, readable: %v", st.Phase, st.Epoch, st.Readable("read"))
	}
}

func TestAnImportThatIsCutShortDoesNotDecode(t *testing.T) {
	for _, b := range [][]byte{{6}, {6, 0, 0, 0, 0, 0, 0, 0, 7}, append(make([]byte, 17), 1, 2, 3)} {
		b[0] = 6
		if _, err := shard.DecodeCommand(b); err == nil {
			t.Errorf("%d bytes decode", len(b))
		}
	}
}

func FuzzDecodeCommand(f *testing.F) {
	f.Add([]byte{6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add([]byte(`{"tenant":"7"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := shard.DecodeCommand(b)
		if err != nil {
			return
		}
		n := 0
		for _, rec := range c.Records {
			n += len(rec)
		}
		if n > len(b) {
			t.Errorf("%d bytes of records in %d bytes", n, len(b))
		}
	})
}
