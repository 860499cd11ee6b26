package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// root is the module's directory, from this one.
const root = "../.."

// load reads every package of the module, files of other build tags and
// systems included: `go list` would leave out a package that is nothing else,
// and what it runs on is unknown to the cache of test results.
func load(t *testing.T) []pack {
	t.Helper()
	packages := map[string]*pack{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if entry.IsDir() {
			return skip(file, name)
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		dir := strings.TrimPrefix(path.Dir(name), ".")
		if packages[dir] == nil {
			packages[dir] = &pack{path: dir}
		}
		if !strings.HasSuffix(name, "_test.go") {
			s := read(t, path.Join(module, dir), name, file, nil)
			packages[dir].name = s.pkg
			packages[dir].files = append(packages[dir].files, s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	all := make([]pack, 0, len(packages))
	for _, p := range packages {
		all = append(all, *p)
	}
	return all
}

// skip returns fs.SkipDir for a directory that is no part of the module, by
// the rules of the go command.
func skip(dir, name string) error {
	base := path.Base(name)
	if name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil && name != "." {
		return fs.SkipDir
	}
	return nil
}

// read returns what the rules look at of one file. Where text is nil it comes
// from the file.
func read(t *testing.T, importPath, name, file string, text any) source {
	t.Helper()
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, file, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	s := source{
		name:      name,
		pkg:       tree.Name.Name,
		lines:     files.File(tree.Pos()).LineCount(),
		generated: ast.IsGenerated(tree),
	}
	names := map[string]string{} // of an import in this file, to its path
	for _, spec := range tree.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		s.imports = append(s.imports, target)
		names[importName(spec, target)] = target
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && names[x.Name] != "" {
				s.uses = append(s.uses, use{names[x.Name], n.Sel.Name, files.Position(n.Pos()).Line})
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok {
				s.uses = append(s.uses, use{importPath, f.Name, files.Position(n.Pos()).Line})
			}
		}
		return true
	})
	return s
}

// importName returns what a file calls an import: its alias, or the last part
// of its path that is no version.
func importName(spec *ast.ImportSpec, target string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	base := path.Base(target)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(target))
	}
	return base
}
