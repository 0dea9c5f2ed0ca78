# shellcheck shell=bash
# What is in a finished image, read from its file systems without mounting, for scripts/image-verify. Rows: part, name, version,
# architecture. Reads WORK.

# image_rows IMAGE: the system's packages and the container's, by their own dpkg status files.
image_rows() {
  local root
  root=$(partitions "$1" | awk '$1 == 2 { print $2 }')
  from_root "$1" "$root" /var/lib/dpkg/status "$WORK/status"
  from_root "$1" "$root" /usr/share/toolmaster/container/postgres.tar.zst "$WORK/postgres.tar.zst"
  container_status "$WORK/postgres.tar.zst" >"$WORK/container-status"
  {
    installed_rows system <"$WORK/status"
    installed_rows container <"$WORK/container-status"
  } | LC_ALL=C sort
}

# from_root IMAGE START FILE TO: copies a file out of the ext4 file system at that byte.
from_root() {
  rm -f "$4"
  debugfs -R "dump $3 $4" "$1?offset=$2" 2>/dev/null
  [ -s "$4" ] || die "$1 has no $3 -> it is not an image of this project"
}

# container_status ARCHIVE: the dpkg status in the (one) layer that has one.
container_status() {
  local layer
  zstd -qdcf "$1" >"$WORK/container.tar"
  while read -r layer; do
    tar -xOf "$WORK/container.tar" "$layer" >"$WORK/layer.tar"
    tar -xOf "$WORK/layer.tar" --wildcards '*var/lib/dpkg/status' 2>/dev/null || true
  done < <(tar -tf "$WORK/container.tar" | grep '\.tar$')
}

installed_rows() {
  awk -v part="$1" '/^Package: / { p = $2 } /^Version: / { v = $2 } /^Architecture: / { a = $2 }
    /^$/ { row() } END { row() }
    function row() { if (p != "") print part, p, v, a; p = "" }'
}

# sbom_rows FILE: the same rows from an SPDX document: whose package each is, its relationships say.
sbom_rows() {
  jq -r '. as $d
    | (reduce .relationships[] as $r ({}; .[$r.relatedSpdxElement] = $r.spdxElementId)) as $owner
    | .packages[] | select(.externalRefs)
    | (.externalRefs[0].referenceLocator) as $purl
    | (if ($purl | startswith("pkg:cargo/")) then "crate" elif $owner[.SPDXID] == "SPDXRef-container" then "container" else "system" end) as $part
    | "\($part) \(.name) \(.versionInfo) \(if $part == "crate" then "" else ($purl | capture("arch=(?<a>[^&]*)").a) end)"' "$1" | sed 's/ $//' | LC_ALL=C sort
}

# crate_rows: what the program is made of, from this checkout: all that is reached from it by ordinary dependencies, but no
# proc-macro, which runs in the compiler. (The list itself was made with `cargo tree`.)
crate_rows() {
  cargo metadata --locked --offline --format-version 1 --filter-platform "$PI_TARGET" | jq -r '
    (reduce .packages[] as $p ({}; .[$p.id] = $p)) as $package
    | (reduce .resolve.nodes[] as $n ({}; .[$n.id] = [$n.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg])) as $needs
    | .resolve.root as $root
    | { seen: {}, todo: [$root] }
    | until(.todo == []; .todo[0] as $id | .todo |= .[1:]
        | if .seen[$id] or any($package[$id].targets[].kind[]; . == "proc-macro") then . else .seen[$id] = true | .todo += $needs[$id] end)
    | .seen | keys[] | $package[.] | select(.source) | "crate \(.name) \(.version)"' | LC_ALL=C sort
}
