# shellcheck shell=bash
# A signed apt archive with stand-ins for Raspberry Pi's packages: their names, their places and their hooks' effects, but no
# kernel and no firmware in them. The layout is that of RPi-Distro/firmware (debian/), RPi-Distro/linux-packaging and
# raspberrypi/rpi-eeprom (debian/) for trixie.

KERNEL_VERSION=6.12.47+rpt-rpi-2712
# shellcheck disable=SC2034 # in tests/rpi5/points.sh
STAND_INS=(linux-image-rpi-2712 "linux-image-$KERNEL_VERSION" raspi-firmware rpi-eeprom raspi-utils)

# make_key NAME FILE: a key of its own, its public half in FILE. Prints the fingerprint.
make_key() {
  local home=$WORK/keys/$1
  mkdir -p "$home"
  chmod 700 "$home"
  gpg --homedir "$home" --batch --quiet --passphrase '' --quick-gen-key "$1 stand-in" ed25519 sign never 2>/dev/null
  gpg --homedir "$home" --batch --quiet --armor --export >"$2"
  gpg --homedir "$home" --batch --quiet --with-colons --list-keys | awk -F: '$1 == "fpr" { print $10; exit }'
}

# gpg leaves a process for each key's folder.
end_agents() {
  local home
  for home in "$WORK"/keys/*; do
    [ ! -d "$home" ] || gpgconf --homedir "$home" --kill gpg-agent || true
  done
}

# control PACKAGE VERSION ARCHITECTURE DEPENDS TREE
control() {
  mkdir -p "$5/DEBIAN"
  cat >"$5/DEBIAN/control" <<TEXT
Package: $1
Version: $2
Architecture: $3
Maintainer: nobody <nobody@localhost>
Depends: $4
Description: stand-in without content, for a test of the image build
TEXT
}

pack() {
  local pool=$WORK/archive/pool/main
  mkdir -p "$pool"
  chmod -R u=rwX,go=rX "$1"
  [ ! -f "$1/DEBIAN/postinst" ] || chmod 755 "$1/DEBIAN/postinst"
  dpkg-deb --root-owner-group -Zgzip --build "$1" "$pool" >/dev/null
}

# A device tree without content.
tree_blob() {
  printf '/dts-v1/; / { compatible = "stand-in"; };' | dtc -q -I dts -O dtb -o "$1"
}

kernel_package() {
  local tree=$WORK/kernel version=$KERNEL_VERSION lib driver
  lib=$tree/usr/lib
  mkdir -p "$tree/boot" "$lib/modules/$version/kernel/fs/exfat" "$lib/linux-image-$version"/{broadcom,overlays}
  # The head of an arm64 kernel, by which boot loaders know it, and nothing behind it.
  { head -c 56 /dev/zero && printf 'ARMd' && head -c 4036 /dev/zero; } | gzip -n >"$tree/boot/vmlinuz-$version"
  tree_blob "$lib/linux-image-$version/broadcom/bcm2712-rpi-5-b.dtb"
  tree_blob "$lib/linux-image-$version/broadcom/bcm2712d0-rpi-5-b.dtb"
  tree_blob "$lib/linux-image-$version/overlays/vc4-kms-v3d-pi5.dtbo"
  echo stand-in >"$lib/linux-image-$version/overlays/README"
  for driver in drivers/mmc/core/mmc_block drivers/scsi/sd_mod drivers/usb/storage/usb-storage drivers/usb/storage/uas \
    drivers/nvme/host/nvme fs/ext4/ext4; do
    echo "kernel/$driver.ko"
  done >"$lib/modules/$version/modules.builtin"
  : >"$lib/modules/$version/modules.order"
  : >"$lib/modules/$version/modules.builtin.modinfo"
  echo '__attribute__((section(".modinfo"))) const char license[] = "license=GPL";' |
    gcc -c -x c -o "$lib/modules/$version/kernel/fs/exfat/exfat.ko" -
  ln -s usr/lib "$tree/lib"
  depmod -b "$tree" "$version"
  rm "$tree/lib"
  control "linux-image-$version" 1:6.12.47-1+rpt1+standin arm64 kmod "$tree"
  cat >"$tree/DEBIAN/postinst" <<HOOKS
#!/bin/sh
set -e
export DEB_MAINT_PARAMS="\$*"
run-parts --exit-on-error --arg=$version --arg=/boot/vmlinuz-$version /etc/kernel/postinst.d
HOOKS
  pack "$tree"
  control linux-image-rpi-2712 1:6.12.47-1+rpt1+standin arm64 "linux-image-$version" "$WORK/meta"
  pack "$WORK/meta"
}

firmware_package() {
  local tree=$WORK/firmware file
  mkdir -p "$tree/usr/lib/raspi-firmware/overlays" "$tree/etc/kernel/postinst.d"
  for file in bootcode.bin start4.elf fixup4.dat LICENCE.broadcom; do
    echo "stand-in for $file" >"$tree/usr/lib/raspi-firmware/$file"
  done
  tree_blob "$tree/usr/lib/raspi-firmware/overlays/hifiberry-dac.dtbo"
  cat >"$tree/etc/kernel/postinst.d/z50-raspi-firmware" <<'HOOK'
#!/bin/sh
set -e
mkdir -p /boot/firmware/overlays
cp "$2" /boot/firmware/kernel_2712.img
HOOK
  control raspi-firmware 1:1.20250915-1+standin all 'dosfstools, rsync' "$tree"
  cat >"$tree/DEBIAN/postinst" <<'COPY'
#!/bin/sh
set -e
mkdir -p /boot/firmware
cp -r /usr/lib/raspi-firmware/* /boot/firmware/
COPY
  chmod -R go=rX "$tree"
  chmod 755 "$tree/etc/kernel/postinst.d/z50-raspi-firmware"
  pack "$tree"
}

eeprom_packages() {
  local tree=$WORK/eeprom file
  mkdir -p "$tree/usr/bin" "$tree/usr/lib/systemd/system" "$tree/usr/lib/firmware/raspberrypi/bootloader-2712/default"
  echo stand-in >"$tree/usr/lib/firmware/raspberrypi/bootloader-2712/default/recovery.bin"
  for file in rpi-eeprom-config rpi-eeprom-update; do
    printf '#!/bin/sh\necho stand-in >&2\nexit 1\n' >"$tree/usr/bin/$file"
    chmod 755 "$tree/usr/bin/$file"
  done
  # As in the real package: started at each boot, it flashes the boot loader without being asked.
  printf '[Service]\nType=oneshot\nExecStart=/usr/bin/rpi-eeprom-update -a\n[Install]\nWantedBy=multi-user.target\n' \
    >"$tree/usr/lib/systemd/system/rpi-eeprom-update.service"
  control rpi-eeprom 28.8-1+standin all 'raspi-utils, python3, pciutils' "$tree"
  printf '#!/bin/sh\nset -e\ndeb-systemd-helper enable rpi-eeprom-update.service\n' >"$tree/DEBIAN/postinst"
  pack "$tree"
  mkdir -p "$WORK/utils/usr/bin"
  cp "$tree/usr/bin/rpi-eeprom-config" "$WORK/utils/usr/bin/vcgencmd"
  control raspi-utils 20250915-1+standin arm64 libc6 "$WORK/utils"
  pack "$WORK/utils"
  # Debian has it too, in an older version, which is the one to take.
  control pciutils 99:1-1+standin arm64 libc6 "$WORK/pciutils"
  pack "$WORK/pciutils"
}

# sign KEYNAME ARCHIVE: makes the index and signs it.
sign() {
  local dist=$2/dists/trixie
  mkdir -p "$dist/main/binary-arm64"
  (cd "$2" && apt-ftparchive packages pool) >"$dist/main/binary-arm64/Packages"
  gzip -nk9f "$dist/main/binary-arm64/Packages"
  apt-ftparchive -o APT::FTPArchive::Release::Suite=stable -o APT::FTPArchive::Release::Codename=trixie -o "APT::FTPArchive::Release::Origin=Raspberry Pi Foundation" \
    -o APT::FTPArchive::Release::Components=main -o APT::FTPArchive::Release::Architectures=arm64 release "$dist" >"$WORK/Release"
  mv "$WORK/Release" "$dist/Release"
  gpg --homedir "$WORK/keys/$1" --batch --quiet --yes --clearsign -o "$dist/InRelease" "$dist/Release"
}

make_archive() {
  kernel_package
  firmware_package
  eeprom_packages
  sign archive "$WORK/archive"
}
