package ident_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"strings"
	"testing"
)

// program is one statement in a function that has one value of each type at
// hand and one function that wants each type.
const program = `package program

import "kimberlite/internal/ident"

func wantTenant(ident.TenantID) {}
func wantStream(ident.StreamID) {}
func wantOffset(ident.Offset) {}
func wantShard(ident.ShardID) {}
func wantNode(ident.NodeID) {}
func wantRegion(ident.Region) {}
func wantGeneration(ident.KeyGeneration) {}

func program(tenant ident.TenantID, stream ident.StreamID, offset ident.Offset, shard ident.ShardID,
	node ident.NodeID, region ident.Region, generation ident.KeyGeneration, number uint64) {
	STATEMENT
}
`

// badPrograms must not compile; because is part of what the compiler says.
var badPrograms = []struct{ name, statement, because string }{
	{"a stream is no tenant", `wantTenant(stream)`, "cannot use stream (variable of struct type ident.StreamID) as ident.TenantID value"},
	{"a bare number is no tenant", `wantTenant(123)`, "cannot use 123 (untyped int constant) as ident.TenantID value"},
	{"a bare number is no stream", `wantStream(123)`, "cannot use 123 (untyped int constant) as ident.StreamID value"},
	{"a bare number is no offset", `wantOffset(123)`, "cannot use 123 (untyped int constant) as ident.Offset value"},
	{"a bare number is no shard", `wantShard(123)`, "cannot use 123 (untyped int constant) as ident.ShardID value"},
	{"a bare number is no node", `wantNode(123)`, "cannot use 123 (untyped int constant) as ident.NodeID value"},
	{"a bare number is no generation", `wantGeneration(123)`, "cannot use 123 (untyped int constant) as ident.KeyGeneration value"},
	{"a number variable is no tenant", `wantTenant(number)`, "cannot use number (variable of type uint64) as ident.TenantID value"},
	{"an offset is no tenant", `wantTenant(offset)`, "cannot use offset (variable of struct type ident.Offset) as ident.TenantID value"},
	{"a tenant is no offset", `wantOffset(tenant)`, "cannot use tenant (variable of struct type ident.TenantID) as ident.Offset value"},
	{"a shard is no node", `wantNode(shard)`, "cannot use shard (variable of struct type ident.ShardID) as ident.NodeID value"},
	{"a generation is no offset", `wantOffset(generation)`, "cannot use generation (variable of struct type ident.KeyGeneration) as ident.Offset value"},
	{"a string is no region", `wantRegion("us-east")`, `cannot use "us-east" (untyped string constant) as ident.Region value`},
	{"a string does not convert to a region", `wantRegion(ident.Region("us-east"))`, `cannot convert "us-east" (untyped string constant) to type ident.Region`},
	{"a number does not convert to a tenant", `wantTenant(ident.TenantID(5))`, "cannot convert 5 (untyped int constant) to type ident.TenantID"},
	{"an offset does not convert to a tenant", `wantTenant(ident.TenantID(offset))`, "cannot convert offset (variable of struct type ident.Offset) to type ident.TenantID"},
	{"a tenant does not convert to an offset", `wantOffset(ident.Offset(tenant))`, "cannot convert tenant (variable of struct type ident.TenantID) to type ident.Offset"},
	{"a shard does not convert to a node", `wantNode(ident.NodeID(shard))`, "cannot convert shard (variable of struct type ident.ShardID) to type ident.NodeID"},
	{"a node does not convert to a tenant", `wantTenant(ident.TenantID(node))`, "cannot convert node (variable of struct type ident.NodeID) to type ident.TenantID"},
	{"a generation does not convert to an offset", `wantOffset(ident.Offset(generation))`, "cannot convert generation (variable of struct type ident.KeyGeneration) to type ident.Offset"},
	{"a tenant is not made by a literal", `wantTenant(ident.TenantID{5})`, "implicit assignment to unexported field tenant in struct literal of type ident.TenantID"},
	{"a stream is not made by a literal", `wantStream(ident.StreamID{n: 3})`, "cannot refer to unexported field n in struct literal of type ident.StreamID"},
	{"a region is not made by a literal", `wantRegion(ident.Region{"us-east"})`, "implicit assignment to unexported field name in struct literal of type ident.Region"},
	{"a tenant's number is not reachable as a field", `_ = tenant.tenant`, "tenant.tenant undefined"},
	{"a stream needs a tenant, not a number", `wantStream(ident.NewStreamID(1, 3))`, "cannot use 1 (untyped int constant) as ident.TenantID value"},
	{"tenant and offset do not compare", `_ = tenant == offset`, "mismatched types ident.TenantID and ident.Offset"},
	{"offsets do not add as numbers", `_ = offset + 1`, "mismatched types ident.Offset and untyped int"},
}

// goodPrograms must compile, so that the bad ones fail for their own reason
// and not since nothing compiles here.
var goodPrograms = []struct{ name, statement string }{
	{"each where it belongs", `wantTenant(tenant); wantStream(stream); wantOffset(offset); wantShard(shard); wantNode(node); wantRegion(region); wantGeneration(generation)`},
	{"constructors", `wantTenant(ident.MustTenantID(5)); wantStream(ident.NewStreamID(tenant, 3)); wantOffset(ident.NewOffset(number)); wantShard(ident.NewShardID(1)); wantNode(ident.NewNodeID(1)); wantGeneration(ident.NewKeyGeneration(1))`},
	{"errors come with the constructors that can refuse", `if id, err := ident.NewTenantID(number); err == nil { wantTenant(id) }; if r, err := ident.NewRegion("us-east"); err == nil { wantRegion(r) }`},
	{"zero values and comparison", `wantTenant(ident.TenantID{}); _ = tenant == ident.TenantID{} && offset == offset.Next(); _ = map[ident.StreamID]bool{stream: true}`},
}

func TestMixedUpIdentifiersDoNotCompile(t *testing.T) {
	t.Parallel()
	check := newChecker()
	for _, p := range badPrograms {
		t.Run(p.name, func(t *testing.T) {
			errs := check(t, p.statement)
			if len(errs) == 0 {
				t.Fatalf("compiles, and must not: %s", p.statement)
			}
			if len(errs) > 1 || !strings.Contains(errs[0].Error(), p.because) {
				t.Fatalf("%s\nfails with %v\nand not for its reason alone: %s", p.statement, errs, p.because)
			}
		})
	}
}

func TestIdentifiersUsedRightCompile(t *testing.T) {
	t.Parallel()
	check := newChecker()
	for _, p := range goodPrograms {
		t.Run(p.name, func(t *testing.T) {
			if errs := check(t, p.statement); len(errs) > 0 {
				t.Fatalf("%s\ndoes not compile: %v", p.statement, errs)
			}
		})
	}
}

// newChecker returns a function that type-checks program with a statement in
// it, as another package would be, and returns all errors. It reads package
// ident from its source, once.
func newChecker() func(t *testing.T, statement string) []error {
	files := token.NewFileSet()
	source := importer.ForCompiler(files, "source", nil)
	return func(t *testing.T, statement string) []error {
		t.Helper()
		text := strings.Replace(program, "STATEMENT", statement, 1)
		file, err := parser.ParseFile(files, "program.go", text, 0)
		if err != nil {
			t.Fatalf("the program does not parse: %v", err)
		}
		var errs []error
		config := types.Config{
			Importer: source,
			Error:    func(err error) { errs = append(errs, err) },
		}
		// The error is the first of those that Error has been told.
		_, _ = config.Check("program", files, []*ast.File{file}, nil)
		return errs
	}
}
