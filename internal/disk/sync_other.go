//go:build !linux

package disk

// Sync implements [File].
func (f osFile) Sync() error { return f.File.Sync() }
