package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
)

func streamReadCommand(a *app) *cobra.Command {
	var tenant, limit string
	var position positionFlag
	c := &cobra.Command{
		Use:   "read STREAM",
		Short: "Read the events of a stream or table from an offset on",
		Long: `Read the events of a stream or table from an offset on. With --json each event
is one line: data is a message's JSON or text, data_base64 any other; before and
after are a row before and after its change.`,
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite sql --data ./data --tenant 1 -c "CREATE TABLE patients (id INTEGER, name TEXT)" -c "INSERT INTO patients VALUES (123, 'Alice')"
  kimberlite stream read --data ./data --tenant 1 patients --from 0 --limit 10 --json`,
		Args: exactly("STREAM"),
	}
	tenantFlag(c, &tenant)
	position.add(c)
	c.Flags().StringVar(&limit, "limit", "0", "most events to read; 0 reads all")
	return a.verb(c, func(ctx context.Context, args []string) error {
		from, err := position.offset()
		if err != nil {
			return err
		}
		most, err := quantity.ParseCount(limit)
		if err != nil {
			return badFlag("--limit", err)
		}
		return a.onTenant(ctx, tenant, func(_ backend, t tenantHandle) error {
			return a.readStream(ctx, t, args[0], from, most)
		})
	})
}

// readStep is how many events are held in memory at once.
const readStep = 1000

func (a *app) readStream(ctx context.Context, t streamTenant, stream string, from kimberlite.Offset, most int64) error {
	for left := most; ; {
		step := int64(readStep)
		if most > 0 {
			step = min(step, left)
		}
		events, next, err := t.Read(ctx, stream, from, int(step))
		if err != nil {
			return err
		}
		for i := range events {
			if err := a.printEvent(&events[i]); err != nil {
				return err
			}
		}
		left -= int64(len(events))
		if int64(len(events)) < step || (most > 0 && left <= 0) {
			return nil
		}
		from = next
	}
}

func streamTailCommand(a *app) *cobra.Command {
	var tenant string
	var position positionFlag
	c := &cobra.Command{
		Use:   "tail STREAM",
		Short: "Read the events of a stream or table, and each new one, until Ctrl-C",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite stream create --data ./data --tenant 1 admissions
  kimberlite stream append --data ./data --tenant 1 admissions '{"patient":"123"}'
  timeout --preserve-status -s INT 2 kimberlite stream tail --data ./data --tenant 1 admissions || test $? = 130`,
		Args: exactly("STREAM"),
	}
	tenantFlag(c, &tenant)
	position.add(c)
	return a.verb(c, func(ctx context.Context, args []string) error {
		from, err := position.offset()
		if err != nil {
			return err
		}
		return a.onTenant(ctx, tenant, func(_ backend, t tenantHandle) error {
			err := t.Tail(ctx, args[0], from, func(e kimberlite.Event) error { return a.printEvent(&e) })
			if fault.Is(err, fault.Canceled) {
				return fault.New("stream tail", fault.Canceled, "interrupted").ForTenant(t.ID())
			}
			return err
		})
	})
}

// eventDocument is an event as --json prints it.
type eventDocument struct {
	Stream      string          `json:"stream"`
	Offset      uint64          `json:"offset"`
	LogOffset   uint64          `json:"log_offset"`
	Time        string          `json:"time"`
	Kind        string          `json:"kind"`
	Before      json.RawMessage `json:"before,omitempty"`
	After       json.RawMessage `json:"after,omitempty"`
	ContentType string          `json:"content_type,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	DataBase64  []byte          `json:"data_base64,omitempty"`
}

func documentEvent(e *kimberlite.Event) (eventDocument, error) {
	doc := eventDocument{
		Stream: e.Stream, Offset: e.Offset.Uint64(), LogOffset: e.LogOffset.Uint64(), Time: stamp(e.Time), Kind: e.Kind,
	}
	if e.Kind == kimberlite.EventMessage {
		doc.ContentType = e.ContentType
		switch {
		case isJSONType(e.ContentType) && json.Valid(e.Data):
			doc.Data = e.Data
		case utf8.Valid(e.Data):
			text, err := jsonValue(string(e.Data))
			doc.Data = text
			return doc, err
		default:
			doc.DataBase64 = e.Data
		}
		return doc, nil
	}
	var err error
	if doc.Before, err = rowObject(e.Before); err != nil {
		return doc, err
	}
	doc.After, err = rowObject(e.After)
	return doc, err
}

func isJSONType(contentType string) bool {
	main, _, _ := strings.Cut(contentType, ";")
	main = strings.TrimSpace(main)
	return main == "application/json" || strings.HasSuffix(main, "+json")
}

// rowObject writes a row as a JSON object in column order; nil for no row.
func rowObject(fields []kimberlite.Field) (json.RawMessage, error) {
	if fields == nil {
		return nil, nil
	}
	names := make([]string, len(fields))
	values := make([]any, len(fields))
	for i, f := range fields {
		names[i], values[i] = f.Name, f.Value
	}
	var b bytes.Buffer
	err := writeObject(&b, jsonNames(names), values)
	return b.Bytes(), err
}

// printEvent writes one event at once, so that who follows sees it.
func (a *app) printEvent(e *kimberlite.Event) error {
	if a.global.json {
		doc, err := documentEvent(e)
		if err != nil {
			return err
		}
		return writeJSONLine(a.stdout, doc)
	}
	w := &sticky{w: a.stdout}
	fmt.Fprintf(w, "%s  %s  %s  %s\n", e.Offset, stamp(e.Time), e.Kind, eventText(e))
	return w.failure()
}

// eventText shows an event's contents on one line.
func eventText(e *kimberlite.Event) string {
	switch e.Kind {
	case kimberlite.EventMessage:
		return printable(string(e.Data))
	case kimberlite.EventInsert:
		return rowText(e.After)
	case kimberlite.EventDelete:
		return rowText(e.Before)
	}
	return rowText(e.Before) + " -> " + rowText(e.After)
}

func rowText(fields []kimberlite.Field) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		value := printable(text(f.Value))
		if f.Value == nil {
			value = "NULL"
		}
		parts[i] = printable(f.Name) + "=" + value
	}
	return strings.Join(parts, " ")
}
