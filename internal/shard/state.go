package shard

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/quota"
	"kimberlite/internal/record"
	"kimberlite/internal/tenantlog"
)

// TenantState is what a shard's replicas agree on about one tenant.
type TenantState struct {
	ID        ident.TenantID
	Name      string
	Region    ident.Region
	Retention time.Duration
	Limits    quota.Limits
	Created   time.Time
	// Envelope is the encoded key envelope: DEKs and signing key wrapped
	// under the tenant's KEK. See package keyring.
	Envelope []byte
	// GenerationStart is the log offset from which the newest DEK seals.
	GenerationStart ident.Offset
	// Log is how far the tenant's log has been applied.
	Log tenantlog.Position
	// Phase is what the shard does for the tenant, Epoch that of its last move,
	// or the directory's at its creation.
	Phase Phase
	Epoch uint64
}

// limits is the JSON form of quota.Limits.
type limits struct {
	MaxLogBytes        int64 `json:"max_log_bytes,omitempty"`
	MaxProjectionBytes int64 `json:"max_projection_bytes,omitempty"`
	MaxOpsPerSec       int64 `json:"max_ops_per_sec,omitempty"`
	MaxConcurrentOps   int64 `json:"max_concurrent_ops,omitempty"`
}

func fromLimits(l quota.Limits) limits {
	return limits{l.MaxLogBytes, l.MaxProjectionBytes, l.MaxOpsPerSec, l.MaxConcurrentOps}
}

func (l limits) quota() quota.Limits {
	return quota.Limits{
		MaxLogBytes: l.MaxLogBytes, MaxProjectionBytes: l.MaxProjectionBytes,
		MaxOpsPerSec: l.MaxOpsPerSec, MaxConcurrentOps: l.MaxConcurrentOps,
	}
}

// stateJSON is the stored form of a TenantState: the value of its checkpoint
// key and, with an empty position, the body of a create command.
type stateJSON struct {
	ID              ident.TenantID `json:"id"`
	Name            string         `json:"name"`
	Region          ident.Region   `json:"region"`
	Retention       time.Duration  `json:"retention_ns"`
	Limits          limits         `json:"limits"`
	Created         time.Time      `json:"created"`
	Envelope        []byte         `json:"envelope"`
	GenerationStart uint64         `json:"generation_start,omitempty"`
	Next            uint64         `json:"log_next,omitempty"`
	LastHash        string         `json:"log_hash,omitempty"`
	Segment         uint64         `json:"log_segment,omitempty"`
	SegmentBytes    int64          `json:"log_segment_bytes,omitempty"`
	TotalBytes      int64          `json:"log_bytes,omitempty"`
	Phase           Phase          `json:"phase,omitempty"`
	Epoch           uint64         `json:"epoch,omitempty"`
}

func (s *TenantState) toJSON() stateJSON {
	return stateJSON{
		ID: s.ID, Name: s.Name, Region: s.Region, Retention: s.Retention,
		Limits: fromLimits(s.Limits), Created: s.Created, Envelope: s.Envelope,
		GenerationStart: s.GenerationStart.Uint64(),
		Next:            s.Log.Next.Uint64(), LastHash: hex.EncodeToString(s.Log.LastHash[:]),
		Segment: s.Log.Segment.Uint64(), SegmentBytes: s.Log.SegmentBytes, TotalBytes: s.Log.TotalBytes,
		Phase: s.Phase, Epoch: s.Epoch,
	}
}

func (j *stateJSON) state() (*TenantState, error) {
	if j.ID.IsZero() {
		return nil, fault.New("shard", fault.Corruption, "a tenant's state has no id")
	}
	s := &TenantState{
		ID: j.ID, Name: j.Name, Region: j.Region, Retention: j.Retention,
		Limits: j.Limits.quota(), Created: j.Created, Envelope: j.Envelope,
		GenerationStart: ident.NewOffset(j.GenerationStart), Log: tenantlog.Start(j.ID),
		Phase: j.Phase, Epoch: j.Epoch,
	}
	if j.Next == 0 {
		return s, nil
	}
	var hash record.Hash
	raw, err := hex.DecodeString(j.LastHash)
	if err != nil || len(raw) != len(hash) {
		return nil, fault.New("shard", fault.Corruption, "the state of tenant %s has a malformed log hash", j.ID)
	}
	copy(hash[:], raw)
	s.Log = tenantlog.Position{
		Next: ident.NewOffset(j.Next), LastHash: hash, Segment: ident.NewOffset(j.Segment),
		SegmentBytes: j.SegmentBytes, TotalBytes: j.TotalBytes,
	}
	return s, nil
}

// DecodeState reads the value of a checkpoint's tenant key, for offline
// verification.
func DecodeState(value []byte) (*TenantState, error) {
	var j stateJSON
	if err := json.Unmarshal(value, &j); err != nil {
		return nil, fault.Wrap("shard", fault.Corruption, err, "a tenant's state does not decode")
	}
	return j.state()
}

const tenantKeyPrefix = 't'

func tenantKey(id ident.TenantID) []byte {
	n := id.Uint64()
	return []byte{
		tenantKeyPrefix,
		byte(n >> 56), byte(n >> 48), byte(n >> 40), byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n),
	}
}
