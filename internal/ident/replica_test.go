package ident_test

import (
	"encoding/json"
	"testing"

	"kimberlite/internal/ident"
)

func TestPlacesAreNumbersInJSON(t *testing.T) {
	t.Parallel()
	type place struct {
		Shard   ident.ShardID   `json:"shard"`
		Node    ident.NodeID    `json:"node"`
		Replica ident.ReplicaID `json:"replica"`
	}
	in := place{ident.NewShardID(3), ident.NewNodeID(18446744073709551615), ident.NewReplicaID(7)}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"shard":3,"node":18446744073709551615,"replica":7}`; string(b) != want {
		t.Fatalf("got %s, want %s", b, want)
	}
	var out place
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Fatalf("read back %+v, %v", out, err)
	}
	for _, bad := range []string{`{"shard":-1}`, `{"node":1.5}`, `{"replica":"x"}`, `{"node":18446744073709551616}`} {
		if err := json.Unmarshal([]byte(bad), &out); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestParsingPlaces(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "0", "-1", "one", "1.0", "99999999999999999999"} {
		if _, err := ident.ParseShardID(bad); err == nil {
			t.Errorf("shard %q was read", bad)
		}
		if _, err := ident.ParseNodeID(bad); err == nil {
			t.Errorf("node %q was read", bad)
		}
	}
	if s, err := ident.ParseShardID("12"); err != nil || s != ident.NewShardID(12) || s.IsDirectory() {
		t.Errorf("shard 12 is %v, %v", s, err)
	}
	if n, err := ident.ParseNodeID("12"); err != nil || n != ident.NewNodeID(12) || n.IsZero() {
		t.Errorf("node 12 is %v, %v", n, err)
	}
	if !ident.DirectoryShard.IsDirectory() {
		t.Error("the directory's shard is not the directory's")
	}
}
