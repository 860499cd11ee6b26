package server

import (
	"errors"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"kimberlite/internal/fault"
)

// decode reads TOML over the values that are there, and notes in sources
// which keys it had. It walks the document itself, since the decoder into
// structs reads no durations and sizes, and since every error here names the
// line, the key and what is wanted.
func (c *Config) decode(data []byte, sources map[string]string) error {
	var whole map[string]any // for what only the decoder finds: keys given twice, bad syntax
	if err := toml.Unmarshal(data, &whole); err != nil {
		return syntaxError(err)
	}
	d := decoder{keys: c.keys(), sources: sources}
	d.parser.Reset(data)
	var table []string
	for d.parser.NextExpression() {
		e := d.parser.Expression()
		names, line := d.names(e)
		switch e.Kind {
		case unstable.Table:
			if err := d.table(names, line); err != nil {
				return err
			}
			table = names
		case unstable.KeyValue:
			if err := d.value(slices.Concat(table, names), e.Value(), line); err != nil {
				return err
			}
		default:
			return atLine(line, "[[%s]] is a list of sections: write [%s] once", strings.Join(names, "."), strings.Join(names, "."))
		}
	}
	if err := d.parser.Error(); err != nil {
		return syntaxError(err)
	}
	return nil
}

// decoder is one walk through a document.
type decoder struct {
	parser  unstable.Parser
	keys    []key
	sources map[string]string
}

// names returns the dotted name of a table or key, and its line.
func (d *decoder) names(e *unstable.Node) (names []string, line int) {
	for it := e.Key(); it.Next(); {
		names = append(names, string(it.Node().Data))
		line = d.parser.Shape(it.Node().Raw).Start.Line
	}
	return names, line
}

func (d *decoder) table(names []string, line int) error {
	for i := range d.keys {
		if len(names) == 1 && d.keys[i].section == names[0] {
			return nil
		}
	}
	return atLine(line, "there is no section [%s]: the sections are %s", clip(strings.Join(names, ".")), strings.Join(d.sections(), ", "))
}

func (d *decoder) sections() []string {
	var all []string
	for i := range d.keys {
		all = append(all, d.keys[i].section)
	}
	return slices.Compact(all)
}

func (d *decoder) value(names []string, v *unstable.Node, line int) error {
	path := strings.Join(names, ".")
	for i := range d.keys {
		k := &d.keys[i]
		if len(names) != 2 || k.path() != path {
			continue
		}
		if err := k.accepts(v.Kind); err != nil {
			return atLine(line, "%s", message(err))
		}
		text := string(v.Data)
		if v.Kind == unstable.Integer || v.Kind == unstable.Float {
			text = strings.ReplaceAll(text, "_", "")
		}
		if err := k.set(text); err != nil {
			return atLine(line, "%s", message(err))
		}
		d.sources[path] = "file"
		return nil
	}
	return d.unknown(names, line)
}

// unknown says which keys there are.
func (d *decoder) unknown(names []string, line int) error {
	if len(names) == 1 {
		return atLine(line, "%s stands in no section: write it below one of %s", clip(names[0]), strings.Join(d.sections(), ", "))
	}
	var has []string
	for i := range d.keys {
		if d.keys[i].section == names[0] {
			has = append(has, d.keys[i].name)
		}
	}
	if len(has) == 0 {
		return atLine(line, "there is no section [%s]: the sections are %s", clip(names[0]), strings.Join(d.sections(), ", "))
	}
	return atLine(line, "[%s] has no key %s: its keys are %s", names[0], clip(strings.Join(names[1:], ".")), strings.Join(has, ", "))
}

// accepts says whether a value of the document is of the key's kind.
func (k *key) accepts(kind unstable.Kind) error {
	ok := false
	switch k.kind() {
	case kindText, kindDuration, kindSize:
		ok = kind == unstable.String
	case kindBool:
		ok = kind == unstable.Bool
	case kindCount:
		ok = kind == unstable.Integer
	case kindNumber:
		ok = kind == unstable.Integer || kind == unstable.Float
	}
	if !ok {
		return fault.New("config", fault.Invalid, "%s is %s: want %s", k.path(), strings.ToLower(kind.String()), k.want())
	}
	return nil
}

func atLine(line int, format string, args ...any) error {
	e := fault.New("config", fault.Invalid, format, args...)
	return fault.New("config", fault.Invalid, "line %d: %s", line, e.Message)
}

// syntaxError is what the decoder says of a document that is not TOML.
func syntaxError(err error) error {
	var e *toml.DecodeError
	if !errors.As(err, &e) {
		return fault.New("config", fault.Invalid, "%v", err)
	}
	line, _ := e.Position()
	return atLine(line, "%s", strings.TrimPrefix(e.Error(), "toml: "))
}
