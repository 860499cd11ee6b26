package access

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"kimberlite/internal/credential"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// OperatorsFile is the name of the operators' file in a data directory, mode
// 0600:
//
//	{"format": 1, "login_key": "<base64, 32 bytes>", "operators": [ … ]}
//
// Each operator is a record as package credential keeps it: a salted hash of
// the token, and no secret. login_key answers for users that do not exist,
// the same way after a restart; it proves nothing. Unknown fields are refused.
const OperatorsFile = "operators.json"

const (
	operatorsFormat   = 1
	loginKeyBytes     = 32
	maxOperators      = 1000
	maxOperatorsBytes = 4 << 20
)

type operatorsDocument struct {
	Format    int               `json:"format"`
	LoginKey  []byte            `json:"login_key"`
	Operators []json.RawMessage `json:"operators"`
}

// shelf is where the operators' document is kept.
type shelf interface {
	// read returns the document and its generation, which tells one from
	// another. It is cheap.
	read() (document []byte, generation uint64)
	// put has a document take the place of that of a generation. Conflict says
	// that another one came before it.
	put(ctx context.Context, generation uint64, document []byte) error
	// name says in errors where it is.
	name() string
}

// operators are the deployment's operators, kept in one small document.
type operators struct {
	shelf shelf
	// onRevoked is called for a record that was found revoked, which was not
	// before. It is not called with mu held.
	onRevoked func(*credential.Record)

	changing sync.Mutex // held by the one change that runs, which may take a while

	mu         sync.Mutex // guards all below
	generation uint64     // that of what follows
	key        []byte     // login_key
	records    []*credential.Record
}

// openOperators reads the file, or makes it.
func openOperators(fsys disk.FS, dir string, random io.Reader) (*operators, error) {
	file := &fileShelf{fs: fsys, path: filepath.Join(dir, OperatorsFile)}
	data, err := readSmall(fsys, file.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if data, err = newDocument(random); err == nil {
			err = file.put(context.Background(), 0, data)
		}
		if err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fault.Wrap("operators", fault.Unavailable, err, "cannot read %s", file.path)
	default:
		file.data, file.generation = data, 1
	}
	o := &operators{shelf: file}
	_, err = o.refresh()
	return o, err
}

// newDocument is one of no operators.
func newDocument(random io.Reader) ([]byte, error) {
	key := make([]byte, loginKeyBytes)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, fault.Wrap("operators", fault.Unavailable, err, "no random bytes")
	}
	return encodeOperators(key, nil)
}

// fileShelf is a file of one node. Its one user serialises calls of put.
type fileShelf struct {
	fs   disk.FS
	path string

	mu         sync.Mutex // guards all below
	data       []byte
	generation uint64
}

func (f *fileShelf) read() ([]byte, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.data, f.generation
}

func (f *fileShelf) put(_ context.Context, _ uint64, document []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := disk.WriteFileDurable(f.fs, f.path, document, 0o600); err != nil {
		return fault.Wrap("operators", fault.Unavailable, err, "cannot write %s", f.path)
	}
	f.data, f.generation = document, f.generation+1
	return nil
}

func (f *fileShelf) name() string { return f.path }

func readSmall(fsys disk.FS, path string) ([]byte, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err == nil && size > maxOperatorsBytes {
		err = fault.Corrupt("operators", path, maxOperatorsBytes, "the file is longer than any that is written")
	}
	var data []byte
	if err == nil {
		data = make([]byte, size)
		if _, err = f.ReadAt(data, 0); errors.Is(err, io.EOF) {
			err = nil
		}
	}
	return data, errors.Join(err, f.Close())
}

// refresh takes over what the shelf has by now, and returns the records that
// are newly revoked. The caller holds mu, or nobody else knows o yet.
func (o *operators) refresh() (revoked []*credential.Record, err error) {
	data, generation := o.shelf.read()
	if generation == o.generation || data == nil {
		return nil, nil
	}
	records, key, err := decodeOperators(data)
	if err != nil {
		var e *fault.Error
		if errors.As(err, &e) && e.Kind == fault.Incompatible {
			return nil, err
		}
		return nil, fault.Corrupt("operators", o.shelf.name(), 0, "the file is damaged: put it back from a copy, or remove it and make new operators")
	}
	before := map[uint64]bool{}
	for _, r := range o.records {
		before[r.ID] = r.Revoked.IsZero()
	}
	for _, r := range records {
		if before[r.ID] && !r.Revoked.IsZero() {
			revoked = append(revoked, r)
		}
	}
	o.records, o.key, o.generation = records, key, generation
	return revoked, nil
}

// look takes over what the shelf has by now, and has sessions of operators end
// that were revoked elsewhere.
func (o *operators) look() {
	o.mu.Lock()
	revoked, _ := o.refresh() // one that cannot be read leaves the last in force; changes say why
	o.mu.Unlock()
	for _, r := range revoked {
		if o.onRevoked != nil {
			o.onRevoked(r)
		}
	}
}

// decodeOperators reads the file's bytes.
func decodeOperators(data []byte) ([]*credential.Record, []byte, error) {
	bad := fault.New("operators", fault.Corruption, "the operators' file is malformed")
	var d operatorsDocument
	var version struct {
		Format int `json:"format"`
	}
	if json.Unmarshal(data, &version) != nil {
		return nil, nil, bad
	}
	if version.Format != operatorsFormat {
		return nil, nil, fault.New("operators", fault.Incompatible, "the operators' file has format %d: this program reads format %d, use a newer kimberlite", version.Format, operatorsFormat)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil || dec.More() || len(d.LoginKey) != loginKeyBytes || len(d.Operators) > maxOperators {
		return nil, nil, bad
	}
	records := make([]*credential.Record, len(d.Operators))
	ids := map[uint64]bool{}
	for i, raw := range d.Operators {
		r, err := credential.Decode(raw)
		if err != nil {
			return nil, nil, err
		}
		if r.Role != 0 || ids[r.ID] {
			return nil, nil, bad
		}
		ids[r.ID] = true
		records[i] = r
	}
	return records, d.LoginKey, nil
}

// encodeOperators writes what decodeOperators reads.
func encodeOperators(key []byte, records []*credential.Record) ([]byte, error) {
	d := operatorsDocument{Format: operatorsFormat, LoginKey: key, Operators: []json.RawMessage{}}
	for _, r := range records {
		b, err := r.Encode()
		if err != nil {
			return nil, err
		}
		d.Operators = append(d.Operators, b)
	}
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fault.Wrap("operators", fault.Internal, err, "cannot write the operators' file")
	}
	return append(data, '\n'), nil
}

// changeAttempts is how often a change is tried that others come before.
const changeAttempts = 5

// change makes a change of the records durable, and then in force. edit is
// called again when another change came first.
func (o *operators) change(ctx context.Context, edit func([]*credential.Record) ([]*credential.Record, error)) error {
	defer o.look() // it takes over what this and other nodes changed
	o.changing.Lock()
	defer o.changing.Unlock()
	o.mu.Lock()
	records, key, generation := o.records, o.key, o.generation
	o.mu.Unlock()
	for attempt := 1; ; attempt++ {
		data, latest := o.shelf.read()
		if latest != generation && data != nil {
			var err error
			if records, key, err = decodeOperators(data); err != nil {
				return err
			}
			generation = latest
		}
		changed, err := edit(slices.Clone(records))
		if err == nil {
			data, err = encodeOperators(key, changed)
		}
		if err != nil {
			return err
		}
		err = o.shelf.put(ctx, generation, data)
		if !fault.Is(err, fault.Conflict) || attempt == changeAttempts {
			return err
		}
	}
}

func (o *operators) loginKey() []byte {
	o.look()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.key
}

func (o *operators) all() []*credential.Record {
	o.look()
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.records)
}

func (o *operators) find(match func(*credential.Record) bool) *credential.Record {
	o.look()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range slices.Backward(o.records) {
		if match(r) {
			return r
		}
	}
	return nil
}

func (o *operators) named(name string) *credential.Record {
	return o.find(func(r *credential.Record) bool { return r.Name == name })
}

func (o *operators) numbered(id uint64) *credential.Record {
	return o.find(func(r *credential.Record) bool { return r.ID == id })
}

func (o *operators) create(ctx context.Context, name string, now time.Time, random io.Reader) (secret string, err error) {
	if err := credential.CheckName(name); err != nil {
		return "", err
	}
	err = o.change(ctx, func(records []*credential.Record) ([]*credential.Record, error) {
		secret, records, err = withOperator(records, name, now, random)
		return records, err
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// withOperator returns records with a new one.
func withOperator(records []*credential.Record, name string, now time.Time, random io.Reader) (string, []*credential.Record, error) {
	top := uint64(0)
	for _, r := range records {
		if r.Name == name && r.State(now) == credential.Active {
			return "", nil, fault.New("credential create", fault.AlreadyExists, "there is an operator %q already: revoke it, or choose another name", name)
		}
		top = max(top, r.ID)
	}
	if len(records) >= maxOperators {
		return "", nil, fault.New("credential create", fault.TooLarge, "there are %d operators, which is the most", maxOperators)
	}
	r := &credential.Record{ID: top + 1, Name: name, Created: now}
	secret, err := credential.NewSecret(ident.TenantID{}, r.ID, random)
	if err == nil {
		err = r.SetSecret(secret, random)
	}
	return secret, append(records, r), err
}

func (o *operators) revoke(ctx context.Context, id uint64, now time.Time) error {
	return o.change(ctx, func(records []*credential.Record) ([]*credential.Record, error) {
		for i, r := range records {
			if r.ID == id && r.Revoked.IsZero() {
				c := *r
				c.Revoked = now
				records[i] = &c
			}
		}
		return records, nil
	})
}
