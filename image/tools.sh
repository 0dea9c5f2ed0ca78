# shellcheck shell=bash
# What the build runs: packages of the host, and newer tools that are only unpacked.

need_build_packages() {
  need_packages mmdebstrap debian-archive-keyring arch-test qemu-user-static binfmt-support uidmap cpio kmod fdisk \
    xz-utils zstd dosfstools dpkg-dev
  # Where systemd is not the first process (a container), installing the package does not register the emulator.
  arch-test arm64 >/dev/null || as_root update-binfmts --enable qemu-aarch64
  arch-test arm64 >/dev/null || die "this machine can't run arm64 programs -> as root: update-binfmts --enable qemu-aarch64"
}

# packages FILE: the names in it, with commas.
packages() {
  grep -vE '^(#|$)' "$1" | paste -sd,
}

# key WHAT…: a name for what was made from these texts and files, so that a change of any makes it anew.
key() {
  local part
  for part in "$@"; do
    if [ -f "$part" ]; then cat "$part"; else printf '%s\n' "$part"; fi
  done | sha256sum | cut -c 1-16
}

# forget_old PREFIX KEEP: removes from the cache what other package lists made.
forget_old() {
  find "$CACHE" -maxdepth 1 -name "$1-*" ! -name "$2" ! -name "$2.sha256" -exec rm -rf --one-file-system {} +
}

# keep WORK PLACE: puts what was made, a file or a directory, into the cache, with the sums of its files beside it. It has its
# name when it is whole: a build that is cut off leaves nothing there that a later one would take.
keep() {
  sums "$1" >"$2.sha256"
  mv "$1" "$2"
}

# kept PLACE: it is in the cache, and unchanged since it was put there.
kept() {
  [ -e "$1" ] || return 1
  [ "$(sums "$1")" = "$(cat "$1.sha256" 2>/dev/null)" ] || die "$1 is not as the build left it -> remove it and run this again"
}

sums() {
  if [ -d "$1" ]; then
    (cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
  else
    sha256sum <"$1"
  fi
}

# Debian's mke2fs of the host's release writes other bytes each time; trixie's does not. Nothing here is run as root or
# in a chroot: `tool` calls the programs through their own dynamic loader.
make_tools() {
  local set source
  set=tools-$(dpkg --print-architecture)
  TOOLS=$CACHE/tools-$(key image/packages-tools.list "$LOCK/$set" "$SUITE")
  ! kept "$TOOLS" || return 0
  source=$(locked_source "$set")
  mmdebstrap --quiet --variant=extract --arch="${set#tools-}" --include="$(packages image/packages-tools.list)" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' "$SUITE" "$WORK/tools.tar" "$source"
  mkdir "$WORK/tools"
  tar -C "$WORK/tools" --exclude='./dev/*' --no-same-owner -xf "$WORK/tools.tar"
  rm "$WORK/tools.tar"
  keep "$WORK/tools" "$TOOLS"
  forget_old tools "${TOOLS##*/}"
}

# tool NAME ARG…: runs a program of the tools.
tool() {
  local name=$1 directory program='' libraries loader
  shift
  for directory in usr/bin usr/sbin; do
    [ ! -x "$TOOLS/$directory/$name" ] || program=$TOOLS/$directory/$name
  done
  [ -n "$program" ] || die "image/packages-tools.list brings no program $name"
  libraries=$(echo "$TOOLS"/usr/lib/*-linux-gnu)
  loader=$(echo "$TOOLS"/usr/lib*/ld-linux-*.so.*)
  "$loader" --library-path "$libraries" "$program" "$@"
}
