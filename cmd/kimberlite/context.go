package main

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"kimberlite/internal/fault"
)

// serverContext is a saved server: what --server, --token and --ca would say.
type serverContext struct {
	// Server is the URL of the node, such as https://127.0.0.1:7443.
	Server string `toml:"server"`
	// Token is the bearer token, or TokenFile the absolute path of a file that
	// holds it and is read at each use; both may be "".
	Token     string `toml:"token,omitempty"`
	TokenFile string `toml:"token_file,omitempty"`
	// CA is the absolute path of a PEM file with the certificates that the
	// server's may be signed by; "" is the system's.
	CA string `toml:"ca,omitempty"`
}

// contexts are all saved servers, by name, and which of them verbs act on that
// are told nothing else.
type contexts struct {
	Current  string                   `toml:"current,omitempty"`
	Contexts map[string]serverContext `toml:"contexts"`
}

// contextsPath returns where the contexts are kept.
func contextsPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fault.Wrap("context", fault.Unavailable, err, "there is no place for saved contexts: set HOME or XDG_CONFIG_HOME")
	}
	return filepath.Join(dir, "kimberlite", "contexts.toml"), nil
}

// loadContexts reads the saved contexts; none are saved when there is no file.
func loadContexts() (*contexts, error) {
	c := &contexts{Contexts: map[string]serverContext{}}
	path, err := contextsPath()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fault.Wrap("context", fault.Unavailable, err, "the saved contexts cannot be read")
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fault.Wrap("context", fault.Unavailable, err, "the saved contexts cannot be read")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fault.New("context", fault.Denied, "%s holds tokens and others can read it: chmod 600 it", path)
	}
	// The parser's error would quote the file, which holds tokens.
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(c); err != nil {
		return nil, fault.New("context", fault.Invalid, "%s does not parse: mend it or remove it", path)
	}
	if c.Contexts == nil {
		c.Contexts = map[string]serverContext{}
	}
	return c, nil
}

// save writes the contexts to a file that only its owner can read, whole or
// not at all.
func (c *contexts) save() error {
	path, err := contextsPath()
	if err != nil {
		return err
	}
	data, err := toml.Marshal(c)
	if err != nil {
		return fault.Wrap("context", fault.Internal, err, "the contexts cannot be written")
	}
	if err := replaceFile(path, data); err != nil {
		return fault.Wrap("context", fault.Unavailable, err, "the contexts cannot be saved")
	}
	return nil
}

// replaceFile puts data in the place of a file, with mode 0600.
func replaceFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".contexts-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// saveContext saves one server under a name, in place of what had it, and
// makes it the current one when use says so, or when there is no other.
func saveContext(name string, s serverContext, use bool) error {
	if err := checkContextName(name); err != nil {
		return err
	}
	if _, err := parseServer(s.Server); err != nil {
		return err
	}
	all, err := loadContexts()
	if err != nil {
		return err
	}
	if use || len(all.Contexts) == 0 {
		all.Current = name
	}
	all.Contexts[name] = s
	return all.save()
}

// setCurrentContext makes a saved context the current one.
func setCurrentContext(name string) error {
	all, err := loadContexts()
	if err != nil {
		return err
	}
	if _, ok := all.Contexts[name]; !ok {
		return errNoContext(all, name)
	}
	all.Current = name
	return all.save()
}

// removeContext forgets a saved context.
func removeContext(name string) error {
	all, err := loadContexts()
	if err != nil {
		return err
	}
	if _, ok := all.Contexts[name]; !ok {
		return errNoContext(all, name)
	}
	delete(all.Contexts, name)
	if all.Current == name {
		all.Current = ""
	}
	return all.save()
}

// names returns the names of all contexts, sorted.
func (c *contexts) names() []string { return slices.Sorted(maps.Keys(c.Contexts)) }

func errNoContext(all *contexts, name string) error {
	if len(all.Contexts) == 0 {
		return fault.New("context", fault.NotFound, "there is no context %q, and no other: context add saves one", printable(name))
	}
	return fault.New("context", fault.NotFound, "there is no context %q: there are %s", printable(name), strings.Join(all.names(), ", "))
}

// checkContextName keeps names to what needs no quoting anywhere.
func checkContextName(name string) error {
	legal := func(r rune) bool {
		return r == '-' || r == '_' || r == '.' || (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
	}
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return !legal(r) }) {
		return fault.New("context", fault.Invalid, "a context's name is 1 to 64 letters, digits, dots, hyphens and underscores")
	}
	return nil
}
