#!/usr/bin/env bash
# How fast mirror-compare is beside its limit: two `psql COPY … ORDER BY` to /dev/null at the same time. Both take turns in
# one run on two databases of one server that this starts and stops.
#   tests/bench/compare.sh [ROWS…]      10000 100000 1000000 if none are named; 5000000 needs 6 GB of disk
# ROUNDS (default 7) is how often each size is measured, DIR where the databases are made.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/lib.sh

[ "$(id -u)" -eq 0 ] || die "this needs root, to run the database as its own user"
need_packages postgresql postgresql-client
need_rust
sizes=("$@")
[ ${#sizes[@]} -gt 0 ] || sizes=(10000 100000 1000000)
rounds=${ROUNDS:-7}

cargo build --locked --release --quiet
binary=$PWD/${CARGO_TARGET_DIR:-target}/release/toolmaster
bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1)
work=$(mktemp -d "${DIR:-/tmp}/compare.XXXXXX")
port=$((20000 + RANDOM % 20000))
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=app PGCONNECT_TIMEOUT=5

as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
postgres=''
finish() {
  [ -z "$postgres" ] || kill -INT "$postgres"
  wait
  rm -rf "$work"
}
trap finish EXIT

chmod 755 "$work"
install -d -o postgres -g postgres "$work/pg"
as_postgres "$bin/initdb" -D "$work/pg/data" -U app -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$work/log" 2>&1 ||
  die "$(cat "$work/log")"
setpriv --reuid=postgres --regid=postgres --init-groups --pdeathsig INT "$bin/postgres" -D "$work/pg/data" -p "$port" \
  -k "$work/pg" -c listen_addresses=127.0.0.1 -c fsync=off -c max_wal_size=1GB >"$work/pg.log" 2>&1 &
postgres=$!
for _ in {1..100}; do
  psql -Xqc 'SELECT 1' postgres >"$work/log" 2>&1 && break
  sleep 0.1
done

config=$work/config.json
cat >"$config" <<JSON
{"primary_db_uri": "postgresql://app@127.0.0.1:$port/primary_db", "mirror_db_uri": "postgresql://app@127.0.0.1:$port/mirror_db",
 "status_dir": "$work/status", "log_dir": "$work/logs"}
JSON
mkdir "$work/logs"

fill() {
  local database
  for database in primary_db mirror_db; do
    psql -Xqc "DROP DATABASE IF EXISTS $database WITH (FORCE)" postgres 2>"$work/log"
    psql -Xqc "CREATE DATABASE $database" postgres
    psql -Xqv ON_ERROR_STOP=1 "$database" <<SQL
CREATE TABLE part_locations (order_code text PRIMARY KEY, location_code text, device_id text, last_scan_id text,
  scanned_at timestamptz, updated_at timestamptz);
INSERT INTO part_locations SELECT 'OC-' || lpad((n::bigint * 7919 % $1)::text, 9, '0'), '第' || n % 97 || '棚', 'HANDHELD-' || n % 12,
  md5(n::text), '2026-01-31 02:30+09'::timestamptz + n * interval '1 second', '2026-01-31 02:31+09' FROM generate_series(1, $1) n;
VACUUM ANALYZE part_locations;
SQL
  done
}

copy() {
  psql -Xqc 'COPY (SELECT order_code, location_code, device_id, last_scan_id, scanned_at, updated_at FROM part_locations
    ORDER BY order_code COLLATE "C") TO STDOUT' "$1" >/dev/null
}

# measure WHAT: "wall user system" in seconds, of it and all that it starts (not the database's own processes).
measure() {
  local TIMEFORMAT='%R %U %S'
  { time "$@" >"$work/out" 2>"$work/err"; } 2>&1 || die "$*: $(cat "$work/err")"
}
reference() {
  copy primary_db &
  local first=$!
  copy mirror_db
  wait "$first"
}
ours() { env -i PATH="$PATH" SERVER_ROOT="$work" "$binary" mirror-compare --config "$config"; }

# peak CODE: the process's own peak, KiB: what the kernel says last before its end, which is with that code.
peak() {
  local pid most=0 now
  env -i PATH="$PATH" SERVER_ROOT="$work" "$binary" mirror-compare --config "$config" >"$work/out" 2>&1 &
  pid=$!
  while now=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
    most=$now
    sleep 0.01
  done
  local code=0
  wait "$pid" || code=$?
  [ "$code" -eq "$1" ] || die "$(cat "$work/out")"
  printf '%s' "$most"
}

median() { sort -g | awk '{ all[NR] = $1 } END { printf "%.3f", (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }

printf '%-9s %26s %26s %22s %10s\n' rows 'ours: wall, CPU s' 'COPY: wall, CPU s' 'ratio (least, most)' 'peak KiB'
for rows in "${sizes[@]}"; do
  fill "$rows"
  measure ours >"$work/log"
  measure reference >"$work/log"
  rm -f "$work"/{ours,copy,ratio}
  for ((round = 0; round < rounds; round++)); do
    a=$(measure ours)
    b=$(measure reference)
    echo "$a" >>"$work/ours"
    echo "$b" >>"$work/copy"
    awk -v a="${a%% *}" -v b="${b%% *}" 'BEGIN { print a / b }' >>"$work/ratio"
  done
  wall_and_cpu() { printf '%s, %s' "$(cut -d' ' -f1 "$1" | median)" "$(awk '{ print $2 + $3 }' "$1" | median)"; }
  printf '%-9s %26s %26s %22s %10s\n' "$rows" "$(wall_and_cpu "$work/ours")" "$(wall_and_cpu "$work/copy")" \
    "$(median <"$work/ratio") ($(sort -g "$work/ratio" | head -n 1 | cut -c1-5), $(sort -g "$work/ratio" | tail -n 1 | cut -c1-5))" \
    "$(peak 0)"
done
tail -n 1 "$work/logs/mirror_status.log"
# Differences take no memory either. This needs the table's size once more on the disk.
[ "$rows" -le 1000000 ] || exit 0
psql -Xqc "UPDATE part_locations SET location_code = 'elsewhere'" mirror_db
printf 'every row different: peak %s KiB\n' "$(peak 2)"
tail -n 1 "$work/logs/mirror_status.log"
