// Package kms reaches the master keys: it wraps and unwraps tenants' KEKs
// under a master key that a URL names, and that never leaves its provider.
//
// It guarantees that every wrapped key is bound to its tenant and key
// generation as authenticated data, so that a blob moved to another tenant
// does not unwrap, and that no error or log line holds a key or a URL (a URL
// may carry a secret). It must not know about tenants' DEKs, keyring files or
// the replicated log. Package keyring calls it when a tenant opens, is made or
// rotates; never per operation.
package kms

import (
	"context"
	"encoding/binary"
	"net/url"
	"slices"
	"strings"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// MaxPlaintext is the longest key that Wrap takes, in bytes.
const MaxPlaintext = 1024

// Provider wraps and unwraps keys under one master key. Implementations are
// safe for concurrent use. After Close every method returns a Closed error.
type Provider interface {
	// Wrap returns plaintext (1 to [MaxPlaintext] bytes) wrapped for a tenant
	// and generation. Errors: Invalid, KeyUnavailable.
	Wrap(ctx context.Context, plaintext []byte, context Context) ([]byte, error)
	// Unwrap returns what Wrap was given, if the context is the same. Errors:
	// KeyInvalid for another context or another master key, Corruption (that
	// names no file) for damaged bytes, KeyUnavailable when the master key
	// cannot be reached. The caller clears the result after use.
	Unwrap(ctx context.Context, wrapped []byte, context Context) ([]byte, error)
	// Version returns a short id of the master key version in use. It tells
	// two keys apart and says nothing about either.
	Version(ctx context.Context) (string, error)
	// Health returns nil when Wrap and Unwrap can be expected to work.
	Health(ctx context.Context) error
	// Close forgets the master key. Closing twice is allowed.
	Close() error
}

// Context is what a wrapped key is bound to. It is authenticated and not
// stored: whoever unwraps says whose key it expects.
type Context struct {
	// Tenant is whose key it is.
	Tenant ident.TenantID
	// Generation is the KEK's generation.
	Generation ident.KeyGeneration
}

// bytes returns the context in its authenticated form; part of the format.
func (c Context) bytes() []byte {
	b := append(make([]byte, 0, 40), "kimberlite/v1/kek\x00"...)
	b = binary.BigEndian.AppendUint64(b, c.Tenant.Uint64())
	return binary.BigEndian.AppendUint32(b, c.Generation.Uint32())
}

// validate refuses a context that names nobody: such a key would be anyone's.
func (c Context) validate(op string) error {
	if c.Tenant.IsZero() || c.Generation.IsZero() {
		return fault.New(op, fault.Invalid, "a wrapped key needs a tenant and a key generation, both from 1")
	}
	return nil
}

// opener opens the provider of one scheme. base is the directory that
// relative paths start from.
type opener func(ctx context.Context, u *url.URL, base string) (Provider, error)

// openers maps each scheme that Open knows to its provider.
var openers = map[string]opener{
	"file": openFile,
}

// Open returns the provider that rawURL names:
//
//	file:///abs/path   a key file
//	file:rel/path      a key file, relative to base (the data directory)
//
// Errors: Invalid for a malformed URL or an unknown scheme, else what the
// provider says. The URL is not repeated in errors, since it may hold a secret.
func Open(ctx context.Context, rawURL, base string) (Provider, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme == "" {
		return nil, fault.New("master key", fault.Invalid, "the master key URL is malformed: write it as file:///abs/path or file:path-in-the-data-directory")
	}
	open, ok := openers[u.Scheme]
	if !ok {
		return nil, fault.New("master key", fault.Invalid, "unknown master key scheme %q: known are %s", clip(u.Scheme), strings.Join(schemes(), ", "))
	}
	return open(ctx, u, base)
}

func schemes() []string {
	names := make([]string, 0, len(openers))
	for name := range openers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func clip(s string) string {
	const limit = 20
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
