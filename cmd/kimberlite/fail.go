package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kimberlite/internal/fault"
)

// asUsage turns an error of the parser into one of usage, which says where
// the help is.
func asUsage(root *cobra.Command, args []string, err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	cmd, _, findErr := root.Find(args)
	if findErr != nil || cmd == nil {
		cmd = root
	}
	return fault.New("", fault.Invalid, "%s (see %s --help)", err.Error(), cmd.CommandPath())
}

// wantsJSON finds --json among arguments that did not parse.
func wantsJSON(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	return slices.Contains(args, "--json") || slices.Contains(args, "--json=true")
}

// errorDocument is an error as --json prints it.
type errorDocument struct {
	Kind    string         `json:"kind"`
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Tenant  *uint64        `json:"tenant"`
	Quota   *quotaDocument `json:"quota,omitempty"`
	File    string         `json:"file,omitempty"`
	Offset  *int64         `json:"offset,omitempty"`
}

// quotaDocument is a refused quota as --json prints it.
type quotaDocument struct {
	Limit        string `json:"limit"`
	Value        int64  `json:"value"`
	Usage        int64  `json:"usage"`
	RetryAfterMS int64  `json:"retry_after_ms"`
}

// reportError writes an error to stderr: one line, or one JSON object.
func (a *app) reportError(err error, asJSON bool) {
	if !asJSON {
		fmt.Fprintf(a.stderr, "kimberlite: %s\n", oneLine(err))
		return
	}
	doc, encodeErr := encode(map[string]errorDocument{"error": describe(err)}, "")
	if encodeErr != nil {
		doc = []byte(`{"error":{"kind":"internal","code":"KL001","message":"the error cannot be written as JSON","tenant":null}}`)
	}
	_, _ = a.stderr.Write(doc) // there is nobody else to tell
}

func describe(err error) errorDocument {
	kind := fault.KindOf(err)
	doc := errorDocument{Kind: kind.String(), Code: kind.Code(), Message: oneLine(err)}
	var e *fault.Error
	if !errors.As(err, &e) {
		return doc
	}
	if !e.Tenant.IsZero() {
		id := e.Tenant.Uint64()
		doc.Tenant = &id
	}
	if e.Quota != nil {
		wait := (e.Quota.RetryAfter + time.Millisecond - 1) / time.Millisecond
		doc.Quota = &quotaDocument{e.Quota.Limit, e.Quota.Value, e.Quota.Usage, int64(wait)}
	}
	if e.File != "" {
		doc.File, doc.Offset = e.File, &e.Position
	}
	return doc
}

// oneLine is an error's text without line breaks and without control
// characters, which a terminal would obey.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	for i, line := range lines {
		lines[i] = strings.TrimSpace(printable(line))
	}
	return strings.Join(lines, "; ")
}
