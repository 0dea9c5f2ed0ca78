# shellcheck shell=bash
# Debian's part of the system's files: what every image has, and on top of it the target's kernel and boot files. Two tar files
# that are kept until their lists of packages change.

# The emulated processor's default emulates pointer authentication, which costs nine tenths of the time. The initrd is ours
# (image/initrd); Debian's generator would run for minutes under emulation.
in_emulation() {
  env QEMU_CPU=cortex-a72 INITRD=No nice "$@"
}

# debian_packages SET LIST FILE ARG…: mmdebstrap with what all sets have in common, from the locked packages alone. The system
# keeps nothing of where they came from: its sources are the distribution's.
debian_packages() {
  local set=$1 list=$2 file=$3 source
  shift 3
  source=$(locked_source "$set")
  debian_sources | deb822 >"$WORK/debian.sources"
  in_emulation mmdebstrap --arch=arm64 --include="$(packages "$list")" \
    --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$@" \
    --customize-hook="rm -f \"\$1/etc/apt/sources.list\"" \
    --customize-hook="upload '$WORK/debian.sources' /etc/apt/sources.list.d/debian.sources" \
    "$SUITE" "$file" "$source"
}

# deb822: source lines (address, suite) in the form that apt's files have today.
deb822() {
  awk '{ if (!($1 in suites)) order[++n] = $1; suites[$1] = suites[$1] " " $2 }
    END {
      for (i = 1; i <= n; i++)
        printf "%sTypes: deb\nURIs: %s\nSuites:%s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
          (i > 1 ? "\n" : ""), order[i], suites[order[i]]
    }'
}

make_base() {
  local list=image/packages.list
  BASE=$CACHE/base-$(key $list "$LOCK/base" "$SUITE" image/base.sh).tar
  ! kept "$BASE" || return 0
  debian_packages base $list "$WORK/base.tar" --variant=minbase
  check_installed "$WORK/base.tar" base
  keep "$WORK/base.tar" "$BASE"
  forget_old base "${BASE##*/}"
}

# on_base: mmdebstrap's hook that begins a system with what Debian's root has. Its sources stay out until the end: apt would ask
# the mirrors too, and could take from them what the lock does not name.
on_base() {
  printf "tar -C \"\$1\" --exclude='./dev/*' --exclude=./etc/apt/sources.list.d/debian.sources -xf '%s' && mkdir -p \"\$1/dev/pts\" \"\$1/dev/shm\"" "$BASE"
}

make_target() {
  local list=image/$TARGET/packages.list
  TARGET_BASE=$CACHE/$TARGET-$(key "${BASE##*/}" "$list" "$LOCK/$TARGET").tar
  ! kept "$TARGET_BASE" || return 0
  debian_packages "$TARGET" "$list" "$WORK/target.tar" --variant=custom \
    --setup-hook="$(on_base)"
  check_installed "$WORK/target.tar" base "$TARGET"
  keep "$WORK/target.tar" "$TARGET_BASE"
  forget_old "$TARGET" "${TARGET_BASE##*/}"
}
