package placement

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"kimberlite/internal/ident"
)

// Tenant is what placement knows of a tenant that could move.
type Tenant struct {
	ID    ident.TenantID
	Shard ident.ShardID
	// Stays says that it cannot move now: it is being created, moved or
	// erased.
	Stays bool
	Bytes uint64
	Load  float64
}

// Limits bound a plan.
type Limits struct {
	// Tolerance is how far a shard may be from the mean of its region, as a
	// part of the mean, before anything moves: 0.1 is a tenth. Zero is a tenth.
	Tolerance float64
	// SlackBytes and SlackLoad are differences from the mean that are too small
	// to move anything for, whatever part of the mean they are.
	SlackBytes uint64
	SlackLoad  float64
	// Moves is how many tenants move at most, Bytes how much they hold
	// together. Zero of either is no limit, but no tenant moves twice.
	Moves int
	Bytes uint64
}

const defaultTolerance = 0.1

// Move takes one tenant from one shard to another of the same region.
type Move struct {
	Tenant   ident.TenantID
	From, To ident.ShardID
	Bytes    uint64
	Load     float64
	Reason   string
}

// Balance is how even the shards of a region are: the greatest deviation from
// the mean of the region, as a part of the mean.
type Balance struct {
	Region      ident.Region
	Shards      int
	BytesBefore float64
	BytesAfter  float64
	LoadBefore  float64
	LoadAfter   float64
	// Left says why the region is still not even after the plan; "" when it is.
	Left string
}

// Plan is what a rebalance would do.
type Plan struct {
	Moves    []Move
	Balances []Balance // in the order of the regions' names
	Bytes    uint64    // what the moves copy
}

// PlanRebalance returns the moves after which every shard of a region is
// within the tolerance of the region's mean, by bytes and by load, or as near
// as the limits and the sizes of tenants allow. A shard that is Out should be
// empty. Each move makes the region more even, goes between two shards of one
// region, and for load prefers tenants that copy few bytes. No tenant moves
// twice.
func PlanRebalance(shards []Shard, tenants []Tenant, limits Limits) Plan {
	if limits.Tolerance <= 0 {
		limits.Tolerance = defaultTolerance
	}
	if limits.Moves <= 0 {
		limits.Moves = math.MaxInt
	}
	if limits.Bytes == 0 {
		limits.Bytes = math.MaxUint64
	}
	var plan Plan
	for _, r := range regionsOf(shards, tenants) {
		balance := Balance{Region: r.region, Shards: len(r.shards)}
		balance.BytesBefore, balance.LoadBefore = r.deviation(bytes), r.deviation(load)
		balance.Left = r.even(&plan, limits)
		balance.BytesAfter, balance.LoadAfter = r.deviation(bytes), r.deviation(load)
		plan.Balances = append(plan.Balances, balance)
	}
	return plan
}

// quantity is what a plan evens out.
type quantity int

const (
	bytes quantity = iota
	load
	quantities
)

func (q quantity) String() string { return [...]string{"bytes", "load"}[q] }

// holder is a shard while a plan is made.
type holder struct {
	id      ident.ShardID
	out     bool
	has     [quantities]float64
	tenants []Tenant // those that can move
}

// area is a region while a plan is made.
type area struct {
	region ident.Region
	shards []*holder // by id
	mean   [quantities]float64
	// given up are the misfits that no move helped: none will later, since the
	// others only come nearer to the mean.
	givenUp map[trouble]bool
	// scarce says that a move was left out for the limit of bytes.
	scarce bool
}

type trouble struct {
	shard ident.ShardID
	of    quantity
}

// maxPartners bounds how many shards are tried to mend another with.
const maxPartners = 16

// regionsOf sorts shards and tenants into their regions. A tenant's bytes and
// load count where it is listed; a shard's own figures are its tenants' and
// what else it holds.
func regionsOf(shards []Shard, tenants []Tenant) []*area {
	byShard := map[ident.ShardID]*holder{}
	byRegion := map[ident.Region]*area{}
	shards = slices.Clone(shards)
	slices.SortFunc(shards, func(a, b Shard) int { return compareShards(a.ID, b.ID) })
	for _, s := range shards {
		h := &holder{id: s.ID, out: s.Out, has: [quantities]float64{float64(s.Bytes), s.Load}}
		byShard[s.ID] = h
		a := byRegion[s.Region]
		if a == nil {
			a = &area{region: s.Region, givenUp: map[trouble]bool{}}
			byRegion[s.Region] = a
		}
		a.shards = append(a.shards, h)
	}
	tenants = slices.Clone(tenants)
	slices.SortFunc(tenants, func(a, b Tenant) int { return cmp.Compare(a.ID.Uint64(), b.ID.Uint64()) })
	for _, t := range tenants {
		if h := byShard[t.Shard]; h != nil && !t.Stays {
			h.tenants = append(h.tenants, t)
		}
	}
	var areas []*area
	for _, a := range byRegion {
		a.weigh()
		areas = append(areas, a)
	}
	slices.SortFunc(areas, func(a, b *area) int { return cmp.Compare(a.region.String(), b.region.String()) })
	return areas
}

// weigh works out the mean that each shard which takes tenants should have of
// what the region holds.
func (a *area) weigh() {
	open := 0
	for _, h := range a.shards {
		if !h.out {
			open++
		}
		for q := range quantities {
			a.mean[q] += h.has[q]
		}
	}
	for q := range quantities {
		a.mean[q] /= float64(max(open, 1))
	}
}

// target is what a shard should have.
func (a *area) target(h *holder, q quantity) float64 {
	if h.out {
		return 0
	}
	return a.mean[q]
}

// off is how far a shard is from its target, as a part of the mean.
func (a *area) off(h *holder, q quantity) float64 {
	if a.mean[q] == 0 {
		return 0
	}
	return (h.has[q] - a.target(h, q)) / a.mean[q]
}

func (a *area) deviation(q quantity) float64 {
	worst := 0.0
	for _, h := range a.shards {
		worst = max(worst, math.Abs(a.off(h, q)))
	}
	return worst
}

// even adds moves to the plan until the region is within the tolerance, and
// returns why it is not, or "".
func (a *area) even(plan *Plan, limits Limits) string {
	for {
		wrong := a.uneven(limits)
		if len(wrong) == 0 {
			return ""
		}
		if len(plan.Moves) >= limits.Moves {
			return fmt.Sprintf("the limit of %d moves is reached", limits.Moves)
		}
		p, i, ok := a.find(wrong, limits.Bytes-plan.Bytes, limits.Tolerance)
		if !ok {
			if a.scarce {
				return fmt.Sprintf("the limit of %d bytes is reached", limits.Bytes)
			}
			return "no move that is left would make it so much more even that it is worth the copy"
		}
		a.move(plan, p, i)
	}
}

// misfit is a shard that is too far from its target, in one quantity.
type misfit struct {
	shard *holder
	of    quantity
	off   float64
}

// uneven returns what is beyond the tolerance, the worst first.
func (a *area) uneven(limits Limits) []misfit {
	var wrong []misfit
	slack := [quantities]float64{float64(limits.SlackBytes), limits.SlackLoad}
	for _, h := range a.shards {
		if h.out {
			if len(h.tenants) > 0 { // it must be emptied, however little it holds
				wrong = append(wrong, misfit{h, bytes, math.Inf(1)})
			}
			continue
		}
		for q := range quantities {
			off := a.off(h, q)
			if math.Abs(off) > limits.Tolerance && math.Abs(off)*a.mean[q] > slack[q] {
				wrong = append(wrong, misfit{h, q, off})
			}
		}
	}
	slices.SortStableFunc(wrong, func(x, y misfit) int { return cmp.Compare(math.Abs(y.off), math.Abs(x.off)) })
	return wrong
}

// pair is a shard to take from and one to give to, for one quantity.
type pair struct {
	from, to *holder
	of       quantity
}

// partners returns the pairs that mend a misfit, the best first: with those
// that are furthest on the other side of the mean.
func (a *area) partners(m misfit) []pair {
	others := slices.Clone(a.shards)
	slices.SortStableFunc(others, func(x, y *holder) int { return cmp.Compare(a.off(x, m.of), a.off(y, m.of)) })
	if m.off < 0 {
		slices.Reverse(others)
	}
	var pairs []pair
	for _, h := range others {
		p := pair{from: m.shard, to: h, of: m.of}
		if m.off < 0 {
			p.from, p.to = p.to, p.from
		}
		if p.from != p.to && !p.to.out {
			pairs = append(pairs, p)
		}
		if len(pairs) == maxPartners {
			break
		}
	}
	return pairs
}

// find returns the first move that helps: the pair and the tenant's index.
func (a *area) find(wrong []misfit, room uint64, tolerance float64) (pair, int, bool) {
	for _, m := range wrong {
		key := trouble{m.shard.id, m.of}
		if a.givenUp[key] {
			continue
		}
		for _, p := range a.partners(m) {
			if i := a.pick(p, room, tolerance); i >= 0 {
				return p, i, true
			}
		}
		a.givenUp[key] = true
	}
	return pair{}, 0, false
}

func (a *area) move(plan *Plan, p pair, i int) {
	t := p.from.tenants[i]
	plan.Moves = append(plan.Moves, Move{
		Tenant: t.ID, From: p.from.id, To: p.to.id, Bytes: t.Bytes, Load: t.Load, Reason: a.reason(p),
	})
	plan.Bytes += t.Bytes
	for q, v := range [quantities]float64{float64(t.Bytes), t.Load} {
		p.from.has[q] -= v
		p.to.has[q] += v
	}
	p.from.tenants = slices.Delete(p.from.tenants, i, i+1)
}

// leastGain is below what rounding makes of nothing.
const leastGain = 1e-12

// pick returns the index of the tenant whose move from one shard to the other
// is worth most, or -1. A move is worth what it takes off the sum of squared
// deviations of both quantities. For load that is divided by what it copies;
// for bytes nothing else copies less. A move that copies much for little is
// left: two shards that differ by less than half the tolerance after it by
// bytes, or as much by load for the same bytes.
func (a *area) pick(p pair, room uint64, tolerance float64) int {
	best, worth := -1, 0.0
	typical := 1.0 // so that a tenant of no bytes is not worth infinitely much
	for _, t := range p.from.tenants {
		typical += float64(t.Bytes) / float64(len(p.from.tenants))
	}
	for i, t := range p.from.tenants {
		gain := a.gain(p, t)
		least := leastGain
		if a.mean[bytes] > 0 {
			least += tolerance * float64(t.Bytes) / a.mean[bytes]
		}
		if p.from.out {
			gain, least = 1, 0 // it leaves in any case
		}
		if gain < least {
			continue
		}
		if t.Bytes > room {
			a.scarce = true
			continue
		}
		if p.of == load {
			gain /= typical + float64(t.Bytes)
		}
		if gain > worth {
			best, worth = i, gain
		}
	}
	return best
}

// gain is how much more even both shards are after a tenant's move.
func (a *area) gain(p pair, t Tenant) float64 {
	sum := 0.0
	for q, v := range [quantities]float64{float64(t.Bytes), t.Load} {
		if a.mean[q] == 0 {
			continue
		}
		v /= a.mean[q]
		// (from² + to²) before, less the same after.
		sum += 2 * v * (a.off(p.from, quantity(q)) - a.off(p.to, quantity(q)) - v)
	}
	return sum
}

func (a *area) reason(p pair) string {
	if p.from.out {
		return fmt.Sprintf("shard %s is to be emptied", p.from.id)
	}
	return fmt.Sprintf("shard %s holds %s, shard %s %s of the mean %s of region %s",
		p.from.id, percent(1+a.off(p.from, p.of)), p.to.id, percent(1+a.off(p.to, p.of)), p.of, a.region)
}

func percent(part float64) string { return fmt.Sprintf("%.0f %%", 100*part) }
