package pagestore

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/seal"
)

// keys are the subkeys of one file, one per key generation, derived when
// first used and kept until the store is dropped.
type keys struct {
	source seal.KeySource
	fileID [16]byte

	mu     sync.Mutex // guards adding to byGen, which readers load without it
	byGen  atomic.Pointer[map[uint32]*seal.Key]
	tenant ident.TenantID
}

func newKeys(source seal.KeySource, tenant ident.TenantID, fileID [16]byte) *keys {
	k := &keys{source: source, fileID: fileID, tenant: tenant}
	k.byGen.Store(&map[uint32]*seal.Key{})
	return k
}

// get returns the subkey of a generation; errors are the key source's.
func (k *keys) get(generation uint32) (*seal.Key, error) {
	if key, ok := (*k.byGen.Load())[generation]; ok {
		return key, nil
	}
	if generation == 0 {
		return nil, fault.New("page key", fault.NotFound, "key generations begin with 1")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	old := *k.byGen.Load()
	if key, ok := old[generation]; ok {
		return key, nil
	}
	dek, err := k.source.DEK(ident.NewKeyGeneration(generation))
	if err != nil {
		return nil, err
	}
	key, err := dek.Derive(seal.ProjectionFile, k.fileID[:])
	if err != nil {
		return nil, err
	}
	next := make(map[uint32]*seal.Key, len(old)+1)
	for g, key := range old {
		next[g] = key
	}
	next[generation] = key
	k.byGen.Store(&next)
	return key, nil
}

// current returns the generation that seals and its subkey.
func (k *keys) current() (uint32, *seal.Key, error) {
	generation := k.source.Current().Uint32()
	key, err := k.get(generation)
	if err != nil {
		return 0, nil, fault.Wrap("page seal", keyKind(err), err, "the tenant's key generation %d is not at hand", generation).ForTenant(k.tenant)
	}
	return generation, key, nil
}

// keyKind is the kind of a key source's error, for a generation that must
// exist.
func keyKind(err error) fault.Kind {
	if kind := fault.KindOf(err); kind != fault.NotFound && kind != fault.Internal {
		return kind
	}
	return fault.KeyUnavailable
}

// seals returns how often the current generation's subkey sealed.
func (k *keys) seals() uint64 {
	if key, ok := (*k.byGen.Load())[k.source.Current().Uint32()]; ok {
		return key.Seals()
	}
	return 0
}

// sealSlot fills the PageSize bytes of dst with the sealed form of plaintext
// (payloadSize bytes) and returns the entry that names it.
func sealSlot(dst, plaintext []byte, place *[placeSize]byte, generation uint32, key *seal.Key, slot uint32) entry {
	key.Seal(dst[:0:sealedSize], plaintext[:payloadSize], place[:])
	binary.LittleEndian.PutUint32(dst[generationAt:], generation)
	e := entry{slot: slot}
	copy(e.tag[:], dst[tagAt:])
	return e
}
