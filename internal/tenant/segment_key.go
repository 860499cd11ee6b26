package tenant

import (
	"sync"

	"kimberlite/internal/ident"
	"kimberlite/internal/record"
	"kimberlite/internal/seal"
)

// segmentKeys keeps the subkeys of a few segments, so that deriving one is not
// part of each record.
type segmentKeys struct {
	keys seal.KeySource
	mu   sync.Mutex // guards derived
	// derived is dropped whole when it outgrows maxSegmentKeys.
	derived map[segmentKeyID]*seal.Key
}

type segmentKeyID struct {
	generation ident.KeyGeneration
	segment    ident.Offset
}

const maxSegmentKeys = 16

func (c *segmentKeys) get(g ident.KeyGeneration, segment ident.Offset) (*seal.Key, error) {
	id := segmentKeyID{g, segment}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.derived[id]; k != nil {
		return k, nil
	}
	dek, err := c.keys.DEK(g)
	if err != nil {
		return nil, err
	}
	k, err := dek.Derive(seal.LogSegment, record.SegmentKeyID(segment))
	if err != nil {
		return nil, err
	}
	if c.derived == nil || len(c.derived) >= maxSegmentKeys {
		c.derived = make(map[segmentKeyID]*seal.Key, maxSegmentKeys)
	}
	c.derived[id] = k
	return k, nil
}

func (c *segmentKeys) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.derived = nil
}
