package access

import (
	"bytes"
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

// operators are the deployment's operators, kept in one small file.
type operators struct {
	fs   disk.FS
	path string
	key  []byte // login_key; does not change

	mu      sync.Mutex // guards records, and the order of writes of the file
	records []*credential.Record
}

// openOperators reads the file, or makes it.
func openOperators(fsys disk.FS, dir string, random io.Reader) (*operators, error) {
	o := &operators{fs: fsys, path: filepath.Join(dir, OperatorsFile)}
	data, err := readSmall(fsys, o.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		o.key = make([]byte, loginKeyBytes)
		if _, err := io.ReadFull(random, o.key); err != nil {
			return nil, fault.Wrap("operators", fault.Unavailable, err, "no random bytes")
		}
		return o, o.save(nil)
	case err != nil:
		return nil, fault.Wrap("operators", fault.Unavailable, err, "cannot read %s", o.path)
	}
	return o, o.load(data)
}

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

func (o *operators) load(data []byte) error {
	records, key, err := decodeOperators(data)
	if err != nil {
		var e *fault.Error
		if errors.As(err, &e) && e.Kind == fault.Incompatible {
			return err
		}
		return fault.Corrupt("operators", o.path, 0, "the file is damaged: put it back from a copy, or remove it and make new operators")
	}
	o.records, o.key = records, key
	return nil
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

// save makes records durable and then those in force. The caller holds mu.
func (o *operators) save(records []*credential.Record) error {
	d := operatorsDocument{Format: operatorsFormat, LoginKey: o.key, Operators: []json.RawMessage{}}
	for _, r := range records {
		b, err := r.Encode()
		if err != nil {
			return err
		}
		d.Operators = append(d.Operators, b)
	}
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fault.Wrap("operators", fault.Internal, err, "cannot write the operators' file")
	}
	if err := disk.WriteFileDurable(o.fs, o.path, append(data, '\n'), 0o600); err != nil {
		return fault.Wrap("operators", fault.Unavailable, err, "cannot write %s", o.path)
	}
	o.records = records
	return nil
}

func (o *operators) loginKey() []byte { return o.key }

func (o *operators) all() []*credential.Record {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.records)
}

func (o *operators) find(match func(*credential.Record) bool) *credential.Record {
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

func (o *operators) create(name string, now time.Time, random io.Reader) (string, error) {
	if err := credential.CheckName(name); err != nil {
		return "", err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	top := uint64(0)
	for _, r := range o.records {
		if r.Name == name && r.State(now) == credential.Active {
			return "", fault.New("credential create", fault.AlreadyExists, "there is an operator %q already: revoke it, or choose another name", name)
		}
		top = max(top, r.ID)
	}
	if len(o.records) >= maxOperators {
		return "", fault.New("credential create", fault.TooLarge, "there are %d operators, which is the most", maxOperators)
	}
	r := &credential.Record{ID: top + 1, Name: name, Created: now}
	secret, err := credential.NewSecret(ident.TenantID{}, r.ID, random)
	if err == nil {
		err = r.SetSecret(secret, random)
	}
	if err != nil {
		return "", err
	}
	return secret, o.save(append(slices.Clone(o.records), r))
}

func (o *operators) revoke(id uint64, now time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	records := slices.Clone(o.records)
	for i, r := range records {
		if r.ID == id {
			c := *r
			c.Revoked = now
			records[i] = &c
		}
	}
	return o.save(records)
}
