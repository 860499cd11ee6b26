package torture

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"kimberlite"
)

// everything reads a stream whole and writes what it gave.
func everything(ctx context.Context, x *kimberlite.Tenant, stream string, from uint64, limit int) (string, error) {
	events, next, err := x.Read(ctx, stream, kimberlite.NewOffset(from), limit)
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintln(&b, e.Stream, e.Offset, e.Kind, e.Before, e.After, e.ContentType, printable(e.Data))
	}
	fmt.Fprintln(&b, next)
	return b.String(), err
}

func (w *attackWorld) misuseStreams() {
	notFound, invalid := kinds(kimberlite.NotFound), kinds(kimberlite.Invalid)
	s := w.secrets
	for _, name := range []string{s.stream, s.table, strings.ToUpper(s.stream), "1/" + s.stream, "../1/feed", "1:feed", "feed\x00", "feed;" + s.stream, "feed%", "", "' OR 1=1 --", "_kimberlite_meta", "sqlite_schema", "\xff"} {
		w.attack(fmt.Sprintf("read stream %.40q", name), notFound, func(ctx context.Context) (string, error) {
			w.said = name
			return everything(ctx, w.attacker, name, 0, 0)
		})
		w.attack(fmt.Sprintf("append to stream %.40q", name), notFound, func(ctx context.Context) (string, error) {
			w.said = name
			_, err := w.attacker.Append(ctx, name, kimberlite.Message{Data: []byte("x")})
			return "", err
		})
	}
	w.attack("tail the victim's stream", notFound, func(ctx context.Context) (string, error) {
		w.said = s.stream
		return "", w.attacker.Tail(ctx, s.stream, kimberlite.NewOffset(0), func(e kimberlite.Event) error { return errors.New("an event") })
	})
	for _, name := range []string{`a"b`, `a'b`, "a/b", "../../x", `a\b`, "a b", "a;b", "%2e%2e", "日本", "\u202e", strings.Repeat("n", 255), s.own} {
		w.attack(fmt.Sprintf("a stream called %.40q", name), succeeds, func(ctx context.Context) (string, error) {
			w.said = name
			if _, err := w.attacker.CreateStream(ctx, name); err != nil {
				return "", err
			}
			if _, err := w.attacker.Append(ctx, name, kimberlite.Message{ContentType: name, Data: []byte(name)}); err != nil {
				return "", err
			}
			return everything(ctx, w.attacker, name, 0, 0)
		})
	}
	for name, want := range map[string][]kimberlite.Kind{
		"": invalid, "a\x00b": invalid, "\xff\xfe": invalid, strings.Repeat("n", 256): kinds(kimberlite.TooLarge),
		"_kimberlite_x": kinds(kimberlite.Denied), "KIMBERLITE.events": kinds(kimberlite.Denied), "sqlite_x": kinds(kimberlite.Denied),
		"feed": kinds(kimberlite.AlreadyExists), "FEED": kinds(kimberlite.AlreadyExists), "own": kinds(kimberlite.AlreadyExists),
	} {
		w.attack(fmt.Sprintf("a stream that may not be called %.40q", name), want, func(ctx context.Context) (string, error) {
			w.said = name
			_, err := w.attacker.CreateStream(ctx, name)
			return "", err
		})
	}
	w.attack("a table called as a stream", kinds(kimberlite.AlreadyExists), func(ctx context.Context) (string, error) {
		_, err := w.attacker.Exec(ctx, `CREATE TABLE Feed(a)`)
		return "", err
	})
	w.attack("a table renamed as a stream", kinds(kimberlite.AlreadyExists), func(ctx context.Context) (string, error) {
		_, err := w.attacker.Exec(ctx, `ALTER TABLE own RENAME TO feed`)
		return "", err
	})
	w.attack("append to a table", invalid, func(ctx context.Context) (string, error) {
		_, err := w.attacker.Append(ctx, "own", kimberlite.Message{Data: []byte("forged")})
		return "", err
	})
	w.attack("append nothing", invalid, func(ctx context.Context) (string, error) {
		_, err := w.attacker.Append(ctx, "feed")
		return "", err
	})
	w.attack("append too much", kinds(kimberlite.TooLarge), func(ctx context.Context) (string, error) {
		_, err := w.attacker.Append(ctx, "feed", kimberlite.Message{Data: make([]byte, 17<<20)})
		return "", err
	})
	w.attack("append too much together", kinds(kimberlite.TooLarge), func(ctx context.Context) (string, error) {
		m := kimberlite.Message{Data: make([]byte, 12<<20)}
		_, err := w.attacker.Append(ctx, "feed", m, m, m, m, m, m)
		return "", err
	})
	w.attack("a content type that is too long", kinds(kimberlite.TooLarge), func(ctx context.Context) (string, error) {
		_, err := w.attacker.Append(ctx, "feed", kimberlite.Message{ContentType: strings.Repeat("x", 256)})
		return "", err
	})
	w.attack("a content type of odd bytes", succeeds, func(ctx context.Context) (string, error) {
		_, err := w.attacker.Append(ctx, "feed", kimberlite.Message{ContentType: "\x00\xff\r\n", Data: []byte{0, 0xff}})
		return "", err
	})
	for _, from := range []uint64{1, 19, 20, 1000, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64} {
		for _, limit := range []int{0, 1, math.MaxInt, -1} {
			w.attack(fmt.Sprintf("read from %d, at most %d", from, limit), anyKind, func(ctx context.Context) (string, error) {
				return everything(ctx, w.attacker, "feed", from, limit)
			})
		}
	}
	w.attack("read the stream of a dropped table", notFound, func(ctx context.Context) (string, error) {
		w.must(w.attacker, `CREATE TABLE gone(a)`)
		w.must(w.attacker, `INSERT INTO gone VALUES(1)`)
		w.must(w.attacker, `DROP TABLE gone`)
		return everything(ctx, w.attacker, "gone", 0, 0)
	})
	w.attack("tail beyond the end", kinds(kimberlite.Timeout), func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		return "", w.attacker.Tail(ctx, "feed", kimberlite.NewOffset(math.MaxUint64), func(kimberlite.Event) error { return errors.New("an event") })
	})
	w.attack("tail while the victim writes", kinds(kimberlite.Timeout), func(ctx context.Context) (string, error) {
		return w.tailBesideVictim(ctx)
	})
	w.attack("a tail whose reader fails", kinds(kimberlite.Internal, kimberlite.Denied), func(ctx context.Context) (string, error) {
		return "", w.attacker.Tail(ctx, "own", kimberlite.NewOffset(0), func(kimberlite.Event) error {
			return &kimberlite.Error{Kind: kimberlite.Denied, Message: "enough"}
		})
	})
	w.attack("a list of streams", succeeds, func(ctx context.Context) (string, error) {
		list, err := w.attacker.Streams(ctx)
		return fmt.Sprintf("%+v", list), err
	})
}

// tailBesideVictim waits at a stream of a name that the victim has, too, while
// the victim appends to its own.
func (w *attackWorld) tailBesideVictim(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	streams, err := w.attacker.Streams(ctx)
	if err != nil {
		return "", err
	}
	end := kimberlite.NewOffset(0)
	for _, info := range streams {
		if info.Name == "feed" {
			end = info.Next
		}
	}
	first := true
	var given strings.Builder
	if _, err := w.victim.Append(ctx, "feed", kimberlite.Message{Data: []byte(w.secrets.message)}); err != nil {
		return "", err
	}
	w.before = w.lookAtVictim() // it has changed, by itself
	w.secrets.numbers = w.before.numbers()
	err = w.attacker.Tail(ctx, "feed", end, func(e kimberlite.Event) error {
		first = false
		fmt.Fprint(&given, e.Kind, printable(e.Data))
		return nil
	})
	if !first {
		w.t.Error("the tail gave an event")
	}
	return given.String(), err
}

func (w *attackWorld) misuseKeys() {
	ctx := context.Background()
	mine := kimberlite.WithIdempotencyKey(ctx, w.secrets.key)
	w.attack("the victim's idempotency key with its statement", succeeds, func(context.Context) (string, error) {
		before, err := w.attacker.Info()
		if err != nil {
			return "", err
		}
		r, err := w.attacker.Exec(mine, `INSERT INTO own(id, secret) VALUES (7927, ?)`, w.secrets.own+"-keyed")
		after, infoErr := w.attacker.Info()
		if after.LogRecords == before.LogRecords {
			w.t.Error("it was answered from the victim's memory")
		}
		return fmt.Sprint(r), errors.Join(err, infoErr)
	})
	w.attack("the same key again", succeeds, func(context.Context) (string, error) {
		r, err := w.attacker.Exec(mine, `INSERT INTO own(id, secret) VALUES (7927, ?)`, w.secrets.own+"-keyed")
		return fmt.Sprint(r), err
	})
	w.attack("the same key for something else", kinds(kimberlite.IdempotencyMismatch), func(context.Context) (string, error) {
		_, err := w.attacker.Exec(mine, `DELETE FROM own`)
		return "", err
	})
	w.attack("the same key by another way", kinds(kimberlite.IdempotencyMismatch), func(context.Context) (string, error) {
		_, err := w.attacker.Append(mine, "feed", kimberlite.Message{Data: []byte("x")})
		return "", err
	})
	w.attack("the victim's key at the third tenant", succeeds, func(context.Context) (string, error) {
		r, err := w.other.Exec(mine, `UPDATE own SET n = 1`)
		return fmt.Sprint(r), err
	})
	for name, key := range map[string]string{"odd bytes": "\x00\xff'\"", "255 bytes": strings.Repeat("k", 255), "SQL": "' OR 1=1 --", "a path": "../1/" + w.secrets.own} {
		w.attack("a key of "+name, succeeds, func(context.Context) (string, error) {
			r, err := w.attacker.Exec(kimberlite.WithIdempotencyKey(ctx, key), `UPDATE own SET n = 1`)
			return fmt.Sprint(r), err
		})
	}
	w.attack("a key that is too long", kinds(kimberlite.Invalid), func(context.Context) (string, error) {
		_, err := w.attacker.Exec(kimberlite.WithIdempotencyKey(ctx, strings.Repeat("k", 256)), `UPDATE own SET n = 1`)
		return "", err
	})
	w.attack("a key for a statement that fails", kinds(kimberlite.SQL), func(context.Context) (string, error) {
		failing := kimberlite.WithIdempotencyKey(ctx, "fails")
		_, err := w.attacker.Exec(failing, `INSERT INTO nowhere VALUES (1)`)
		w.must(w.attacker, `UPDATE own SET n = 2`)
		return "", err
	})
}
