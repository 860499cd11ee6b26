package main

import (
	"kimberlite/internal/ident"
	"kimberlite/internal/placement"
)

// Even says how evenly something is spread: the mean, and the greatest and the
// least part of it.
type Even struct {
	Mean, Most, Least float64
}

func evenOf(values []float64) Even {
	if len(values) == 0 {
		return Even{}
	}
	e := Even{Most: values[0], Least: values[0]}
	for _, v := range values {
		e.Mean += v
		e.Most, e.Least = max(e.Most, v), min(e.Least, v)
	}
	e.Mean /= float64(len(values))
	return e
}

// Over is how much more than the mean the fullest has, as a part of the mean.
func (e Even) Over() float64 {
	if e.Mean == 0 {
		return 0
	}
	return e.Most/e.Mean - 1
}

// NodeEvenness is how evenly the nodes of a region are filled.
type NodeEvenness struct {
	Nodes                  int
	Replicas, Bytes, Leads Even
	// Crowded counts groups that have more replicas in one zone than its zones
	// make necessary.
	Crowded int
}

func (w *world) evenness(region ident.Region) NodeEvenness {
	var replicas, bytes, leads []float64
	led := map[ident.NodeID]int{}
	zones := map[string]bool{}
	for _, g := range w.groups {
		led[g.Leader]++
	}
	for _, n := range w.nodes {
		if n.Region != region || n.Out {
			continue
		}
		zones[n.Zone] = true
		replicas = append(replicas, float64(n.Replicas))
		bytes = append(bytes, float64(n.Bytes))
		leads = append(leads, float64(led[n.ID]))
	}
	e := NodeEvenness{Nodes: len(replicas), Replicas: evenOf(replicas), Bytes: evenOf(bytes), Leads: evenOf(leads)}
	for _, g := range w.groups {
		if g.Region == region && w.crowded(g, len(zones)) {
			e.Crowded++
		}
	}
	return e
}

func (w *world) crowded(g placement.Group, zones int) bool {
	counts := map[string]int{}
	for _, id := range g.Replicas {
		counts[w.nodes[id.Uint64()-1].Zone]++
	}
	for _, n := range counts {
		if n > (len(g.Replicas)+zones-1)/max(zones, 1) {
			return true
		}
	}
	return false
}
