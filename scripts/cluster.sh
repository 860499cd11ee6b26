#!/usr/bin/env bash
# A deployment on this machine: 2 regions (us-east, eu-west) of 3 nodes each,
# on loopback ports, two shards of three replicas in each region, certificates
# and one development master key for each region.
#
#   scripts/cluster.sh [run]      make it or start it again, and stay; Ctrl-C ends it
#   scripts/cluster.sh detach     the same, and leave it running
#   scripts/cluster.sh stop       end it; the data stays
#   scripts/cluster.sh start N    start node N, after it was stopped or killed
#   scripts/cluster.sh pid N      print node N's process id, for kill -9
#   scripts/cluster.sh env        print what a shell needs to talk to it
#
# CLUSTER_DIR is where its data is (./cluster-data), and CLUSTER_PORT the port
# that the nodes' are counted from (7500): node N has PORT+10N for its peers, +1
# for PostgreSQL, +2 for the RPC and +3 for health and metrics.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${CLUSTER_DIR:-./cluster-data}
case $dir in /*) ;; *) dir=$PWD/${dir#./} ;; esac
base=${CLUSTER_PORT:-7500}
bin=${KIMBERLITE_BIN:-$PWD/kimberlite}
nodes=6 # 1 to 3 in us-east, 4 to 6 in eu-west
shards=2 # in each region
patience=90s

# Of the environment only this reaches the processes: a variable of the
# server's configuration that somebody has set would stand above ours.
clean() { env -i PATH="$PATH" HOME="${HOME:-/}" "$@"; }

region() { if [ "$1" -le 3 ]; then echo us-east; else echo eu-west; fi; }
zone() { echo "zone-$((($1 - 1) % 3 + 1))"; }
port() { echo $((base + 10 * $1 + $2)); }
say() { echo "cluster: $*" >&2; }

# pid prints the process of a node that runs.
pid() {
  local file=$dir/node-$1.pid p
  [ -s "$file" ] && p=$(cat "$file") && kill -0 "$p" 2>/dev/null && grep -qs kimberlite "/proc/$p/cmdline" && echo "$p"
}

settings() {
  echo "KIMBERLITE_DATA_DIR=$dir/node-$1"
  echo "KIMBERLITE_DATA_MASTER_KEY=file://$dir/$(region "$1").key"
  echo "KIMBERLITE_PG_ADDR=127.0.0.1:$(port "$1" 1)"
  echo "KIMBERLITE_RPC_ADDR=127.0.0.1:$(port "$1" 2)"
  echo "KIMBERLITE_OPERATOR_ADDR=127.0.0.1:$(port "$1" 3)"
  echo "KIMBERLITE_CLUSTER_LISTEN=127.0.0.1:$(port "$1" 0)"
  echo "KIMBERLITE_CLUSTER_ZONE=$(zone "$1")"
}

start_node() {
  if pid "$1" >/dev/null; then return; fi
  local line
  mapfile -t line < <(settings "$1")
  # setsid: a Ctrl-C on the terminal is for this script, which ends them.
  env -i PATH="$PATH" HOME="${HOME:-/}" "${line[@]}" setsid "$bin" serve >>"$dir/node-$1.log" 2>&1 </dev/null 8>&- &
  echo $! >"$dir/node-$1.pid"
}

ready() {
  clean KIMBERLITE_OPERATOR_ADDR="127.0.0.1:$(port "$1" 3)" "$bin" health --wait "$patience" >/dev/null || {
    say "node $1 is not ready; the end of $dir/node-$1.log:"
    tail -5 "$dir/node-$1.log" >&2
    return 1
  }
}

operator() {
  clean KIMBERLITE_SERVER="https://127.0.0.1:$(port 1 2)" KIMBERLITE_CA="$dir/node-1/cluster/ca.pem" \
    KIMBERLITE_TOKEN="$(cat "$dir/operator.token")" "$bin" "$@"
}

key() {
  [ -e "$dir/$1.key" ] || (umask 077 && head -c 32 /dev/urandom >"$dir/$1.key")
}

# make_nodes makes what is missing; what an interrupted run left is gone on
# with.
make_nodes() {
  local n line
  mapfile -t line < <(settings 1)
  if [ ! -e "$dir/node-1/cluster/identity.json" ]; then
    say "a new deployment in $dir"
    rm -f "$dir/operator.token"
    clean "${line[@]}" "$bin" cluster init --region "$(region 1)" --name local --operator admin --token-file "$dir/operator.token" >/dev/null
  fi
  start_node 1
  ready 1
  for n in $(seq 2 $nodes); do
    if [ ! -e "$dir/node-$n/cluster/identity.json" ]; then
      operator node token create --region "$(region "$n")" >"$dir/join.token"
      mapfile -t line < <(settings "$n")
      clean "${line[@]}" "$bin" node join --token-file "$dir/join.token" >/dev/null
      rm -f "$dir/join.token"
    fi
    start_node "$n"
  done
  for n in $(seq 2 $nodes); do ready "$n"; done
}

make_shards() {
  local r have
  for r in us-east eu-west; do
    have=$(operator shard list | awk -v r=$r '$2 == r' | wc -l)
    while [ "$have" -lt $shards ]; do
      operator shard create --region $r --replicas 3 >/dev/null
      have=$((have + 1))
    done
  done
  local n
  for n in $(seq 1 $nodes); do ready "$n"; done
}

environment() {
  local n
  for n in $(seq 1 $nodes); do echo "export N$n=https://127.0.0.1:$(port "$n" 2)"; done
  echo "export US_NODE=$(port 1 1) EU_NODE=$(port 4 1)"
  echo "export KIMBERLITE_SERVER=https://127.0.0.1:$(port 1 2)"
  echo "export KIMBERLITE_CA='$dir/node-1/cluster/ca.pem'"
  echo "export KIMBERLITE_TOKEN=\"\$(cat '$dir/operator.token')\""
  echo "export PGSSLMODE=verify-full PGSSLROOTCERT='$dir/node-1/cluster/ca.pem'"
  echo "unset KIMBERLITE_DATA"
}

print_help() {
  local n
  echo
  echo "The cluster is ready: 2 regions, $nodes nodes, data in $dir."
  echo
  echo "  node  region   zone    PostgreSQL       RPC                      health, metrics   process"
  for n in $(seq 1 $nodes); do
    printf '  %-5s %-8s %-7s 127.0.0.1:%-6s https://127.0.0.1:%-6s 127.0.0.1:%-7s %s\n' \
      "$n" "$(region "$n")" "$(zone "$n")" "$(port "$n" 1)" "$(port "$n" 2)" "$(port "$n" 3)" "$(pid "$n" || true)"
  done
  cat <<HELP

In another terminal, as the operator (the token is in $dir/operator.token,
the certificates to trust in $dir/node-1/cluster/ca.pem):

  source $dir/env          # N1 to N6, US_NODE, EU_NODE, and whom to trust
  ./kimberlite cluster status
  ./kimberlite tenant create --server \$N1 --id 1 --name hospital-a --region us-east
  export PGPASSWORD="\$(./kimberlite credential create --tenant 1 --name app --role owner)"
  psql "host=127.0.0.1 port=\$EU_NODE user=app@hospital-a dbname=hospital-a"
  ./kimberlite shard list
  ./kimberlite tenant move 1 --shard 2
  ./kimberlite directory show --residency --json

Kill a node with: kill -9 "\$(scripts/cluster.sh pid 1)"; start it again with:
scripts/cluster.sh start 1. Logs are in $dir/node-N.log.
HELP
}

stop() {
  local n p running=()
  for n in $(seq 1 $nodes); do
    if p=$(pid "$n"); then running+=("$p"); fi
  done
  [ ${#running[@]} -gt 0 ] || return 0
  say "stopping"
  kill -TERM "${running[@]}" 2>/dev/null || true
  for _ in $(seq 1 350); do
    local left=0
    for p in "${running[@]}"; do if kill -0 "$p" 2>/dev/null; then left=1; fi; done
    if [ $left = 0 ]; then return 0; fi
    sleep 0.1
  done
  say "some did not end within 35 s and are killed; that is safe"
  kill -KILL "${running[@]}" 2>/dev/null || true
}

up() {
  [ -x "$bin" ] || { say "there is no $bin: make build"; exit 1; }
  mkdir -p "$dir"
  chmod 700 "$dir"
  exec 8>"$dir/lock"
  flock -n 8 || { say "another scripts/cluster.sh is at work in $dir"; exit 1; }
  key us-east
  key eu-west
  if [ -e "$dir/node-$nodes/cluster/identity.json" ]; then # all at once: a quorum has to be there
    local n
    for n in $(seq 1 $nodes); do start_node "$n"; done
  fi
  make_nodes
  make_shards
  environment >"$dir/env"
  exec 8>&-
}

case ${1:-run} in
run)
  trap 'trap - INT TERM EXIT; stop' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  up
  print_help
  echo
  echo "Ctrl-C ends it; the data stays."
  while sleep 1; do :; done
  ;;
detach)
  up
  print_help
  echo
  echo "End it with: scripts/cluster.sh stop"
  ;;
stop) stop ;;
start) start_node "${2:?node}" && ready "$2" ;;
pid) pid "${2:?node}" ;;
env) environment ;;
*)
  sed -n '2,/^set/p' "$0" | sed '/^set/d; s/^# \{0,1\}//'
  exit 2
  ;;
esac
