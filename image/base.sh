# shellcheck shell=bash
# Debian's part of the system's files: what every image has, and on top of it the target's kernel and boot files. Two tar files
# that are kept until their lists of packages change.

# The emulated processor's default emulates pointer authentication, which costs nine tenths of the time. The initrd is ours
# (image/initrd); Debian's generator would run for minutes under emulation.
in_emulation() {
  env QEMU_CPU=cortex-a72 INITRD=No nice "$@"
}

# debian_packages LIST FILE ARG…: mmdebstrap with what both have in common.
debian_packages() {
  local list=$1 file=$2
  shift 2
  in_emulation mmdebstrap --arch=arm64 --include="$(packages "$list")" \
    --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$@" "$SUITE" "$file"
}

make_base() {
  local list=image/packages.list
  BASE=$CACHE/base-$(key $list "$SUITE" image/base.sh).tar
  [ ! -f "$BASE" ] || return 0
  debian_packages $list "$WORK/base.tar" --variant=minbase
  mv "$WORK/base.tar" "$BASE"
  forget_old base "${BASE##*/}"
}

make_target() {
  local list=image/$TARGET/packages.list
  TARGET_BASE=$CACHE/$TARGET-$(key "${BASE##*/}" "$list").tar
  [ ! -f "$TARGET_BASE" ] || return 0
  debian_packages "$list" "$WORK/target.tar" --variant=custom \
    --setup-hook="tar -C \"\$1\" --exclude='./dev/*' -xf '$BASE' && mkdir -p \"\$1/dev/pts\" \"\$1/dev/shm\""
  mv "$WORK/target.tar" "$TARGET_BASE"
  forget_old "$TARGET" "${TARGET_BASE##*/}"
}
