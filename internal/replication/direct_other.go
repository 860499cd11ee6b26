//go:build !linux

package replication

import "errors"

// setDirect says whether an open file is written past the page cache, which
// is known for Linux alone.
func setDirect(uintptr, bool) error { return errors.ErrUnsupported }
