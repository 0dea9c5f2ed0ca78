# shellcheck shell=bash
# The Rust side of the lock: compiler, crates, cargo-deb. Read from the project's root, after scripts/lib.sh.

CRATES=${CARGO_HOME:-$HOME/.cargo}/registry

# locked_rust WHAT: the rest of its line in image/lock/rust.
locked_rust() {
  sed -n "s/^$1 //p" image/lock/rust
}

# check_rust: another compiler makes other bytes, so an image takes none but the locked one.
check_rust() {
  local here locked
  here=$(rustc --version)
  locked="rustc $(locked_rust rustc)"
  [ "$here" != "$locked" ] || return 0
  [ -n "${OR_RELOCK-}" ] || die "this is $here, image/lock/rust says $locked -> install that one with rustup, or run scripts/image --relock"
  printf 'This is %s, image/lock/rust says %s: this build goes by what is here.\n' "$here" "$locked"
}

# check_crates: what cargo compiles is what Cargo.lock names. Cargo compares a crate with its SHA-256 only when it downloads it; a
# byte that changed on the disk afterwards, in the crate or in what was unpacked from it, would go into the program unseen.
check_crates() {
  local name version sha crate unpacked=target/package/crates
  cargo fetch --quiet --locked --target "$PI_TARGET" || die "a crate of Cargo.lock can't be had -> connect this machine and run this again"
  rm -rf "$unpacked"
  mkdir -p "$unpacked"
  while read -r name version sha; do
    for crate in "$CRATES"/cache/*/"$name-$version.crate"; do
      [ -f "$crate" ] || continue # of another system: cargo did not fetch it
      check_crate "$crate" "$sha" "$unpacked"
    done
  done < <(awk -F '"' '/^name/ { n = $2 } /^version/ { v = $2 } /^checksum/ { print n, v, $2 }' Cargo.lock)
  rm -rf "$unpacked"
}

# check_crate FILE SHA256 DIRECTORY: the file, and what cargo unpacked from it (it adds .cargo-ok).
check_crate() {
  local name=${1##*/} sources difference
  name=${name%.crate}
  sources=$CRATES/src/$(basename "$(dirname "$1")")/$name
  [ "$(sha256sum <"$1")" = "$2  -" ] || die "$1 is not the crate that the lock names (SHA-256) -> remove it and $sources, and run this again"
  [ -d "$sources" ] || return 0
  tar -C "$3" -xzf "$1"
  difference=$(diff -rq --exclude=.cargo-ok "$3/$name" "$sources" | head -n 1) || true
  [ -z "$difference" ] || die "$sources is not what its crate holds ($difference) -> remove it and run this again"
}

# make_cargo_deb DIRECTORY: installs the locked cargo-deb there. Its crate is fetched as the dependency of an empty project,
# which runs nothing of it, compared with the lock, and only then compiled.
make_cargo_deb() {
  local version sha crate work=$1/cargo-deb
  read -r version sha < <(locked_rust cargo-deb)
  [ "$("$1/bin/cargo-deb" --version 2>/dev/null)" != "cargo-deb $version" ] || return 0
  rm -rf "$work"
  mkdir -p "$work/project/src"
  : >"$work/project/src/lib.rs"
  printf '[package]\nname = "project"\nversion = "0.0.0"\nedition = "2024"\n[dependencies]\ncargo-deb = "=%s"\n[workspace]\n' "$version" \
    >"$work/project/Cargo.toml"
  crate=$(find "$CRATES/cache" -name "cargo-deb-$version.crate" 2>/dev/null | head -n 1)
  if [ -z "$crate" ]; then
    cargo fetch --quiet --manifest-path "$work/project/Cargo.toml" || die "cargo-deb $version can't be had -> connect this machine and run this again"
    crate=$(find "$CRATES/cache" -name "cargo-deb-$version.crate" | head -n 1)
  fi
  check_crate "$crate" "$sha" "$work"
  [ -d "$work/cargo-deb-$version" ] || tar -C "$work" -xzf "$crate"
  cargo install --quiet --locked --root "$1" --path "$work/cargo-deb-$version"
  rm -rf "$work"
}
