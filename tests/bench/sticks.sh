#!/usr/bin/env bash
# shellcheck disable=SC2016,SC2317 # names of programs in a table; functions that `pairs` calls
# Sticks: nothing changed, a whole copy, one file in a hundred changed; 20,000 files, 1 GB. References read and write the same trees
# with the plain tools, which neither hash nor verify.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/lib.sh

need_packages gcc libc6-dev
disk server 8192 server
disk stick 4096 TM-DIST
mount "${DEVICE[server]}" "$work/server"
mkdir "$work/server/root"
drawings "$work/server/l" 20000 1000
cp -a "$work/server/l/." "$work/server/root/"
stick_dir=$work/stick root=$work/server/root
device=${DEVICE[stick]}

# The least that has to be done to see that nothing changed: every directory of both trees read, every file's status asked for.
walk() { find "$@" -printf '%s %T@\n' >/dev/null; }
mounted() {
  mount "$device" "$stick_dir"
  "$@"
  umount "$stick_dir"
}
both() { walk "$root/master" "$root/docviewer" "$stick_dir/master" "$stick_dir/docviewer"; }
theirs() { mounted both; }

stick DIST
toolmaster dist-export --device "$device"
ours() { toolmaster dist-export --device "$device"; }
pairs
row 'nothing changed: dist-export' 'find over both trees' 1.0

toolmaster dist-sync --device "$device"
both() { walk "$work/server/terminal" "$stick_dir/master" "$stick_dir/docviewer"; }
ours() { toolmaster dist-sync --device "$device"; }
pairs
row 'nothing changed: dist-sync' 'find over both trees' 1.0

stick INGEST
mount "$device" "$stick_dir"
cp -a "$work/server/l/." "$stick_dir/"
umount "$stick_dir"
toolmaster ingest --device "$device"
both() { walk "$root/master" "$root/docviewer" "$stick_dir/master" "$stick_dir/docviewer"; }
ours() { toolmaster ingest --device "$device"; }
pairs
row 'nothing changed: ingest' 'find over both trees' 1.0

# Whole copies, onto an empty stick.
before_ours() { stick DIST; }
before_theirs() { stick DIST; }
ours() { toolmaster dist-export --device "$device"; }
copied() { "$@" && sync -f "$stick_dir"; }
theirs() { mounted copied cp -a "$root/master" "$root/docviewer" "$stick_dir/"; }
pairs
row 'copy onto a stick: dist-export' '`cp -a`, `sync`' 1.0
theirs() { mounted copied rsync -a "$root/master" "$root/docviewer" "$stick_dir/"; }
pairs
row 'copy onto a stick: dist-export' '`rsync -a`, `sync`' 0.8

# Whole copies, onto an empty server.
stick INGEST
mount "$device" "$stick_dir"
cp -a "$work/server/l/." "$stick_dir/"
umount "$stick_dir"
before_ours() { rm -rf "$root" && mkdir "$root"; }
before_theirs() { rm -rf "$work/server/copy" && mkdir "$work/server/copy"; }
ours() { toolmaster ingest --device "$device"; }
copied() { "$@" && sync -f "$work/server/copy"; }
theirs() { mounted copied cp -a "$stick_dir/master" "$stick_dir/docviewer" "$work/server/copy/"; }
pairs
row 'copy onto the server: ingest' '`cp -a`, `sync`' 1.0
theirs() { mounted copied rsync -a "$stick_dir/master" "$stick_dir/docviewer" "$work/server/copy/"; }
pairs
row 'copy onto the server: ingest' '`rsync -a`, `sync`' 0.8
rm -rf "$work/server/copy"

# One file in a hundred changed on the stick, with a later meta.json.
changes=0
change() {
  changes=$((changes + 1))
  mount "$device" "$stick_dir"
  find "$stick_dir/docviewer" -name '*7[0-9]1.pdf' | while read -r file; do printf '%s' "$changes" >>"$file"; done
  for set in master docviewer; do printf '{"updated_at": %d}\n' $((1900000000 + changes)) >"$stick_dir/$set/meta.json"; done
  umount "$stick_dir"
}
before_ours() { change; }
before_theirs() { rm -rf "$work/server/links"; }
ours() { toolmaster ingest --device "$device"; }
linked() {
  both
  cp -al "$root/master" "$root/docviewer" "$work/server/links/"
  sync -f "$work/server"
}
theirs() {
  mkdir "$work/server/links"
  mounted linked
}
pairs
row '1 % changed: ingest' 'find, hard-link tree, `sync`' 1.3
