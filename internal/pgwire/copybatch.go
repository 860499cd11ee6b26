package pgwire

import (
	"errors"
	"runtime/debug"
	"strconv"
	"strings"

	"kimberlite/internal/fault"
)

// copyBatch is a portion of COPY FROM STDIN's rows. Its memory is used again.
type copyBatch struct {
	rows   [][]any
	slab   []any // that the rows are cut from
	values []any // what is left of it
	lines  []int64
	texts  *strings.Builder // that their texts are cut from
	bytes  int
}

// copyTextBytes is how much is taken at a time for the texts of rows.
const copyTextBytes = 32 << 10

// row adds a row of n values.
func (b *copyBatch) row(n int) []any {
	if len(b.values) < n {
		b.slab = make([]any, max(n, min(copyBatchRows*n, copyBatchBytes/16)))
		b.values = b.slab
	}
	row := b.values[:n:n]
	b.values = b.values[n:]
	b.rows = append(b.rows, row)
	return row
}

// text copies a field's text.
func (b *copyBatch) text(raw []byte) string {
	if len(raw) > copyTextBytes/8 {
		return string(raw)
	}
	if b.texts == nil || b.texts.Cap()-b.texts.Len() < len(raw) {
		b.texts = new(strings.Builder)
		b.texts.Grow(copyTextBytes)
	}
	from := b.texts.Len()
	b.texts.Write(raw)
	return b.texts.String()[from:]
}

// reset empties the portion. Nobody holds its rows any more: SQLite has copies.
func (b *copyBatch) reset() {
	clear(b.rows)
	clear(b.slab) // a NULL is what nobody sets
	b.rows, b.lines, b.values, b.bytes = b.rows[:0], b.lines[:0], b.slab, 0
}

// flush begins to insert the rows that were collected, once those before them
// are in.
func (c *copier) flush() error {
	if err := c.settle(); err != nil {
		return err
	}
	if len(c.batch.rows) == 0 {
		return nil
	}
	c.s.tx.wrote = true
	if c.s.idempotencyKey != "" {
		for _, args := range c.batch.rows {
			c.s.tx.work.add("", args)
		}
	}
	c.batch, c.other = c.other, c.batch
	if c.inserted == nil {
		c.inserted = make(chan error, 1)
	}
	c.underWay = true
	// It ends by itself, and copyIn waits for it. It has the transaction and
	// the other portion to itself meanwhile.
	go func() { c.inserted <- c.insert(&c.other) }()
	return nil
}

// settle waits for the portion that is being inserted, if one is.
func (c *copier) settle() error {
	if !c.underWay {
		return nil
	}
	c.underWay = false
	err := <-c.inserted
	c.other.reset()
	return err
}

// insert inserts a portion.
func (c *copier) insert(b *copyBatch) (err error) {
	defer func() {
		if recover() != nil { // the value of a panic may quote data
			c.s.log.Error("pgwire: a COPY panicked", "stack", string(debug.Stack()))
			err = fault.New("copy", fault.Internal, "internal error: see the server's log")
		}
	}()
	_, err = c.tx.ExecBatch(c.ctx, c.p.st.SQL, b.rows)
	var e *fault.Error
	if !errors.As(err, &e) {
		return err
	}
	shown := *e
	first, last := b.lines[0], b.lines[len(b.lines)-1]
	if shown.Message += " (COPY, a line from " + strconv.FormatInt(first, 10) + " to " + strconv.FormatInt(last, 10) + ")"; first == last {
		shown.Message = e.Message + " (COPY, line " + strconv.FormatInt(first, 10) + ")"
	}
	return &shown
}
