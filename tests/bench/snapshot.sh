#!/usr/bin/env bash
# A second snapshot of unchanged data: 20,000 files, 1 GB.
# shellcheck disable=SC2016,SC2317 # names of programs in a table; functions that `pairs` calls
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/lib.sh

disk server 8192 server
mount "${DEVICE[server]}" "$work/server"
root=$work/server/root
drawings "$root" 20000 1000
database_server
createdb site
export PG_URI=postgresql://app@127.0.0.1:$PGPORT/site
psql -Xq site -c "CREATE TABLE part_locations AS SELECT n AS order_code, '棚' || n AS location_code FROM generate_series(1, 300000) n"
toolmaster snapshot

used() { sync -f "$root" && df --output=used -B1 "$root" | tail -n 1; }
dump() { stat -c '%b %B' "$(readlink -f "$root/snapshots/latest")/db/pg_dump.sql" | awk '{ print $1 * $2 }'; }
before=$(used)
toolmaster snapshot
added=$(($(used) - before - $(dump)))
data=$(du -s -B1 "$root/master" "$root/docviewer" | awk '{ sum += $1 } END { print sum }')
put_row 'second snapshot: blocks beside the dump' "$added bytes" "the data: $data bytes" "$(awk -v a="$added" -v b="$data" 'BEGIN { print a / b }')" 0.01 ''

# A snapshot's name is its second.
before_ours() { sleep 1; }
before_theirs() { rm -rf "$work/server/links" && mkdir "$work/server/links"; }
ours() { toolmaster snapshot; }
theirs() {
  pg_dump --no-owner --no-privileges -f "$work/server/links/pg_dump.sql" site
  cp -al "$root/master" "$root/docviewer" "$work/server/links/"
  sync -f "$work/server"
}
many_pairs
row 'second snapshot, nothing changed' '`pg_dump`, hard-link tree, `sync`' 1.3
