package main

import (
	"errors"
	"syscall"
)

// isReadOnly says that a filesystem takes no writes.
func isReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }
