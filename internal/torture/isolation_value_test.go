package torture

import (
	"database/sql/driver"
	"errors"
)

// attackValuer is a value that yields another one of itself.
type attackValuer struct{}

func (attackValuer) Value() (driver.Value, error) { return attackValuer{}, nil }

// attackPanic is a value that cannot be asked.
type attackPanic struct{ text string }

func (p *attackPanic) Value() (driver.Value, error) { return p.text, nil }

// attackScanner takes nothing.
type attackScanner struct{}

func (attackScanner) Scan(any) error { return errors.New("it takes nothing") }
