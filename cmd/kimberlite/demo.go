package main

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"kimberlite/internal/demo"
)

// demoDirectory is where the demo keeps its data unless told otherwise.
const demoDirectory = "./kimberlite-demo-data"

func demoCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show two hospitals on one machine, from creation to a found forgery",
		Long: `Show two hospitals on one machine, with synthetic patients: creation, loading,
isolation, quotas, event streams, key rotation, a rebuilt projection, verification
and a flipped byte that is found. The data stays in ` + demoDirectory + `, or --data,
for a look around; the directory must be new.`,
		Example: "  kimberlite demo\n  kimberlite demo --data ./another",
		Args:    exactly(),
	}
	return a.verb(c, func(ctx context.Context, _ []string) error {
		if a.global.server != "" {
			return errServer()
		}
		dir := a.flagOrEnv(a.global.data, envData)
		if dir == "" {
			dir = demoDirectory
		}
		if err := mustBeEmpty(dir); err != nil {
			return err
		}
		config := demo.Config{
			Dir: dir, MasterKey: a.flagOrEnv(a.global.masterKey, envMasterKey), Program: program(), Logger: a.logger(),
		}
		out := a.stdout
		if a.global.json {
			out = nil
		}
		facts, err := demo.Run(ctx, out, config)
		if err != nil || !a.global.json {
			return err
		}
		return writeJSON(a.stdout, facts)
	})
}

// program is how the user called this program, so that what the demo prints
// works when it is pasted.
func program() string {
	if len(os.Args) > 0 && strings.ContainsRune(os.Args[0], os.PathSeparator) {
		return os.Args[0]
	}
	return "kimberlite"
}
