package main

import (
	"net/url"
	"os"
	"strings"

	"kimberlite/internal/fault"
)

// target is what a verb acts on: a data directory or a server.
type target struct {
	data   string // the directory; "" when it is a server
	server string // its URL
	token  string // the bearer token
	ca     string // path of a PEM file, "" for the system's certificates
	from   string // the saved context that said so, or ""
}

// target finds what to act on: flags first, then the environment, then the
// current context.
func (a *app) target() (target, error) {
	g := &a.global
	server, data := g.server, g.data
	switch {
	case server != "" && data != "":
		return target{}, fault.New("", fault.Invalid, "--data and --server cannot both be given: one is a directory, the other a running node")
	case server == "" && data == "":
		server, data = a.env(envServer), a.env(envData)
		if server != "" && data != "" {
			return target{}, fault.New("", fault.Invalid, "%s and %s are both set: give --data or --server", envData, envServer)
		}
	}
	if data != "" {
		return target{data: data}, nil
	}
	all, err := loadContexts()
	if err != nil {
		return target{}, err
	}
	if server == "" {
		saved, ok := all.Contexts[all.Current]
		if !ok {
			return target{}, fault.New("", fault.Invalid, "nothing was named to act on: give --data DIR or --server URL, set %s or %s, or save a server with context add", envData, envServer)
		}
		return a.remoteTarget(target{server: saved.Server, from: all.Current}, saved)
	}
	// A saved token is sent only to the server that it was saved for.
	var saved serverContext
	for _, name := range all.names() {
		if s := all.Contexts[name]; s.Server == server {
			saved = s
			break
		}
	}
	return a.remoteTarget(target{server: server}, saved)
}

// remoteTarget fills in the token and the certificates: of flags, of the
// environment, or of the context.
func (a *app) remoteTarget(t target, saved serverContext) (target, error) {
	if _, err := parseServer(t.server); err != nil {
		return target{}, err
	}
	t.ca = a.flagOrEnv(a.global.ca, envCA)
	if t.ca == "" {
		t.ca = saved.CA
	}
	t.token = a.flagOrEnv(a.global.token, envToken)
	if t.token == "" {
		t.token = saved.Token
	}
	if t.token == "" && saved.TokenFile != "" {
		token, err := readToken(saved.TokenFile)
		if err != nil {
			return target{}, err
		}
		t.token = token
	}
	return t, nil
}

// readToken reads a token from a file, on its first line.
func readToken(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fault.Wrap("token", fault.NotFound, err, "the token's file cannot be read")
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fault.New("token", fault.Invalid, "the token's file %s holds none on its first line", path)
	}
	return line, nil
}

// parseServer checks a server's URL.
func parseServer(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return nil, fault.New("--server", fault.Invalid, "want a URL such as https://127.0.0.1:7443")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fault.New("--server", fault.Invalid, "the URL is of scheme, host and port alone: the token goes into --token or %s", envToken)
	}
	return u, nil
}
