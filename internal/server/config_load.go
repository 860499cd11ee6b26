package server

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"kimberlite/internal/fault"
)

// maxConfigBytes bounds what is read as a configuration.
const maxConfigBytes = 1 << 20

// Setting is one key in force: its name, its value, and where that is from.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"` // "default", "file", or the environment variable
}

// Default returns the configuration without a file and without an environment.
func Default() *Config {
	c := &Config{}
	for _, k := range c.keys() {
		if err := k.set(k.fallback); err != nil {
			panic(err) // the tags are wrong, and every start would meet it
		}
	}
	return c
}

// Load reads a configuration: the defaults, above them the file, unless it is
// "", and above it the environment's KIMBERLITE_<SECTION>_<KEY>, where an
// empty one counts as not there. It returns each key's source too. The result
// is validated; every error is of kind Invalid or says that the file cannot
// be read.
func Load(file string, environ []string) (*Config, []Setting, error) {
	c, sources, err := read(file, environ)
	if err != nil {
		return nil, nil, err
	}
	if err := c.validate(sources, c.member()); err != nil {
		return nil, nil, err
	}
	var settings []Setting
	for _, k := range c.keys() {
		source := sources[k.path()]
		if source == "" {
			source = "default"
		}
		settings = append(settings, Setting{Key: k.path(), Value: k.text(), Source: source})
	}
	return c, settings, nil
}

// LoadMember is Load for a data directory that is about to be a cluster
// node's. change, if not nil, sets what flags say above all else.
func LoadMember(file string, environ []string, change func(*Config)) (*Config, error) {
	c, sources, err := read(file, environ)
	if err != nil {
		return nil, err
	}
	if change != nil {
		change(c)
	}
	if c.Cluster.Listen == "" {
		c.Cluster.Listen = defaultListen
	}
	return c, c.validate(sources, true)
}

// read reads a configuration and checks nothing.
func read(file string, environ []string) (c *Config, sources map[string]string, err error) {
	c, sources = Default(), map[string]string{}
	if file != "" {
		data, err := readConfig(file)
		if err != nil {
			return nil, nil, err
		}
		if err := c.decode(data, sources); err != nil {
			return nil, nil, inFile(file, err)
		}
	}
	return c, sources, c.override(environ, sources)
}

func readConfig(file string) ([]byte, error) {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.New("config", fault.NotFound, "there is no configuration file %s: `kimberlite config init --out %s` makes one", file, file)
	case err == nil && info.Size() > maxConfigBytes:
		return nil, fault.New("config", fault.Invalid, "%s is longer than 1 MiB: it is no configuration", file)
	case err == nil && info.IsDir():
		return nil, fault.New("config", fault.Invalid, "%s is a directory: name the file", file)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fault.Wrap("config", fault.Invalid, err, "cannot read the configuration %s", file)
	}
	return data, nil
}

// inFile puts the file's name before an error's message.
func inFile(file string, err error) error {
	return fault.New("config", fault.Invalid, "%s, %s", file, message(err))
}

// message is an error's text without the operation, for one that says the
// same already.
func message(err error) string {
	var e *fault.Error
	if errors.As(err, &e) && e.Err == nil {
		return e.Message
	}
	return err.Error()
}

// override takes what the environment says of keys. A variable of a section
// that names no key of it is refused: it is a slip.
func (c *Config) override(environ []string, sources map[string]string) error {
	byVariable := map[string]*key{}
	var prefixes []string
	for _, s := range c.sections() {
		prefixes = append(prefixes, "KIMBERLITE_"+strings.ToUpper(s.name)+"_")
		for i := range s.keys {
			byVariable[s.keys[i].variable()] = &s.keys[i]
		}
	}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		k, known := byVariable[name]
		switch {
		case known && value == "":
		case known:
			if err := k.set(value); err != nil {
				return fault.New("config", fault.Invalid, "the environment's %s: %s", name, message(err))
			}
			sources[k.path()] = name
		default:
			for _, prefix := range prefixes {
				if strings.HasPrefix(name, prefix) {
					return fault.New("config", fault.Invalid, "the environment's %s names no key: see `kimberlite config init`, or unset it", name)
				}
			}
		}
	}
	return nil
}

// OperatorAddress returns where the operator's port of a configuration is,
// for who only wants to ask it. Nothing else of the configuration is checked.
func OperatorAddress(file string, environ []string) (string, error) {
	c, _, err := read(file, environ)
	if err != nil {
		return "", err
	}
	if c.Operator.Addr == "" {
		return "", fault.New("config", fault.Invalid, "operator.addr is empty, so there is nobody to ask: ask the RPC with --server")
	}
	return c.Operator.Addr, nil
}
