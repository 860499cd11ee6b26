package directory

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net"
	"slices"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Limits of what a command brings.
const (
	maxTokens        = 1000
	maxSettings      = 1000
	maxReplicas      = 9
	maxAddressBytes  = 300
	maxLabelBytes    = 63
	maxSettingBytes  = 4 << 10
	maxDocumentBytes = 1 << 20
	maxCABytes       = 256 << 10
	maxProofBytes    = 64
)

func invalid(op, format string, args ...any) *fault.Error {
	return fault.New(op, fault.Invalid, format, args...)
}

func (c Bootstrap) validate() *fault.Error {
	const op = "cluster init"
	if !plain(c.Deployment) || c.Deployment == "" {
		return invalid(op, "a deployment's id has 1 to %d letters, digits, dots, dashes and underscores", maxLabelBytes)
	}
	if err := checkCA(op, c.CA); err != nil {
		return err
	}
	return c.check(op, c.Region)
}

// check refuses what a node says of itself when it makes no sense.
func (a NodeAddresses) check(op string, region ident.Region) *fault.Error {
	if region.IsZero() {
		return invalid(op, "a node needs a region, such as us-east")
	}
	if !plain(a.Zone) || !plain(a.Version) {
		return invalid(op, "a node's zone and version have at most %d letters, digits, dots, dashes, underscores and pluses", maxLabelBytes)
	}
	if a.PeerAddr == "" {
		return invalid(op, "a node needs an address at which the other nodes reach it, such as 10.0.0.5:7433")
	}
	for _, addr := range []string{a.PeerAddr, a.PGAddr, a.RPCAddr} {
		if addr == "" {
			continue
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil || host == "" || port == "" || len(addr) > maxAddressBytes {
			return invalid(op, "%q is no address with host and port, such as 10.0.0.5:7433", clip(addr))
		}
	}
	return nil
}

// plain says whether s is a short name of plain letters, or nothing.
func plain(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '-', c == '_', c == '+':
		default:
			return false
		}
	}
	return len(s) <= maxLabelBytes
}

func (c AddNode) validate() *fault.Error {
	const op = "node join"
	if len(c.Proof.ID) > maxLabelBytes || len(c.Proof.Hash) > maxProofBytes || len(c.Request) > maxProofBytes {
		return invalidToken()
	}
	return c.check(op, c.Region)
}

func (c UpdateNode) validate() *fault.Error { return c.check("node update", c.Region) }

func (c SetNodeState) validate() *fault.Error {
	if c.State > NodeRemoved {
		return invalid("node state", "a node is active, draining or removed")
	}
	return nil
}

func (c CreateShard) validate() *fault.Error {
	const op = "shard create"
	if c.Region.IsZero() {
		return invalid(op, "a shard needs a region, such as us-east")
	}
	return checkReplicaCount(op, len(c.Nodes))
}

func checkReplicaCount(op string, n int) *fault.Error {
	if n < 1 || n > maxReplicas {
		return invalid(op, "a shard has 1 to %d replicas, and not %d", maxReplicas, n)
	}
	return nil
}

func (c SetReplicas) validate() *fault.Error { return checkReplicaCount("shard replicas", len(c.Want)) }

func (c SetShardState) validate() *fault.Error {
	if c.State > ShardClosed {
		return invalid("shard state", "a shard is active or closed")
	}
	return nil
}

func (RemoveShard) validate() *fault.Error { return nil }

func (c ReserveTenant) validate() *fault.Error {
	const op = "tenant create"
	if c.Region.IsZero() {
		return invalid(op, "a tenant needs a region, such as us-east")
	}
	return checkTenant(op, c.Tenant, c.Name)
}

func checkTenant(op string, id ident.TenantID, name string) *fault.Error {
	if err := hasTenant(op, id); err != nil {
		return err
	}
	if err := ident.CheckTenantName(name); err != nil {
		return invalid(op, "%s", err.Error())
	}
	return nil
}

func hasTenant(op string, id ident.TenantID) *fault.Error {
	if id.IsZero() {
		return invalid(op, "a tenant needs an id, 1 or more")
	}
	return nil
}

func (c ActivateTenant) validate() *fault.Error { return hasTenant("tenant create", c.Tenant) }
func (c AbandonTenant) validate() *fault.Error  { return hasTenant("tenant create", c.Tenant) }
func (c RenameTenant) validate() *fault.Error   { return checkTenant("tenant rename", c.Tenant, c.Name) }
func (c BeginMove) validate() *fault.Error      { return hasTenant("tenant move", c.Tenant) }
func (c FlipMove) validate() *fault.Error       { return hasTenant("tenant move", c.Tenant) }
func (c AbortMove) validate() *fault.Error      { return hasTenant("tenant move", c.Tenant) }
func (c EndMove) validate() *fault.Error        { return hasTenant("tenant move", c.Tenant) }
func (c EraseTenant) validate() *fault.Error    { return hasTenant("tenant erase", c.Tenant) }

func (c CreateToken) validate() *fault.Error {
	t := &c.Token
	if t.ID == "" || !plain(t.ID) || t.Region.IsZero() || t.Expires.IsZero() ||
		len(t.Salt) < saltBytes || len(t.Salt) > maxProofBytes || len(t.Hash) != hashBytes {
		return invalid("token create", "a join token needs an id, a region, an end, and the salted hash of its secret: make it with NewToken")
	}
	return nil
}

func (c RevokeToken) validate() *fault.Error {
	if c.ID == "" || !plain(c.ID) {
		return invalid("token revoke", "%q is no token's id", clip(c.ID))
	}
	return nil
}

func (c SetOperators) validate() *fault.Error {
	if len(c.Document) > maxDocumentBytes {
		return fault.New("operators", fault.TooLarge, "the operators' records have %d bytes, and may have %d", len(c.Document), maxDocumentBytes)
	}
	return nil
}

func (c SetCA) validate() *fault.Error { return checkCA("certificates", c.PEM) }

// checkCA refuses everything but certificates of authorities, a private key
// above all: what is in the directory is on every node.
func checkCA(op string, bundle []byte) *fault.Error {
	if len(bundle) > maxCABytes {
		return fault.New(op, fault.TooLarge, "the certificates have %d bytes, and may have %d", len(bundle), maxCABytes)
	}
	var canonical []byte // what there is but certificates makes a difference
	found := 0
	for rest := bundle; ; found++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil || !cert.IsCA {
			return invalid(op, "block %d of the deployment's certificates is no certificate of an authority: give these alone, and never a key", found+1)
		}
		canonical = append(canonical, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
	}
	if found == 0 {
		return invalid(op, "a deployment needs the certificate of its authority")
	}
	if !slices.EqualFunc(bytes.Fields(bundle), bytes.Fields(canonical), bytes.Equal) {
		return invalid(op, "the deployment's certificates hold something else, too: give PEM blocks of certificates alone, and never a key")
	}
	return nil
}

func (c SetSetting) validate() *fault.Error {
	if c.Name == "" || !plain(c.Name) || len(c.Value) > maxSettingBytes {
		return invalid("setting", "a setting has a name of at most %d letters, digits, dots, dashes and underscores, and a value of at most %d bytes", maxLabelBytes, maxSettingBytes)
	}
	return nil
}

func (Barrier) validate() *fault.Error { return nil }
