package cluster

import (
	"kimberlite/internal/ident"
)

// Identity is who a node is, for ever. It stands in DATA/cluster:
//
//	identity.json  this, as JSON
//	node.crt       the node's certificate and its authority's
//	node.key       its private key, 0600
//	ca.pem         the authorities that the deployment believes
//	ca.crt ca.key  on holders of the authority: its certificate and key, 0600
type Identity struct {
	Format     int          `json:"format"`
	Deployment string       `json:"deployment"`
	Node       ident.NodeID `json:"node"`
	Region     ident.Region `json:"region"`
	// Founder says that the node begins the deployment's directory; others
	// join it.
	Founder bool `json:"founder,omitempty"`
	// Peers are addresses to begin with, until the directory is there.
	Peers []Seed `json:"peers,omitempty"`
}

// Seed is where a node was when this one joined.
type Seed struct {
	Node   ident.NodeID `json:"node"`
	Region ident.Region `json:"region"`
	Addr   string       `json:"addr"`
}
