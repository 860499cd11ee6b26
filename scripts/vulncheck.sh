#!/usr/bin/env bash
# Scans the module for known vulnerabilities with the pinned govulncheck.
#
# The database is https://vuln.go.dev, or $GOVULNDB: a URL, file:// included.
# Where https://vuln.go.dev cannot be reached the scan is skipped with a warning
# that cannot be overlooked, unless KIMBERLITE_REQUIRE_VULNCHECK=1 says that
# this is a failure. Everything else fails: a finding, a database that was
# named by GOVULNDB and cannot be used, code that does not load.
# See docs/decisions/0005-vulnerability-scan-offline.md.
set -euo pipefail
cd "$(dirname "$0")/.."

db=${GOVULNDB:-https://vuln.go.dev}
reach_seconds=${KIMBERLITE_VULNDB_SECONDS:-20} # for the database to answer
scan_seconds=600                               # for the whole scan

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -modfile=tools/go.mod -o "$bin/govulncheck" golang.org/x/vuln/cmd/govulncheck

# First a probe of our smallest package by module versions alone: it fetches
# the database's index, so it is over in a second or the database is away.
status=0
timeout "$reach_seconds" "$bin/govulncheck" -C internal/ident -db "$db" -scan module >"$bin/out" 2>&1 || status=$?

unreachable() {
  [ "$status" -eq 124 ] && return 0 # timeout's own exit status
  [ "$status" -eq 1 ] || return 1
  grep -qE '^govulncheck: fetching vulnerabilities: (Get "|HTTP GET .* unexpected status: 5)' "$bin/out"
}

if unreachable; then
  {
    echo "****************************************************************"
    echo "WARNING: vulnerability scan SKIPPED: database unreachable"
    echo "  database: $db"
    echo "  reason:   $(tail -n 1 "$bin/out" | cut -c1-200)"
    echo "  No code has been scanned. Set GOVULNDB to a database that this"
    echo "  machine reaches, or run 'make check' where there is a network."
    echo "****************************************************************"
  } >&2
  if [ "${KIMBERLITE_REQUIRE_VULNCHECK:-}" = 1 ] || [ -n "${GOVULNDB:-}" ]; then
    exit 1
  fi
  exit 0
fi
if [ "$status" -ne 0 ] && [ "$status" -ne 3 ]; then # 3: there are findings
  cat "$bin/out" >&2
  exit "$status"
fi

# Then what the code calls is scanned. Only a vulnerability that is reached
# from our code ends this with a failure.
timeout "$scan_seconds" "$bin/govulncheck" -db "$db" ./...
