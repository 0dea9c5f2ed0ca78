#!/usr/bin/env bash
# A backup of a snapshot onto a stick: M 2,000 files, 400 MB; L 20,000 files, 1 GB; D a dump of 1 GB. Ours hashes, flushes, reads back
# from the medium and verifies; tar does none of it.
#   tests/bench/backup.sh [M] [L] [D] [throttled]
# shellcheck disable=SC2016,SC2317 # names of programs in a table; functions that `pairs` calls
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/lib.sh

need_packages strace
disk server 12288 server
disk stick 4096 TM-BACKUP
mount "${DEVICE[server]}" "$work/server"
root=$work/server/root
stick_dir=$work/stick device=${DEVICE[stick]}
database_server

# site FILES MIB ROWS: a server with that and a snapshot of it.
site() {
  rm -rf "$root"
  drawings "$root" "$1" "$2"
  dropdb --if-exists --force site 2>"$work/out"
  createdb site
  export PG_URI=postgresql://app@127.0.0.1:$PGPORT/site
  psql -Xq site -c "CREATE TABLE part_locations AS SELECT 'OC-' || n * 7919 % 1000003 AS order_code, '第' || n % 97 || '棚' AS location_code,
    'HANDHELD-' || n % 12 AS device_id, md5(n::text) AS last_scan_id, '2026-01-31 02:30+09'::timestamptz + n * interval '1 second' AS scanned_at
    FROM generate_series(1, $3) n"
  toolmaster snapshot
  snapshot=$(readlink -f "$root/snapshots/latest")
}

before_ours() { stick BACKUP; }
before_theirs() { stick BACKUP; }
ours() { toolmaster backup --device "$device"; }
with_stick() {
  mount "$device" "$stick_dir"
  "$@"
  sync -f "$stick_dir"
  umount "$stick_dir"
}
plain() { tar -C "$snapshot" -cf "$stick_dir/archive.tar" .; }
compressed() { tar -C "$snapshot" --zstd -cf "$stick_dir/archive.tar.zst" .; }
# size NAME: bytes of a file on the stick.
size() {
  mount -o ro "$device" "$stick_dir"
  find "$stick_dir" -maxdepth 1 -name "$1" -printf '%s\n'
  umount "$stick_dir"
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { print a / b }'; }

# until_flushed: ours, and how long it took until the archive was written and flushed. strace looks at the calls that flush, at no others.
until_flushed() {
  env -i PATH="$PATH" SERVER_ROOT="$root" strace -f --seccomp-bpf -ttt -y -e trace=fsync,fdatasync,syncfs -o "$work/trace" \
    "$PROGRAM" backup --device "$device" >"$work/said" 2>&1 || die "backup: $(tail -n 5 "$work/said")"
}
# The last flush of the archive's file before it is read back.
flushed_after() { awk -v begun="$1" '/fsync|fdatasync|syncfs/ && /tar\.zst/ && !/sha256/ { last = $2 } END { printf "%.6f", last - begun }' "$work/trace"; }

measure() {
  local name=$1 verified=$2 round begun
  theirs() { with_stick plain; }
  : >"$work/ours"
  : >"$work/theirs"
  for ((round = 0; round < ROUNDS; round++)); do
    stick BACKUP
    sync
    begun=$EPOCHREALTIME
    until_flushed
    flushed_after "$begun" >>"$work/ours"
    echo >>"$work/ours"
    stick BACKUP
    sync
    time_of theirs
    echo "$TOOK" >>"$work/theirs"
  done
  [ "$name" = D ] || row "backup $name: until flushed" '`tar`, `sync`' 1.0
  theirs() { with_stick compressed; }
  pairs
  row "backup $name: verified" '`tar --zstd`, `sync`' "$verified"
  stick BACKUP
  with_stick compressed
  local reference
  reference=$(size archive.tar.zst)
  stick BACKUP
  ours
  local archive
  archive=$(size '*_full.tar.zst')
  put_row "backup $name: archive" "$archive bytes" "\`tar --zstd\`: $reference bytes" "$(ratio "$archive" "$reference")" 1.02 ''
}

# A stick that takes 30 MB/s.
throttled() {
  local limit=/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device number round archive
  number=$(lsblk -ndo MAJ:MIN "$device" | tr -d ' ')
  if [ ! -e "$limit" ]; then
    put_row "backup M onto a stick of 30 MB/s: until written" '' 'this machine has no blkio controller (cgroup v1)' 0 1.05 ''
    return
  fi
  unthrottle() { echo "$number 0" >"$limit"; }
  : >"$work/ours"
  : >"$work/theirs"
  for ((round = 0; round < 3; round++)); do
    stick BACKUP
    sync
    echo "$number 30000000" >"$limit"
    begun=$EPOCHREALTIME
    until_flushed
    unthrottle
    flushed_after "$begun" >>"$work/ours"
    echo >>"$work/ours"
    archive=$(size '*_full.tar.zst')
    ratio "$archive" 30000000 >>"$work/theirs"
  done
  row 'backup M onto a stick of 30 MB/s: until written' 'archive ÷ 30 MB/s' 1.05
}

wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(M throttled L D)
for name in "${wanted[@]}"; do
  case $name in
    M) site 2000 400 1000 && measure M 1.25 ;;
    L) site 20000 1000 1000 && measure L 1.25 ;;
    D) site 200 10 8500000 && measure D 0.8 ;;
    throttled)
      site 2000 400 1000
      throttled
      ;;
    *) die "there is no $name: it is M, L, D or throttled" ;;
  esac
done
