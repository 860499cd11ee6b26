package projection

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
)

// params says which argument each of a statement's parameters takes.
type params struct {
	// position has for each parameter, in SQLite's order, the argument's
	// place from 1; nil when parameter and argument have the same place.
	position []int
	// names has the parameters' names when they are named.
	names []string
	// count is how many arguments are wanted.
	count int
	// large says that a large value is bound.
	large bool
}

// largeBinding is from where on a bound value is let go of after use.
const largeBinding = 4 << 10

// readParams reads the parameters of a statement. SQLite takes $1 for a name:
// the first it meets gets the first place, whatever its number is, which is
// why places are read from the names.
func readParams(stmt *sqlite3.Stmt) (params, error) {
	n := stmt.BindCount()
	if n == 0 {
		return params{}, nil
	}
	p := params{count: n}
	var plain, dollar, named bool
	position := make([]int, n)
	names := make([]string, n)
	top := 0
	for i := range n {
		name := stmt.BindName(i + 1)
		switch number, ok := dollarNumber(name); {
		case name == "" || name[0] == '?':
			plain = true
		case ok:
			dollar = true
			position[i], top = number, max(top, number)
		default:
			named = true
			names[i] = name[1:]
		}
	}
	switch {
	case plain && !dollar && !named:
		return p, nil
	case dollar && !plain && !named:
		p.position, p.count = position, top
		return p, nil
	case named && !plain && !dollar:
		p.names = names
		return p, nil
	}
	return params{}, fault.New("bind", fault.Invalid, "the statement mixes kinds of parameters: use $1 or ? or :name throughout")
}

// dollarNumber reads "$12".
func dollarNumber(name string) (int, bool) {
	if len(name) < 2 || name[0] != '$' {
		return 0, false
	}
	n, err := strconv.Atoi(name[1:])
	return n, err == nil && n >= 1 && n <= math.MaxInt16
}

// bind gives a statement its arguments.
func (c *conn) bind(p *prepared, args []any) error {
	if p.params.names != nil {
		return c.bindNamed(p, args)
	}
	if len(args) != p.params.count {
		return fault.New("bind", fault.Invalid, "the statement has %d parameters, %d arguments were given", p.params.count, len(args)).ForTenant(c.tenant)
	}
	if p.params.position == nil {
		for i, a := range args {
			if err := c.bindOne(p, i+1, a); err != nil {
				return err
			}
		}
		return nil
	}
	for i, at := range p.params.position {
		if err := c.bindOne(p, i+1, args[at-1]); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) bindNamed(p *prepared, args []any) error {
	byName := make(map[string]any, len(args))
	for _, a := range args {
		n, ok := a.(sql.NamedArg)
		if !ok {
			return fault.New("bind", fault.Invalid, "the statement's parameters are named: give each as sql.Named").ForTenant(c.tenant)
		}
		byName[n.Name] = n.Value
	}
	used := map[string]bool{}
	for i, name := range p.params.names {
		a, ok := byName[name]
		if !ok {
			return fault.New("bind", fault.Invalid, "no argument is named %q", name).ForTenant(c.tenant)
		}
		used[name] = true
		if err := c.bindOne(p, i+1, a); err != nil {
			return err
		}
	}
	for name := range byName {
		if !used[name] {
			return fault.New("bind", fault.Invalid, "the statement has no parameter %q", name).ForTenant(c.tenant)
		}
	}
	return nil
}

func (c *conn) bindOne(p *prepared, at int, a any) error {
	size := 0
	switch v := a.(type) {
	case string:
		size = len(v)
	case []byte:
		size = len(v)
	}
	if size > largeBinding {
		p.params.large = true
		if size > c.limits.MaxValueBytes {
			return fault.New("bind", fault.TooLarge, "argument %d has %d bytes, the limit is %d", at, size, c.limits.MaxValueBytes).ForTenant(c.tenant)
		}
	}
	if err := bindValue(p.stmt, at, a); err != nil {
		return c.fail("bind", "", err)
	}
	return nil
}

// bindValue binds any value that a client may pass.
func bindValue(s *sqlite3.Stmt, at int, a any) error {
	switch v := a.(type) {
	case int64:
		return s.BindInt64(at, v)
	case string:
		return s.BindText(at, v)
	case nil:
		return s.BindNull(at)
	case int:
		return s.BindInt64(at, int64(v))
	case []byte:
		return s.BindBlob(at, v)
	case float64:
		return s.BindFloat(at, v)
	case bool:
		return s.BindBool(at, v)
	case time.Time:
		return s.BindText(at, v.UTC().Format(time.RFC3339Nano))
	}
	return bindOther(s, at, a)
}

func bindOther(s *sqlite3.Stmt, at int, a any) error {
	switch v := a.(type) {
	case int32:
		return s.BindInt64(at, int64(v))
	case int16:
		return s.BindInt64(at, int64(v))
	case int8:
		return s.BindInt64(at, int64(v))
	case uint8:
		return s.BindInt64(at, int64(v))
	case uint16:
		return s.BindInt64(at, int64(v))
	case uint32:
		return s.BindInt64(at, int64(v))
	case uint64:
		return bindUint(s, at, v)
	case uint:
		return bindUint(s, at, uint64(v))
	case float32:
		return s.BindFloat(at, float64(v))
	case sql.NamedArg:
		return fault.New("bind", fault.Invalid, "argument %d is named, the statement's parameters are not", at)
	case driver.Valuer:
		plain, err := plainValue(v)
		if err != nil {
			return fault.Wrap("bind", fault.Invalid, err, "argument %d has no value", at)
		}
		if _, again := plain.(driver.Valuer); again {
			return fault.New("bind", fault.Invalid, "argument %d yields another Valuer", at)
		}
		return bindValue(s, at, plain)
	}
	return fault.New("bind", fault.Invalid, "argument %d has type %T: use nil, a bool, a number, a string, []byte or time.Time", at, a)
}

// plainValue asks a Valuer. A nil pointer whose target is the Valuer stands for
// NULL, as in database/sql. A panic of the caller's code is an error of the
// argument: SQLite and the connection have no part in it.
func plainValue(v driver.Valuer) (plain any, err error) {
	at := reflect.ValueOf(v)
	if at.Kind() == reflect.Pointer && at.IsNil() && at.Type().Elem().Implements(reflect.TypeFor[driver.Valuer]()) {
		return nil, nil
	}
	defer func() {
		if recover() != nil {
			err = errors.New("its Value method panicked")
		}
	}()
	return v.Value()
}

func bindUint(s *sqlite3.Stmt, at int, v uint64) error {
	if v > math.MaxInt64 {
		return fault.New("bind", fault.Invalid, "argument %d is %d: integers go up to %d", at, v, int64(math.MaxInt64))
	}
	return s.BindInt64(at, int64(v))
}
