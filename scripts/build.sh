#!/usr/bin/env bash
# Builds the command as it is released: static, without paths of this machine,
# with the version linked in. The same source and Go make the same bytes.
#
#   scripts/build.sh ARCH FILE [VERSION]
#
# COMMIT names the commit where there is no git to ask.
set -euo pipefail
cd "$(dirname "$0")/.."
arch=$1
out=$2
version=${3:-}
flags='-s -w -buildid='
commit=${COMMIT-$(git rev-parse HEAD 2>/dev/null || true)}
[ -z "$version" ] || flags+=" -X main.linkedVersion=$version"
[ -z "$commit" ] || flags+=" -X main.linkedCommit=$commit"
# What Go would note of the tree itself is left out: an archive of the source
# has no git, and must build the same.
CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOFLAGS='' GOWORK=off GOTOOLCHAIN=local \
  go build -trimpath -buildvcs=false -ldflags "$flags" -o "$out" ./cmd/kimberlite
