# shellcheck shell=bash
# What the scripts of this folder share. Read with `.`, from the project's root.

PI_TARGET=aarch64-unknown-linux-musl
# A panic ends the program at once (Cargo.toml), so nothing ever reads the tables for unwinding: 270 KB less. The script is
# named from the project's root, where the linker runs, also in the container of `cross`.
# shellcheck disable=SC2034 # scripts/build and the benchmarks use it
PI_FLAGS=(-Cforce-unwind-tables=no -Clink-arg=--no-eh-frame-hdr -Clink-arg=scripts/no-unwinding.ld)
# pi_options: has cargo compile the Pi's program with them. The crates' home is written as /crates in messages: it differs from one
# builder to the next.
pi_options() {
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="${PI_FLAGS[*]} --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=/crates"
}
export PATH=$PATH:/usr/sbin:/sbin # where Debian has mkfs and losetup, not in a user's PATH

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "this needs root and there is no sudo -> run it as root: $*"
  fi
}

# missing_packages PACKAGE…: those that are not installed, a line each.
missing_packages() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s\n' "$package"
  done
}

# need_packages PACKAGE…: installs those Debian packages that are missing. Twice if need be: one package may have another removed
# that is here in a newer version than the mirror's.
need_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  as_root apt-get update -qq || die "the list of Debian packages can't be had -> connect this machine to a mirror, or install by hand: ${missing[*]}"
  for _ in 1 2; do
    printf 'Installing Debian packages: %s\n' "${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}" ||
      die "these Debian packages can't be installed: ${missing[*]}"
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
  done
  die "these Debian packages are not there although they were installed: ${missing[*]}"
}

# Rust, and the C linker that it needs for programs of this machine (for the Pi it brings its own).
need_rust() {
  need_packages gcc libc6-dev
  command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
  command -v cargo >/dev/null || die "cargo is missing -> install Rust with rustup, then run this again"
}

need_pi_target() {
  need_target "$PI_TARGET"
}

# need_target TARGET: Rust's library for another kind of machine.
need_target() {
  [ ! -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ] || return 0
  command -v rustup >/dev/null || die "Rust's library for $1 is missing and there is no rustup -> install Rust with rustup"
  rustup target add "$1" ||
    die "Rust's library for $1 can't be downloaded -> connect this machine and run: rustup target add $1"
}

# put MARK FILE TABLE: replaces what stands between the marks.
put() {
  local text
  text=$(MARK=$1 TABLE=$3 awk '
    $0 == "<!-- " ENVIRON["MARK"] " -->" { print; print ""; print ENVIRON["TABLE"]; print ""; skip = 1; next }
    $0 == "<!-- end of " ENVIRON["MARK"] " -->" { skip = 0 }
    !skip' "$2")
  printf '%s\n' "$text" >"$2"
}
