package server

import (
	"reflect"
	"strconv"
	"strings"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
)

// UnmarshalText reads a size such as "16MiB".
func (s *Size) UnmarshalText(text []byte) error {
	n, err := quantity.ParseSize(string(text))
	*s = Size(n)
	return err
}

// String writes the size so that UnmarshalText reads it back.
func (s Size) String() string { return quantity.FormatSize(int64(s)) }

// section is one table of the file.
type section struct {
	name, doc string
	keys      []key
}

// key is one setting: where it stands in a Config, and what its field's tags
// say of it.
type key struct {
	section, name, doc   string
	fallback, least, top string // as the file would have them
	form                 string
	oneOf                []string
	value                reflect.Value // of the field
}

// path is the key's full name, "pg.addr".
func (k *key) path() string { return k.section + "." + k.name }

// variable is the environment variable that stands above the file.
func (k *key) variable() string {
	return "KIMBERLITE_" + strings.ToUpper(k.section) + "_" + strings.ToUpper(k.name)
}

// sections walks a configuration's fields.
func (c *Config) sections() []section {
	var all []section
	root := reflect.ValueOf(c).Elem()
	for i := range root.NumField() {
		f := root.Type().Field(i)
		s := section{name: f.Tag.Get("toml"), doc: f.Tag.Get("doc")}
		for j := range root.Field(i).NumField() {
			tag := root.Field(i).Type().Field(j).Tag
			s.keys = append(s.keys, key{
				section: s.name, name: tag.Get("toml"), doc: tag.Get("doc"), fallback: tag.Get("default"),
				least: tag.Get("min"), top: tag.Get("max"), form: tag.Get("form"),
				oneOf: strings.Fields(tag.Get("oneof")), value: root.Field(i).Field(j),
			})
		}
		all = append(all, s)
	}
	return all
}

// keys returns every key in the order of the file.
func (c *Config) keys() []key {
	var all []key
	for _, s := range c.sections() {
		all = append(all, s.keys...)
	}
	return all
}

// kinds of values, as the reference names them.
const (
	kindText     = "text"
	kindDuration = "duration"
	kindSize     = "size"
	kindCount    = "count"
	kindNumber   = "number"
	kindBool     = "true or false"
)

// kind says what sort of value a key has.
func (k *key) kind() string {
	switch k.value.Interface().(type) {
	case time.Duration:
		return kindDuration
	case Size:
		return kindSize
	case bool:
		return kindBool
	case float64:
		return kindNumber
	case string:
		return kindText
	}
	return kindCount
}

// want says what a value must look like, for errors and the reference.
func (k *key) want() string {
	switch {
	case len(k.oneOf) > 0:
		return "one of " + strings.Join(k.oneOf, ", ")
	case k.form == "address", k.form == "loopback", k.form == "reach":
		return `a host and a port, such as "127.0.0.1:5433"`
	case k.kind() == kindDuration:
		return "a duration in quotes, " + k.interval() + `, such as "30s"`
	case k.kind() == kindSize:
		return "a size in quotes, " + k.interval() + `, such as "16MiB"`
	case k.kind() == kindCount, k.kind() == kindNumber:
		return "a number, " + k.interval()
	case k.kind() == kindBool:
		return kindBool
	}
	return "a text in quotes"
}

func (k *key) interval() string { return k.least + " to " + k.top }

// set gives the field a value from its text, as the environment has it.
func (k *key) set(text string) error {
	n, err := k.parse(text)
	if err != nil {
		return fault.New("config", fault.Invalid, "%s: %q is not %s", k.path(), clip(text), k.want())
	}
	k.value.Set(reflect.ValueOf(n).Convert(k.value.Type()))
	return nil
}

// parse reads a text as the key's kind of value.
func (k *key) parse(text string) (any, error) {
	switch k.kind() {
	case kindDuration:
		return quantity.ParseDuration(text)
	case kindSize:
		return quantity.ParseSize(text)
	case kindBool:
		return strconv.ParseBool(text)
	case kindNumber:
		return strconv.ParseFloat(text, 64)
	case kindCount:
		return strconv.ParseInt(text, 10, 64)
	}
	return text, nil
}

// text is the field's value as the environment would have it.
func (k *key) text() string {
	switch v := k.value.Interface().(type) {
	case time.Duration:
		return quantity.FormatDuration(v)
	case Size:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case string:
		return v
	}
	return strconv.FormatInt(k.value.Int(), 10)
}

// literal is a value as TOML writes it.
func (k *key) literal(text string) string {
	switch k.kind() {
	case kindText, kindDuration, kindSize:
		return strconv.Quote(text)
	}
	return text
}

// clip shortens what is quoted in an error.
func clip(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
