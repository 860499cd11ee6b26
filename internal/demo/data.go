package demo

import (
	"compress/gzip"
	"embed"
	"errors"
	"io"
	"io/fs"
	"strings"

	"kimberlite/internal/fault"
)

// dataSuffix ends the name of every packed table.
const dataSuffix = ".csv.gz"

// data holds the Synthea tables; data/README.md says where they come from.
//
//go:embed data/*.csv.gz
var data embed.FS

// Tables returns the names of the packed tables, such as "patients", sorted.
func Tables() []string {
	entries, err := data.ReadDir("data")
	if err != nil {
		panic("demo: the data that the binary was built with is missing: " + err.Error())
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), dataSuffix)
	}
	return names
}

// Open returns the CSV text of a packed table, its header line first. A name
// that is not in [Tables] is NotFound. The caller closes the reader, which is
// for one goroutine.
func Open(name string) (io.ReadCloser, error) {
	const op = "demo data"
	packed, err := data.Open("data/" + name + dataSuffix)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, fault.New(op, fault.NotFound, "no table %q: there are %s", name, strings.Join(Tables(), ", "))
	}
	if err != nil {
		return nil, fault.Wrap(op, fault.Internal, err, "opening table %q", name)
	}
	text, err := gzip.NewReader(packed)
	if err != nil {
		return nil, errors.Join(fault.Wrap(op, fault.Internal, err, "unpacking table %q", name), packed.Close())
	}
	return table{Reader: text, packed: packed}, nil
}

// table is an unpacked table over the file that it is read from.
type table struct {
	*gzip.Reader
	packed fs.File
}

// Close ends both readers.
func (t table) Close() error { return errors.Join(t.Reader.Close(), t.packed.Close()) }
