package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"kimberlite/internal/fault"
	"kimberlite/internal/server"
)

func configCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "config",
		Short:   "Write and check the configuration of a server",
		Example: "  kimberlite config init --out kimberlite.toml",
	}, configInitCommand(a), configCheckCommand(a))
}

// configInitDocument is config init's result as --json prints it.
type configInitDocument struct {
	File string `json:"file"`
	Text string `json:"text,omitempty"`
}

func configInitCommand(a *app) *cobra.Command {
	var out string
	var force bool
	c := &cobra.Command{
		Use:     "init [--out FILE]",
		Short:   "Print the default configuration with a comment on every key, or write it to a file",
		Example: "  kimberlite config init --out kimberlite.toml",
		Args:    exactly(),
	}
	c.Flags().StringVar(&out, "out", "", "file to write; it must not exist")
	c.Flags().BoolVar(&force, "force", false, "overwrite the file")
	return a.verb(c, func(context.Context, []string) error {
		text := server.DefaultText()
		if out == "" {
			return a.print(configInitDocument{Text: text}, func(w io.Writer) { fmt.Fprint(w, text) })
		}
		if err := writeNew(out, text, force); err != nil {
			return err
		}
		return a.print(configInitDocument{File: out}, func(w io.Writer) {
			fmt.Fprintf(w, "%s written; name a certificate in it, then: kimberlite config check %s\n", out, out)
		})
	})
}

// writeNew writes a file that is not there yet, or may be overwritten.
func writeNew(path, text string, force bool) error {
	flag := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flag = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flag, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fault.New("config init", fault.AlreadyExists, "%s exists: choose another name, or --force", path)
	}
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fault.Wrap("config init", fault.Unavailable, err, "cannot write the file")
	}
	return nil
}

// configCheckDocument is config check's result as --json prints it.
type configCheckDocument struct {
	File     string           `json:"file"`
	Settings []server.Setting `json:"settings"`
}

func configCheckCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration, and print what would be in force and where it is from",
		Long: `Check a configuration as serve would: the file, the environment above it, and
the certificates that they name. Prints every key with the value that would be in
force and where that is from: default, file, or the environment's variable.`,
		Example: `  kimberlite config init --out kimberlite.toml
  export KIMBERLITE_PG_ALLOW_PLAINTEXT=true KIMBERLITE_RPC_ALLOW_PLAINTEXT=true
  kimberlite config check kimberlite.toml`,
		Args: exactly("FILE"),
	}
	return a.verb(c, func(_ context.Context, args []string) error {
		config, settings, err := server.Load(args[0], os.Environ())
		if err == nil {
			err = config.CheckFiles()
		}
		if err != nil {
			return err
		}
		return a.print(configCheckDocument{args[0], settings}, func(w io.Writer) {
			var rows []string
			for _, s := range settings {
				rows = append(rows, line(s.Key, s.Value, s.Source))
			}
			columns(w, "KEY\tVALUE\tSOURCE", rows)
		})
	})
}
