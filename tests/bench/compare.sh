#!/usr/bin/env bash
# mirror-compare beside its limit: two `psql COPY … ORDER BY` to /dev/null at the same time, on two databases of one server.
#   tests/bench/compare.sh [ROWS…]      10000 100000 1000000 if none are named; 5000000 needs 6 GB of disk
# shellcheck disable=SC2016,SC2317 # names of programs in a table; functions that `pairs` calls
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/lib.sh

sizes=("$@")
[ ${#sizes[@]} -gt 0 ] || sizes=(10000 100000 1000000)
mkdir -p "$work/server/root/logs"
database_server
config=$work/config.json
cat >"$config" <<JSON
{"primary_db_uri": "postgresql://app@127.0.0.1:$PGPORT/primary_db", "mirror_db_uri": "postgresql://app@127.0.0.1:$PGPORT/mirror_db",
 "status_dir": "$work/status", "log_dir": "$work/server/root/logs"}
JSON

fill() {
  local database
  for database in primary_db mirror_db; do
    psql -Xqc "DROP DATABASE IF EXISTS $database WITH (FORCE)" postgres 2>"$work/out"
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
theirs() {
  copy primary_db &
  local first=$!
  copy mirror_db
  wait "$first"
}
ours() { toolmaster mirror-compare --config "$config"; }

most=16384 # KiB
memory() {
  local kib
  kib=$(peak mirror-compare --config "$config")
  put_row "compare $1: memory" "$kib KiB" '16 MiB' "$(awk -v a="$kib" -v b="$most" 'BEGIN { print a / b }')" 1.0 ''
}
for rows in "${sizes[@]}"; do
  fill "$rows"
  if [ "$rows" -lt 1000000 ]; then many_pairs; elif [ "$rows" -lt 5000000 ]; then pairs; else few_pairs; fi
  row "compare $rows rows" 'two parallel `COPY … ORDER BY`' 1.15
  memory "$rows rows"
done
