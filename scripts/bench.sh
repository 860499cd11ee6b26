#!/usr/bin/env bash
# Runs the comparisons of internal/bench, A and B in turn in one run, and puts
# their table into docs/benchmarks.md. Wants an idle machine and some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

table=$(mktemp)
trap 'rm -f "$table"' EXIT
KIMBERLITE_BENCH="$table" go test -count=1 -v -timeout 60m -run "${1:-.}" ./internal/bench

page=docs/benchmarks.md
{
  sed '/<!-- table -->/q' "$page"
  printf '\nMeasured on %s, %s, %s, %s cores.\n\n' "$(date -u +%F)" "$(go version | cut -d' ' -f3-)" \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)"
  cat "$table"
  echo
  sed -n '/<!-- end of table -->/,$p' "$page"
} > "$table.page"
mv "$table.page" "$page"
echo "written: $page"
