package archtest

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is the path that every package of ours starts with.
const module = "kimberlite"

// source is what the rules look at of one Go file that is not a test.
type source struct {
	name      string // below the module's directory, with slashes
	pkg       string // of its package clause
	imports   []string
	uses      []use
	lines     int
	generated bool
}

// use is one mention of a name of another package, or of an own declaration.
type use struct {
	path string // import path of the package
	name string
	line int
}

// pack is one package.
type pack struct {
	path  string // below the module's path, "" for the root package
	name  string // of its package clause
	files []source
}

// breaches returns one line for each breach of the rules, sorted.
func breaches(packages []pack) []string {
	var found []string
	for _, p := range packages {
		found = append(found, listed(p)...)
		found = append(found, named(p)...)
		for _, f := range p.files {
			found = append(found, imported(p, f)...)
			found = append(found, banned(p, f)...)
			found = append(found, tooLong(f)...)
		}
	}
	slices.Sort(found)
	return found
}

// place returns a package's tier and its place within it; both count from the
// top.
func place(pkg string) (level, position int, ok bool) {
	for i, t := range tiers {
		if j := slices.Index(t.packages, pkg); j >= 0 {
			return i, j, true
		}
	}
	return 0, 0, false
}

func listed(p pack) []string {
	if _, _, ok := place(p.path); ok {
		return nil
	}
	return []string{fmt.Sprintf("package %q is in no tier: add it to the table in internal/archtest/table_test.go", p.path)}
}

func named(p pack) []string {
	for _, name := range bannedNames {
		if p.name == name || path.Base(p.path) == name {
			return []string{fmt.Sprintf("package %q: the name %q says nothing: name what it is about", p.path, name)}
		}
	}
	return nil
}

func imported(p pack, f source) []string {
	var found []string
	for _, target := range f.imports {
		var because string
		switch {
		case target == module || strings.HasPrefix(target, module+"/"):
			because = downward(p.path, strings.TrimPrefix(strings.TrimPrefix(target, module), "/"))
		case !strings.Contains(strings.SplitN(target, "/", 2)[0], "."):
			continue // the standard library
		default:
			because = allowed(p.path, target)
		}
		if because != "" {
			found = append(found, fmt.Sprintf("%s imports %s: %s", f.name, target, because))
		}
	}
	return found
}

// downward returns why one package of ours may not import another, or "".
func downward(importer, target string) string {
	fromLevel, fromPosition, ok := place(importer)
	if !ok {
		return "" // listed reports it
	}
	toLevel, toPosition, ok := place(target)
	switch {
	case !ok:
		return "it is in no tier"
	case toLevel < fromLevel:
		return fmt.Sprintf("tier %q stands above tier %q", tiers[toLevel].name, tiers[fromLevel].name)
	case toLevel == fromLevel && toPosition <= fromPosition:
		return fmt.Sprintf("it stands above the importer in tier %q", tiers[toLevel].name)
	}
	return ""
}

// allowed returns why a package may not import a module of others, or "".
func allowed(importer, target string) string {
	for _, d := range dependencies {
		if target != d.module && !strings.HasPrefix(target, d.module+"/") {
			continue
		}
		if d.importers == nil || slices.Contains(d.importers, importer) {
			return ""
		}
		return "only " + strings.Join(d.importers, ", ") + " may"
	}
	return "not a dependency that the table and docs/decisions/0002-dependencies.md know"
}

func banned(p pack, f source) []string {
	var found []string
	for _, b := range bans {
		if b.in != nil && !slices.Contains(b.in, p.path) || slices.Contains(b.except, p.path) {
			continue
		}
		if b.names == nil {
			if slices.Contains(f.imports, b.path) {
				found = append(found, fmt.Sprintf("%s imports %s: %s", f.name, b.path, b.because))
			}
			continue
		}
		for _, u := range f.uses {
			if u.path == b.path && slices.Contains(b.names, u.name) {
				found = append(found, f.name+":"+strconv.Itoa(u.line)+" uses "+path.Base(u.path)+"."+u.name+": "+b.because)
			}
		}
	}
	return found
}

func tooLong(f source) []string {
	if f.generated || f.lines <= maxFileLines {
		return nil
	}
	return []string{fmt.Sprintf("%s has %d lines: split it before %d", f.name, f.lines, maxFileLines)}
}
