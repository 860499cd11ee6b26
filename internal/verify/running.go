package verify

import (
	"context"

	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenantlog"
)

// Running checks one tenant's chain while its shard is open, up to the
// position that the shard has at the call. The caller has made a checkpoint,
// so that the files hold what the shard says.
func Running(ctx context.Context, s *shard.Shard, id ident.TenantID) (*TenantReport, error) {
	st, err := s.Tenant(id)
	if err != nil {
		return nil, err
	}
	env, err := keyring.DecodeEnvelope(st.Envelope)
	if err != nil {
		return nil, err
	}
	log, release, err := s.PinLog(id)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := log.Sync(); err != nil {
		return nil, err
	}
	v := &verifier{ctx: ctx, fs: s.FS(), report: &Report{Path: s.TenantDir(id)}}
	err = v.tenant(s.LogDir(id), id, expectation{known: true, at: st.Log, public: env.Signing.Public})
	if err != nil {
		return nil, err
	}
	rep := &v.report.Tenants[0]
	if st.Log.Next.Uint64() == 0 {
		rep.LastHash = tenantlog.Start(id).LastHash
	}
	return rep, nil
}
