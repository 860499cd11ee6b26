// Package keyring holds tenants' keys: the wrapped KEKs on disk, the envelopes
// that the replicated state keeps, and the unwrapped keys in memory.
//
//	master key (package kms; never here)
//	  └─ wraps the KEK ......... only in [Ring], on each node's own disk
//	       └─ wraps the DEKs and the signing key ... [Envelope], replicated
//	            └─ DEK seals log and projection (package seal)
//
// It guarantees that nothing outside the keyring files can be opened with the
// master key alone, so that destroying a tenant's slots there erases the
// tenant wherever its ciphertext and envelopes have been copied; that a
// wrapped key moved to another tenant, generation or slot does not open; that
// Put and Destroy are durable when they return; that damage is named by file
// and offset and reaches one tenant only; and that unwrapped keys are bounded
// in number and wiped on eviction.
//
// It must not know what is sealed with the keys, nor replicate anything: the
// shard decides when an envelope is committed, and calls in this order:
//
//	create      Create → Ring.Put → commit the envelope
//	rotate KEK  RotateKEK → Ring.Put → commit the envelope → Keys.Update → Ring.Destroy(old)
//	erase       commit the order → Cache.Lock → Ring.DestroyAll, on every replica
//	start       Ring.Reconcile(tenant, envelope's KEK), once the state is known
package keyring
