#!/usr/bin/env bash
# Builds what is released into dist/: an archive for each architecture, with the
# binary, shell completions, the systemd unit and the licences, and SHA256SUMS.
# The same commit and Go make the same bytes; VERIFY=1 builds a second time, in
# another directory and without a cache, and compares.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${VERSION:-$(git describe --tags --always --dirty)}
out=${OUT:-dist}
COMMIT=${COMMIT-$(git rev-parse HEAD)}
export COMMIT
architectures=${ARCHS:-amd64 arm64}
# Times in archives are the commit's.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

rm -rf "$out"
mkdir -p "$out"
work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT

for arch in $architectures; do
  name=kimberlite-$version-linux-$arch
  mkdir -p "$work/$name/completions" "$work/$name/systemd"
  scripts/build.sh "$arch" "$work/$name/kimberlite" "$version"
  [ "${VERIFY:-}" != 1 ] || {
    mkdir "$work/again" "$work/cache"
    git ls-files -z | tar -c --null -T - | tar -x -C "$work/again"
    GOCACHE=$work/cache "$work/again/scripts/build.sh" "$arch" "$work/second" "$version"
    cmp "$work/$name/kimberlite" "$work/second" || { echo "release: two builds for $arch differ" >&2; exit 1; }
    echo "release: two builds for $arch are equal"
    chmod -R u+w "$work/again" "$work/cache" && rm -rf "$work/again" "$work/cache" "$work/second"
  }
  # Completions are the same for every architecture; this machine's makes them.
  go run -trimpath ./cmd/kimberlite completion bash >"$work/$name/completions/kimberlite.bash"
  go run -trimpath ./cmd/kimberlite completion zsh >"$work/$name/completions/_kimberlite"
  go run -trimpath ./cmd/kimberlite completion fish >"$work/$name/completions/kimberlite.fish"
  cp packaging/kimberlite.service packaging/kimberlite.sysusers "$work/$name/systemd/"
  cp LICENSE NOTICE README.md CHANGELOG.md "$work/$name/"
  chmod -R u=rwX,go=rX "$work/$name"
  tar -C "$work" --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --format=gnu -cf - "$name" |
    gzip -9n >"$out/$name.tar.gz"
done
(cd "$out" && sha256sum -- *.tar.gz >SHA256SUMS && cat SHA256SUMS)
