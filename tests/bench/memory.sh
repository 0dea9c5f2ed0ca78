#!/usr/bin/env bash
# Memory and growth: 10,000, 100,000 and 1,000,000 files, and one sparse file of 50 GB. The kernel's own count of the process's peak.
# shellcheck disable=SC2016,SC2317 # names of programs in a table; functions that `pairs` calls
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/lib.sh

most=65536 # KiB
share() { awk -v a="$1" -v b="$most" 'BEGIN { print a / b }'; }
disk server 8192 server -N 1300000
disk stick 8192 TM-INGEST
device=${DEVICE[stick]}
mount "${DEVICE[server]}" "$work/server"

# files NUMBER: a stick with so many small ones, a hundred a folder.
files() {
  stick INGEST -N 1300000
  mount "$device" "$work/stick"
  mkdir "$work/stick/docviewer"
  perl -e 'my ($root, $n) = @ARGV; for my $i (0 .. $n - 1) { my $d = "$root/" . int($i / 100); mkdir $d if $i % 100 == 0;
    open my $f, ">", "$d/$i.csv" or die $!; print $f "工具$i\n"; close $f }' "$work/stick/docviewer" "$1"
  echo '{"updated_at": 1760000000}' >"$work/stick/docviewer/meta.json"
  umount "$work/stick"
}

declare -A took
for count in 10000 100000 1000000; do
  files "$count"
  rm -rf "$work/server/root"
  mkdir "$work/server/root"
  sync
  begun=$EPOCHREALTIME
  kib=$(peak ingest --device "$device")
  took[$count]=$(awk -v a="$begun" -v b="$EPOCHREALTIME" -v n="$count" 'BEGIN { printf "%.3f", (b - a) / n * 1e6 }')
  put_row "ingest of $count files: memory" "$kib KiB" '64 MiB' "$(share "$kib")" 1.0 ''
  [ "$count" = 10000 ] || put_row "ingest of $count files: time a file" "${took[$count]} µs" "of 10000 files: ${took[10000]} µs" \
    "$(awk -v a="${took[$count]}" -v b="${took[10000]}" 'BEGIN { print a / b }')" 1.2 ''
done
kib=$(peak ingest --device "$device")
put_row 'nothing changed, 1000000 files: memory' "$kib KiB" '64 MiB' "$(share "$kib")" 1.0 ''

# A sparse file of 50 GB on both sides: it is read and hashed from end to end, and takes no room.
rm -rf "$work/server/root"
mkdir "$work/server/root"
files 1
mount "$device" "$work/stick"
truncate -s 50G "$work/stick/docviewer/large.bin"
cp -a --sparse=always "$work/stick/docviewer" "$work/server/root/"
umount "$work/stick"
kib=$(peak ingest --device "$device")
put_row 'ingest of a sparse file of 50 GB: memory' "$kib KiB" '64 MiB' "$(share "$kib")" 1.0 ''
