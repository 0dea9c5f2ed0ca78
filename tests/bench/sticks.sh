#!/usr/bin/env bash
# shellcheck disable=SC2016,SC2317 # names of programs in a table; functions that `pairs` calls
# Sticks: nothing changed, a whole copy, one file in a hundred changed; 20,000 files, 1 GB. References read and write the same trees
# with the plain tools, which neither hash nor verify.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/lib.sh

disk server 8192 server
disk stick 4096 TM-DIST
mount "${DEVICE[server]}" "$work/server"
mkdir "$work/server/root"
drawings "$work/server/l" 20000 1000
cp -a "$work/server/l/." "$work/server/root/"
stick_dir=$work/stick root=$work/server/root
device=${DEVICE[stick]}

# The least that has to be done to see that nothing changed: every directory of both trees read, every file's status asked for.
# A DIST stick that is given to a terminal must be right to the last byte, so dist-export reads all of it: its least is to read it.
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
read_all() {
  walk "$root/master" "$root/docviewer"
  find "$stick_dir/master" "$stick_dir/docviewer" -type f -print0 | xargs -0 cat >/dev/null
}
theirs() { mounted read_all; }
ours() { toolmaster dist-export --device "$device"; }
pairs
row 'nothing changed: dist-export' 'find over the server, `cat` of the stick' 1.1
theirs() { mounted both; }

toolmaster dist-sync --device "$device"
both() { walk "$work/server/terminal" "$stick_dir/master" "$stick_dir/docviewer"; }
ours() { toolmaster dist-sync --device "$device"; }
pairs
row 'nothing changed: dist-sync' 'find over both trees' 1.2

stick INGEST
mounted cp -a "$work/server/l/." "$stick_dir/"
toolmaster ingest --device "$device"
both() { walk "$root/master" "$root/docviewer" "$stick_dir/master" "$stick_dir/docviewer"; }
ours() { toolmaster ingest --device "$device"; }
pairs
row 'nothing changed: ingest' 'find over both trees' 1.2

# whole WORK FROM TO: ours beside both plain tools, which copy the datasets of FROM to TO.
whole() {
  local tool
  for tool in 'cp 1.0' 'rsync 0.8'; do
    plain=("${tool% *}" -a "$2/master" "$2/docviewer" "$3/")
    few_pairs
    row "$1" "\`${tool% *} -a\`, \`sync\`" "${tool#* }"
  done
}
copied() { "${plain[@]}" && sync -f "${plain[-1]}"; }
theirs() { mounted copied; }

# Onto an empty stick.
before_ours() { stick DIST; }
before_theirs() { stick DIST; }
ours() { toolmaster dist-export --device "$device"; }
whole 'copy onto a stick: dist-export' "$root" "$stick_dir"

# Onto an empty server.
stick INGEST
mounted cp -a "$work/server/l/." "$stick_dir/"
before_ours() { rm -rf "$root" && mkdir "$root"; }
before_theirs() { rm -rf "$work/server/copy" && mkdir "$work/server/copy"; }
ours() { toolmaster ingest --device "$device"; }
whole 'copy onto the server: ingest' "$stick_dir" "$work/server/copy"
rm -rf "$work/server/copy"

# One file in a hundred changed on the stick. The last pair above may have been theirs.
rm -rf "$root" && mkdir "$root"
toolmaster ingest --device "$device"
changes=0
change() {
  changes=$((changes + 1))
  changed | while read -r file; do printf '%s' "$changes" >>"$stick_dir/docviewer/$file"; done
}
changed() { find "$stick_dir/docviewer" -name '*7[0-9]1.pdf' -printf '%P\n'; }
before_ours() { mounted change; }
before_theirs() { rm -rf "$work/server/links" && mkdir "$work/server/links"; }
ours() { toolmaster ingest --device "$device"; }
linked() {
  both
  cp -al "$root/master" "$root/docviewer" "$work/server/links/"
  changed | (cd "$stick_dir/docviewer" && xargs -d '\n' cp -p --parents --remove-destination -t "$work/server/links/docviewer")
  sync -f "$work/server"
}
theirs() { mounted linked; }
pairs
row '1 % changed: ingest' 'find, hard-link tree, copy of the 1 %, `sync`' 1.3
