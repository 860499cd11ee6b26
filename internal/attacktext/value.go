package attacktext

import "database/sql/driver"

// asksItself is a value that yields another one of itself.
type asksItself struct{}

// Value implements [driver.Valuer].
func (asksItself) Value() (driver.Value, error) { return asksItself{}, nil }

// panics is a value that cannot be asked.
type panics struct{ text string }

// Value implements [driver.Valuer].
func (p *panics) Value() (driver.Value, error) { return p.text, nil }
