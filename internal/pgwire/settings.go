package pgwire

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"kimberlite/internal/fault"
)

// Limits of settings of a client's own invention, such as app.user.
const (
	maxCustomSettings = 64
	maxSettingBytes   = 8 << 10
)

// settings are a session's run-time parameters: what differs from the
// defaults. It is used by the session's goroutine.
type settings struct {
	s *session
	// startup are the values that RESET goes back to.
	startup map[string]string
	// values are set for the session, local until the transaction ends.
	values, local map[string]string
	// reported is what the client was told of those that it is told of.
	reported map[string]string
	changed  bool

	statement, lockWait, idleTx, idle time.Duration // of those values; 0 is none
	idleTxSet, idleSet                bool
	changes                           uint64 // counts what derive was called for
}

// savedSettings is what a rollback goes back to.
type savedSettings struct{ values, local map[string]string }

func (st *settings) snapshot() *savedSettings {
	return &savedSettings{maps.Clone(st.values), maps.Clone(st.local)}
}

func (st *settings) restore(saved *savedSettings) {
	st.values, st.local = maps.Clone(saved.values), maps.Clone(saved.local)
	st.derive()
}

func (st *settings) dropLocal() {
	if len(st.local) > 0 {
		st.local = nil
		st.derive()
	}
}

// start takes over what the startup message says.
func (st *settings) start(s *session, params map[string]string) error {
	st.s = s
	st.startup = map[string]string{}
	for name, value := range params {
		name = strings.ToLower(name)
		switch name {
		case "user", "database", "replication":
			continue
		case "options":
			if err := st.startOptions(value); err != nil {
				return err
			}
			continue
		}
		if err := st.startOne(name, value); err != nil {
			return err
		}
	}
	st.derive()
	return nil
}

func (st *settings) startOne(name, value string) error {
	canonical, err := st.check(name, value)
	if err != nil && name == "timezone" {
		// Drivers send the zone of their machine without being asked. They
		// are told UTC, and every time that they are sent says +00.
		return nil
	}
	if err != nil {
		return err
	}
	st.startup[name] = canonical
	return nil
}

// startOptions reads the command-line form: -c name=value, --name=value.
func (st *settings) startOptions(text string) error {
	words := splitOptions(text)
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case word == "-c" && i+1 < len(words):
			i++
			word = words[i]
		case strings.HasPrefix(word, "-c"):
			word = word[2:]
		case strings.HasPrefix(word, "--"):
			word = word[2:]
		default:
			return fault.New("login", fault.Unsupported, "options may only hold settings, as -c name=value")
		}
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return fault.New("login", fault.Invalid, "options are not well formed: write -c name=value").WithState("42601")
		}
		if err := st.startOne(strings.ReplaceAll(strings.ToLower(name), "-", "_"), value); err != nil {
			return err
		}
	}
	return nil
}

// splitOptions splits at blanks; a backslash keeps the next character.
func splitOptions(text string) []string {
	var words []string
	var b strings.Builder
	in := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
			in = true
		case c == ' ' || c == '\t' || c == '\n':
			if in {
				words, in = append(words, b.String()), false
				b.Reset()
			}
		default:
			b.WriteByte(c)
			in = true
		}
	}
	if in {
		words = append(words, b.String())
	}
	return words
}

// get returns a setting's value.
func (st *settings) get(name string) (string, bool) {
	name = strings.ToLower(name)
	for _, m := range [...]map[string]string{st.local, st.values, st.startup} {
		if v, ok := m[name]; ok {
			return v, true
		}
	}
	return st.fallback(name)
}

// fallback returns the value of a setting that nobody has set.
func (st *settings) fallback(name string) (string, bool) {
	switch name {
	case "server_version":
		return "15.0 (Kimberlite " + st.s.srv.c.Version + ")", true
	case "session_authorization", "role", "session_user":
		if name == "role" {
			return "none", true
		}
		return st.s.user, true
	case "transaction_read_only":
		if st.s.tx.readOnly {
			return "on", true
		}
		return st.get("default_transaction_read_only")
	}
	k, ok := known[name]
	return k.value, ok
}

// set changes a setting for the session, or until the transaction ends.
func (st *settings) set(name, value string, local bool) error {
	name = strings.ToLower(name)
	if name == "kimberlite.idempotency_key" {
		return st.s.nameNextWrite(value)
	}
	value, err := st.check(name, value)
	if err != nil {
		return err
	}
	if st.s.tx.open() && st.s.tx.saved == nil {
		st.s.tx.saved = st.snapshot()
	}
	if name == "transaction_read_only" {
		st.s.tx.readOnly = value == "on"
		return nil
	}
	if local {
		put(&st.local, name, value)
	} else {
		delete(st.local, name)
		put(&st.values, name, value)
	}
	st.derive()
	return nil
}

func put(m *map[string]string, name, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[name] = value
}

// reset forgets what was set; "" is everything.
func (st *settings) reset(name string) error {
	name = strings.ToLower(name)
	if st.s.tx.open() && st.s.tx.saved == nil {
		st.s.tx.saved = st.snapshot()
	}
	if name == "" || name == "all" {
		st.values, st.local = nil, nil
		st.derive()
		return nil
	}
	k, ok := known[name]
	if !ok && !isCustom(name) {
		return errUnknownSetting(name)
	}
	if k.fixed {
		return errFixedSetting(name)
	}
	delete(st.values, name)
	delete(st.local, name)
	st.derive()
	return nil
}

// check returns the canonical form of a value, or why it is refused.
func (st *settings) check(name, value string) (string, error) {
	if len(value) > maxSettingBytes {
		return "", fault.New("set", fault.TooLarge, "the value of %q has over %d bytes", name, maxSettingBytes)
	}
	k, ok := known[name]
	switch {
	case !ok && isCustom(name):
		if len(st.values)+len(st.local)+len(st.startup) >= maxCustomSettings {
			return "", fault.New("set", fault.TooLarge, "a session has at most %d settings", maxCustomSettings)
		}
		return value, nil
	case !ok:
		return "", errUnknownSetting(name)
	case k.fixed:
		return "", errFixedSetting(name)
	case k.check == nil:
		return value, nil
	}
	canonical, ok := k.check(value)
	if !ok {
		state := "22023"
		if k.unsupported {
			state = "0A000"
		}
		e := fault.New("set", fault.Invalid, "invalid value for parameter %q: %s", name, k.allowed).WithState(state)
		return "", e
	}
	return canonical, nil
}

// isCustom says whether a name is of the kind that applications make up.
func isCustom(name string) bool { return strings.Contains(name, ".") && len(name) <= 128 }

func errUnknownSetting(name string) error {
	return fault.New("set", fault.NotFound, "unrecognized configuration parameter %q", name)
}

func errFixedSetting(name string) error {
	return fault.New("set", fault.Denied, "parameter %q cannot be changed", name).WithState("55P02")
}

// derive works out what the session itself looks at.
func (st *settings) derive() {
	st.changes++
	st.changed = true
	duration := func(name string) (time.Duration, bool) {
		v, ok := st.get(name)
		d, _ := parseDuration(v)
		return d, ok && v != ""
	}
	st.statement, _ = duration("statement_timeout")
	st.lockWait, _ = duration("lock_timeout")
	st.idleTx, st.idleTxSet = duration("idle_in_transaction_session_timeout")
	st.idle, st.idleSet = duration("idle_session_timeout")
}

// bounded returns the smaller of what a client asks for and the server's
// limit, where 0 is none.
func bounded(asked, limit time.Duration) time.Duration {
	if asked == 0 || limit != 0 && limit < asked {
		return limit
	}
	return asked
}

func (st *settings) idleInTransaction(limit time.Duration) time.Duration {
	return bounded(st.idleTx, limit)
}

func (st *settings) idleSession(limit time.Duration) time.Duration { return bounded(st.idle, limit) }

func (st *settings) statementTimeout(limit time.Duration) time.Duration {
	return bounded(st.statement, limit)
}

// reportSettings tells the client what has changed of the settings that it is
// told of.
func (s *session) reportSettings() error {
	st := &s.settings
	if !st.changed {
		return nil
	}
	st.changed = false
	if st.reported == nil {
		st.reported = map[string]string{}
	}
	for _, r := range reports {
		value, _ := st.get(r.name)
		if old, told := st.reported[r.name]; told && old == value {
			continue
		}
		st.reported[r.name] = value
		if err := s.w.parameterStatus(r.shown, value); err != nil {
			return err
		}
	}
	return nil
}

// all returns every setting with its value, by name.
func (st *settings) all() [][3]string {
	names := slices.Collect(maps.Keys(known))
	for _, m := range [...]map[string]string{st.startup, st.values, st.local} {
		for name := range m {
			if _, ok := known[name]; !ok && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	rows := make([][3]string, 0, len(names))
	for _, name := range names {
		value, _ := st.get(name)
		rows = append(rows, [3]string{name, value, known[name].about})
	}
	return rows
}

// parseDuration reads a time as PostgreSQL's settings have it: milliseconds
// unless a unit says otherwise.
func parseDuration(v string) (time.Duration, bool) {
	v = strings.TrimSpace(v)
	i := len(v)
	for i > 0 && (v[i-1] < '0' || v[i-1] > '9') {
		i--
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(v[:i]), 64)
	if err != nil || n < 0 {
		return 0, false
	}
	units := map[string]time.Duration{
		"": time.Millisecond, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second,
		"min": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	}
	unit, ok := units[strings.TrimSpace(v[i:])]
	if !ok || n*float64(unit) > float64(1<<31*time.Millisecond) {
		return 0, false
	}
	return time.Duration(n * float64(unit)), true
}
