package clustertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A tenant's table is a set that only grows: clients insert ids that are never
// used twice, and read how many there are, their sum and the greatest. Ids are
// drawn from a wide range, so that two different sets hardly ever have the same
// sum.

// insert is an operation's input; 0 is a read.
type insert int64

// summary is what a read returns, and what a set is for the model.
type summary struct {
	count, sum, greatest int64
}

func (s summary) with(id insert) summary {
	return summary{s.count + 1, s.sum + int64(id), max(s.greatest, int64(id))}
}

func (s summary) String() string { return fmt.Sprintf("%d rows, sum %d", s.count, s.sum) }

// growingSet is the model: an insert adds its id, a read returns the summary.
var growingSet = porcupine.Model{
	Init: func() any { return summary{} },
	Step: func(state, input, output any) (bool, any) {
		s, id := state.(summary), input.(insert)
		if id != 0 {
			return true, s.with(id)
		}
		return output.(summary) == s, s
	},
	DescribeOperation: func(input, output any) string {
		if id := input.(insert); id != 0 {
			return fmt.Sprintf("insert %d", id)
		}
		return "read: " + output.(summary).String()
	},
	DescribeState: func(state any) string { return state.(summary).String() },
}

// clock is how the nodes' logs write a time.
const clock = "15:04:05.000"

// outcome is what a client knows of an operation.
type outcome int

const (
	happened outcome = iota
	refused          // the server says that nothing happened
	unknown
)

// history is what the clients of one tenant saw.
type history struct {
	began time.Time

	mu    sync.Mutex // guards the rest
	done  []porcupine.Operation
	open  []porcupine.Operation // outcome not known
	not   map[insert]string     // refused, and what was said
	codes map[string]int        // of refusals, by SQLSTATE
}

func newHistory() *history {
	return &history{began: time.Now(), not: map[insert]string{}, codes: map[string]int{}}
}

func (h *history) add(o outcome, code, said string, op porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if code != "" {
		h.codes[code]++
	}
	switch o {
	case happened:
		h.done = append(h.done, op)
	case unknown:
		if op.Input.(insert) != 0 {
			h.open = append(h.open, op)
		}
	case refused:
		if id := op.Input.(insert); id != 0 {
			h.not[id] = fmt.Sprintf("%s to %s: %s", h.began.Add(time.Duration(op.Call)).UTC().Format(clock), h.began.Add(time.Duration(op.Return)).UTC().Format(clock), said)
		}
	}
}

// acknowledged counts the operations that were, by kind.
func (h *history) acknowledged() (inserts, reads int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, op := range h.done {
		if op.Input.(insert) != 0 {
			inserts++
		} else {
			reads++
		}
	}
	return inserts, reads
}

// check holds the history against what the table holds in the end.
func (h *history) check(final []int64, within time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	there := make(map[int64]bool, len(final))
	state := summary{}
	for _, id := range final {
		if there[id] {
			return fmt.Errorf("id %d is there twice", id)
		}
		there[id] = true
		state = state.with(insert(id))
	}
	known := map[int64]bool{}
	ops := slices.Clone(h.done)
	for _, op := range h.done {
		if id := int64(op.Input.(insert)); id != 0 {
			known[id] = true
			if !there[id] {
				return fmt.Errorf("insert %d was acknowledged %s after the start, and is lost", id, time.Duration(op.Return))
			}
		}
	}
	var wrong []error
	for id, said := range h.not {
		if there[int64(id)] {
			wrong = append(wrong, fmt.Errorf("insert %d was refused, and took effect: %s", id, said))
		}
	}
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	end := int64(time.Since(h.began))
	for _, op := range h.open {
		id := int64(op.Input.(insert))
		known[id] = true
		// Rows are never deleted: one that is not there in the end never was.
		if there[id] {
			op.Return = end
			ops = append(ops, op)
		}
	}
	for id := range there {
		if !known[id] {
			return fmt.Errorf("id %d is there and nobody inserted it", id)
		}
	}
	ops = append(ops, porcupine.Operation{ClientId: 9999, Input: insert(0), Call: end + 1, Output: state, Return: end + 2})
	switch result := porcupine.CheckOperationsTimeout(growingSet, ops, within); result {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("%d operations could not be decided on within %s", len(ops), within)
	default:
		return fmt.Errorf("the history of %d operations is not linearisable", len(ops))
	}
}

// client works on one tenant, by connections to whatever node it likes.
type client struct {
	id      int
	connect func(ctx context.Context, random *rand.Rand) (*pgx.Conn, error)
	history *history
	random  *rand.Rand
	// limit is how long it waits for an answer.
	limit time.Duration
}

// work inserts and reads until ctx ends.
func (c *client) work(ctx context.Context) {
	var conn *pgx.Conn
	drop := func() {
		if conn != nil {
			closing, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = conn.Close(closing)
			conn = nil
		}
	}
	defer drop()
	for ctx.Err() == nil {
		if conn == nil || c.random.IntN(200) == 0 { // now and then another node
			drop()
			dialling, cancel := context.WithTimeout(ctx, c.limit)
			var err error
			conn, err = c.connect(dialling, c.random)
			cancel()
			if err != nil {
				conn = nil
				pause(ctx, 20*time.Millisecond)
				continue
			}
		}
		if c.step(ctx, conn) != happened {
			drop()
		}
		// So few that a history of minutes can be decided on, and that processes
		// and faults share the machine with room to spare.
		pause(ctx, time.Duration(c.random.IntN(40))*time.Millisecond)
	}
}

// step runs one operation to its end, even when ctx ends meanwhile.
func (c *client) step(ctx context.Context, conn *pgx.Conn) outcome {
	running, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.limit)
	defer cancel()
	op := porcupine.Operation{ClientId: c.id, Input: insert(0), Call: int64(time.Since(c.history.began))}
	var err error
	if c.random.IntN(3) > 0 {
		id := 1 + c.random.Int64N(1<<40)
		op.Input = insert(id)
		_, err = conn.Exec(running, "INSERT INTO entry (id) VALUES ($1)", id)
	} else {
		var s summary
		err = conn.QueryRow(running, "SELECT count(*), coalesce(sum(id), 0)::bigint, coalesce(max(id), 0) FROM entry").Scan(&s.count, &s.sum, &s.greatest)
		op.Output = s
	}
	op.Return = int64(time.Since(c.history.began))
	o, code := outcomeOf(err)
	c.history.add(o, code, fmt.Sprintf("at port %d: %v", conn.Config().Port, err), op)
	return o
}

// outcomeOf tells what an error says of an operation that was sent.
func outcomeOf(err error) (o outcome, code string) {
	var answered *pgconn.PgError
	switch {
	case err == nil:
		return happened, ""
	case errors.As(err, &answered) && answered.Code == "08007":
		return unknown, answered.Code
	case errors.As(err, &answered):
		return refused, answered.Code
	case pgconn.SafeToRetry(err):
		return refused, "not sent"
	}
	return unknown, "connection"
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// op is an operation of a made-up history.
func op(client int, id insert, call, back int64, output summary) porcupine.Operation {
	return porcupine.Operation{ClientId: client, Input: id, Call: call, Return: back, Output: output}
}

func TestTheCheckerFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	one, both := summary{1, 5, 5}, summary{2, 12, 7}
	for name, test := range map[string]struct {
		history *history
		final   []int64
		right   bool
	}{
		"one after another":               {&history{done: []porcupine.Operation{op(1, 5, 0, 1, summary{}), op(1, 0, 2, 3, one)}}, []int64{5}, true},
		"a read beside an insert sees it": {&history{done: []porcupine.Operation{op(1, 5, 0, 10, summary{}), op(2, 0, 1, 2, one)}}, []int64{5}, true},
		"a read beside an insert may not": {&history{done: []porcupine.Operation{op(1, 5, 0, 10, summary{}), op(2, 0, 1, 2, summary{})}}, []int64{5}, true},
		"a stale read":                    {&history{done: []porcupine.Operation{op(1, 5, 0, 1, summary{}), op(2, 0, 2, 3, summary{})}}, []int64{5}, false},
		"a read that goes back":           {&history{done: []porcupine.Operation{op(1, 5, 0, 10, summary{}), op(2, 0, 1, 2, one), op(3, 0, 3, 4, summary{})}}, []int64{5}, false},
		"a lost insert":                   {&history{done: []porcupine.Operation{op(1, 5, 0, 1, summary{})}}, nil, false},
		"a refused insert took effect":    {&history{not: map[insert]string{5: ""}}, []int64{5}, false},
		"an insert of nobody":             {&history{}, []int64{5}, false},
		"an unknown one took effect":      {&history{open: []porcupine.Operation{op(1, 5, 0, 1, summary{})}, done: []porcupine.Operation{op(2, 0, 2, 3, summary{}), op(2, 0, 4, 5, one)}}, []int64{5}, true},
		"an unknown one came and went":    {&history{open: []porcupine.Operation{op(1, 5, 0, 1, summary{})}, done: []porcupine.Operation{op(2, 0, 2, 3, one)}}, nil, false},
		"the order of two is seen":        {&history{done: []porcupine.Operation{op(1, 5, 0, 10, summary{}), op(2, 7, 0, 10, summary{}), op(3, 0, 1, 2, one), op(4, 0, 3, 4, both)}}, []int64{7, 5}, true},
		"two orders are seen": {&history{done: []porcupine.Operation{op(1, 5, 0, 10, summary{}), op(2, 7, 0, 10, summary{}), op(3, 0, 1, 6, one),
			op(4, 0, 3, 5, summary{1, 7, 7}), op(5, 0, 11, 12, both)}}, []int64{7, 5}, false},
		"an id twice": {&history{done: []porcupine.Operation{op(1, 5, 0, 1, summary{})}}, []int64{5, 5}, false},
	} {
		test.history.began = time.Now()
		if err := test.history.check(test.final, 10*time.Second); (err == nil) != test.right {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestALongHistoryWithUnknownOutcomesIsDecidedOn(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	h := newHistory()
	h.began = time.Now().Add(-time.Hour)
	var final []int64
	state := summary{}
	at := int64(0)
	// Eight clients, a hundred changes of leader: each leaves some unknown.
	for range 100 {
		for range 60 {
			at += 2
			id := 1 + random.Int64N(1<<40)
			if random.IntN(3) == 0 {
				h.add(happened, "", "", op(1, 0, at-10, at+1, state))
				continue
			}
			state = state.with(insert(id))
			final = append(final, id)
			h.add(happened, "", "", op(2, insert(id), at, at+1, summary{}))
		}
		for k := range 8 {
			id := 1 + random.Int64N(1<<40)
			h.add(unknown, "", "", op(10+k, insert(id), at, at+1, summary{}))
			if random.IntN(2) == 0 {
				state = state.with(insert(id))
				final = append(final, id)
			}
		}
		at += 20
	}
	if err := h.check(final, 30*time.Second); err != nil {
		t.Fatal(err)
	}
}
