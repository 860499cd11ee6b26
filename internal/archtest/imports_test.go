// Package archtest holds the tree to its design: which package may import
// which, and which names are used nowhere. The rules stand in table_test.go.
// It is nothing but tests.
package archtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestTreeKeepsToItsDesign(t *testing.T) {
	t.Parallel()
	packages := load(t)
	if len(packages) < 5 {
		t.Fatalf("found %d packages: the test looks at the wrong place", len(packages))
	}
	for _, breach := range breaches(packages) {
		t.Error(breach)
	}
}

func TestTableListsEachPackageOnce(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, tier := range tiers {
		for _, p := range tier.packages {
			if other, twice := seen[p]; twice {
				t.Errorf("%q is in tier %q and in tier %q", p, other, tier.name)
			}
			seen[p] = tier.name
		}
	}
	for _, d := range dependencies {
		for _, p := range d.importers {
			if _, ok := seen[p]; !ok {
				t.Errorf("%s: its importer %q is in no tier", d.module, p)
			}
		}
	}
	for _, b := range bans {
		for _, p := range slices.Concat(b.in, b.except) {
			if _, ok := seen[p]; !ok {
				t.Errorf("ban of %s %v names %q, which is in no tier", b.path, b.names, p)
			}
		}
	}
}

// TestEachRuleFailsOnItsBreach shows on made-up packages that every rule can
// fail, and that what it allows passes.
func TestEachRuleFailsOnItsBreach(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		pkg  string // the made-up package
		text string // its only file
		want string // part of the only breach; "" for none
	}{
		{"a pure package imports ground", "internal/record", `import _ "kimberlite/internal/ident"`, ""},
		{"the command imports the root package", "cmd/kimberlite", `import _ "kimberlite"`, ""},
		{"ground imports up", "internal/ident", `import _ "kimberlite/internal/record"`, `tier "pure" stands above tier "ground"`},
		{"a tenant imports its shard", "internal/tenant", `import _ "kimberlite/internal/shard"`, ""},
		{"a shard imports its tenants", "internal/shard", `import _ "kimberlite/internal/tenant"`, `stands above the importer in tier "tenant"`},
		{"the tree below imports the root package", "internal/node", `import _ "kimberlite"`, `tier "doors" stands above tier "node"`},
		{"an import of what is in no tier", "internal/tenant", `import _ "kimberlite/internal/stranger"`, "it is in no tier"},
		{"a package in no tier", "internal/stranger", ``, `"internal/stranger" is in no tier`},
		{"the projection imports the SQL driver", "internal/projection", `import _ "github.com/ncruces/go-sqlite3/vfs"`, ""},
		{"another imports the SQL driver", "internal/tenant", `import _ "github.com/ncruces/go-sqlite3"`, "only internal/projection may"},
		{"another imports the engine", "internal/shard", `import _ "go.etcd.io/raft/v3/raftpb"`, "only internal/replication may"},
		{"another imports the engine's log", "internal/tenantlog", `import _ "github.com/cockroachdb/pebble/v2"`, "only internal/replication may"},
		{"another imports a key service", "internal/keyring", `import _ "github.com/aws/aws-sdk-go-v2/service/kms"`, "only internal/kms may"},
		{"another imports the command line's library", "internal/demo", `import _ "github.com/spf13/cobra"`, "only cmd/kimberlite may"},
		{"a name that only starts like a dependency", "internal/projection", `import _ "github.com/ncruces/go-sqlite3x"`, "not a dependency"},
		{"an unknown dependency", "internal/node", `import _ "example.com/left/pad"`, "not a dependency"},
		{"a pure package reads the clock", "internal/quota", `import "time"; var x = time.Now()`, "internal/quota/made.go:1 uses time.Now"},
		{"under another name", "internal/quota", `import clock "time"; var x = clock.Now`, "uses time.Now"},
		{"a pure package measures time", "internal/record", `import "time"; var x = time.Since(time.Time{})`, "uses time.Since"},
		{"sealing reads the clock", "internal/seal", `import "time"; var x = time.Now()`, "uses time.Now"},
		{"a pure package holds a duration", "internal/quota", `import "time"; var x = time.Second`, ""},
		{"a pure package draws a number", "internal/record", `import _ "crypto/rand"`, "imports crypto/rand: pass"},
		{"a pure package opens files", "internal/record", `import _ "os"`, "imports os: pure"},
		{"the tree prints", "internal/demo", `import "fmt"; func f() { fmt.Println() }`, "uses fmt.Println"},
		{"the tree writes to a writer", "internal/demo", `import "fmt"; func f() { fmt.Fprintln(nil) }`, ""},
		{"the command prints", "cmd/kimberlite", `import "fmt"; func f() { fmt.Println() }`, ""},
		{"the tree ends the process", "internal/node", `import "os"; func f() { os.Exit(1) }`, "uses os.Exit"},
		{"the tree logs", "internal/node", `import _ "log"`, "imports log: return"},
		{"plaintext from elsewhere", "internal/tenant", `import "kimberlite/internal/seal"; var x = seal.InsecurePlaintextDEK`, "uses seal.InsecurePlaintextDEK"},
		{"plaintext from sealing itself", "internal/seal", `var x = InsecurePlaintextDEK()`, "uses seal.InsecurePlaintextDEK"},
		{"plaintext declared", "internal/seal", `func InsecurePlaintextDEK() {}`, ""},
		{"a file of the ceiling", "internal/node", strings.Repeat("\n", maxFileLines-1), ""},
		{"a file over the ceiling", "internal/node", strings.Repeat("\n", maxFileLines), "has 701 lines: split it"},
		{"a generated file over the ceiling", "internal/node", "// Code generated by hand. DO NOT EDIT.\n\npackage made\n" + strings.Repeat("\n", maxFileLines), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := c.pkg + "/made.go"
			text := c.text
			if !strings.Contains(text, "package made") {
				text = "package made; " + text
			}
			file := read(t, module+"/"+c.pkg, name, name, text+"\n")
			found := breaches([]pack{{path: c.pkg, name: "made", files: []source{file}}})
			switch {
			case c.want == "" && len(found) > 0:
				t.Errorf("breaches where none is: %q", found)
			case c.want != "" && (len(found) != 1 || !strings.Contains(found[0], c.want)):
				t.Errorf("breaches %q, want one with %q", found, c.want)
			}
		})
	}
}

func TestPackagesNamedForNothingAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range bannedNames {
		found := breaches([]pack{{path: "internal/" + name, name: name}})
		want := fmt.Sprintf("the name %q says nothing", name)
		if !slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("package %s passes: %q", name, found)
		}
	}
}
