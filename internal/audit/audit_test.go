package audit

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

var start = time.Unix(1_800_000_000, 0).UTC()

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	for _, e := range []Entry{
		{Action: Login, Outcome: OK},
		{Principal: "app", Role: "owner", Remote: "192.0.2.1", Action: SchemaChanged, Object: "patients", Outcome: OK, Detail: map[string]any{"change": "create table", "count": json.Number("3")}},
	} {
		back, err := Decode(e.Encode())
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Errorf("%+v became %+v: %v", e, back, err)
		}
	}
	long := Entry{Action: Denied, Object: strings.Repeat("x", 1<<20), Outcome: "a\xffb"}
	back, err := Decode(long.Encode())
	if err != nil || len(back.Object) != maxText || back.Outcome != "a?b" {
		t.Errorf("%d bytes, %q: %v", len(back.Object), back.Outcome, err)
	}
	if back, err := Decode(Entry{Action: Login, Detail: map[string]any{"x": math.Inf(1)}}.Encode()); err != nil || back.Detail != nil {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestAFloodBecomesFewEntriesThatCountItAll(t *testing.T) {
	var g Gatherer
	e := Entry{Action: Login, Remote: "192.0.2.1", Outcome: Refused}
	total, written := 0, 0
	take := func(now time.Time, all bool) {
		due, _ := g.Take(now, all)
		for _, e := range due {
			written++
			if n, ok := e.Detail["count"].(int); ok {
				total += n
			} else {
				total++
			}
		}
	}
	now := start
	for range 10_000 { // 100 s
		now = now.Add(10 * time.Millisecond)
		if due := g.Add(now, e); !due.After(now) {
			take(now, false)
		}
	}
	take(now, true)
	if total != 10_000 || written > 12 {
		t.Fatalf("%d entries that count %d", written, total)
	}
	if due, next := g.Take(now.Add(time.Hour), false); len(due) != 0 || !next.IsZero() {
		t.Fatal(due, next)
	}
}

func TestKindsAreBounded(t *testing.T) {
	var g Gatherer
	for i := range 100_000 {
		g.Add(start.Add(time.Duration(i)), Entry{Action: Login, Object: fmt.Sprint(i), Outcome: Refused})
		if len(g.kinds) > maxGathered+1 {
			t.Fatalf("%d kinds", len(g.kinds))
		}
	}
	due, _ := g.Take(start.Add(time.Second), true)
	if len(due) != maxGathered+1 {
		t.Fatalf("%d entries", len(due))
	}
	total := 0
	for _, e := range due {
		if n, ok := e.Detail["count"].(int); ok {
			total += n
		} else {
			total++
		}
	}
	if total != 100_000 {
		t.Fatalf("%d of 100000 are counted", total)
	}
	g.Take(start.Add(time.Minute), false)
	if len(g.kinds) != 0 {
		t.Fatal("nothing is forgotten")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Entry{Action: Login, Outcome: OK, Detail: map[string]any{"a": 1}}.Encode())
	f.Add([]byte(`{"action":"x","unknown":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			return
		}
		if _, err := Decode(e.Encode()); err != nil && e.Action != "" {
			t.Fatal(err)
		}
	})
}
