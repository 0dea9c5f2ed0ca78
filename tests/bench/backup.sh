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
  psql -Xq site -c "CREATE TABLE part_locations AS SELECT 'OC-' || n::bigint * 7919 % 1000003 AS order_code, '第' || n % 97 || '棚' AS location_code,
    'HANDHELD-' || n % 12 AS device_id, md5(n::text) AS last_scan_id, '2026-01-31 02:30+09'::timestamptz + n * interval '1 second' AS scanned_at
    FROM generate_series(1, $3) n" || die "no table of $3 rows"
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
# Reads it back from the medium: the archive's SHA-256 and that of what is in it, at the same time.
proved() {
  with_stick compressed
  mount -o ro "$device" "$stick_dir"
  sha256sum "$stick_dir/archive.tar.zst" >"$work/sum" &
  zstd -dcq "$stick_dir/archive.tar.zst" | sha256sum >"$work/out"
  wait $!
  umount "$stick_dir"
}
# size NAME: bytes of a file on the stick.
size() {
  mount -o ro "$device" "$stick_dir"
  find "$stick_dir" -maxdepth 1 -name "$1" -printf '%s\n'
  umount "$stick_dir"
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { print a / b }'; }

# until_flushed: ours; TOOK until the archive was written and flushed, before it is read back. strace looks at the calls that flush, at no others.
until_flushed() {
  local begun=$EPOCHREALTIME
  (
    join
    exec env -i PATH="$PATH" SERVER_ROOT="$root" strace -f --seccomp-bpf -ttt -T -y -e trace=fsync,fdatasync -o "$work/trace" \
      "$PROGRAM" backup --device "$device"
  ) >"$work/said" 2>&1 || die "backup: $(tail -n 5 "$work/said")"
  # A call during which another thread ends is told of twice: when it begins, and when it is resumed.
  TOOK=$(awk -v begun="$begun" '
    /sync\(.*\/tmp\/archive>.*unfinished/ { waits[$1] = 1; next }
    /sync\(.*\/tmp\/archive>/ { took = $NF; gsub(/[<>]/, "", took); ended = $2 + took }
    /sync resumed/ && $1 in waits { ended = $2; delete waits[$1] }
    END { if (!ended) exit 1; printf "%.6f", ended - begun }' "$work/trace") || die "nothing in the trace flushed the archive"
}
join() { :; }

measure() {
  local name=$1 verified=$2 reference archive
  time_theirs() { time_of theirs; }
  if [ "$name" != D ]; then
    time_ours() { until_flushed; }
    theirs() { with_stick plain; }
    few_pairs
    row "backup $name: until flushed" '`tar`, `sync`' 1.0
  fi
  time_ours() { time_of ours; }
  theirs() { with_stick compressed; }
  # The goal is near, and one measurement differs from the next by a tenth and more.
  if [ "$name" = M ]; then many_pairs; else pairs; fi
  row "backup $name: verified" '`tar --zstd`, `sync`' "$verified"
  if [ "$name" = L ]; then
    theirs() { proved; }
    few_pairs
    row "backup $name: verified, by both" '`tar --zstd`, `sync`, `zstd -dc` into `sha256sum`, `sha256sum`' 1.0
  fi
  stick BACKUP
  with_stick compressed
  reference=$(size archive.tar.zst)
  stick BACKUP
  ours
  archive=$(size '*_full.tar.zst')
  put_row "backup $name: archive" "$archive bytes" "\`tar --zstd\`: $reference bytes" "$(ratio "$archive" "$reference")" 1.02 ''
}

# A stick that takes 30 MB/s. With cgroup v1 the limit is the root's, whose the kernel's writing is; with v2 it is a group's, for what
# is written by its members.
limit_stick() {
  number=$(lsblk -ndo MAJ:MIN "$device" | tr -d ' ') group=/sys/fs/cgroup/toolmaster-bench
  controller=/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device
  if [ -e "$controller" ]; then
    limit() { echo "$number $1" >"$controller"; }
    no_limit() { limit 0; }
  elif grep -qsw io /sys/fs/cgroup/cgroup.controllers; then
    echo '+io +memory' >/sys/fs/cgroup/cgroup.subtree_control
    limit() { mkdir -p "$group" && echo "$number wbps=$1" >"$group/io.max"; }
    join() { [ ! -d "$group" ] || echo "$BASHPID" >"$group/cgroup.procs"; }
    no_limit() { rmdir "$group"; }
  else
    return 1
  fi
  AT_END+=(no_limit)
}
throttled() {
  local title='backup M onto a stick of 30 MB/s: until written' archive
  limit_stick || {
    no_row "$title" 'this machine has no controller of cgroups for block devices' 1.05
    return
  }
  stick BACKUP
  ours
  archive=$(size '*_full.tar.zst')
  time_ours() {
    limit 30000000
    until_flushed
    no_limit
  }
  time_theirs() { TOOK=$(ratio "$archive" 30000000); }
  ROUNDS=1 pairs # the ratio varies by a thousandth
  row "$title" 'archive ÷ 30 MB/s' 1.05
}

wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(M throttled L D)
for name in "${wanted[@]}"; do
  case $name in
    M) site 2000 400 1000 && measure M 1.25 ;;
    L) site 20000 1000 1000 && measure L 1.25 ;;
    D) site 200 10 12000000 && measure D 0.8 ;;
    throttled)
      site 2000 400 1000
      throttled
      ;;
    *) die "there is no $name: it is M, L, D or throttled" ;;
  esac
done
