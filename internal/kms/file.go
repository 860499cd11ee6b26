package kms

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"kimberlite/internal/fault"
	"kimberlite/internal/seal"
)

// fileProvider holds a master key read from a key file.
//
// The file is read once, at open. Only an AES key derived from it is kept; the
// master key's own bytes are cleared at once. Close drops the derived key (the
// expanded form inside crypto/aes cannot be overwritten from outside).
type fileProvider struct {
	path    string
	version keyVersion

	mu   sync.RWMutex // guards wrap
	wrap *seal.Key    // nil after Close
}

// openFile implements the scheme "file".
func openFile(_ context.Context, u *url.URL, base string) (Provider, error) {
	path, err := filePath(u, base)
	if err != nil {
		return nil, err
	}
	master, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	defer clear(master)
	version, wrap, err := deriveMaster(master)
	if err != nil {
		return nil, err
	}
	return &fileProvider{path: path, version: version, wrap: wrap}, nil
}

// filePath returns the path that a file URL names.
func filePath(u *url.URL, base string) (string, error) {
	switch {
	case u.Host != "" || u.User != nil:
		return "", fault.New("master key", fault.Invalid, "a file URL names no host: write file:///abs/path with three slashes, or file:path-in-the-data-directory")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", fault.New("master key", fault.Invalid, "a file URL has no query or fragment: write ? as %%3F and # as %%23 in the path")
	case u.Path != "":
		return filepath.Clean(u.Path), nil
	}
	rel, err := url.PathUnescape(u.Opaque)
	if err != nil || rel == "" {
		return "", fault.New("master key", fault.Invalid, "the file URL names no file: write file:///abs/path or file:path-in-the-data-directory")
	}
	return filepath.Join(base, rel), nil
}

// readKeyFile returns the 32 bytes of a key file, after checking who else can
// reach it. All checks are made on the opened file, not on its name.
func readKeyFile(path string) ([]byte, error) {
	// O_NONBLOCK: opening a named pipe must not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer func() { _ = f.Close() }() // read only: nothing to lose
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(path, err)
	}
	if err := checkKeyFile(path, info); err != nil {
		return nil, err
	}
	// One byte more than the longest form, so that a longer file shows.
	var buf [2*seal.KeySize + 2]byte
	defer clear(buf[:])
	n, err := io.ReadFull(f, buf[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, unreadable(path, err)
	}
	return parseKey(path, buf[:n])
}

func unreadable(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New("master key", fault.KeyUnavailable, "the master key file %s does not exist: put it back, or name another master key", path)
	}
	return fault.Wrap("master key", fault.KeyUnavailable, err, "the master key file %s cannot be read", path)
}

// checkKeyFile refuses what is not a regular file of its owner alone.
func checkKeyFile(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fault.New("master key", fault.KeyInvalid, "%s is not a regular file: name the key file itself", path)
	}
	if perm := info.Mode().Perm(); perm&0o066 != 0 {
		return fault.New("master key", fault.Denied, "the master key file %s has mode %04o, so others can read or write it: run  chmod 600 %s", path, perm, path)
	}
	return nil
}

// parseKey reads 32 raw bytes, or 64 hexadecimal digits with or without a
// newline. It returns fresh memory.
func parseKey(path string, b []byte) ([]byte, error) {
	key := make([]byte, seal.KeySize)
	switch len(b) {
	case seal.KeySize:
		copy(key, b)
	case 2*seal.KeySize + 1, 2 * seal.KeySize:
		if len(b) == 2*seal.KeySize+1 && b[2*seal.KeySize] != '\n' {
			return nil, wrongForm(path)
		}
		if _, err := hex.Decode(key, b[:2*seal.KeySize]); err != nil {
			clear(key)
			return nil, wrongForm(path) // err would quote a byte of the key
		}
	case 0:
		return nil, fault.New("master key", fault.KeyInvalid, "the master key file %s is empty: if its making was cut short and nothing uses it yet, remove it and make it again", path)
	default:
		return nil, wrongForm(path)
	}
	if [seal.KeySize]byte(key) == [seal.KeySize]byte{} {
		return nil, fault.New("master key", fault.KeyInvalid, "the master key file %s holds only zeros: it is damaged or was never filled", path)
	}
	return key, nil
}

func wrongForm(path string) error {
	return fault.New("master key", fault.KeyInvalid, "the master key file %s has the wrong form: want %d raw bytes, or %d hexadecimal digits and a newline", path, seal.KeySize, 2*seal.KeySize)
}

// deriveMaster returns the version id and the wrapping key of a master key,
// each by HKDF with its own label, so that neither says anything of the other.
func deriveMaster(master []byte) (keyVersion, *seal.Key, error) {
	id, err := hkdf.Key(sha256.New, master, nil, "kimberlite/v1/master-version", seal.KeySize)
	if err != nil {
		return keyVersion{}, nil, fault.Wrap("master key", fault.Internal, err, "cannot derive the key version")
	}
	defer clear(id)
	secret, err := hkdf.Key(sha256.New, master, nil, "kimberlite/v1/master-wrap", seal.KeySize)
	if err != nil {
		return keyVersion{}, nil, fault.Wrap("master key", fault.Internal, err, "cannot derive the wrapping key")
	}
	defer clear(secret)
	wrap, err := seal.NewKey(secret)
	if err != nil {
		return keyVersion{}, nil, err
	}
	sum := sha256.Sum256(id)
	return keyVersion(sum[:versionSize]), wrap, nil
}

// key returns the wrapping key, or Closed.
func (p *fileProvider) key(op string) (*seal.Key, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.wrap == nil {
		return nil, fault.New(op, fault.Closed, "the master key provider is closed")
	}
	return p.wrap, nil
}

// Wrap implements [Provider].
func (p *fileProvider) Wrap(ctx context.Context, plaintext []byte, c Context) ([]byte, error) {
	const op = "wrap key"
	if ctx.Err() != nil {
		return nil, fault.OfContext(op, ctx)
	}
	if err := c.validate(op); err != nil {
		return nil, err
	}
	if len(plaintext) == 0 || len(plaintext) > MaxPlaintext {
		return nil, fault.New(op, fault.Invalid, "a key to wrap has 1 to %d bytes, not %d", MaxPlaintext, len(plaintext))
	}
	key, err := p.key(op)
	if err != nil {
		return nil, err
	}
	out := appendBlobHead(make([]byte, 0, minBlob+len(plaintext)), p.version)
	return finishBlob(key.Seal(out, plaintext, p.place(out, c))), nil
}

// Unwrap implements [Provider].
func (p *fileProvider) Unwrap(ctx context.Context, wrapped []byte, c Context) ([]byte, error) {
	const op = "unwrap key"
	if ctx.Err() != nil {
		return nil, fault.OfContext(op, ctx)
	}
	if err := c.validate(op); err != nil {
		return nil, err
	}
	key, err := p.key(op)
	if err != nil {
		return nil, err
	}
	b, err := decodeBlob(wrapped)
	if err != nil {
		return nil, err
	}
	if b.version != p.version {
		return nil, fault.New(op, fault.KeyInvalid, "the key was wrapped under master key version %x, and %s holds version %x: use the right master key", b.version, p.path, p.version).ForTenant(c.Tenant)
	}
	plain, err := key.Open(nil, b.sealed, p.place(wrapped[:blobHead], c))
	if err != nil {
		return nil, fault.New(op, fault.KeyInvalid, "the wrapped key is not the one of tenant %s, KEK generation %s: it was moved or forged", c.Tenant, c.Generation).ForTenant(c.Tenant)
	}
	return plain, nil
}

// place returns the authenticated data: the blob's head and the context.
func (p *fileProvider) place(head []byte, c Context) []byte {
	return append(append(make([]byte, 0, 64), head[:blobHead]...), c.bytes()...)
}

// Version implements [Provider]: 8 bytes of the SHA-256 of a derived value.
func (p *fileProvider) Version(context.Context) (string, error) {
	if _, err := p.key("master key"); err != nil {
		return "", err
	}
	return hex.EncodeToString(p.version[:]), nil
}

// Health implements [Provider]: the file must still be there and still be its
// owner's alone. It is not read again, so a key that was loaded keeps working
// while Health reports that a restart would not find it.
func (p *fileProvider) Health(context.Context) error {
	if _, err := p.key("master key"); err != nil {
		return err
	}
	info, err := os.Stat(p.path)
	if err != nil {
		return unreadable(p.path, err)
	}
	return checkKeyFile(p.path, info)
}

// Close implements [Provider].
func (p *fileProvider) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrap = nil
	return nil
}
