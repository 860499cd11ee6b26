#!/usr/bin/env bash
# Fuzzes every target of every package, one after the other: $1 is how long
# each, such as 20s. What is found lands in the package's testdata/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."

duration=${1:-20s}

# `go test -list` prints the targets of a package and then "ok <package> …".
targets=$(go test -list '^Fuzz' ./... |
  awk '/^Fuzz/ { names[++n] = $1 } $1 == "ok" { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }')
if [ -z "$targets" ]; then
  echo "no fuzz targets" >&2
  exit 1
fi

while read -r package name; do
  printf '== %s %s\n' "$package" "$name"
  go test -run '^$' -fuzz "^$name\$" -fuzztime "$duration" "$package" </dev/null
done <<<"$targets"
