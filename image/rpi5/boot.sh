# shellcheck shell=bash
# What a Pi 5 boots, for the FAT partition.

# The names are those that the packages' own hooks use, so that a new kernel from the archive takes the place of this one.
make_boot_files() {
  local tree=$WORK/boot-packages version
  mkdir -p "$tree" "$WORK/boot"
  tar -C "$tree" -xf "$ROOT" --wildcards ./boot './usr/lib/modules/*/modules.builtin' './usr/lib/linux-image-*' ./usr/lib/raspi-firmware ||
    die "Raspberry Pi's packages did not bring what tar names above -> compare them with image/rpi5/boot.sh"
  version=$(cd "$tree/usr/lib" && echo linux-image-*)
  version=${version#linux-image-}
  [[ $version =~ ^[^\ ]+-rpi-2712$ ]] || die "expected is one kernel of the kind rpi-2712, found: $version -> look into image/rpi5/packages.list"
  check_builtin "$tree/usr/lib/modules/$version/modules.builtin"
  cp -R "$tree/usr/lib/raspi-firmware/." "$WORK/boot/"
  mkdir -p "$WORK/boot/overlays"
  cp "$tree/usr/lib/linux-image-$version/broadcom"/bcm27*.dtb "$WORK/boot/"
  cp -R "$tree/usr/lib/linux-image-$version/overlays/." "$WORK/boot/overlays/"
  cp "$tree/boot/vmlinuz-$version" "$WORK/boot/kernel_2712.img"
  cp image/rpi5/config.txt "$WORK/boot/config.txt"
  with_ids image/rpi5/cmdline.txt >"$WORK/boot/cmdline.txt"
  check_boot_files
  # shellcheck disable=SC2034 # in image/disk.sh
  KERNEL=$WORK/boot/kernel_2712.img
}

# check_builtin FILE: without an initramfs, the kernel must bring to the root what it needs, on each kind of disk.
check_builtin() {
  local driver missing=()
  for driver in mmc_block sd_mod usb-storage uas nvme ext4; do
    grep -q "/$driver\.ko$" "$1" || missing+=("$driver")
  done
  [ ${#missing[@]} -eq 0 ] || die "this kernel has not built in: ${missing[*]} -> it needs an initramfs, which image/rpi5 does not make; use the kernel before it"
}

check_boot_files() {
  local file
  for file in kernel_2712.img bcm2712-rpi-5-b.dtb overlays/README config.txt cmdline.txt; do
    [ -s "$WORK/boot/$file" ] || die "$file is missing or empty, and a Pi 5 boots nothing without it -> compare the packages with image/rpi5/boot.sh"
  done
}
