package tenant

import (
	"context"

	"kimberlite/internal/ident"
)

// KeySpread takes wrapped KEKs to the other replicas of a tenant's shard,
// outside the replicated log. A receiver stores with [keyring.Ring.Put], which
// never overwrites: AlreadyExists says that it holds other bytes under that
// generation, and Put returns that error, so that the caller takes the next
// generation.
type KeySpread interface {
	// Put returns once a majority of the shard's voters holds the wrapped KEK
	// durably, this node included.
	Put(ctx context.Context, shard ident.ShardID, tenant ident.TenantID, generation ident.KeyGeneration, wrapped []byte) error
	// Destroy returns once every replica has destroyed it, or those that have
	// not are written down and are asked until they have.
	Destroy(ctx context.Context, shard ident.ShardID, tenant ident.TenantID, generation ident.KeyGeneration) error
	// Pull returns the wrapped KEK from a replica that has it. NotFound says
	// that none has.
	Pull(ctx context.Context, shard ident.ShardID, tenant ident.TenantID, generation ident.KeyGeneration) ([]byte, error)
}
