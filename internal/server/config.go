package server

import (
	"time"
)

// Config is the configuration of a server, as its TOML file has it. Each
// field's tags are the one place that says what the key is: `default`, `min`
// and `max` in the form that the file uses, `oneof` the words it may be,
// `form` what a text must look like, and `doc` what it does. The commented
// default file, the reference in docs/operations.md, the environment's
// overrides and the errors all come from them.
//
// Secrets are no part of it: only paths of files that hold them, and the URL
// of the master key.
type Config struct {
	Server   General  `toml:"server" doc:"The process."`
	Data     Data     `toml:"data" doc:"Where the data is, and which key opens it."`
	PG       PG       `toml:"pg" doc:"The PostgreSQL protocol."`
	RPC      RPC      `toml:"rpc" doc:"The RPC over HTTPS, and metrics for operators."`
	Cluster  Cluster  `toml:"cluster" doc:"The other nodes, where the data directory is that of a cluster's node."`
	Operator Operator `toml:"operator" doc:"Health, metrics and profiles for this machine, without a credential."`
	Limits   Limits   `toml:"limits" doc:"What one statement, tenant and process may use."`
	Log      Log      `toml:"log" doc:"What is logged to standard error."`
	Trace    Trace    `toml:"trace" doc:"OpenTelemetry traces."`
	Metrics  Metrics  `toml:"metrics" doc:"Prometheus metrics."`
}

// General is the section [server].
type General struct {
	DrainDelay      time.Duration `toml:"drain_delay" default:"0s" min:"0s" max:"10m" doc:"how long /readyz says no before connections are refused, so that a load balancer can look elsewhere"`
	ShutdownTimeout time.Duration `toml:"shutdown_timeout" default:"30s" min:"0s" max:"1h" doc:"how long running requests and transactions may take to finish after SIGTERM; then they are ended"`
}

// Data is the section [data].
type Data struct {
	Dir       string `toml:"dir" default:"/var/lib/kimberlite" form:"path" doc:"the data directory; it is made when it is missing"`
	MasterKey string `toml:"master_key" default:"" form:"key" doc:"URL of the master key, such as file:///etc/kimberlite/master.key; empty is what the directory was made with, and for a new directory a key file inside it (for development only)"`
}

// PG is the section [pg].
type PG struct {
	Addr                     string        `toml:"addr" default:"127.0.0.1:5433" form:"address" doc:"host and port to listen on; port 0 is any free one; empty is off"`
	TLSCert                  string        `toml:"tls_cert" default:"" form:"path" doc:"PEM file of the certificate and its chain; read again when it changes and on SIGHUP"`
	TLSKey                   string        `toml:"tls_key" default:"" form:"path" doc:"PEM file of its private key; others must not be able to read it"`
	AllowPlaintext           bool          `toml:"allow_plaintext" default:"false" doc:"serve without TLS clients that ask for none, from loopback addresses only"`
	MaxConnections           int           `toml:"max_connections" default:"1000" min:"1" max:"100000" doc:"connections at once"`
	MaxConnectionsPerTenant  int           `toml:"max_connections_per_tenant" default:"200" min:"1" max:"100000" doc:"connections of one tenant at once"`
	MaxMessageSize           Size          `toml:"max_message_size" default:"64MiB" min:"64KiB" max:"1GiB" doc:"longest message of a client"`
	IdleTimeout              time.Duration `toml:"idle_timeout" default:"0s" min:"0s" max:"365d" doc:"a session without a transaction that is idle for longer is ended; 0s is never"`
	StatementTimeout         time.Duration `toml:"statement_timeout" default:"0s" min:"0s" max:"24h" doc:"a statement that takes longer is cancelled; a session may SET its own; 0s leaves it to limits.statement_timeout"`
	IdleInTransactionTimeout time.Duration `toml:"idle_in_transaction_timeout" default:"1m" min:"1s" max:"24h" doc:"a transaction that is idle for longer is rolled back and its session ended; one that has written, after limits.writer_idle_timeout at the latest"`
	AuthTimeout              time.Duration `toml:"auth_timeout" default:"10s" min:"1s" max:"10m" doc:"how long a client may take to prove who it is"`
}

// RPC is the section [rpc].
type RPC struct {
	Addr                   string        `toml:"addr" default:"127.0.0.1:7443" form:"address" doc:"host and port to listen on; port 0 is any free one; empty is off"`
	TLSCert                string        `toml:"tls_cert" default:"" form:"path" doc:"PEM file of the certificate and its chain; empty is that of [pg]"`
	TLSKey                 string        `toml:"tls_key" default:"" form:"path" doc:"PEM file of its private key; empty is that of [pg]"`
	AllowPlaintext         bool          `toml:"allow_plaintext" default:"false" doc:"serve HTTP without TLS; the address must be a loopback one, and no certificate be named"`
	MaxConnections         int           `toml:"max_connections" default:"1000" min:"1" max:"100000" doc:"connections at once"`
	ReadHeaderTimeout      time.Duration `toml:"read_header_timeout" default:"10s" min:"1s" max:"10m" doc:"how long a client may take to send a request's head"`
	RequestTimeout         time.Duration `toml:"request_timeout" default:"1m" min:"1s" max:"1h" doc:"how long a client may take to send a request, and to accept a part of an answer"`
	MaxMessageSize         Size          `toml:"max_message_size" default:"32MiB" min:"64KiB" max:"1GiB" doc:"longest request"`
	IdleTimeout            time.Duration `toml:"idle_timeout" default:"2m" min:"1s" max:"24h" doc:"a connection that asks nothing for longer is closed"`
	TransactionIdleTimeout time.Duration `toml:"transaction_idle_timeout" default:"1m" min:"1s" max:"24h" doc:"a transaction that is idle for longer is rolled back"`
}

// Cluster is the section [cluster].
type Cluster struct {
	Listen        string `toml:"listen" default:"" form:"address" doc:"host and port to listen on for other nodes, with certificates on both sides; empty is what cluster init or node join was told, and 127.0.0.1:7445 if nothing"`
	AdvertisePeer string `toml:"advertise_peer" default:"" form:"reach" doc:"host and port that other nodes reach this one by; empty is what cluster init or node join was told, or else where it listens"`
	AdvertisePG   string `toml:"advertise_pg" default:"" form:"reach" doc:"host and port that clients reach pg.addr by; empty is pg.addr"`
	AdvertiseRPC  string `toml:"advertise_rpc" default:"" form:"reach" doc:"host and port that clients reach rpc.addr by; empty is rpc.addr"`
	Zone          string `toml:"zone" default:"" form:"label" doc:"what fails together with this node within its region, such as a rack; replicas are spread over zones; empty is what cluster init or node join was told"`
	SnapshotRate  Size   `toml:"snapshot_rate" default:"64MiB" min:"64KiB" max:"100GiB" doc:"bytes a second that a shard here receives of what it lacks, be it new or behind"`
	MoveRate      Size   `toml:"move_rate" default:"64MiB" min:"64KiB" max:"100GiB" doc:"bytes a second that a tenant which moves here is copied with"`
}

// Operator is the section [operator].
type Operator struct {
	Addr  string `toml:"addr" default:"127.0.0.1:7444" form:"loopback" doc:"loopback host and port to listen on, without TLS and without a credential; empty is off"`
	Pprof bool   `toml:"pprof" default:"true" doc:"serve Go's profiles below /debug/pprof/"`
}

// Limits is the section [limits].
type Limits struct {
	MaxOpenTenants      int           `toml:"max_open_tenants" default:"1024" min:"1" max:"1000000" doc:"tenants that are open at once; others are opened when they are used and the one unused for longest is closed"`
	ReadersPerTenant    int           `toml:"readers_per_tenant" default:"4" min:"1" max:"1024" doc:"statements of one tenant that read at once"`
	WriterIdleTimeout   time.Duration `toml:"writer_idle_timeout" default:"30s" min:"1s" max:"24h" doc:"a transaction that has written, so that other writes of its tenant wait for it, is rolled back when it is idle for longer"`
	DiskReserve         Size          `toml:"disk_reserve" default:"64MiB" min:"0B" max:"1TiB" doc:"free disk that is left alone: with less, writes are refused; 0B is none"`
	StatementTimeout    time.Duration `toml:"statement_timeout" default:"30s" min:"1ms" max:"24h" doc:"no statement runs for longer, whatever its session says"`
	MaxStatementSize    Size          `toml:"max_statement_size" default:"4MiB" min:"1KiB" max:"1GiB" doc:"longest text of a statement"`
	MaxValueSize        Size          `toml:"max_value_size" default:"16MiB" min:"1KiB" max:"1GiB" doc:"longest text, blob or row"`
	MaxResultRows       int64         `toml:"max_result_rows" default:"10000000" min:"1" max:"9223372036854775807" doc:"rows that one statement may return"`
	MaxResultSize       Size          `toml:"max_result_size" default:"1GiB" min:"1KiB" max:"1TiB" doc:"bytes that one statement may return"`
	MaxTransactionSize  Size          `toml:"max_transaction_size" default:"48MiB" min:"64KiB" max:"48MiB" doc:"changes that one transaction may hold"`
	MaxConnectionMemory Size          `toml:"max_connection_memory" default:"128MiB" min:"8MiB" max:"4GiB" doc:"memory of one statement, its sorts included"`
}

// Log is the section [log].
type Log struct {
	Level  string `toml:"level" default:"info" oneof:"debug info warn error" doc:"the least that is logged"`
	Format string `toml:"format" default:"text" oneof:"text json" doc:"a line of key=value, or of JSON"`
}

// Trace is the section [trace].
type Trace struct {
	OTLPEndpoint string  `toml:"otlp_endpoint" default:"" form:"endpoint" doc:"URL of a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318; empty is off"`
	SampleRatio  float64 `toml:"sample_ratio" default:"0.01" min:"0" max:"1" doc:"share of the traces begun here that are kept; a caller's own decision comes first"`
}

// Metrics is the section [metrics].
type Metrics struct {
	TopTenants int `toml:"top_tenants" default:"50" min:"0" max:"10000" doc:"tenants with series of their own, those that do most; the rest share tenant=\"other\""`
}

// Size is a number of bytes, written as "16MiB".
type Size int64
