package main

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func small() settings {
	return settings{
		tenants: 20_000, nodes: 90, regions: 4, zones: 3, replicasPerNode: 8, seed: 7,
		rate: 100 << 20, meanBytes: 64 << 20, lookUps: 20_000,
	}
}

// timeless is a report without what the machine has a part in.
func timeless(r Report) Report {
	r.PlaceTime, r.LookUps, r.Zone.PlanTime, r.Rebalanced.PlanTime = 0, LookUps{}, 0, 0
	r.Tenant.CreateTime, r.Tenant.Heap, r.Tenant.HeapPerTenant, r.Tenant.HeapRest = 0, 0, 0, 0
	return r
}

func TestASmallDeploymentKeepsItsPromises(t *testing.T) {
	s := small()
	r, err := simulate(s, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if r.Tenant.HeapPerTenant > 512 || r.Tenant.HeapPerTenant < 32 {
		t.Errorf("a tenant takes %.0f bytes of the directory, at most 512 are wanted", r.Tenant.HeapPerTenant)
	}
	if r.LookUps.ByID.P50 > time.Microsecond {
		t.Errorf("half of the look-ups take longer than %s", r.LookUps.ByID.P50)
	}
	z := r.Zone
	if z.NodesLost == 0 || z.Groups == 0 || z.WithoutMajority != 0 || z.Refused != 0 || z.Moved != z.Groups {
		t.Errorf("a zone's loss: %+v", z)
	}
	if z.Before.Crowded != 0 || z.After.Crowded != 0 || z.After.Replicas.Over() > 0.15 || z.After.Leads.Over() > 0.5 {
		t.Errorf("nodes are not evenly filled: %+v, then %+v", z.Before, z.After)
	}
	if z.CopyTime <= 0 || z.Bytes == 0 || z.CommandBytes == 0 {
		t.Errorf("moving replicas costs nothing: %+v", z)
	}
	n := r.Rebalanced
	if n.Moves == 0 || n.BytesAfter >= n.BytesBefore || n.Bytes >= n.Held/2 {
		t.Errorf("a region that grew: %+v", n)
	}
}

func TestTheSameSeedGivesTheSameDeploymentAndPlans(t *testing.T) {
	s := small()
	s.tenants, s.lookUps = 4000, 1000
	run := func(seed uint64) Report {
		s.seed = seed
		r, err := simulate(s, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		return timeless(*r)
	}
	first := run(1)
	if again := run(1); !reflect.DeepEqual(first, again) {
		t.Errorf("%+v\nand then\n%+v", first, again)
	}
	if other := run(2); reflect.DeepEqual(first.Zone, other.Zone) {
		t.Error("another seed gives the same")
	}
}

func TestReportsAreATableOrJSON(t *testing.T) {
	args := []string{"-tenants", "500", "-nodes", "18", "-regions", "2", "-replicas", "6", "-lookups", "100"}
	var out, log bytes.Buffer
	if status := run(args, &out, &log); status != 0 || !strings.Contains(out.String(), "| tenants | 500 |") {
		t.Errorf("status %d: %s%s", status, out.String(), log.String())
	}
	out.Reset()
	if status := run(append(args, "-json"), &out, io.Discard); status != 0 {
		t.Errorf("status %d", status)
	}
	var r Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.Tenants != 500 || r.Regions != 2 {
		t.Errorf("%v: %+v", err, r)
	}
	for _, bad := range [][]string{{"-nodes", "4", "-regions", "2"}, {"-tenants", "0"}, {"-rate", "fast"}, {"-mean", "-1"}, {"-replicas", "2"}, {"-zones", "0"}, {"-unknown"}} {
		log.Reset()
		if status := run(bad, io.Discard, &log); status != 2 || log.Len() == 0 {
			t.Errorf("%v: status %d, %q", bad, status, log.String())
		}
	}
}
