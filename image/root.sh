# shellcheck shell=bash
# The system's files as the image has them: Debian's, our package, the overlay.

# with_ids FILE: it, with the partitions' ids in it.
with_ids() {
  sed "s/@ROOT_PARTUUID@/${ROOT_PARTUUID,,}/; s/@BOOT_PARTUUID@/${BOOT_PARTUUID,,}/; s/@DATA_PARTUUID@/${DATA_PARTUUID,,}/" "$1"
}

# Unpacks Debian's root, installs our package, lays the overlay over it and packs it again, sorted and with bounded times.
make_root() {
  ROOT=$WORK/root.tar
  mkdir -p "$WORK/overlay/usr/share/toolmaster/container" "$WORK/overlay/boot/firmware"
  cp -R image/overlay/. "$WORK/overlay/"
  [ ! -d "image/$TARGET/overlay" ] || cp -R "image/$TARGET/overlay/." "$WORK/overlay/"
  cp "$CONTAINER/postgres.tar.zst" "$CONTAINER/postgres.id" "$WORK/overlay/usr/share/toolmaster/container/"
  with_ids image/fstab >"$WORK/overlay/etc/fstab"
  mkdir -p "$WORK/overlay/usr/lib/udev/rules.d"
  with_ids image/data.rules >"$WORK/overlay/usr/lib/udev/rules.d/91-toolmaster-data.rules"
  chmod -R u=rwX,go=rX "$WORK/overlay"
  tar -C "$WORK/overlay" --owner=0 --group=0 --numeric-owner -cf "$WORK/overlay.tar" .
  cp "$DEB" "$WORK/toolmaster.deb"
  cp image/customize.sh "$WORK/customize.sh"
  chmod 755 "$WORK"

  in_emulation mmdebstrap --quiet --variant=custom --arch=arm64 --skip=setup,update,cleanup --format=tar \
    --setup-hook="tar -C \"\$1\" --exclude='./dev/*' -xf '$TARGET_BASE' && mkdir -p \"\$1/dev/pts\" \"\$1/dev/shm\"" \
    --customize-hook="upload '$WORK/toolmaster.deb' /toolmaster.deb" \
    --customize-hook="tar-in '$WORK/overlay.tar' /" \
    --customize-hook="sh '$WORK/customize.sh' \"\$1\"" \
    "$SUITE" "$ROOT"
}
