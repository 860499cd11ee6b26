package kms_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/kms"
)

func place(tenant uint64, generation uint32) kms.Context {
	return kms.Context{Tenant: ident.MustTenantID(tenant), Generation: ident.NewKeyGeneration(generation)}
}

// open makes a key file and opens it.
func open(t testing.TB) (kms.Provider, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master.key")
	if err := kms.CreateFileKey(path); err != nil {
		t.Fatal(err)
	}
	return reopen(t, path), path
}

func reopen(t testing.TB, path string) kms.Provider {
	t.Helper()
	p, err := kms.Open(t.Context(), "file://"+path, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func wantKind(t testing.TB, err error, kind fault.Kind, texts ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Fatalf("got error %v, want kind %s", err, kind)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}

func TestWrappedKeyOpensOnlyForItsTenantAndGeneration(t *testing.T) {
	p, path := open(t)
	secret := []byte("0123456789abcdef0123456789abcdef")
	blob, err := p.Wrap(t.Context(), secret, place(7, 3))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(blob, secret[:8]) {
		t.Fatal("the wrapped key shows the key")
	}
	for _, q := range []kms.Provider{p, reopen(t, path)} {
		got, err := q.Unwrap(t.Context(), blob, place(7, 3))
		if err != nil || !bytes.Equal(got, secret) {
			t.Fatalf("unwrap: %q, %v", got, err)
		}
	}
	for _, c := range []kms.Context{place(8, 3), place(7, 4), place(7<<32, 3), place(3, 7)} {
		_, err := p.Unwrap(t.Context(), blob, c)
		wantKind(t, err, fault.KeyInvalid)
	}
	_, err = p.Unwrap(t.Context(), blob, kms.Context{})
	wantKind(t, err, fault.Invalid)
	_, err = p.Wrap(t.Context(), secret, kms.Context{Tenant: ident.MustTenantID(1)})
	wantKind(t, err, fault.Invalid)
}

func TestWrongMasterKeyIsToldApartFromDamage(t *testing.T) {
	p, _ := open(t)
	other, _ := open(t)
	blob, err := p.Wrap(t.Context(), make([]byte, 32), place(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Unwrap(t.Context(), blob, place(1, 1))
	was, _ := p.Version(t.Context())
	is, _ := other.Version(t.Context())
	wantKind(t, err, fault.KeyInvalid, was, is)
	for i := range blob {
		for bit := range 8 {
			bad := bytes.Clone(blob)
			bad[i] ^= 1 << bit
			_, err := p.Unwrap(t.Context(), bad, place(1, 1))
			wantKind(t, err, fault.Corruption)
		}
	}
	for n := range len(blob) {
		_, err := p.Unwrap(t.Context(), blob[:n], place(1, 1))
		wantKind(t, err, fault.Corruption)
	}
}

func TestWrapRefusesSizesItCannotHold(t *testing.T) {
	p, _ := open(t)
	for _, n := range []int{0, kms.MaxPlaintext + 1} {
		_, err := p.Wrap(t.Context(), make([]byte, n), place(1, 1))
		wantKind(t, err, fault.Invalid)
	}
	big := bytes.Repeat([]byte{7}, kms.MaxPlaintext)
	blob, err := p.Wrap(t.Context(), big, place(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Unwrap(t.Context(), blob, place(1, 1)); err != nil || !bytes.Equal(got, big) {
		t.Fatalf("unwrap of the longest: %v", err)
	}
}

func TestVersionTellsKeysApartAndShowsNone(t *testing.T) {
	p, path := open(t)
	other, _ := open(t)
	v, err := p.Version(t.Context())
	if err != nil || len(v) != 16 {
		t.Fatalf("version %q, %v", v, err)
	}
	if again, _ := reopen(t, path).Version(t.Context()); again != v {
		t.Error("the same key has two versions")
	}
	if o, _ := other.Version(t.Context()); o == v {
		t.Error("two keys have one version")
	}
	key, _ := os.ReadFile(path)
	raw, _ := hex.DecodeString(v)
	if bytes.Contains(key, raw) {
		t.Error("the version is a part of the key")
	}
}

func TestKeyFileForms(t *testing.T) {
	raw := bytes.Repeat([]byte{0xa5, 0x01}, 16)
	text := hex.EncodeToString(raw)
	tests := []struct {
		name    string
		content string
		want    string // "" when it opens
	}{
		{"raw", string(raw), ""},
		{"hex", text, ""},
		{"hex, newline", text + "\n", ""},
		{"upper case", strings.ToUpper(text) + "\n", ""},
		{"empty", "", "empty"},
		{"31 bytes", string(raw[:31]), "wrong form"},
		{"33 bytes", string(raw) + "\n", "wrong form"},
		{"63 digits", text[:63], "wrong form"},
		{"64 with a letter", text[:63] + "g", "wrong form"},
		{"two newlines", text + "\n\n", "wrong form"},
		{"carriage return", text + "\r", "wrong form"},
		{"long", strings.Repeat(text, 100), "wrong form"},
		{"zeros", string(make([]byte, 32)), "zeros"},
		{"zeros in hex", strings.Repeat("0", 64), "zeros"},
	}
	versions := map[string]bool{}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "k"), []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := kms.Open(t.Context(), "file:k", dir)
			if test.want != "" {
				wantKind(t, err, fault.KeyInvalid, test.want)
				if len(test.content) > 8 && strings.Contains(err.Error(), test.content[:8]) {
					t.Errorf("error %q shows the key", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			v, _ := p.Version(t.Context())
			versions[v] = true
		})
	}
	if len(versions) != 1 {
		t.Errorf("the forms of one key gave %d keys", len(versions))
	}
}

func TestKeyFileThatOthersReachIsRefused(t *testing.T) {
	_, path := open(t)
	for mode := range os.FileMode(0o1000) {
		if mode&0o400 == 0 {
			continue
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		p, err := kms.Open(t.Context(), "file://"+path, "")
		if mode&0o066 != 0 {
			wantKind(t, err, fault.Denied, "chmod 600 "+path)
			continue
		}
		if err != nil {
			t.Fatalf("mode %04o: %v", mode, err)
		}
		_ = p.Close()
	}
}

func TestKeyFileMustBeARegularFile(t *testing.T) {
	dir := t.TempDir()
	_, err := kms.Open(t.Context(), "file://"+dir, "")
	wantKind(t, err, fault.KeyInvalid, "regular")
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	_, err = kms.Open(t.Context(), "file://"+pipe, "") // and does not wait for a writer
	wantKind(t, err, fault.KeyInvalid, "regular")
	_, err = kms.Open(t.Context(), "file:missing", dir)
	wantKind(t, err, fault.KeyUnavailable, filepath.Join(dir, "missing"))
}

func TestURLs(t *testing.T) {
	_, path := open(t)
	dir, name := filepath.Split(path)
	odd := filepath.Join(dir, "a key?#%")
	if err := os.Rename(path, odd); err != nil {
		t.Fatal(err)
	}
	for _, good := range []string{"file:a%20key%3F%23%25", "file://" + dir + "a%20key%3F%23%25", "FILE:a%20key%3F%23%25"} {
		p, err := kms.Open(t.Context(), good, dir)
		if err != nil {
			t.Fatalf("%s: %v", good, err)
		}
		_ = p.Close()
	}
	_ = name
	const secret = "hunter2"
	for _, bad := range []string{"", "x", "/abs/" + secret, "file:", "file://" + secret, "file://" + secret + "/k",
		"file://u:" + secret + "@/k", "file:k?" + secret, "file:///k#" + secret, "file:///k?", "file:%zz" + secret, "://" + secret,
		"awskms://" + secret, "hashivault:" + secret, "pkcs11:pin=" + secret, "\x00", "fil e:" + secret} {
		_, err := kms.Open(t.Context(), bad, dir)
		wantKind(t, err, fault.Invalid)
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q: error %q repeats the URL", bad, err)
		}
	}
	_, err := kms.Open(t.Context(), "awskms://alias/x", dir)
	wantKind(t, err, fault.Invalid, `"awskms"`, "known are file")
}

func TestCreatedKeyFileIsPrivateAndNeverOverwritten(t *testing.T) {
	_, path := open(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 || info.Size() != 32 {
		t.Fatalf("key file: %v, %v", info, err)
	}
	before, _ := os.ReadFile(path)
	wantKind(t, kms.CreateFileKey(path), fault.AlreadyExists, path)
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Fatal("the key changed")
	}
	wantKind(t, kms.CreateFileKey(filepath.Join(path+".d", "k")), fault.NotFound)
	_, other := open(t)
	if o, _ := os.ReadFile(other); bytes.Equal(o, before) {
		t.Fatal("two key files hold one key")
	}
}

func TestKeyIsReadOnceAndHealthSeesTheFileGo(t *testing.T) {
	p, path := open(t)
	if err := p.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	wantKind(t, p.Health(t.Context()), fault.Denied)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wantKind(t, p.Health(t.Context()), fault.KeyUnavailable)
	blob, err := p.Wrap(t.Context(), []byte("k"), place(1, 1))
	if err != nil {
		t.Fatalf("a loaded key stopped working: %v", err)
	}
	if _, err := p.Unwrap(t.Context(), blob, place(1, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestClosedProviderDoesNothing(t *testing.T) {
	p, _ := open(t)
	blob, _ := p.Wrap(t.Context(), []byte("k"), place(1, 1))
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := p.Wrap(t.Context(), []byte("k"), place(1, 1))
	wantKind(t, err, fault.Closed)
	_, err = p.Unwrap(t.Context(), blob, place(1, 1))
	wantKind(t, err, fault.Closed)
	_, err = p.Version(t.Context())
	wantKind(t, err, fault.Closed)
	wantKind(t, p.Health(t.Context()), fault.Closed)
}

func TestCanceledCallsEnd(t *testing.T) {
	p, _ := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.Wrap(ctx, []byte("k"), place(1, 1))
	wantKind(t, err, fault.Canceled)
	_, err = p.Unwrap(ctx, []byte("k"), place(1, 1))
	wantKind(t, err, fault.Canceled)
}

func FuzzUnwrap(f *testing.F) {
	p, _ := open(f)
	blob, _ := p.Wrap(f.Context(), make([]byte, 32), place(1, 1))
	f.Add(blob)
	f.Add(blob[:40])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		plain, err := p.Unwrap(t.Context(), b, place(1, 1))
		if err == nil && !bytes.Equal(b, blob) {
			t.Fatalf("a forged blob gave %x", plain)
		}
	})
}

func BenchmarkUnwrap(b *testing.B) {
	p, _ := open(b)
	blob, _ := p.Wrap(b.Context(), make([]byte, 32), place(1, 1))
	for b.Loop() {
		if _, err := p.Unwrap(b.Context(), blob, place(1, 1)); err != nil {
			b.Fatal(err)
		}
	}
}
