package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kimberlite/internal/fault"
)

// shells are those that completion writes a script for.
var shells = []string{"bash", "zsh", "fish", "powershell"}

func completionCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a script that completes verbs and flags in a shell",
		Long: `Print a script that completes verbs and flags in a shell: ` + strings.Join(shells, ", ") + `. Load
it in the shell's start-up file, or save it where the shell looks for such.`,
		Example: `  kimberlite completion bash > kimberlite.bash
  bash -c '. ./kimberlite.bash'`,
		Args:      exactly("SHELL"),
		ValidArgs: shells,
	}
	return a.verb(c, func(_ context.Context, args []string) error {
		if !slices.Contains(shells, args[0]) {
			return fault.New("completion", fault.Invalid, "unknown shell %q: want one of %s", args[0], strings.Join(shells, ", "))
		}
		root := c.Root()
		w := &sticky{w: a.stdout}
		var err error
		switch args[0] {
		case "bash":
			err = root.GenBashCompletionV2(w, true)
		case "zsh":
			err = root.GenZshCompletion(w)
		case "fish":
			err = root.GenFishCompletion(w, true)
		case "powershell":
			err = root.GenPowerShellCompletionWithDesc(w)
		}
		if err != nil {
			return errOutput(err)
		}
		return w.failure()
	})
}
