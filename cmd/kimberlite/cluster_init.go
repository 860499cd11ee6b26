package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kimberlite/internal/access"
	"kimberlite/internal/cluster"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/server"
)

// memberFlags say where a node that is to be of a cluster is reached.
type memberFlags struct {
	config                string
	listen, peer, pg, rpc string
	zone                  string
	ifNeeded              bool
}

func (f *memberFlags) add(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.config, "config", "", "the configuration that the node will be served with; flags stand above it")
	fl.StringVar(&f.listen, "listen", "", "host and port to listen on for other nodes; 127.0.0.1:7445 unless given")
	fl.StringVar(&f.peer, "advertise-peer", "", "host and port that other nodes reach it by; where it listens unless given")
	fl.StringVar(&f.pg, "advertise-pg", "", "host and port of its PostgreSQL protocol for clients; the configuration's pg.addr unless given")
	fl.StringVar(&f.rpc, "advertise-rpc", "", "host and port of its RPC for clients; the configuration's rpc.addr unless given")
	fl.BoolVar(&f.ifNeeded, "if-needed", false, "do nothing if the data directory is that of a cluster's node already")
	fl.StringVar(&f.zone, "zone", "", "what fails together with it within the region, such as a rack")
}

// read reads the configuration with the flags above it.
func (f *memberFlags) read(a *app, op string) (*server.Config, error) {
	if a.global.server != "" {
		return nil, fault.New(op, fault.Invalid, "--server does not go with %s: it acts on a data directory", op)
	}
	c, err := server.LoadMember(f.config, os.Environ(), func(c *server.Config) {
		if dir := a.flagOrEnv(a.global.data, envData); dir != "" {
			c.Data.Dir = dir
		}
		if key := a.flagOrEnv(a.global.masterKey, envMasterKey); key != "" {
			c.Data.MasterKey = key
		}
		for _, one := range []struct{ from, to *string }{
			{&f.listen, &c.Cluster.Listen}, {&f.peer, &c.Cluster.AdvertisePeer}, {&f.pg, &c.Cluster.AdvertisePG},
			{&f.rpc, &c.Cluster.AdvertiseRPC}, {&f.zone, &c.Cluster.Zone},
		} {
			if *one.from != "" {
				*one.to = *one.from
			}
		}
	})
	if err == nil && a.flagOrEnv(a.global.data, envData) == "" && f.config == "" && os.Getenv("KIMBERLITE_DATA_DIR") == "" {
		err = fault.New(op, fault.Invalid, "no data directory was named: give --data DIR, or --config FILE")
	}
	return c, err
}

func reached(c *server.Config) cluster.Addresses {
	return c.Reached(c.PG.Addr, c.RPC.Addr, buildVersion().Version)
}

// joinedDocument is a new node as --json prints it.
type joinedDocument struct {
	Deployment string `json:"deployment"`
	Node       uint64 `json:"node"`
	Region     string `json:"region"`
	Data       string `json:"data"`
	CA         string `json:"ca"`
	// Operator and its token are of cluster init.
	Operator  string `json:"operator,omitempty"`
	Token     string `json:"token,omitempty"`
	TokenFile string `json:"token_file,omitempty"`
}

func documentJoined(id cluster.Identity, data string) joinedDocument {
	return joinedDocument{Deployment: id.Deployment, Node: id.Node.Uint64(), Region: id.Region.String(), Data: data, CA: server.ClusterCA(data)}
}

func clusterInitCommand(a *app) *cobra.Command {
	var flags memberFlags
	var region, deployment, operator, tokenFile string
	c := &cobra.Command{
		Use:   "init --data DIR --region R",
		Short: "Begin a deployment: make its certificate authority, its first node and its first operator",
		Long: `Begin a deployment: make its certificate authority, the identity of its first
node in a data directory that is empty or missing, and its first operator, whose
token is printed this once, or written to --token-file. Nothing runs yet: serve
with a configuration of that data directory does. More nodes join with tokens of
node token create.

Keep a copy of DATA/cluster: it holds the authority's key. Replicas of a region
share its tenants' keys, so that all nodes of a region need one master key.`,
		Example: `  kimberlite cluster init --data ./node-1 --region us-east --zone rack-1 --token-file ./operator.token`,
		Args:    exactly(),
	}
	flags.add(c)
	c.Flags().StringVar(&region, "region", "", "the first node's region, such as us-east (required)")
	c.Flags().StringVar(&deployment, "name", "", "name of the deployment, in certificates; made up unless given")
	c.Flags().StringVar(&operator, "operator", "admin", "name of the first operator")
	c.Flags().StringVar(&tokenFile, "token-file", "", "file to write the operator's token to, with mode 0600; it must not exist")
	must(c.MarkFlagRequired("region"))
	return a.verb(c, func(ctx context.Context, _ []string) error {
		config, err := flags.read(a, "cluster init")
		if err != nil {
			return err
		}
		if flags.ifNeeded && server.IsMember(config.Data.Dir) {
			return a.alreadyMember(config.Data.Dir)
		}
		in, err := ident.NewRegion(region)
		if err != nil {
			return badFlag("--region", err)
		}
		if err := absent(tokenFile); err != nil {
			return err
		}
		return a.beginCluster(ctx, cluster.InitConfig{
			FS: disk.OS{}, Dir: config.Data.Dir, Region: in, Deployment: deployment, Addresses: reached(config),
		}, operator, tokenFile)
	})
}

// beginCluster makes operator and node, and tells of both.
func (a *app) beginCluster(ctx context.Context, c cluster.InitConfig, operator, tokenFile string) error {
	if server.IsMember(c.Dir) {
		_, err := cluster.Init(ctx, c) // it says whose the directory is
		return err
	}
	secret, err := access.NewFirstOperator(c.FS, c.Dir, operator, time.Now(), rand.Reader)
	if err != nil {
		return err
	}
	id, err := cluster.Init(ctx, c)
	if err != nil {
		return err
	}
	doc := documentJoined(id, c.Dir)
	doc.Operator = operator
	if tokenFile == "" {
		doc.Token = secret
	} else {
		doc.TokenFile = tokenFile
		if err := writeSecret(tokenFile, secret); err != nil {
			return err
		}
	}
	return a.print(doc, func(w io.Writer) {
		fmt.Fprintf(w, "deployment %s begins with node %s in %s, in %s\n", doc.Deployment, id.Node, doc.Region, doc.Data)
		if tokenFile == "" {
			fmt.Fprintf(w, "token of the operator %s, shown this once: %s\n", printable(operator), secret)
		} else {
			fmt.Fprintf(w, "token of the operator %s: %s\n", printable(operator), tokenFile)
		}
		fmt.Fprintf(w, "certificates for clients to trust: %s\n", doc.CA)
		fmt.Fprintf(w, "start it: KIMBERLITE_DATA_DIR=%s kimberlite serve\n", quoteShell(doc.Data))
	})
}

// alreadyMember tells of a node that was made before.
func (a *app) alreadyMember(data string) error {
	id, _, err := cluster.LoadIdentity(disk.OS{}, data)
	if err != nil {
		return err
	}
	return a.print(documentJoined(id, data), func(w io.Writer) {
		fmt.Fprintf(w, "%s is node %s of deployment %s already\n", data, id.Node, id.Deployment)
	})
}

// absent refuses a file that is there already.
func absent(path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Lstat(path); err == nil {
		return fault.New("--token-file", fault.AlreadyExists, "%s exists: choose another name", path)
	}
	return nil
}

// writeSecret writes a secret to a new file for its owner alone.
func writeSecret(path, secret string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return absent(path)
	}
	if err == nil {
		_, err = f.WriteString(secret + "\n")
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		return fault.Wrap("--token-file", fault.Unavailable, err, "cannot write the token's file")
	}
	return nil
}

func nodeJoinCommand(a *app) *cobra.Command {
	var flags memberFlags
	var tokenFile, contact string
	c := &cobra.Command{
		Use:   "join --data DIR --token TOKEN",
		Short: "Make a data directory that of a new node of a cluster",
		Long: `Make a data directory that is empty or missing that of a new node of a cluster,
with a token of node token create: the directory gets an identity and a
certificate of the deployment. The token says where to join and whom to trust;
its region is the node's, for ever. Nothing runs yet: serve with a configuration
of that data directory does. Repeated after an interruption it goes on.`,
		Example: `  kimberlite node join --data ./node-2 --listen 127.0.0.1:7546 --token "$(kimberlite node token create --region local)"`,
		Args:    exactly(),
	}
	flags.add(c)
	c.Flags().StringVar(&tokenFile, "token-file", "", "file whose first line is the token, in place of --token")
	c.Flags().StringVar(&contact, "contact", "", "host and port of a node's peer address to ask, in place of those that the token names")
	return a.verb(c, func(ctx context.Context, _ []string) error {
		config, err := flags.read(a, "node join")
		if err != nil {
			return err
		}
		if flags.ifNeeded && server.IsMember(config.Data.Dir) {
			return a.alreadyMember(config.Data.Dir)
		}
		secret := a.global.token // the environment's is an operator's
		if tokenFile != "" {
			if a.global.token != "" {
				return fault.New("node join", fault.Invalid, "--token and --token-file cannot both be given")
			}
			if secret, err = readToken(tokenFile); err != nil {
				return err
			}
		}
		if secret == "" {
			return fault.New("node join", fault.Invalid, "a join token is missing: give --token or --token-file with what node token create printed")
		}
		id, err := cluster.Join(ctx, cluster.JoinConfig{
			FS: disk.OS{}, Dir: config.Data.Dir, Secret: secret, Contact: contact, Addresses: reached(config),
		})
		if err != nil {
			return err
		}
		doc := documentJoined(id, config.Data.Dir)
		return a.print(doc, func(w io.Writer) {
			fmt.Fprintf(w, "%s is node %s of deployment %s, in %s\n", doc.Data, id.Node, doc.Deployment, doc.Region)
			fmt.Fprintf(w, "start it: KIMBERLITE_DATA_DIR=%s kimberlite serve\n", quoteShell(doc.Data))
		})
	})
}
