package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionDocument is the version as --json prints it.
type versionDocument struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  kimberlite version",
		Args:    exactly(),
	}
	return a.verb(c, func(context.Context, []string) error {
		doc := buildVersion()
		return a.print(doc, func(w io.Writer) {
			fmt.Fprintf(w, "kimberlite %s, %s, %s\n", doc.Version, doc.Go, doc.Platform)
		})
	})
}

// linkedVersion and linkedCommit are set by the linker in a release; see scripts/build.sh.
var linkedVersion, linkedCommit string

// buildVersion is what the release linked in, or else what the Go toolchain
// noted when it built the binary.
func buildVersion() versionDocument {
	doc := versionDocument{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return doc
	}
	if info.Main.Version != "" {
		doc.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			doc.Commit = s.Value
		case "vcs.modified":
			doc.Modified = s.Value == "true"
		}
	}
	if linkedVersion != "" {
		doc.Version = linkedVersion
	}
	if linkedCommit != "" {
		doc.Commit = linkedCommit
	}
	return doc
}
