package rpc

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/tenant"
)

type keyService struct{ *door }

// GetKeyStatus describes a tenant's keys.
func (s keyService) GetKeyStatus(ctx context.Context, r *v1.GetKeyStatusRequest) (*v1.GetKeyStatusResponse, error) {
	id, err := s.administered(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	status, err := s.node.KeyStatus(id)
	if err != nil {
		return nil, err
	}
	return &v1.GetKeyStatusResponse{Tenant: id.Uint64(), Keys: toKeyStatus(&status)}, nil
}

func toKeyStatus(s *tenant.KeyStatus) *v1.KeyStatus {
	out := &v1.KeyStatus{KekGeneration: s.KEK.Uint32(), DekGeneration: s.DEK.Uint32(), PublicKey: s.SignaturePublic}
	for _, d := range s.DEKs {
		out.Deks = append(out.Deks, &v1.KeyStatus_Dek{Generation: d.Generation.Uint32(), Created: timestamppb.New(d.Created)})
	}
	return out
}

// RotateKey makes a new key at a level.
func (s keyService) RotateKey(ctx context.Context, r *v1.RotateKeyRequest) (*v1.RotateKeyResponse, error) {
	t, err := s.handle(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	rotate, of := t.RotateDEK, func(k *tenant.KeyStatus) ident.KeyGeneration { return k.DEK }
	switch r.GetLevel() {
	case v1.KeyLevel_KEY_LEVEL_DEK:
	case v1.KeyLevel_KEY_LEVEL_KEK:
		rotate, of = t.RotateKEK, func(k *tenant.KeyStatus) ident.KeyGeneration { return k.KEK }
	default:
		return nil, fault.New("key rotate", fault.Invalid, "want the level KEY_LEVEL_DEK or KEY_LEVEL_KEK").ForTenant(t.ID())
	}
	return once(ctx, s.door, r, func() (*v1.RotateKeyResponse, error) {
		before, err := s.node.KeyStatus(t.ID())
		if err != nil {
			return nil, err
		}
		if err := rotate(ctx); err != nil {
			return nil, err
		}
		after, err := s.node.KeyStatus(t.ID())
		if err != nil {
			return nil, err
		}
		return &v1.RotateKeyResponse{
			Tenant: t.ID().Uint64(), GenerationBefore: of(&before).Uint32(), Generation: of(&after).Uint32(),
		}, nil
	})
}
