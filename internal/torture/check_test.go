package torture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/tenant"
)

// checker holds an open node against a ledger.
type checker struct {
	n       *node.Node
	l       *ledger
	seed    uint64
	tenants int
	// rebuild says of which tenants the projection is rebuilt and compared.
	rebuild func(tenant uint64) bool
	// settle notes for each operation whose outcome was open what was found:
	// from then on it must stay so.
	settle bool
	// strangers says that tenants and keys may exist that the ledger does not
	// know.
	strangers bool
}

// check returns all that is wrong, joined.
func (c *checker) check(ctx context.Context) error {
	var errs []error
	for t := uint64(1); t <= uint64(c.tenants); t++ {
		if err := c.tenant(ctx, t); err != nil {
			errs = append(errs, fmt.Errorf("tenant %d: %w", t, err))
		}
	}
	return errors.Join(append(errs, c.admin(ctx))...)
}

func (c *checker) tenant(ctx context.Context, t uint64) error {
	h, err := c.n.Tenants().Tenant(ident.MustTenantID(t))
	if fault.Is(err, fault.NotFound) && !c.l.acked(setupID(t, setupCreate)) {
		return nil
	}
	if err != nil {
		return err
	}
	found, err := c.look(ctx, h)
	if err != nil {
		if !c.l.acked(setupID(t, setupSchema)) && fault.Is(err, fault.SQL) {
			return nil
		}
		return err
	}
	writers := c.l.writers(t)
	delete(writers, setupWriter)
	if err := found.compare(c, t, writers); err != nil {
		return err
	}
	if c.rebuild == nil || !c.rebuild(t) {
		return nil
	}
	return c.rebuilt(ctx, h)
}

// rebuilt compares the projection with one made from the log.
func (c *checker) rebuilt(ctx context.Context, h *tenant.Tenant) error {
	before, err := h.TableHash(ctx)
	if err != nil {
		return err
	}
	if err := h.Rebuild(ctx); err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	after, err := h.TableHash(ctx)
	if err != nil {
		return err
	}
	if before != after {
		return errors.New("the projection differs from one rebuilt from the log")
	}
	return nil
}

// content is what was found of a tenant.
type content struct {
	done    map[[2]int]int // by writer and n: how often
	lines   map[[2]int][]int
	basket  map[[2]int]bool
	balance map[int]int
	tally   map[int]int
	feed    []message
}

type message struct {
	writer, n, i int
}

func (c *checker) look(ctx context.Context, h *tenant.Tenant) (*content, error) {
	f := &content{done: map[[2]int]int{}, lines: map[[2]int][]int{}, basket: map[[2]int]bool{}, balance: map[int]int{}, tally: map[int]int{}}
	err := errors.Join(
		each(ctx, h, "SELECT id, balance, 0 FROM account", func(id, balance, _ int) { f.balance[id] = balance }),
		each(ctx, h, "SELECT writer, n, 0 FROM done", func(w, n, _ int) { f.done[[2]int{w, n}]++ }),
		each(ctx, h, "SELECT writer, n, i FROM line", func(w, n, i int) { f.lines[[2]int{w, n}] = append(f.lines[[2]int{w, n}], i) }),
		each(ctx, h, "SELECT writer, n, 0 FROM basket", func(w, n, _ int) { f.basket[[2]int{w, n}] = true }),
		each(ctx, h, "SELECT writer, count, 0 FROM tally", func(w, n, _ int) { f.tally[w] = n }),
	)
	if err != nil {
		return nil, err
	}
	return f, f.readFeed(ctx, h)
}

// each gives fn the first three columns of every row.
func each(ctx context.Context, h *tenant.Tenant, sql string, fn func(a, b, c int)) error {
	rows, err := h.Query(ctx, sql, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	defer rows.Close()
	for rows.Next() {
		fn(int(rows.Int64(0)), int(rows.Int64(1)), int(rows.Int64(2)))
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

func (f *content) readFeed(ctx context.Context, h *tenant.Tenant) error {
	at := uint64(0)
	_, err := h.ReadStream(ctx, stream, ident.NewOffset(0), 0, func(e *tenant.StreamEvent) error {
		if e.Offset.Uint64() != at {
			return fmt.Errorf("stream offset %d where %d comes next", e.Offset.Uint64(), at)
		}
		at++
		var m message
		parts := strings.SplitN(string(e.Event.Data), ":", 4)
		if len(parts) != 4 {
			return fmt.Errorf("message %d is none of ours", at-1)
		}
		m.writer, _ = strconv.Atoi(parts[0])
		m.n, _ = strconv.Atoi(parts[1])
		m.i, _ = strconv.Atoi(parts[2])
		f.feed = append(f.feed, m)
		return nil
	})
	if fault.Is(err, fault.NotFound) {
		return nil // it is made last
	}
	return err
}

// compare says how the content differs from what the ledger allows.
func (f *content) compare(c *checker, t uint64, writers map[int][]opState) error {
	want := &content{lines: map[[2]int][]int{}, basket: map[[2]int]bool{}, balance: map[int]int{}}
	for i := range accounts {
		want.balance[i+1] = opening
	}
	appended := f.byOperation()
	marks := 0
	for w, ops := range writers {
		count := 0
		for n, state := range ops {
			o := derive(c.seed, opID{writerID{t, w}, n})
			took, err := f.tookEffect(o, appended[[2]int{w, n}])
			if err != nil {
				return err
			}
			if err := c.allowed(o, state, took, appended[[2]int{w, n}]); err != nil {
				return err
			}
			delete(appended, [2]int{w, n})
			if took {
				want.apply(o)
			}
			if took && o.marked() {
				count++
			}
		}
		if f.tally[w] != count {
			return fmt.Errorf("writer %d: %d rows marked, and the trigger counted %d", w, count, f.tally[w])
		}
		marks += count
	}
	if len(f.done) != marks || len(appended) != 0 {
		return fmt.Errorf("%d operations left marks and %d are known; messages of %d that nobody began", len(f.done), marks, len(appended))
	}
	return want.same(f)
}

// appendedAt is where one operation's messages stand.
type appendedAt struct {
	first uint64
	count int
	whole bool // one after another, from 0 on
}

func (f *content) byOperation() map[[2]int]appendedAt {
	all := map[[2]int]appendedAt{}
	for at, m := range f.feed {
		id := [2]int{m.writer, m.n}
		a, seen := all[id]
		if !seen {
			a = appendedAt{first: uint64(at), whole: true}
		}
		a.whole = a.whole && m.i == a.count && a.first+uint64(a.count) == uint64(at)
		a.count++
		all[id] = a
	}
	return all
}

// tookEffect says whether an operation took effect; an error says that it did
// by halves, or twice.
func (f *content) tookEffect(o op, at appendedAt) (bool, error) {
	id := [2]int{o.id.writer, o.id.n}
	messages := o.kind == opAppend || o.kind == opTxAppend
	if at.count > 0 && (!messages || at.count != o.count || !at.whole) {
		return false, fmt.Errorf("operation %v of kind %d: %d messages of %d, in one piece: %t", o.id, o.kind, at.count, o.count, at.whole)
	}
	if n := f.done[id]; n > 1 {
		return false, fmt.Errorf("operation %v of kind %d took effect %d times", o.id, o.kind, n)
	}
	switch o.kind {
	case opAppend:
		return at.count > 0, nil
	case opBatch:
		return len(f.lines[id]) > 0, nil
	case opTxAppend:
		if (at.count > 0) != (f.done[id] > 0) {
			return false, fmt.Errorf("transaction %v: %d messages and %d rows", o.id, at.count, f.done[id])
		}
	}
	return f.done[id] == 1, nil
}

// allowed says whether what was found of an operation may be.
func (c *checker) allowed(o op, s opState, took bool, at appendedAt) error {
	switch {
	case took && (s.status == refused || o.fails()):
		return fmt.Errorf("operation %v of kind %d was refused and took effect", o.id, o.kind)
	case !took && s.status == acked:
		return fmt.Errorf("operation %v of kind %d was acknowledged and is lost", o.id, o.kind)
	case took && s.told && o.kind == opAppend && s.first != at.first:
		return fmt.Errorf("operation %v was told offset %d and stands at %d", o.id, s.first, at.first)
	}
	if s.status != begun || !c.settle {
		return nil
	}
	found := opState{status: refused}
	if took {
		found.status = acked
	}
	if !took && o.key != "" {
		return nil // it will be repeated
	}
	return c.l.note(o.id, found)
}

// apply does an operation to the content that is wanted.
func (f *content) apply(o op) {
	id := [2]int{o.id.writer, o.id.n}
	switch o.kind {
	case opBatch:
		for i := range o.count {
			f.lines[id] = append(f.lines[id], i)
		}
	case opScript:
		f.lines[id] = []int{0, 1}
		f.move(o)
	case opTransfer:
		f.move(o)
	case opPut:
		f.basket[id] = true
	case opEmpty:
		for at := range f.basket {
			if at[0] == o.id.writer {
				delete(f.basket, at)
			}
		}
	}
}

func (f *content) move(o op) {
	f.balance[o.from] -= o.amount
	f.balance[o.to] += o.amount
}

// same compares the tables that follow from the operations.
func (f *content) same(got *content) error {
	for id, want := range f.lines {
		slices.Sort(got.lines[id])
		if !slices.Equal(want, got.lines[id]) {
			return fmt.Errorf("operation %v has lines %v, want %v", id, got.lines[id], want)
		}
	}
	if len(f.lines) != len(got.lines) {
		return fmt.Errorf("lines of %d operations, want %d", len(got.lines), len(f.lines))
	}
	if len(f.basket) != len(got.basket) {
		return fmt.Errorf("%d rows in baskets, want %d", len(got.basket), len(f.basket))
	}
	for id := range f.basket {
		if !got.basket[id] {
			return fmt.Errorf("row %v is missing in the basket", id)
		}
	}
	for id, want := range f.balance {
		if got.balance[id] != want {
			return fmt.Errorf("account %d has %d, want %d", id, got.balance[id], want)
		}
	}
	return nil
}
