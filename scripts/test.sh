#!/usr/bin/env bash
# Runs every test, all but the torture suites with the race detector where a C
# compiler is to be had: the detector needs one. Arguments go to `go test`.
set -euo pipefail
cd "$(dirname "$0")/.."

# compiles reports whether the C compiler makes a program: having gcc without
# the C library's headers is not enough.
compiles() {
  local out
  out=$(mktemp) || return 1
  printf '#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n' |
    $(go env CC) -x c -o "$out" - >/dev/null 2>&1
  local status=$?
  rm -f "$out"
  return "$status"
}

# install installs Debian's packages, as root or by a sudo that asks for no
# password.
install() {
  command -v apt-get >/dev/null || return 1
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    sudo=(sudo -n)
    "${sudo[@]}" true 2>/dev/null || return 1
  fi
  echo "test: installing $*"
  "${sudo[@]}" timeout 120 apt-get update -qq &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive timeout 600 \
      apt-get install -y -qq --no-install-recommends "$@"
}

# has reports whether all of the commands are there.
has() {
  local name
  for name in "$@"; do command -v "$name" >/dev/null || return 1; done
}

# The server's tests talk to it with what users have, and compare it with
# PostgreSQL 15. Where something is missing and cannot be installed, the tests
# that need it fail and say so.
if ! [ -x /usr/lib/postgresql/15/bin/initdb ] || ! has psql pgbench curl openssl; then
  install postgresql-15 postgresql-client-15 openssl curl ||
    echo "WARNING: no PostgreSQL 15, psql, pgbench or curl, and none to be installed: tests that need them will fail" >&2
fi
if ! has node npm; then
  install nodejs npm ||
    echo "WARNING: no node and npm, and none to be installed: tests that need them will fail" >&2
fi

if ! /usr/bin/python3 -c 'import psycopg2' 2>/dev/null; then
  install python3-psycopg2 ||
    echo "WARNING: no psycopg2, and none to be installed: tests that need it will fail" >&2
fi

race=(-race)
if ! compiles && ! { install gcc libc6-dev && compiles; }; then
  echo "WARNING: no C compiler and none to be installed: the race detector is OFF" >&2
  race=()
  export CGO_ENABLED=0
else
  export CGO_ENABLED=1
fi

# The torture suites run the whole stack for minutes under the race detector;
# here they run without it, as a user's program does, and make soak runs them
# with it. The attacks over the wire drive processes that the detector does not
# see, and measure their memory: they run by themselves.
packages=$(go list ./... | grep -vE '/internal/(torture|wireattack|clustertest)$')

# The server's packages once more, with FIPS 140-3 alone: a second process of
# each, so that what they have in common is built once.
scripts/fips.sh "$@"

set -x
# shellcheck disable=SC2086 # one argument a package
go test ${race[@]+"${race[@]}"} -timeout 15m "$@" $packages
exec go test -p 1 -timeout 15m "$@" ./internal/wireattack ./internal/torture ./internal/clustertest
