package torture

import "errors"

// attackScanner takes nothing.
type attackScanner struct{}

func (attackScanner) Scan(any) error { return errors.New("it takes nothing") }
