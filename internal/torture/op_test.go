package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/projection"
	"kimberlite/internal/tenant"
)

// writerID names one writer of one tenant, each a goroutine that does one
// operation after another.
type writerID struct {
	tenant uint64
	writer int
}

// opID names an operation: number n of a writer. What it does follows from
// the seed and its id alone, so that it can be repeated after a crash.
type opID struct {
	writerID
	n int
}

type opKind int

// The operations of the load. All but append and batch leave one row in the
// table done, which tells whether they took effect.
const (
	opInsert   opKind = iota // one row
	opBatch                  // several rows of the table line, all or none
	opScript                 // several statements over three tables, all or none
	opTransfer               // an interactive transaction that reads and moves an amount
	opAppend                 // several messages, all or none
	opTxAppend               // a transaction over a table and a stream
	opPut                    // puts a row into the writer's basket
	opEmpty                  // deletes all rows of the writer's basket
	opBreak                  // fails half-way and must leave no trace
	opRollback               // is rolled back and must leave no trace
	opKinds
)

// weights say how often each kind comes.
var weights = [opKinds]int{6, 3, 4, 4, 3, 2, 3, 1, 1, 1}

type op struct {
	id   opID
	kind opKind
	// key makes a retry take effect once; "" for none.
	key              string
	count            int // rows or messages
	from, to, amount int
	pad              string
}

const (
	accounts = 6
	// opening is each account's balance at the beginning.
	opening = 1000
)

// derive returns an operation.
func derive(seed uint64, id opID) op {
	rng := rand.New(rand.NewPCG(seed^id.tenant<<32^uint64(id.writer), uint64(id.n)+1))
	o := op{id: id, count: 2 + rng.IntN(6), from: 1 + rng.IntN(accounts), amount: 1 + rng.IntN(50)}
	o.to = 1 + (o.from-1+1+rng.IntN(accounts-1))%accounts
	total := 0
	for _, w := range weights {
		total += w
	}
	for at := rng.IntN(total); at >= weights[o.kind]; o.kind++ {
		at -= weights[o.kind]
	}
	if rng.IntN(2) == 0 && o.kind != opTransfer && o.kind != opTxAppend && o.kind != opRollback {
		o.key = fmt.Sprintf("key-%d-%d-%d", id.tenant, id.writer, id.n)
	}
	length := rng.IntN(120)
	if rng.IntN(20) == 0 {
		length = 5000 // more than a page holds
	}
	o.pad = strings.Repeat("x", length)
	return o
}

// marked says whether the operation leaves a row in the table done.
func (o op) marked() bool { return o.kind != opBatch && o.kind != opAppend }

// fails says whether the operation must not take effect.
func (o op) fails() bool { return o.kind == opBreak || o.kind == opRollback }

func (o op) message(i int) projection.Message {
	return projection.Message{ContentType: "text/plain", Data: fmt.Appendf(nil, "%d:%d:%d:%s", o.id.writer, o.id.n, i, o.pad)}
}

func (o op) messages() []projection.Message {
	all := make([]projection.Message, o.count)
	for i := range all {
		all[i] = o.message(i)
	}
	return all
}

func (o op) mark() string {
	return fmt.Sprintf("INSERT INTO done (writer, n, kind, pad) VALUES (%d, %d, %d, '%s');", o.id.writer, o.id.n, o.kind, o.pad)
}

func (o op) lines() string {
	return fmt.Sprintf("INSERT INTO line (writer, n, i) VALUES (%[1]d, %[2]d, 0), (%[1]d, %[2]d, 1);", o.id.writer, o.id.n)
}

func (o op) move() string {
	return fmt.Sprintf("UPDATE account SET balance = balance - %d WHERE id = %d; UPDATE account SET balance = balance + %d WHERE id = %d;",
		o.amount, o.from, o.amount, o.to)
}

// schema is what each tenant begins with.
var schema = func() string {
	var b strings.Builder
	b.WriteString(`CREATE TABLE account (id INTEGER PRIMARY KEY, balance INT NOT NULL);
		CREATE TABLE done (id INTEGER PRIMARY KEY, writer INT NOT NULL, n INT NOT NULL, kind INT NOT NULL, pad TEXT NOT NULL);
		CREATE INDEX done_by_writer ON done (writer, n);
		CREATE TABLE line (writer INT NOT NULL, n INT NOT NULL, i INT NOT NULL);
		CREATE TABLE basket (writer INT, n INT, PRIMARY KEY (writer, n)) WITHOUT ROWID;
		CREATE TABLE tally (writer INTEGER PRIMARY KEY, count INT NOT NULL);
		CREATE TRIGGER count_done AFTER INSERT ON done BEGIN
			INSERT INTO tally VALUES (new.writer, 1) ON CONFLICT (writer) DO UPDATE SET count = count + 1;
		END;`)
	for i := range accounts {
		fmt.Fprintf(&b, "INSERT INTO account VALUES (%d, %d);", i+1, opening)
	}
	return b.String()
}()

// stream is each tenant's event stream.
const stream = "feed"

// do runs an operation. first is the stream offset of an append's first message.
func (o op) do(ctx context.Context, n *node.Node) (first uint64, err error) {
	h, err := n.Tenants().Tenant(ident.MustTenantID(o.id.tenant))
	if err != nil {
		return 0, err
	}
	rq := tenant.Request{IdempotencyKey: o.key}
	switch o.kind {
	case opInsert:
		_, err = h.Exec(ctx, rq, "INSERT INTO done (writer, n, kind, pad) VALUES (?, ?, ?, ?)",
			[]any{o.id.writer, o.id.n, int(o.kind), o.pad})
	case opBatch:
		rows := make([][]any, o.count)
		for i := range rows {
			rows[i] = []any{o.id.writer, o.id.n, i}
		}
		_, err = h.ExecBatch(ctx, rq, "INSERT INTO line (writer, n, i) VALUES (?, ?, ?)", rows)
	case opScript:
		_, err = h.Exec(ctx, rq, o.mark()+o.lines()+o.move(), nil)
	case opAppend:
		var at ident.Offset
		at, err = h.Append(ctx, rq, stream, o.messages())
		first = at.Uint64()
	case opPut:
		_, err = h.Exec(ctx, rq, fmt.Sprintf("INSERT INTO basket VALUES (%d, %d);", o.id.writer, o.id.n)+o.mark(), nil)
	case opEmpty:
		_, err = h.Exec(ctx, rq, fmt.Sprintf("DELETE FROM basket WHERE writer = %d;", o.id.writer)+o.mark(), nil)
	case opBreak:
		_, err = h.Exec(ctx, rq, o.mark()+o.lines()+o.move()+"INSERT INTO account VALUES (1, 1)", nil)
	default:
		err = o.transaction(ctx, h)
	}
	return first, err
}

// transaction runs the operations that are interactive transactions. One that
// cannot be serialised is tried again.
func (o op) transaction(ctx context.Context, h *tenant.Tenant) error {
	for try := 0; ; try++ {
		err := o.oneTransaction(ctx, h)
		if !fault.Is(err, fault.Conflict) || try == 20 {
			return err
		}
	}
}

// errRolledBack is the outcome of an operation that is rolled back.
var errRolledBack = fault.New("torture", fault.Canceled, "rolled back on purpose")

func (o op) oneTransaction(ctx context.Context, h *tenant.Tenant) error {
	tx, err := h.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	switch o.kind {
	case opTransfer:
		err = o.transfer(ctx, tx)
	case opTxAppend:
		_, err = tx.Append(ctx, stream, o.messages())
	case opRollback:
		_, err = tx.Exec(ctx, o.lines()+o.move(), nil)
	}
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, o.mark(), nil); err != nil {
		return err
	}
	if o.kind == opRollback {
		if err := tx.Rollback(); err != nil {
			return err
		}
		return errRolledBack
	}
	_, err = tx.Commit(ctx)
	return err
}

// transfer reads both balances and writes what follows from them, so that a
// lost update would show.
func (o op) transfer(ctx context.Context, tx *tenant.Tx) error {
	balance := map[int64]int64{}
	_, err := tx.Query(ctx, "SELECT id, balance FROM account WHERE id IN (?, ?)", []any{o.from, o.to}, func(r *projection.Row) error {
		balance[r.Int64(0)] = r.Int64(1)
		return nil
	})
	if err != nil {
		return err
	}
	for id, b := range map[int]int64{o.from: balance[int64(o.from)] - int64(o.amount), o.to: balance[int64(o.to)] + int64(o.amount)} {
		if _, err := tx.Exec(ctx, "UPDATE account SET balance = ? WHERE id = ?", []any{b, id}); err != nil {
			return err
		}
	}
	return nil
}
