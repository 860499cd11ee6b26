package archtest

// tier is a layer of the design. A package imports only packages of tiers
// below its own, and those of its own tier that are listed after it.
type tier struct {
	name     string
	packages []string // below the module's path, "" for the root package
}

// tiers lists every package, from the top. A package that is not listed fails
// the test: decide where it belongs before it grows imports. One that is
// listed and not there yet is fine.
var tiers = []tier{
	{"tests", []string{"internal/archtest", "internal/torture", "internal/wireattack", "internal/clienttest", "internal/oracle", "internal/servertest", "internal/clustertest", "internal/attacktext", "internal/testbed"}},
	{"program", []string{"sim", "cmd/kimberlite", "internal/demo", "internal/bench"}},
	{"server", []string{"internal/server"}},
	{"doors", []string{"internal/pgwire", "internal/rpc", "internal/telemetry", "driver", "client", ""}},
	{"access", []string{"internal/access"}},
	{"node", []string{"internal/node", "internal/verify"}},
	{"routing", []string{"internal/cluster", "internal/directory"}},
	{"tenant", []string{"internal/tenant", "internal/shard"}},
	{"I/O", []string{
		"internal/peer", "internal/pki",
		"internal/tenantlog", "internal/projection", "internal/pagestore",
		"internal/keyring", "internal/kms", "internal/replication",
	}},
	{"pure", []string{
		"internal/dialect", "internal/pgcatalog", "internal/sqlfunc", "internal/schema", "internal/sqltype",
		"internal/placement", "internal/credential", "internal/deployment", "internal/audit", "internal/record", "internal/quota", "internal/quantity", "internal/scan", "gen/kimberlite/v1/kimberlitev1connect", "gen/kimberlite/v1",
	}},
	{"ground", []string{"internal/seal", "internal/disk", "internal/fault", "internal/clock", "internal/ident"}},
}

// dependency is a module of others and the packages that may import it. An
// import path that none of them covers fails the test: see
// docs/decisions/0002-dependencies.md.
type dependency struct {
	module    string   // covers the import paths below it too
	importers []string // below the module's path; nil for any package
}

var dependencies = []dependency{
	{"github.com/ncruces/go-sqlite3", []string{"internal/projection"}},
	{"go.etcd.io/raft/v3", []string{"internal/replication"}},
	{"github.com/cockroachdb/pebble/v2", []string{"internal/replication"}},
	{"google.golang.org/protobuf", []string{"internal/replication", "internal/rpc", "client", "gen/kimberlite/v1", "gen/kimberlite/v1/kimberlitev1connect"}},
	{"google.golang.org/genproto", []string{"internal/rpc", "client"}},
	{"connectrpc.com/connect", []string{"internal/rpc", "client", "gen/kimberlite/v1/kimberlitev1connect"}},
	{"connectrpc.com/grpchealth", []string{"internal/rpc"}},
	{"connectrpc.com/grpcreflect", []string{"internal/rpc"}},
	{"github.com/jackc/pgx/v5", []string{"internal/pgwire", "internal/oracle", "internal/servertest", "internal/bench", "internal/torture", "internal/wireattack", "internal/clustertest"}},
	{"github.com/anishathalye/porcupine", []string{"internal/clustertest"}},
	{"github.com/xdg-go/scram", []string{"internal/credential"}},
	{"github.com/prometheus/client_golang", []string{"internal/telemetry"}},
	{"github.com/prometheus/common", []string{"internal/telemetry", "internal/server"}},
	{"go.opentelemetry.io/otel", []string{"internal/telemetry"}},
	{"github.com/spf13/cobra", []string{"cmd/kimberlite"}},
	{"github.com/spf13/pflag", []string{"cmd/kimberlite"}},
	{"github.com/schollz/progressbar/v3", []string{"cmd/kimberlite"}},
	{"golang.org/x/term", []string{"cmd/kimberlite"}},
	{"github.com/pelletier/go-toml/v2", []string{"cmd/kimberlite", "internal/node", "internal/server"}},
	{"golang.org/x/sync", nil},
	{"golang.org/x/sys", nil},

	// Key services, for the issue that adds them.
	{"github.com/aws/aws-sdk-go-v2", []string{"internal/kms"}},
	{"github.com/openbao/openbao", []string{"internal/kms"}},
	{"github.com/hashicorp/vault", []string{"internal/kms"}},
	{"github.com/miekg/pkcs11", []string{"internal/kms"}},
	{"github.com/ThalesGroup/crypto11", []string{"internal/kms"}},
}

// bannedNames are package names that say nothing.
var bannedNames = []string{"util", "utils", "common", "types", "helper", "helpers", "misc", "base"}

// ban is a name that may not be used in some packages.
type ban struct {
	path    string   // import path of the package that declares the name
	names   []string // the names; nil for every one
	in      []string // packages, below the module's path; nil for every one
	except  []string // packages that may
	because string
}

// stateless are the packages whose answers depend on their arguments alone.
var stateless = []string{
	"internal/record", "internal/quota", "internal/quantity",
	"internal/ident", "internal/fault", "internal/seal", "internal/credential", "internal/deployment", "internal/audit", "internal/placement",
}

// pure are those of the pure tier, which do no I/O and draw no randomness.
var pure = []string{"internal/record", "internal/quota", "internal/quantity", "internal/credential", "internal/audit", "internal/placement"}

// seeded are those that want the same numbers again from the same seed.
var seeded = []string{"sim", "internal/bench", "internal/demo", "internal/disk"}

// doors are the packages that own standard output.
var doors = []string{"sim", "cmd/kimberlite"}

var bans = []ban{
	{"time", []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}, stateless, nil,
		"take the time as an argument"},
	{"math/rand", nil, nil, seeded, "crypto/rand, unless it is a seed that can be repeated which is wanted"},
	{"math/rand/v2", nil, nil, seeded, "crypto/rand, unless it is a seed that can be repeated which is wanted"},
	{"crypto/rand", nil, pure, nil, "pass the random bytes in"},
	{"os", nil, pure, nil, "pure packages do no I/O"},
	{"net", nil, pure, nil, "pure packages do no I/O"},
	{"fmt", []string{"Print", "Printf", "Println"}, nil, doors, "write to an io.Writer that the caller passes in"},
	{"log", nil, nil, doors, "return the error; the door decides what to print"},
	{"os", []string{"Exit"}, nil, doors, "return the error; the door decides the exit status"},
	{"unsafe", nil, nil, []string{"gen/kimberlite/v1"}, "nothing here is worth undefined behaviour"},
	{"kimberlite/internal/seal", []string{"InsecurePlaintextDEK"}, nil, nil, "it stores plaintext: for measurements in _test.go files only"},
}

// maxFileLines is the ceiling of a source file that is neither generated nor
// a test.
const maxFileLines = 700
