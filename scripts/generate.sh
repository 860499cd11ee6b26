#!/usr/bin/env bash
# Generates the Go code of the RPC interface from proto/ into gen/, or, with
# -check, says whether gen/ is what proto/ makes. The compiler and its plugins
# are built from the versions that tools/proto/go.mod pins; nothing is asked of
# the network but the module proxy, and that only the first time.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=$PWD/bin/proto
go build -modfile=tools/proto/go.mod -o "$bin/" tool
export PATH=$bin:$PATH

buf lint proto
case ${1:-} in
-check)
  made=$(mktemp -d)
  trap 'rm -rf "$made"' EXIT
  sed "s|\.\./gen|$made/gen|" proto/buf.gen.yaml >"$made/buf.gen.yaml"
  (cd proto && buf generate --template "$made/buf.gen.yaml")
  diff -r "$made/gen" gen || { echo "gen/ is not what proto/ makes: run 'make generate'" >&2; exit 1; }
  ;;
*) (cd proto && buf generate) ;;
esac
