// Command sim models a large deployment and measures it: what its directory
// costs in memory and time, how evenly placement fills it, and what happens
// when a zone is lost.
//
// It guarantees that the directory and the placement which it measures are the
// product's own (internal/directory, internal/placement), and that the same
// flags give the same deployment and the same plans; times and bytes of memory
// are the machine's. Nodes, shards and tenants' data exist only as numbers:
// nothing is stored or sent. docs/scale.md has its report.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"kimberlite/internal/quantity"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with what it touches passed in.
func run(args []string, stdout, stderr io.Writer) int {
	s, err := settingsOf(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "sim:", err)
		return 2
	}
	report, err := simulate(s, stderr)
	if err == nil {
		err = report.write(stdout, s.json)
	}
	if err != nil {
		fmt.Fprintln(stderr, "sim:", err)
		return 1
	}
	return 0
}

// settings are what the flags say.
type settings struct {
	tenants, nodes, regions, zones int
	replicasPerNode                int
	seed                           uint64
	rate                           int64 // bytes a second that a node copies
	meanBytes                      int64
	lookUps                        int
	json                           bool
}

func settingsOf(args []string, stderr io.Writer) (settings, error) {
	var s settings
	var rate, mean string
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&s.tenants, "tenants", 10_000_000, "tenants of the deployment")
	flags.IntVar(&s.nodes, "nodes", 1000, "nodes of the deployment")
	flags.IntVar(&s.regions, "regions", 12, "regions, of different sizes")
	flags.IntVar(&s.zones, "zones", 3, "zones of each region")
	flags.IntVar(&s.replicasPerNode, "replicas", 24, "replicas of shards on a node")
	flags.Uint64Var(&s.seed, "seed", 1, "seed of everything that is drawn")
	flags.StringVar(&rate, "rate", "100MiB", "bytes a second that a node copies when replicas move")
	flags.StringVar(&mean, "mean", "64MiB", "mean bytes of a tenant's log and tables")
	flags.IntVar(&s.lookUps, "lookups", 5_000_000, "look-ups that are timed")
	flags.BoolVar(&s.json, "json", false, "print one JSON document")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	var err error
	if s.rate, err = quantity.ParseSize(rate); err != nil {
		return s, fmt.Errorf("--rate: %w", err)
	}
	if s.meanBytes, err = quantity.ParseSize(mean); err != nil {
		return s, fmt.Errorf("--mean: %w", err)
	}
	return s, s.validate()
}

func (s settings) validate() error {
	switch {
	case s.tenants < 1 || s.lookUps < 1 || s.rate < 1 || s.meanBytes < 1:
		return errors.New("--tenants, --lookups, --rate and --mean are 1 or more")
	case s.regions < 1 || s.regions > 100 || s.zones < 1 || s.zones > 26:
		return errors.New("--regions is 1 to 100, --zones 1 to 26")
	case s.nodes < s.regions*max(s.zones, copiesOfShard):
		return fmt.Errorf("--nodes is %d or more for %d regions of %d zones", s.regions*max(s.zones, copiesOfShard), s.regions, s.zones)
	case s.replicasPerNode < copiesOfShard:
		return fmt.Errorf("--replicas is %d or more", copiesOfShard)
	}
	return nil
}
