package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
)

// Nodes call each other by POST of JSON under /cluster/. Every call may be
// repeated: one whose answer was lost is made again.

// maxCall bounds a call's body and its answer.
const maxCall = 8 << 20

// failure is an error as it goes between nodes.
type failure struct {
	Kind    string       `json:"kind"`
	Message string       `json:"message"`
	Leader  ident.NodeID `json:"leader"`
	Tenant  uint64       `json:"tenant,omitempty"`
}

var kinds = func() map[string]fault.Kind {
	m := map[string]fault.Kind{}
	for _, k := range fault.Kinds() {
		m[k.String()] = k
	}
	return m
}()

func toFailure(err error) failure {
	f := failure{Kind: fault.KindOf(err).String(), Message: err.Error()}
	var e *fault.Error
	if errors.As(err, &e) {
		f.Leader, f.Tenant = e.Leader, e.Tenant.Uint64()
		if e.Message != "" {
			f.Message = e.Message
		}
	}
	return f
}

func (f failure) err(op string) error {
	kind, ok := kinds[f.Kind]
	if !ok {
		kind = fault.Unavailable // of a newer node
	}
	e := fault.New(op, kind, "%s", f.Message).WithLeader(f.Leader)
	if id, err := ident.NewTenantID(f.Tenant); err == nil {
		e = e.ForTenant(id)
	}
	return e
}

// callee answers one kind of call.
type callee func(ctx context.Context, from peer.Peer, body []byte) ([]byte, error)

// answer makes f the callee of calls by a name.
func answer[In, Out any](n *Node, name string, f func(ctx context.Context, from peer.Peer, in In) (Out, error)) {
	n.callees[name] = func(ctx context.Context, from peer.Peer, body []byte) ([]byte, error) {
		var in In
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, fault.Wrap(name, fault.Invalid, err, "node %s sent a malformed call", from.Node)
		}
		out, err := f(ctx, from, in)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
	n.net.Handle("POST /cluster/"+name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.serveCall(w, r, name)
	}))
}

func (n *Node) serveCall(w http.ResponseWriter, r *http.Request, name string) {
	from, ok := peer.From(r.Context())
	if !ok {
		http.Error(w, "no peer", http.StatusForbidden)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCall))
	if err != nil {
		http.Error(w, "the call is too long or was cut", http.StatusBadRequest)
		return
	}
	out, err := n.callees[name](r.Context(), from, body)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		out, _ = json.Marshal(toFailure(err)) //nolint:errchkjson // strings and numbers
	}
	_, _ = w.Write(out) // who asked is gone when it fails
}

// ask calls a node, or this one without the network. Unavailable says that it
// did not answer; what it did is not known then.
func ask[Out any](ctx context.Context, n *Node, to ident.NodeID, name string, in any) (Out, error) {
	var out Out
	body, err := json.Marshal(in)
	if err != nil {
		return out, fault.Wrap(name, fault.Internal, err, "the call cannot be encoded")
	}
	var text []byte
	if to == n.identity.Node {
		text, err = n.callees[name](ctx, n.asPeer(), body)
	} else {
		text, err = n.post(ctx, to, name, body)
	}
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return out, fault.Wrap(name, fault.Incompatible, err, "node %s answered with something else", to)
	}
	return out, nil
}

func (n *Node) asPeer() peer.Peer {
	return peer.Peer{Node: n.identity.Node, Region: n.identity.Region}
}

func (n *Node) post(ctx context.Context, to ident.NodeID, name string, body []byte) ([]byte, error) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://node/cluster/"+name, bytes.NewReader(body))
	if err != nil {
		return nil, fault.Wrap(name, fault.Internal, err, "no request")
	}
	rq.Header.Set("Content-Type", "application/json")
	rs, err := n.net.Client(to).Do(rq)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fault.OfContext(name, ctx)
		}
		return nil, fault.Wrap(name, fault.Unavailable, err, "node %s does not answer", to)
	}
	defer rs.Body.Close() //nolint:errcheck // read to its end or given up
	text, err := io.ReadAll(io.LimitReader(rs.Body, maxCall+1))
	if err != nil || len(text) > maxCall {
		return nil, fault.Wrap(name, fault.Unavailable, err, "node %s did not finish its answer", to)
	}
	switch rs.StatusCode {
	case http.StatusOK:
		return text, nil
	case http.StatusConflict:
		var f failure
		if json.Unmarshal(text, &f) == nil {
			return nil, f.err(name)
		}
	}
	return nil, fault.New(name, fault.Unavailable, "node %s answered with HTTP status %d", to, rs.StatusCode)
}

// none is the answer of calls that have nothing to say.
type none struct{}
