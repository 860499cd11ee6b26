package rpc

import (
	"context"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "kimberlite/gen/kimberlite/v1"
)

type serverService struct{ *door }

// GetVersion names the server's version.
func (s serverService) GetVersion(context.Context, *v1.GetVersionRequest) (*v1.GetVersionResponse, error) {
	return &v1.GetVersionResponse{Version: s.version}, nil
}

// GetHealth sums up how the server is.
func (s serverService) GetHealth(context.Context, *v1.GetHealthRequest) (*v1.GetHealthResponse, error) {
	out := &v1.GetHealthResponse{
		Serving: true, Uptime: durationpb.New(time.Since(s.started)),
		Tenants: int64(s.node.TenantCount()), OpenTenants: int64(s.node.OpenTenants()),
		Transactions: int64(s.transactions.open()),
	}
	if err := s.whyNot(); err != nil {
		out.Serving, out.Problem = false, clean(err.Error())
	}
	return out, nil
}

// WhoAmI says who the caller is.
func (s serverService) WhoAmI(ctx context.Context, _ *v1.WhoAmIRequest) (*v1.WhoAmIResponse, error) {
	p := callOf(ctx).session.Principal()
	out := &v1.WhoAmIResponse{Operator: p.Operator, Name: p.Name, Role: toRole(p.Role)}
	if p.Operator {
		return out, nil
	}
	st, _, err := s.node.State(p.Tenant)
	out.Tenant, out.TenantName = p.Tenant.Uint64(), st.Name
	return out, err
}

// whyNot says why no calls are taken, or nil.
func (d *door) whyNot() error {
	if d.ready != nil {
		if err := d.ready(); err != nil {
			return err
		}
	}
	return d.node.Err()
}

// serveHealth answers probes that ask whether the process lives.
func (d *door) serveHealth(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n") }

// serveReady answers probes that ask whether it takes calls. It does not say
// why not: that is for those with a credential.
func (d *door) serveReady(w http.ResponseWriter, _ *http.Request) {
	if d.whyNot() != nil {
		answer(w, http.StatusServiceUnavailable, "not ready\n")
		return
	}
	answer(w, http.StatusOK, "ready\n")
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // who asked is gone when it fails
}

// health answers /grpc.health.v1.
type health struct{ d *door }

// Check implements [grpchealth.Checker].
func (h health) Check(_ context.Context, r *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	known := r.Service == ""
	for _, name := range serviceNames {
		known = known || name == r.Service
	}
	if !known {
		return nil, connect.NewError(connect.CodeNotFound, nil)
	}
	status := grpchealth.StatusServing
	if h.d.whyNot() != nil {
		status = grpchealth.StatusNotServing
	}
	return &grpchealth.CheckResponse{Status: status}, nil
}
