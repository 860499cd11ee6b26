package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"kimberlite/internal/fault"
	"kimberlite/internal/server"
)

func serveCommand(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run one node as a server",
		Long: `Run one node as a server, for PostgreSQL clients and for the RPC. The
configuration is a TOML file that config init writes; the environment's
KIMBERLITE_<SECTION>_<KEY> stands above it, and without --config above the
defaults. SIGHUP reads the certificates again. SIGTERM or SIGINT finishes what
runs, refuses the rest, and ends; a second one ends it at once.`,
		Example: `  kimberlite config init --out kimberlite.toml
  export KIMBERLITE_DATA_DIR=./data KIMBERLITE_PG_ALLOW_PLAINTEXT=true KIMBERLITE_RPC_ALLOW_PLAINTEXT=true
  export KIMBERLITE_PG_ADDR=127.0.0.1:0 KIMBERLITE_RPC_ADDR=127.0.0.1:0 KIMBERLITE_OPERATOR_ADDR=127.0.0.1:0
  timeout --preserve-status 3 kimberlite serve --config kimberlite.toml`,
		Args: exactly(),
	}
	c.Flags().StringVar(&file, "config", "", "the configuration's file")
	return a.verb(c, func(ctx context.Context, _ []string) error {
		if a.global.server != "" || a.global.data != "" {
			return fault.New("serve", fault.Invalid, "--server and --data do not go with serve: the configuration's data.dir says where the data is")
		}
		config, settings, err := server.Load(file, os.Environ())
		if err != nil {
			return err
		}
		log := server.NewLogger(a.stderr, config.Log)
		for _, s := range settings {
			if s.Source != "default" {
				log.Debug("server: configured", "key", s.Key, "value", s.Value, "source", s.Source)
			}
		}
		reload := make(chan struct{}, 1)
		defer a.signals.onHangup(reload)()
		s, err := server.New(ctx, config, server.Options{Version: buildVersion().Version, Logger: log, Reload: reload})
		if err != nil {
			return err
		}
		defer notify("STOPPING=1")
		return s.Run(ctx, func() { notify("READY=1") })
	})
}
