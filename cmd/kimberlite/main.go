// Command kimberlite is the one binary of Kimberlite: its verbs run a server,
// create and look at tenants and credentials, run SQL, load files, read streams
// and the audit trail, rotate keys, verify files, measure and demonstrate.
//
// It guarantees the verbs, flags, output formats and exit statuses of the
// command line's contract: output for people by default, one JSON document
// with --json, errors on stderr as one line or one JSON object, and an exit
// status that says the kind of failure. It reaches a data directory through the
// public API and a server through package client, and decides nothing about
// tenants itself.
package main

import (
	"io"
	"os"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}

// run is main with everything that it touches passed in. It returns the exit
// status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, env: env}
	ctx, stop := a.signals.start()
	defer stop()
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !a.ran {
		err = asUsage(root, args, err)
	}
	a.reportError(err, a.global.json || wantsJSON(args))
	return a.signals.status(err)
}
