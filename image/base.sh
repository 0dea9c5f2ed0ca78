# shellcheck shell=bash
# Debian's part of the system's files, a tar file that is kept until the list of packages changes.

# The emulated processor's default emulates pointer authentication, which costs nine tenths of the time. The initrd is ours
# (image/initrd); Debian's generator would run for minutes under emulation.
in_emulation() {
  env QEMU_CPU=cortex-a72 INITRD=No nice "$@"
}

make_base() {
  local list=image/packages.list
  BASE=$CACHE/base-$(key $list "$SUITE" image/base.sh).tar
  [ ! -f "$BASE" ] || return 0
  in_emulation mmdebstrap --arch=arm64 --variant=minbase --include="$(packages $list)" \
    --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$SUITE" "$WORK/base.tar"
  mv "$WORK/base.tar" "$BASE"
  forget_old base "${BASE##*/}"
}
