package server

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"kimberlite/internal/fault"
)

// Validate says what is wrong with a configuration: the key, its value, what
// is wanted and how to mend it. It opens no file and no port; it only looks
// whether the data directory is that of a cluster's node.
func (c *Config) Validate() error { return c.validate(nil, c.member()) }

func (c *Config) validate(sources map[string]string, member bool) error {
	for _, k := range c.keys() {
		err := k.check()
		if err == nil {
			err = k.checkForm()
		}
		if err != nil {
			return from(sources, k, err)
		}
	}
	if err := c.checkAddresses(); err != nil {
		return err
	}
	if err := c.checkTLS(member); err != nil {
		return err
	}
	return c.checkSums()
}

// from names the environment variable that a bad value came from.
func from(sources map[string]string, k key, err error) error {
	if source := sources[k.path()]; strings.HasPrefix(source, "KIMBERLITE_") {
		return fault.New("config", fault.Invalid, "the environment's %s: %s", source, message(err))
	}
	return err
}

// check holds a value to its bounds.
func (k *key) check() error {
	outside := false
	switch k.kind() {
	case kindDuration, kindSize, kindCount:
		least, top := k.bound(k.least), k.bound(k.top)
		outside = k.value.Int() < least || k.value.Int() > top
	case kindNumber:
		least, _ := strconv.ParseFloat(k.least, 64)
		top, _ := strconv.ParseFloat(k.top, 64)
		v := k.value.Float()
		outside = !(v >= least && v <= top) // a NaN is outside
	case kindText:
		outside = len(k.oneOf) > 0 && !slices.Contains(k.oneOf, k.value.String())
	}
	if outside {
		return k.errorf("is not %s", k.want())
	}
	return nil
}

// bound reads a bound of the tags, which a test has shown to parse.
func (k *key) bound(text string) int64 {
	v, err := k.parse(text)
	if err != nil {
		panic(err)
	}
	if d, ok := v.(time.Duration); ok {
		return int64(d)
	}
	return v.(int64)
}

// errorf begins with the key and its value.
func (k *key) errorf(format string, args ...any) error {
	e := fault.New("config", fault.Invalid, format, args...)
	return fault.New("config", fault.Invalid, "%s = %s %s", k.path(), k.literal(clip(k.text())), e.Message)
}

// checkForm holds a text to its form.
func (k *key) checkForm() error {
	text := k.value.String()
	if k.kind() != kindText || text == "" {
		return nil
	}
	switch k.form {
	case "address":
		return k.checkAddress(text)
	case "loopback":
		if err := k.checkAddress(text); err != nil {
			return err
		}
		if !isLoopback(text) {
			return k.errorf("is not a loopback address: this port asks for no credential. Use 127.0.0.1, or empty for none; from other machines, operators read /metrics on rpc.addr")
		}
	case "reach":
		return k.checkReach(text)
	case "label":
		if len(text) > maxLabel || strings.ContainsFunc(text, func(r rune) bool { return !isLabel(r) }) {
			return k.errorf("is not 1 to %d letters, digits, hyphens, dots and underscores", maxLabel)
		}
	case "path":
		if strings.ContainsRune(text, 0) {
			return k.errorf("is not the path of a file")
		}
	case "key":
		return k.checkKeyURL(text)
	case "endpoint":
		u, err := url.Parse(text)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fault.New("config", fault.Invalid, "%s is not a URL such as http://127.0.0.1:4318, without user, password and query", k.path())
		}
	}
	return nil
}

func (k *key) checkAddress(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return k.errorf("is not %s", k.want())
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return k.errorf("has no port from 0 to 65535: want %s", k.want())
	}
	if host == "" {
		return k.errorf("names no host: 0.0.0.0 or [::] is every address of the machine, if that is what you want")
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		return k.errorf("names no IP address: give the address to listen on, not a name")
	}
	return nil
}

// maxLabel is the longest label.
const maxLabel = 63

func isLabel(r rune) bool {
	return r == '-' || r == '.' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// checkReach refuses what others cannot reach: every address, and any port.
func (k *key) checkReach(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" {
		return k.errorf("is not %s", k.want())
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return k.errorf("has no port from 1 to 65535: want %s", k.want())
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && ip.IsUnspecified():
		return k.errorf("is every address of a machine: name the one that others reach it by")
	case err != nil && (len(host) > 253 || strings.ContainsFunc(host, func(r rune) bool { return !isLabel(r) })):
		return k.errorf("has no host that is an IP address or a name")
	}
	return nil
}

// checkKeyURL refuses what would be a secret in the file. Its text is not
// quoted for the same reason.
func (k *key) checkKeyURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme == "":
		return fault.New("config", fault.Invalid, "%s is not a URL such as file:///etc/kimberlite/master.key", k.path())
	case u.User != nil:
		return fault.New("config", fault.Invalid, "%s holds a user or password: secrets are no part of the configuration", k.path())
	}
	return nil
}

// isLoopback says whether an address is this machine's alone.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// checkAddresses refuses two doors at one address, and none at all.
func (c *Config) checkAddresses() error {
	if c.PG.Addr == "" && c.RPC.Addr == "" {
		return fault.New("config", fault.Invalid, "pg.addr and rpc.addr are both empty: a server needs a door")
	}
	seen := map[string]string{}
	for _, k := range c.keys() {
		if k.name != "addr" && k.name != "listen" || k.value.String() == "" || strings.HasSuffix(k.value.String(), ":0") {
			continue
		}
		if before, taken := seen[k.value.String()]; taken {
			return k.errorf("is the address of %s too: give each its own port", before)
		}
		seen[k.value.String()] = k.path()
	}
	return nil
}

// checkTLS demands a certificate where the network is not this machine's own.
// A cluster's node has one of its deployment's.
func (c *Config) checkTLS(member bool) error {
	if member && c.PG.TLSCert == "" && c.PG.TLSKey == "" {
		own := *c
		own.PG.TLSCert, own.PG.TLSKey = nodeFiles(c.Data.Dir)
		return own.checkTLS(false)
	}
	switch {
	case (c.PG.TLSCert == "") != (c.PG.TLSKey == ""):
		return fault.New("config", fault.Invalid, "pg.tls_cert and pg.tls_key belong together: give both")
	case (c.RPC.TLSCert == "") != (c.RPC.TLSKey == ""):
		return fault.New("config", fault.Invalid, "rpc.tls_cert and rpc.tls_key belong together: give both")
	case c.PG.Addr != "" && c.PG.TLSCert == "" && !c.PG.AllowPlaintext:
		return fault.New("config", fault.Invalid, "pg.tls_cert and pg.tls_key are empty: name the PEM files of a certificate and its key, or set pg.allow_plaintext for clients on this machine")
	case c.PG.Addr != "" && c.PG.TLSCert == "" && !isLoopback(c.PG.Addr):
		return fault.New("config", fault.Invalid, "pg.addr = %q takes clients from other machines: it needs pg.tls_cert and pg.tls_key", c.PG.Addr)
	}
	if c.RPC.Addr == "" {
		return nil
	}
	cert, _ := c.rpcPair()
	switch {
	case c.RPC.AllowPlaintext && c.RPC.TLSCert != "":
		return fault.New("config", fault.Invalid, "rpc.allow_plaintext and rpc.tls_cert contradict each other: give one")
	case c.RPC.AllowPlaintext && !isLoopback(c.RPC.Addr):
		return fault.New("config", fault.Invalid, "rpc.allow_plaintext needs a loopback address, and rpc.addr is %q: name a certificate in rpc.tls_cert instead", c.RPC.Addr)
	case !c.RPC.AllowPlaintext && cert == "":
		return fault.New("config", fault.Invalid, "rpc.tls_cert and rpc.tls_key are empty, and so are those of [pg]: name the PEM files of a certificate and its key, or set rpc.allow_plaintext for clients on this machine")
	}
	return nil
}

// rpcPair returns the files of the RPC's certificate and key: its own, or
// those of PostgreSQL clients; none when it is to be plaintext.
func (c *Config) rpcPair() (cert, key string) {
	switch {
	case c.RPC.AllowPlaintext:
		return "", ""
	case c.RPC.TLSCert != "":
		return c.RPC.TLSCert, c.RPC.TLSKey
	}
	return c.pgPair()
}

// checkSums looks at keys that bound each other.
func (c *Config) checkSums() error {
	switch {
	case c.PG.MaxConnectionsPerTenant > c.PG.MaxConnections:
		return fault.New("config", fault.Invalid, "pg.max_connections_per_tenant = %d is more than pg.max_connections = %d: lower it", c.PG.MaxConnectionsPerTenant, c.PG.MaxConnections)
	case c.PG.StatementTimeout > c.Limits.StatementTimeout:
		return fault.New("config", fault.Invalid, "pg.statement_timeout = %q is more than limits.statement_timeout = %q, which bounds every statement: raise that",
			c.PG.StatementTimeout, c.Limits.StatementTimeout)
	case c.Limits.MaxValueSize > c.PG.MaxMessageSize:
		return fault.New("config", fault.Invalid, "limits.max_value_size = %q does not fit into pg.max_message_size = %q: raise that", c.Limits.MaxValueSize, c.PG.MaxMessageSize)
	case c.Data.Dir == "":
		return fault.New("config", fault.Invalid, "data.dir is empty: name the data directory")
	}
	return nil
}
