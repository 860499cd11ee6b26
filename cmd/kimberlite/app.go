package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/internal/fault"
)

// The environment variables that stand in for flags.
const (
	envData      = "KIMBERLITE_DATA"
	envServer    = "KIMBERLITE_SERVER"
	envToken     = "KIMBERLITE_TOKEN"
	envCA        = "KIMBERLITE_CA"
	envMasterKey = "KIMBERLITE_MASTER_KEY"
)

// app is one run of the command: its streams, its flags and its signals.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string
	signals        signals
	global         globals
	// ran says that a verb began: errors before that are of usage.
	ran bool
	// transactionIdle is how long a transaction may stand idle; 0 is the
	// database's default.
	transactionIdle time.Duration
}

// globals are the flags of every verb.
type globals struct {
	data, masterKey   string
	server, token, ca string
	json, verbose     bool
}

const rootLong = `Kimberlite is a compliance-first, multi-tenant database: every tenant has its
own hash-chained log, its own tables, its own keys and its own quotas.

A server is run by dev, for this machine, or by serve. The verbs act on such a
running node, which --server or ` + envServer + ` names, with the secret of a
credential in --token or ` + envToken + `, or on a data directory, which --data or
` + envData + ` names and which one process at a time may use; told neither, on
the node that context use chose. demo, bench and verify act on files alone. A
tenant is named by its id or its name; digits alone are an id.

With --json, ids, offsets, sizes in bytes and counts are numbers, times are
RFC 3339 in UTC, hashes and keys are hexadecimal, and null is no limit.

Exit status: 0 done, 1 other failure, 2 usage, 3 not found, 4 already exists,
5 denied, 6 quota or rate limit, 7 corruption detected, 8 unavailable or timed
out, 9 outcome unknown, 10 forbidden by retention or legal hold, 130 interrupted.`

// newRoot returns the command with all its verbs.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "kimberlite",
		Short:         "A compliance-first, multi-tenant database",
		Long:          rootLong,
		Example:       "  kimberlite demo\n  kimberlite tenant list --data ./kimberlite-demo-data",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
	}
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return unknownVerb(cmd, args[0])
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true
	f := root.PersistentFlags()
	f.StringVar(&a.global.data, "data", "", "data directory (or "+envData+")")
	f.StringVar(&a.global.server, "server", "", "URL of a running node, such as https://127.0.0.1:7443 (or "+envServer+")")
	f.StringVar(&a.global.token, "token", "", "with --server: the secret of a credential (better "+envToken+", which others cannot see)")
	f.StringVar(&a.global.ca, "ca", "", "with --server: PEM file of the certificates to trust (or "+envCA+")")
	f.StringVar(&a.global.masterKey, "master-key", "", "URL of the master key, such as file:///etc/kimberlite/master.key (or "+envMasterKey+")")
	f.BoolVar(&a.global.json, "json", false, "print JSON: one document, or JSON Lines for streams; errors too")
	f.BoolVar(&a.global.verbose, "verbose", false, "log what the database does to stderr")
	root.AddCommand(
		demoCommand(a), tenantCommand(a), sqlCommand(a), loadCommand(a), streamCommand(a),
		keyCommand(a), credentialCommand(a), auditCommand(a), contextCommand(a), verifyCommand(a), benchCommand(a),
		clusterCommand(a), nodeCommand(a), shardCommand(a), directoryCommand(a),
		devCommand(a), serveCommand(a), configCommand(a), healthCommand(a), completionCommand(a), versionCommand(a),
	)
	return root
}

// verb makes run what a command does. Errors before it are of usage.
func (a *app) verb(c *cobra.Command, run func(ctx context.Context, args []string) error) *cobra.Command {
	c.RunE = func(cmd *cobra.Command, args []string) error {
		a.ran = true
		return run(cmd.Context(), args)
	}
	return c
}

// group makes a command that only holds verbs.
func (a *app) group(c *cobra.Command, verbs ...*cobra.Command) *cobra.Command {
	c.AddCommand(verbs...)
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fault.New(cmd.Name(), fault.Invalid, "a verb is missing: one of %s", verbNames(cmd))
		}
		return unknownVerb(cmd, args[0])
	}
	return c
}

func verbNames(c *cobra.Command) string {
	var names []string
	for _, v := range c.Commands() {
		if v.IsAvailableCommand() {
			names = append(names, v.Name())
		}
	}
	return strings.Join(names, ", ")
}

// unknownVerb says which verbs there are, the likely one first.
func unknownVerb(c *cobra.Command, name string) error {
	op := c.Name()
	if !c.HasParent() {
		op = ""
	}
	if likely := c.SuggestionsFor(name); len(likely) > 0 {
		return fault.New(op, fault.Invalid, "unknown verb %q: did you mean %s?", name, likely[0])
	}
	return fault.New(op, fault.Invalid, "unknown verb %q: one of %s", name, verbNames(c))
}

// atLeast demands one argument of a name.
func atLeast(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%s is missing", name)
		}
		return nil
	}
}

// exactly demands as many arguments as have names here.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s is missing", names[len(args)])
		case len(args) > len(names):
			return fmt.Errorf("there is an argument too many: %q", args[len(names)])
		}
		return nil
	}
}

// errServer is for verbs that act on a directory alone.
func errServer() error {
	return fault.New("", fault.Unsupported, "this verb acts on a data directory alone: leave --server out")
}

// flagOrEnv returns a flag's value, or that of the variable beside it.
func (a *app) flagOrEnv(flag, name string) string {
	if flag != "" {
		return flag
	}
	return a.env(name)
}

func (a *app) options(mustExist bool) kimberlite.Options {
	return kimberlite.Options{
		MasterKey: a.flagOrEnv(a.global.masterKey, envMasterKey), MustExist: mustExist,
		Logger: a.logger(), TransactionIdle: a.transactionIdle,
	}
}

// logger returns what --verbose logs to, or nil.
func (a *app) logger() *slog.Logger {
	if !a.global.verbose {
		return nil
	}
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// tenantFlag adds the flag --tenant, which must be given.
func tenantFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "tenant", "", "the tenant's id or name (required)")
	must(c.MarkFlagRequired("tenant"))
}

// choices makes a shell complete a flag's values.
func choices(c *cobra.Command, flag string, values ...string) {
	must(c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
}

// must is for mistakes in the definition of a verb.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
