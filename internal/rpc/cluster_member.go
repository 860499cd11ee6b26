package rpc

import (
	"context"
	"time"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/deployment"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// The bounds of a join token.
const (
	tokenValid    = time.Hour
	tokenValidMax = 7 * 24 * time.Hour
)

// CreateJoinToken makes a token that a new node joins with.
func (s clusterService) CreateJoinToken(ctx context.Context, r *v1.CreateJoinTokenRequest) (*v1.CreateJoinTokenResponse, error) {
	c, err := s.member()
	if err != nil {
		return nil, err
	}
	region, err := regionOf(r.GetRegion(), false)
	if err != nil {
		return nil, err
	}
	valid := tokenValid
	if r.GetValid() != nil {
		valid = r.GetValid().AsDuration()
	}
	if valid <= 0 || valid > tokenValidMax {
		return nil, fault.New("node token", fault.Invalid, "a join token is valid for at most 7 days")
	}
	return once(ctx, s.door, r, func() (*v1.CreateJoinTokenResponse, error) {
		t, err := c.CreateToken(ctx, region, valid)
		if err != nil {
			return nil, err
		}
		return &v1.CreateJoinTokenResponse{Token: toToken(&t.Token), Secret: t.Secret}, nil
	})
}

func toToken(t *deployment.Token) *v1.JoinToken {
	return &v1.JoinToken{
		Id: t.ID, Region: t.Region.String(), Created: stamp(t.Created), Expires: stamp(t.Expires), Used: t.Used.Uint64(),
	}
}

// ListJoinTokens describes the tokens that are kept.
func (s clusterService) ListJoinTokens(ctx context.Context, _ *v1.ListJoinTokensRequest) (*v1.ListJoinTokensResponse, error) {
	return inCluster(s, func(c Cluster) ([]deployment.Token, error) { return c.Tokens(ctx) }, func(all []deployment.Token) *v1.ListJoinTokensResponse {
		return &v1.ListJoinTokensResponse{Tokens: toEach(all, toToken)}
	})
}

// RevokeJoinToken ends a token.
func (s clusterService) RevokeJoinToken(ctx context.Context, r *v1.RevokeJoinTokenRequest) (*v1.RevokeJoinTokenResponse, error) {
	c, err := s.member()
	if err != nil {
		return nil, err
	}
	return once(ctx, s.door, r, func() (*v1.RevokeJoinTokenResponse, error) {
		return &v1.RevokeJoinTokenResponse{}, c.RevokeToken(ctx, r.GetTokenId())
	})
}

// ListNodes describes the nodes.
func (s clusterService) ListNodes(ctx context.Context, r *v1.ListNodesRequest) (*v1.ListNodesResponse, error) {
	return inCluster(s, func(c Cluster) ([]deployment.Node, error) { return c.Nodes(ctx) }, func(all []deployment.Node) *v1.ListNodesResponse {
		out := &v1.ListNodesResponse{}
		for i := range all {
			if all[i].State != "removed" || r.GetRemoved() {
				out.Nodes = append(out.Nodes, toNode(&all[i]))
			}
		}
		return out
	})
}

// DrainNode has what a node has go elsewhere.
func (s clusterService) DrainNode(ctx context.Context, r *v1.DrainNodeRequest) (*v1.DrainNodeResponse, error) {
	return onNode(s, r.GetNode(), func(c Cluster, node ident.NodeID) (*deployment.Drain, error) { return c.Drain(ctx, node, r.GetUndo()) },
		func(d *deployment.Drain) *v1.DrainNodeResponse { return &v1.DrainNodeResponse{Drain: toDrain(d)} })
}

// GetDrain says what is left on a node.
func (s clusterService) GetDrain(ctx context.Context, r *v1.GetDrainRequest) (*v1.GetDrainResponse, error) {
	return onNode(s, r.GetNode(), func(c Cluster, node ident.NodeID) (*deployment.Drain, error) { return c.DrainStatus(ctx, node) },
		func(d *deployment.Drain) *v1.GetDrainResponse { return &v1.GetDrainResponse{Drain: toDrain(d)} })
}

// RemoveNode takes a node out for good.
func (s clusterService) RemoveNode(ctx context.Context, r *v1.RemoveNodeRequest) (*v1.RemoveNodeResponse, error) {
	return onNode(s, r.GetNode(), func(c Cluster, node ident.NodeID) (struct{}, error) {
		return struct{}{}, c.Remove(ctx, node, r.GetForce())
	},
		func(struct{}) *v1.RemoveNodeResponse { return &v1.RemoveNodeResponse{} })
}

// onNode is inCluster for requests about one node.
func onNode[V, A any](s clusterService, number uint64, ask func(c Cluster, node ident.NodeID) (V, error), answer func(V) A) (A, error) {
	return inCluster(s, func(c Cluster) (V, error) {
		node, err := nodeOf(number)
		if err != nil {
			var none V
			return none, err
		}
		return ask(c, node)
	}, answer)
}

func toDrain(d *deployment.Drain) *v1.Drain {
	return &v1.Drain{
		Node: d.Node.Uint64(), State: d.State, Shards: shardNumbers(d.Shards), Leads: shardNumbers(d.Leads),
		DirectoryVoter: d.DirectoryVoter, Done: d.Done, Blocked: clean(d.Blocked),
	}
}
