package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"kimberlite/internal/fault"
)

func contextCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "context",
		Short: "Save servers to act on, and choose one",
		Long: `Save servers to act on, and choose one. Verbs that are given neither --data nor
--server, and find neither in the environment, act on the current context. The
contexts are kept in kimberlite/contexts.toml of the user's configuration
directory, which only its owner may read.`,
		Example: `  kimberlite context add production --server https://db.example.com:7443
  kimberlite context list`,
	}, contextAddCommand(a), contextUseCommand(a), contextListCommand(a), contextRemoveCommand(a))
}

func contextAddCommand(a *app) *cobra.Command {
	var tokenFile string
	c := &cobra.Command{
		Use:   "add NAME --server URL",
		Short: "Save a server under a name, and use it",
		Long: `Save a server under a name, in place of what had the name, and use it. The
token is that of --token, or KIMBERLITE_TOKEN, or stays in the file that
--token-file names and is read from there at each use.`,
		Example: `  kimberlite context add production --server https://db.example.com:7443
  kimberlite context add staging --server https://staging.example.com:7443 --token-file ./staging.token --ca ./ca.pem`,
		Args: exactly("NAME"),
	}
	c.Flags().StringVar(&tokenFile, "token-file", "", "file whose first line is the token")
	return a.verb(c, func(_ context.Context, args []string) error {
		s := serverContext{Server: a.flagOrEnv(a.global.server, envServer), CA: a.flagOrEnv(a.global.ca, envCA), Token: a.global.token}
		if tokenFile == "" {
			s.Token = a.flagOrEnv(a.global.token, envToken)
		}
		switch {
		case s.Server == "":
			return fault.New("context add", fault.Invalid, "--server URL is missing")
		case s.Token != "" && tokenFile != "":
			return fault.New("context add", fault.Invalid, "--token and --token-file cannot both be given")
		}
		var err error
		if s.CA, err = absolute(s.CA); err != nil {
			return err
		}
		if s.TokenFile, err = absolute(tokenFile); err != nil {
			return err
		}
		if err := saveContext(args[0], s, true); err != nil {
			return err
		}
		return a.print(documentContext(args[0], s, true), func(w io.Writer) {
			fmt.Fprintf(w, "context %s saved; verbs act on %s now\n", args[0], s.Server)
		})
	})
}

// absolute makes a path independent of where verbs run; "" stays.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fault.Wrap("context", fault.Invalid, err, "the path has no absolute form")
	}
	return path, nil
}

func contextUseCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "use NAME",
		Short: "Make a saved context the current one",
		Example: `  kimberlite context add production --server https://db.example.com:7443
  kimberlite context use production`,
		Args: exactly("NAME"),
	}
	return a.verb(c, func(_ context.Context, args []string) error {
		if err := setCurrentContext(args[0]); err != nil {
			return err
		}
		all, err := loadContexts()
		if err != nil {
			return err
		}
		s := all.Contexts[args[0]]
		return a.print(documentContext(args[0], s, true), func(w io.Writer) {
			fmt.Fprintf(w, "verbs act on %s now\n", s.Server)
		})
	})
}

// contextDocument is a context as --json prints it; it never holds the token.
type contextDocument struct {
	Name      string `json:"name"`
	Server    string `json:"server"`
	Current   bool   `json:"current"`
	HasToken  bool   `json:"has_token"`
	TokenFile string `json:"token_file"`
	CA        string `json:"ca"`
}

func documentContext(name string, s serverContext, current bool) contextDocument {
	return contextDocument{name, s.Server, current, s.Token != "" || s.TokenFile != "", s.TokenFile, s.CA}
}

func contextListCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List the saved contexts; a star marks the current one",
		Example: `  kimberlite context add production --server https://db.example.com:7443
  kimberlite context list`,
		Args: exactly(),
	}
	return a.verb(c, func(context.Context, []string) error {
		all, err := loadContexts()
		if err != nil {
			return err
		}
		docs := []contextDocument{}
		var rows []string
		for _, name := range all.names() {
			doc := documentContext(name, all.Contexts[name], name == all.Current)
			docs = append(docs, doc)
			mark, token := "", "no"
			if doc.Current {
				mark = "*"
			}
			if doc.HasToken {
				token = "yes"
			}
			rows = append(rows, line(mark, name, doc.Server, token, doc.CA))
		}
		return a.print(docs, func(w io.Writer) { columns(w, "\tNAME\tSERVER\tTOKEN\tCA", rows) })
	})
}

func contextRemoveCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "remove NAME",
		Short: "Forget a saved context",
		Example: `  kimberlite context add production --server https://db.example.com:7443
  kimberlite context remove production`,
		Args: exactly("NAME"),
	}
	return a.verb(c, func(_ context.Context, args []string) error {
		if err := removeContext(args[0]); err != nil {
			return err
		}
		return a.print(map[string]string{"removed": args[0]}, func(w io.Writer) {
			fmt.Fprintf(w, "context %s removed\n", args[0])
		})
	})
}
