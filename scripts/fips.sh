#!/usr/bin/env bash
# Runs the tests of the server's packages with the algorithms of FIPS 140-3
# alone: anything else fails there or panics. The long suites are left out
# unless FIPS=all: the statements compared with PostgreSQL, and the attacks
# over the wire. Arguments go to `go test`.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(./client)
for name in access credential dialect pgwire projection rpc server sqlfunc sqltype tenant; do
  packages+=("./internal/$name")
done
if [ "${FIPS:-}" = all ]; then
  packages+=(./internal/servertest ./internal/oracle ./internal/wireattack)
fi

set -x
GODEBUG=fips140=only exec go test -timeout 15m "$@" "${packages[@]}"
