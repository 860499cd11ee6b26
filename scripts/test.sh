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

# install_compiler tries Debian's packages, as root or by a sudo that asks for
# no password.
install_compiler() {
  command -v apt-get >/dev/null || return 1
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    sudo=(sudo -n)
    "${sudo[@]}" true 2>/dev/null || return 1
  fi
  echo "test: no C compiler, installing gcc for the race detector"
  "${sudo[@]}" timeout 120 apt-get update -qq &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive timeout 300 \
      apt-get install -y -qq --no-install-recommends gcc libc6-dev
}

# install_postgres installs PostgreSQL 15 and its clients, which tests compare
# Kimberlite with, in the same way.
install_postgres() {
  command -v apt-get >/dev/null || return 1
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    sudo=(sudo -n)
    "${sudo[@]}" true 2>/dev/null || return 1
  fi
  echo "test: no PostgreSQL 15, installing it to compare with"
  "${sudo[@]}" timeout 120 apt-get update -qq &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive timeout 600 \
      apt-get install -y -qq --no-install-recommends postgresql-15 postgresql-client-15 openssl curl
}

if ! [ -x /usr/lib/postgresql/15/bin/initdb ] && ! install_postgres; then
  echo "WARNING: no PostgreSQL 15 and none to be installed: what compares with it uses recorded answers, or fails" >&2
fi

race=(-race)
if ! compiles && ! { install_compiler && compiles; }; then
  echo "WARNING: no C compiler and none to be installed: the race detector is OFF" >&2
  race=()
  export CGO_ENABLED=0
else
  export CGO_ENABLED=1
fi

# The torture suites run the whole stack for minutes under the race detector;
# here they run without it, as a user's program does, and make soak runs them
# with it.
packages=$(go list ./... | grep -v '/internal/torture$')

set -x
# shellcheck disable=SC2086 # one argument a package
go test ${race[@]+"${race[@]}"} -timeout 15m "$@" $packages
exec go test -timeout 15m "$@" ./internal/torture
