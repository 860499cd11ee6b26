package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"kimberlite/internal/fault"
)

// Control characters that the line editor knows, and the one that it does not
// treat as a shell should.
const (
	keyInterrupt = 3
	keyLineEnd   = 5
	keyKillLine  = 21
	keyReturn    = '\r'
)

// keyboard turns Ctrl-C into "empty the line and return it", and notes it.
type keyboard struct {
	io.Reader
	pending     []byte
	interrupted bool
}

// Read implements [io.Reader].
func (k *keyboard) Read(p []byte) (int, error) {
	if len(k.pending) == 0 {
		buf := make([]byte, max(1, len(p)))
		n, err := k.Reader.Read(buf)
		for _, c := range buf[:n] {
			if c == keyInterrupt {
				k.interrupted = true
				k.pending = append(k.pending, keyLineEnd, keyKillLine, keyReturn)
				continue
			}
			k.pending = append(k.pending, c)
		}
		if len(k.pending) == 0 {
			return 0, err
		}
	}
	n := copy(p, k.pending)
	k.pending = k.pending[n:]
	return n, nil
}

// takeInterrupt says whether Ctrl-C was pressed since the last call.
func (k *keyboard) takeInterrupt() bool {
	was := k.interrupted
	k.interrupted = false
	return was
}

// shell is the interactive session: a line editor with history over the
// splitter. Statements run with the terminal as it was, so that Ctrl-C is a
// signal, which ends the statement and not the shell.
type shell struct {
	a     *app
	s     *session
	name  string
	file  *os.File
	keys  *keyboard
	line  *term.Terminal
	split splitter
}

func (a *app) shell(ctx context.Context, s *session) error {
	file, ok := a.stdin.(*os.File)
	if !ok {
		return fault.New("sql", fault.Internal, "the shell needs a terminal")
	}
	info, err := s.t.info(ctx)
	if err != nil {
		return err
	}
	sh := &shell{a: a, s: s, name: info.Name, file: file, keys: &keyboard{Reader: a.stdin}}
	sh.line = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{sh.keys, a.stdout}, "")
	fmt.Fprintf(a.stdout, "tenant %s (%s); \\? lists commands, \\q quits\n", info.ID, printable(info.Name))
	err = sh.loop(ctx)
	if s.tx != nil {
		return s.abandon(err)
	}
	return err
}

func (sh *shell) loop(ctx context.Context) error {
	for ctx.Err() == nil {
		line, err := sh.readLine()
		switch {
		case sh.keys.takeInterrupt():
			sh.split.reset()
			continue
		case errors.Is(err, io.EOF):
			fmt.Fprintln(sh.a.stdout)
			return nil
		case err != nil:
			return errInput(err)
		}
		if quit := sh.handle(ctx, line); quit {
			return nil
		}
	}
	return fault.OfContext("sql", ctx)
}

// handle runs what a line completes. Errors are shown and end nothing.
func (sh *shell) handle(ctx context.Context, line string) (quit bool) {
	// An interrupt ends what runs, not the shell.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	release := sh.a.signals.capture(cancel)
	defer release()
	if sh.split.blank() {
		switch {
		case line == "exit" || line == "quit":
			return true
		case len(line) > 0 && line[0] == '\\':
			quit, err := sh.s.helper(ctx, line, sh.a.stdout)
			sh.show(err)
			return quit
		}
	}
	for _, st := range sh.split.feed([]byte(line + "\n")) {
		if err := sh.s.run(ctx, st); err != nil {
			sh.show(err)
			break
		}
	}
	return false
}

func (sh *shell) show(err error) {
	if err != nil {
		sh.a.reportError(err, sh.a.global.json)
	}
}

// readLine reads one line in the editor.
func (sh *shell) readLine() (string, error) {
	fd := int(sh.file.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return "", err
	}
	defer term.Restore(fd, before) //nolint:errcheck // nothing better can be done
	if width, height, err := term.GetSize(fd); err == nil && width > 0 {
		_ = sh.line.SetSize(width, height) // a wrong size only looks wrong
	}
	sh.line.SetPrompt(sh.prompt())
	return sh.line.ReadLine()
}

// prompt shows the tenant, a star inside a transaction, and a dash inside a
// statement.
func (sh *shell) prompt() string {
	mark := "="
	if !sh.split.blank() {
		mark = "-"
	}
	if sh.s.tx != nil {
		mark += "*"
	}
	return printable(sh.name) + mark + "> "
}
