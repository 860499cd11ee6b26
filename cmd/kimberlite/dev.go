package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kimberlite/internal/access"
	"kimberlite/internal/fault"
	"kimberlite/internal/server"
)

// devContext is the saved context that dev makes.
const devContext = "dev"

func devCommand(a *app) *cobra.Command {
	var at server.Addresses
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a server for development on this machine",
		Long: `Run a server for development on this machine: TLS, PostgreSQL protocol, RPC and
operator's port on loopback, ready at once. It makes a certificate, an operator's
token and address.json in DATA/dev, saves the context "dev", and prints commands
that work as printed. With --data everything is kept across restarts; without, it
is in a temporary directory that is removed at the end.`,
		Example: `  timeout --preserve-status 3 kimberlite dev --data ./data --pg-addr 127.0.0.1:0 --rpc-addr 127.0.0.1:0 --operator-addr 127.0.0.1:0`,
		Args:    exactly(),
	}
	d := server.Default()
	c.Flags().StringVar(&at.PG, "pg-addr", d.PG.Addr, "loopback address for the PostgreSQL protocol; port 0 is any free one")
	c.Flags().StringVar(&at.RPC, "rpc-addr", d.RPC.Addr, "loopback address for the RPC")
	c.Flags().StringVar(&at.Operator, "operator-addr", d.Operator.Addr, "loopback address for health, metrics and profiles")
	return a.verb(c, func(ctx context.Context, _ []string) error {
		if a.global.server != "" {
			return fault.New("dev", fault.Invalid, "--server does not go with dev: it is a server itself")
		}
		if at.RPC == "" {
			return fault.New("dev", fault.Invalid, "--rpc-addr is empty: a development server is managed through it")
		}
		return a.dev(ctx, at)
	})
}

func (a *app) dev(ctx context.Context, at server.Addresses) (err error) {
	began := time.Now()
	data := a.flagOrEnv(a.global.data, envData)
	temporary := data == ""
	if temporary {
		if data, err = os.MkdirTemp("", "kimberlite-dev-"); err != nil {
			return fault.Wrap("dev", fault.Unavailable, err, "cannot make a temporary directory")
		}
		defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	}
	config, dev, err := server.NewDev(data, at)
	if err != nil {
		return err
	}
	config.Data.MasterKey = a.flagOrEnv(a.global.masterKey, envMasterKey)
	level := slog.LevelWarn
	if a.global.verbose {
		level = slog.LevelDebug
	}
	current := false
	s, err := server.New(ctx, config, server.Options{
		Version: buildVersion().Version,
		// Whoever finds the server ready finds the context saved, too.
		Prepare: func(ctx context.Context, authority *access.Authority, at server.Addresses) error {
			if err := dev.Prepare(ctx, authority, at); err != nil {
				return err
			}
			var saveErr error
			if current, saveErr = a.saveDevContext(at, dev); saveErr != nil {
				fmt.Fprintf(a.stderr, "kimberlite: %s\n", oneLine(saveErr)) // it serves all the same
			}
			return nil
		},
		Logger: slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		return err
	}
	var printErr error
	err = s.Run(ctx, func() {
		printErr = a.printDev(ctx, s, dev, devPrinted{took: time.Since(began), temporary: temporary, current: current})
	})
	if temporary {
		err = errors.Join(err, forgetDevContext(dev))
	}
	return errors.Join(err, printErr)
}

// saveDevContext saves the context of this server. It becomes the current one
// unless another is; current says whether it is now.
func (a *app) saveDevContext(at server.Addresses, dev *server.Dev) (current bool, err error) {
	all, err := loadContexts()
	if err != nil {
		return false, err
	}
	current = all.Current == "" || all.Current == devContext
	return current, saveContext(devContext, serverContext{
		Server: "https://" + at.RPC, TokenFile: dev.Token, CA: dev.CA,
	}, current)
}

// forgetDevContext removes the context of a server whose data is gone, unless
// another one has taken the name.
func forgetDevContext(dev *server.Dev) error {
	all, err := loadContexts()
	if err != nil || all.Contexts[devContext].CA != dev.CA {
		return err
	}
	return removeContext(devContext)
}

// devPrinted is what is said of a start.
type devPrinted struct {
	took               time.Duration
	temporary, current bool
}

// devDocument is a started server as --json prints it.
type devDocument struct {
	server.Addresses
	CA    string `json:"ca"`
	Token string `json:"token_file"`
	Data  string `json:"data"`
}

// printDev prints where it listens, and commands that work as printed.
func (a *app) printDev(ctx context.Context, s *server.Server, dev *server.Dev, p devPrinted) error {
	at := s.Addresses()
	if a.global.json {
		return writeJSON(a.stdout, devDocument{at, dev.CA, dev.Token, s.DataDir()})
	}
	first, err := s.FirstSteps(ctx)
	if err != nil {
		return err
	}
	var w bytes.Buffer
	kept := "kept"
	if p.temporary {
		kept = "removed at the end"
	}
	fmt.Fprintf(&w, "kimberlite dev is ready in %s; data in %s, %s\n\n", p.took.Round(time.Millisecond), s.DataDir(), kept)
	a.devCommands(&w, at, dev, first, p.current)
	fmt.Fprintf(&w, "\nThe RPC is https://%s", at.RPC)
	if at.Operator != "" {
		fmt.Fprintf(&w, "; health, metrics and profiles are below http://%s", at.Operator)
	}
	fmt.Fprintf(&w, ".\nFiles are in %s. Ctrl-C ends it.\n", dev.Dir)
	return writeOut(a.stdout, w.Bytes())
}

// devCommands prints one command a line, each behind two blanks.
func (a *app) devCommands(w io.Writer, at server.Addresses, dev *server.Dev, first server.FirstSteps, current bool) {
	kimberlite := quoteShell(program())
	fmt.Fprintf(w, "In another terminal, make a tenant and a credential, and connect:\n\n")
	if unset := a.inTheWay(); len(unset) > 0 {
		fmt.Fprintf(w, "  unset %s\n", strings.Join(unset, " "))
	}
	if !current {
		fmt.Fprintf(w, "  %s context use %s\n", kimberlite, devContext)
	}
	if first.NewTenant {
		fmt.Fprintf(w, "  %s tenant create --id %s --name %s\n", kimberlite, first.TenantID, quoteShell(first.Tenant))
	}
	fmt.Fprintf(w, "  export PGPASSWORD=\"$(%s credential create --tenant %s --name %s --role owner)\"\n", kimberlite, first.TenantID, first.Credential)
	if at.PG != "" {
		host, port, _ := net.SplitHostPort(at.PG) // it was parsed before
		fmt.Fprintf(w, "  psql %s\n", quoteShell(fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=verify-full sslrootcert=%s",
			host, port, quoteConninfo(first.Credential+"@"+first.Tenant), quoteConninfo(first.Tenant), quoteConninfo(dev.CA))))
	}
	fmt.Fprintf(w, "\nOr ask over HTTPS, as the operator:\n\n")
	fmt.Fprintf(w, "  curl -sS --cacert %s -H \"Authorization: Bearer $(cat %s)\" -d '{}' https://%s/kimberlite.v1.TenantService/ListTenants\n",
		quoteShell(dev.CA), quoteShell(dev.Token), at.RPC)
}

// inTheWay returns the environment's variables that would send the printed
// commands elsewhere.
func (a *app) inTheWay() []string {
	return slices.DeleteFunc([]string{envData, envServer, envToken, envCA}, func(name string) bool { return a.env(name) == "" })
}

// quoteShell quotes a word for sh, where it needs it.
func quoteShell(s string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("-_./:@%+,", r) || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// quoteConninfo quotes a value of libpq's connection string, where it needs it.
func quoteConninfo(s string) string {
	if s != "" && !strings.ContainsAny(s, ` '\`) {
		return s
	}
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
