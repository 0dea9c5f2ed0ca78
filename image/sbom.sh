# shellcheck shell=bash
# The list of what is in an image, as SPDX 2.3: Debian's packages and ours, the container's packages, the program's crates.

# make_sbom: prints it.
make_sbom() {
  system_packages "$ROOT" >"$WORK/sbom-rows"
  container_packages "$CONTAINER/postgres.tar.zst" >>"$WORK/sbom-rows"
  crates >>"$WORK/sbom-rows"
  jq -n -R --arg image "toolmaster-$TARGET.img" --arg sha "$(sha256sum <"$OUT/toolmaster-$TARGET.img" | cut -c 1-64)" \
    --arg created "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" --arg container "$(<"$CONTAINER/postgres.id")" \
    --arg suite "$SUITE" -f image/sbom.jq <"$WORK/sbom-rows"
}

# Rows: part (system, container, crate), name, version, architecture, SHA-256 of what it was made from.
system_packages() {
  tar -xOf "$1" ./var/lib/dpkg/status | status_rows system
}

container_packages() {
  local layer
  tool zstd -qdc "$1" >"$WORK/sbom-container.tar"
  layer=$(tar -tf "$WORK/sbom-container.tar" | grep -E '(^[0-9a-f]{64}|/layer)\.tar$' | head -n 1)
  tar -xOf "$WORK/sbom-container.tar" "$layer" >"$WORK/sbom-layer.tar"
  tar -xOf "$WORK/sbom-layer.tar" ./var/lib/dpkg/status | status_rows container
}

# status_rows PART: from a dpkg status file; the sums are the lock's, and our own package's.
status_rows() {
  awk -v part="$1" -v ours="$(sha256sum <"$DEB" | cut -c 1-64)" '
    FILENAME != "-" { sha[$1 " " $2 " " $3] = $4; next }
    /^Package: / { p = $2 } /^Version: / { v = $2 } /^Architecture: / { a = $2 }
    /^$/ { row() }
    END { row() }
    function row() { if (p != "") print part "\t" p "\t" v "\t" a "\t" (p == "toolmaster" ? ours : sha[p " " v " " a]); p = "" }
  ' "$LOCK"/* - | LC_ALL=C sort
}

# What is linked into the program and not ours, whose place is a directory; proc-macros run in the compiler and leave nothing of themselves.
crates() {
  local name version
  cargo tree --locked --edges normal,no-proc-macro --target "$PI_TARGET" --prefix none --format '{p}' | sed '/ (\//d; s/ (.*//; s/ v/ /' |
    LC_ALL=C sort -u | while read -r name version; do
    printf 'crate\t%s\t%s\t\t%s\n' "$name" "$version" "$(awk -F '"' -v n="$name" -v v="$version" \
      '/^name/ { cn = $2 } /^version/ { cv = $2 } /^checksum/ && cn == n && cv == v { print $2 }' Cargo.lock)"
  done
}
