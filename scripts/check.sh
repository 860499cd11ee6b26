#!/usr/bin/env bash
# Checks what can be known without running the program. Each step says what it
# is; the first that fails ends it.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '== %s\n' "$*"; }

step gofmt
unformatted=$(git ls-files --cached --others --exclude-standard '*.go' |
  while read -r f; do [ ! -e "$f" ] || echo "$f"; done | xargs -r gofmt -s -l)
if [ -n "$unformatted" ]; then
  echo "not formatted, run 'make fmt':" >&2
  echo "$unformatted" >&2
  exit 1
fi

step go vet
go vet ./...

step golangci-lint
go tool -modfile=tools/go.mod golangci-lint run --timeout 10m ./...

step 'gen/ is what proto/ makes'
scripts/generate.sh -check

step govulncheck
scripts/vulncheck.sh

step go mod tidy -diff
go mod tidy -diff

step go mod verify
go mod verify
