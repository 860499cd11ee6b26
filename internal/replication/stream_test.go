package replication

import (
	"bytes"
	"reflect"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

func sampleCheckpoint() Checkpoint {
	c := Checkpoint{
		Index: 1 << 40, Term: 7, Joint: []byte("joint"),
		Members: []Replica{{ident.NewReplicaID(3), ident.NewNodeID(1), false}, {ident.NewReplicaID(4), ident.NewNodeID(2), true}},
	}
	for i := range 200 {
		c.KVs = append(c.KVs, KV{[]byte{'k', byte(i)}, bytes.Repeat([]byte{byte(i)}, i*i)})
	}
	return c
}

func stream(t testing.TB, c Checkpoint) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteCheckpoint(&b, c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestACheckpointArrivesAsItWasSentOrNotAtAll(t *testing.T) {
	t.Parallel()
	want := sampleCheckpoint()
	sent := stream(t, want)
	got, err := ReadCheckpoint(bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %d keys, index %d, members %v", len(got.KVs), got.Index, got.Members)
	}
	small := stream(t, Checkpoint{Index: 1, Term: 1, KVs: []KV{{[]byte("a"), []byte("b")}, {[]byte("c"), nil}}})
	for n := range small {
		if _, err := ReadCheckpoint(bytes.NewReader(small[:n])); !fault.Is(err, fault.Unavailable) {
			t.Errorf("cut at byte %d: %v", n, err)
		}
		for bit := range 8 {
			flipped := bytes.Clone(small)
			flipped[n] ^= 1 << bit
			if _, err := ReadCheckpoint(bytes.NewReader(flipped)); err == nil {
				t.Errorf("bit %d of byte %d was changed on the way, and the copy taken", bit, n)
			}
		}
	}
}

func FuzzReadCheckpoint(f *testing.F) {
	f.Add(stream(f, Checkpoint{Index: 9, Term: 2, KVs: []KV{{[]byte("a"), []byte("b")}}}))
	f.Add([]byte(streamMagic + "\x01\x02{}\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ReadCheckpoint(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := ReadCheckpoint(bytes.NewReader(stream(t, c)))
		if err != nil || again.Index != c.Index || len(again.KVs) != len(c.KVs) {
			t.Errorf("what was read does not read again: %v", err)
		}
	})
}
