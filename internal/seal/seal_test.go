package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/seal"
)

func wantKind(t testing.TB, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Fatalf("got error %v, want kind %s", err, kind)
	}
}

// fixedSecret is a DEK's bytes for tests alone.
func fixedSecret() []byte { return bytes.Repeat([]byte{0x42}, seal.KeySize) }

func dek(t testing.TB, tenant uint64, generation uint32, secret []byte) *seal.DEK {
	t.Helper()
	d, err := seal.NewDEK(ident.MustTenantID(tenant), ident.NewKeyGeneration(generation), secret)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func derive(t testing.TB, d *seal.DEK, purpose seal.Purpose, id string) *seal.Key {
	t.Helper()
	k, err := d.Derive(purpose, []byte(id))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealedTextOpensOnlyWhereItWasSealed(t *testing.T) {
	const text = "patient 123"
	home := derive(t, dek(t, 1, 1, fixedSecret()), seal.LogSegment, "file")
	sealed := home.Seal(nil, []byte(text), []byte("place"))
	again := derive(t, dek(t, 1, 1, fixedSecret()), seal.LogSegment, "file")
	if got, err := again.Open(nil, sealed, []byte("place")); err != nil || string(got) != text {
		t.Fatalf("got %q, %v", got, err)
	}
	otherSecret := fixedSecret()
	otherSecret[31] ^= 1
	moved := map[string]*seal.Key{
		"another tenant":          derive(t, dek(t, 2, 1, fixedSecret()), seal.LogSegment, "file"),
		"a tenant above 32 bits":  derive(t, dek(t, 1+1<<32, 1, fixedSecret()), seal.LogSegment, "file"),
		"another generation":      derive(t, dek(t, 1, 2, fixedSecret()), seal.LogSegment, "file"),
		"another purpose":         derive(t, dek(t, 1, 1, fixedSecret()), seal.ProjectionFile, "file"),
		"a third purpose":         derive(t, dek(t, 1, 1, fixedSecret()), seal.KeyWrap, "file"),
		"another file":            derive(t, dek(t, 1, 1, fixedSecret()), seal.LogSegment, "filf"),
		"a longer file id":        derive(t, dek(t, 1, 1, fixedSecret()), seal.LogSegment, "file\x00"),
		"no file id":              derive(t, dek(t, 1, 1, fixedSecret()), seal.LogSegment, ""),
		"another DEK":             derive(t, dek(t, 1, 1, otherSecret), seal.LogSegment, "file"),
		"the DEK itself, no HKDF": must(seal.NewKey(fixedSecret())),
	}
	for name, key := range moved {
		_, err := key.Open(nil, sealed, []byte("place"))
		if !fault.Is(err, fault.Corruption) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, place := range []string{"", "plac", "place\x00", "Place"} {
		_, err := home.Open(nil, sealed, []byte(place))
		wantKind(t, err, fault.Corruption)
	}
}

func must(k *seal.Key, err error) *seal.Key {
	if err != nil {
		panic(err)
	}
	return k
}

func TestEveryFlippedOrMissingByteOfSealedTextIsFound(t *testing.T) {
	key := derive(t, dek(t, 1, 1, fixedSecret()), seal.LogSegment, "file")
	sealed := key.Seal(nil, []byte("some text that is longer than one block"), []byte("place"))
	for i := range sealed {
		for bit := range 8 {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1 << bit
			out, err := key.Open([]byte("kept"), bad, []byte("place"))
			wantKind(t, err, fault.Corruption)
			if out != nil {
				t.Fatal("bytes were returned with the error")
			}
		}
		_, err := key.Open(nil, sealed[:i], []byte("place"))
		wantKind(t, err, fault.Corruption)
	}
	_, err := key.Open(nil, append(sealed, 0), []byte("place"))
	wantKind(t, err, fault.Corruption)
}

func TestSealAppendsAndAddsItsOverhead(t *testing.T) {
	key := derive(t, dek(t, 1, 1, fixedSecret()), seal.LogSegment, "file")
	for _, n := range []int{0, 1, 16, 4096, 1 << 20} {
		text := bytes.Repeat([]byte{7}, n)
		sealed := key.Seal([]byte("head"), text, nil)
		if len(sealed) != 4+n+seal.Overhead || string(sealed[:4]) != "head" {
			t.Fatalf("%d bytes became %d", n, len(sealed)-4)
		}
		got, err := key.Open([]byte("tail"), sealed[4:], nil)
		if err != nil || string(got[:4]) != "tail" || !bytes.Equal(got[4:], text) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if key.Seals() != 5 {
		t.Errorf("%d seals counted", key.Seals())
	}
}

func TestNoncesAndCiphertextsDiffer(t *testing.T) {
	key := derive(t, dek(t, 1, 1, fixedSecret()), seal.LogSegment, "file")
	nonces, texts := map[string]bool{}, map[string]bool{}
	const seals = 10_000
	for range seals {
		sealed := key.Seal(nil, []byte("the same text"), []byte("place"))
		nonces[string(sealed[:seal.NonceSize])] = true
		texts[string(sealed[seal.NonceSize:])] = true
	}
	if len(nonces) != seals || len(texts) != seals {
		t.Errorf("%d nonces, %d ciphertexts for %d seals", len(nonces), len(texts), seals)
	}
}

// goldenSealed was sealed by format 1: tenant 7, generation 3, log segment,
// id "file", place "place", under fixedSecret. It must open for ever.
const goldenSealed = "e2b1a35719081819f66ec8674c98d2126ad0fe9728522f19cc558a0bd2ddbf6da7ac"

func TestSealedTextOfFormat1OpensForEver(t *testing.T) {
	sealed, err := hex.DecodeString(goldenSealed)
	if err != nil {
		t.Fatal(err)
	}
	key := derive(t, dek(t, 7, 3, fixedSecret()), seal.LogSegment, "file")
	got, err := key.Open(nil, sealed, []byte("place"))
	if err != nil || string(got) != "golden" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestKeysOfWrongSizeAreRefused(t *testing.T) {
	for _, n := range []int{0, 16, 24, 31, 33, 64} {
		_, err := seal.NewKey(make([]byte, n))
		wantKind(t, err, fault.KeyInvalid)
		_, err = seal.NewDEK(ident.MustTenantID(1), ident.NewKeyGeneration(1), make([]byte, n))
		wantKind(t, err, fault.KeyInvalid)
	}
	if a, b := seal.RandomKey(), seal.RandomKey(); len(a) != seal.KeySize || bytes.Equal(a, b) {
		t.Error("random keys are not")
	}
}

func TestWipedDEKDerivesNothing(t *testing.T) {
	d := dek(t, 1, 1, fixedSecret())
	before := derive(t, d, seal.LogSegment, "file")
	sealed := before.Seal(nil, []byte("x"), nil)
	d.Zero()
	d.Zero()
	_, err := d.Derive(seal.LogSegment, []byte("file"))
	wantKind(t, err, fault.KeyUnavailable)
	if _, err := before.Open(nil, sealed, nil); err != nil {
		t.Errorf("a key derived before: %v", err)
	}
}

func TestZeroWhileOthersDeriveNeverYieldsAKeyOfZeros(t *testing.T) {
	for range 50 {
		d := dek(t, 1, 1, fixedSecret())
		sealed := derive(t, d, seal.LogSegment, "").Seal(nil, []byte("x"), nil)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				k, err := d.Derive(seal.LogSegment, nil)
				if err != nil {
					if !fault.Is(err, fault.KeyUnavailable) {
						t.Error(err)
					}
					return
				}
				if _, err := k.Open(nil, sealed, nil); err != nil {
					t.Error("derived from a half-wiped DEK")
				}
			})
		}
		d.Zero()
		all.Wait()
	}
}

// TestMain runs inFIPS instead of the tests in the child that
// TestWorksInFIPSOnlyMode starts.
func TestMain(m *testing.M) {
	if os.Getenv("KIMBERLITE_TEST_FIPS_CHILD") == "1" {
		if err := inFIPS(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("all of it works")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// inFIPS uses every primitive that the project's keys need.
func inFIPS() error {
	d, err := seal.NewDEK(ident.MustTenantID(1), ident.NewKeyGeneration(1), seal.RandomKey())
	if err != nil {
		return err
	}
	for _, purpose := range []seal.Purpose{seal.LogSegment, seal.ProjectionFile, seal.KeyWrap} {
		key, err := d.Derive(purpose, []byte("id"))
		if err != nil {
			return err
		}
		got, err := key.Open(nil, key.Seal(nil, []byte("text"), []byte("place")), []byte("place"))
		if err != nil || string(got) != "text" {
			return fmt.Errorf("%s: %q, %w", purpose, got, err)
		}
	}
	private := ed25519.NewKeyFromSeed(seal.RandomKey())
	if !ed25519.Verify(private.Public().(ed25519.PublicKey), []byte("m"), ed25519.Sign(private, []byte("m"))) {
		return fmt.Errorf("ed25519 does not verify")
	}
	return nil
}

func TestWorksInFIPSOnlyMode(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), "GODEBUG=fips140=only", "KIMBERLITE_TEST_FIPS_CHILD=1")
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "all of it works") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestNothingButTestsSealsInsecurely(t *testing.T) {
	const name = "InsecurePlaintext" + "DEK"
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "seal/insecure.go") {
			return nil
		}
		files++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(b, []byte(name)) {
			t.Errorf("%s uses %s, which does not encrypt", path, name)
		}
		return nil
	})
	if err != nil || files < 10 {
		t.Fatalf("%d files read, %v", files, err)
	}
}

func TestInsecureDEKKeepsSizesAndNothingElse(t *testing.T) {
	d := seal.InsecurePlaintextDEK(ident.MustTenantID(1), ident.NewKeyGeneration(1))
	key := derive(t, d, seal.LogSegment, "file")
	sealed := key.Seal(nil, []byte("text"), []byte("place"))
	if len(sealed) != 4+seal.Overhead {
		t.Errorf("%d bytes", len(sealed))
	}
	if got, err := key.Open(nil, sealed, nil); err != nil || string(got) != "text" {
		t.Errorf("got %q, %v", got, err)
	}
	_, err := key.Open(nil, sealed[:seal.Overhead-1], nil)
	wantKind(t, err, fault.Corruption)
}

func FuzzOpen(f *testing.F) {
	key := derive(f, dek(f, 7, 3, fixedSecret()), seal.LogSegment, "file")
	sealed, err := hex.DecodeString(goldenSealed) // the same in every process of the fuzzer
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed, []byte("place"))
	f.Add(sealed[:27], []byte{})
	f.Fuzz(func(t *testing.T, b, place []byte) {
		_, err := key.Open(nil, b, place)
		if err == nil && !(bytes.Equal(b, sealed) && string(place) == "place") {
			t.Fatal("a forgery opened")
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	key := derive(b, dek(b, 1, 1, fixedSecret()), seal.LogSegment, "file")
	for _, n := range []int{256, 4096, 65536} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			text, dst := make([]byte, n), make([]byte, 0, n+seal.Overhead)
			b.SetBytes(int64(n))
			for b.Loop() {
				dst = key.Seal(dst[:0], text, nil)
			}
		})
	}
}

func BenchmarkDerive(b *testing.B) {
	d := dek(b, 1, 1, fixedSecret())
	for b.Loop() {
		if _, err := d.Derive(seal.LogSegment, nil); err != nil {
			b.Fatal(err)
		}
	}
}
