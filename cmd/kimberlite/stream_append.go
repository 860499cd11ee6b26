package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/internal/fault"
)

// maxMessage is the longest message that is read; the database takes less
// than that.
const maxMessage = 64 << 20

// appendFlags are the flags of stream append.
type appendFlags struct {
	tenant, contentType string
	lines               bool
}

func streamAppendCommand(a *app) *cobra.Command {
	var flags appendFlags
	c := &cobra.Command{
		Use:   "append STREAM [MESSAGE...]",
		Short: "Append messages to an event stream, all or none",
		Long: `Append messages to an event stream, all or none. Without MESSAGE, standard input
is one message, or one per line with --lines. The content type, unless given,
is application/json for JSON, text/plain for other UTF-8 text, and
application/octet-stream for the rest.`,
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite stream create --data ./data --tenant 1 admissions
  kimberlite stream append --data ./data --tenant 1 admissions '{"patient":"123","ward":"B"}'
  printf '{"n":1}\n{"n":2}\n' | kimberlite stream append --data ./data --tenant 1 --lines admissions`,
		Args: atLeast("STREAM"),
	}
	tenantFlag(c, &flags.tenant)
	c.Flags().StringVar(&flags.contentType, "content-type", "", "what the messages are, such as application/json")
	c.Flags().BoolVar(&flags.lines, "lines", false, "each line of standard input is a message")
	return a.verb(c, func(ctx context.Context, args []string) error {
		messages, err := a.messages(ctx, &flags, args[1:])
		if err != nil {
			return err
		}
		return a.onTenant(ctx, flags.tenant, func(_ backend, t tenantHandle) error {
			first, err := t.Append(ctx, args[0], messages...)
			if err != nil {
				return err
			}
			doc := appendedDocument{t.ID().Uint64(), args[0], first.Uint64(), len(messages)}
			return a.print(doc, func(w io.Writer) {
				fmt.Fprintf(w, "appended %s to %s at offset %s\n", counted(int64(len(messages)), "message"), printable(args[0]), first)
			})
		})
	})
}

// appendedDocument is an append as --json prints it.
type appendedDocument struct {
	Tenant uint64 `json:"tenant"`
	Stream string `json:"stream"`
	Offset uint64 `json:"offset"`
	Count  int    `json:"count"`
}

// messages are those of the arguments, or of standard input.
func (a *app) messages(ctx context.Context, flags *appendFlags, args []string) ([]kimberlite.Message, error) {
	var texts [][]byte
	switch {
	case len(args) > 0 && flags.lines:
		return nil, fault.New("--lines", fault.Invalid, "messages are given as arguments already")
	case len(args) > 0:
		for _, arg := range args {
			texts = append(texts, []byte(arg))
		}
	case isTerminal(a.stdin):
		return nil, fault.New("stream append", fault.Invalid, "no message was given: as an argument, or on standard input")
	default:
		var err error
		if texts, err = readMessages(newInterruptible(ctx, a.stdin), flags.lines); err != nil {
			return nil, err
		}
	}
	messages := make([]kimberlite.Message, len(texts))
	for i, text := range texts {
		messages[i] = kimberlite.Message{ContentType: flags.contentType, Data: text}
		if flags.contentType == "" {
			messages[i].ContentType = contentType(text)
		}
	}
	if len(messages) == 0 {
		return nil, fault.New("stream append", fault.Invalid, "standard input holds no message")
	}
	return messages, nil
}

func readMessages(in io.Reader, lines bool) ([][]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxMessage+1))
	if err != nil {
		return nil, errInput(err)
	}
	if len(text) > maxMessage {
		return nil, fault.New("stream append", fault.TooLarge, "the input is longer than %d MiB", maxMessage>>20)
	}
	if !lines {
		return [][]byte{text}, nil
	}
	var texts [][]byte
	scan := bufio.NewScanner(bytes.NewReader(text))
	scan.Buffer(nil, maxMessage)
	for scan.Scan() {
		if len(scan.Bytes()) > 0 {
			texts = append(texts, bytes.Clone(scan.Bytes()))
		}
	}
	if err := scan.Err(); err != nil && !errors.Is(err, io.EOF) {
		return nil, errInput(err)
	}
	return texts, nil
}

// contentType says what a message is.
func contentType(data []byte) string {
	switch {
	case len(data) > 0 && json.Valid(data):
		return "application/json"
	case utf8.Valid(data) && bytes.IndexByte(data, 0) < 0:
		return "text/plain"
	}
	return "application/octet-stream"
}
