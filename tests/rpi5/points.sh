# shellcheck shell=bash
# What a finished disk image for a Pi 5 must hold, point by point, read from the file itself: nothing is mounted.

PASSED=0 FAILED=0

# point NAME EXPECTED FOUND: a row of the table.
point() {
  local verdict=ok
  if [ "$2" = "$3" ]; then
    PASSED=$((PASSED + 1))
  else
    verdict=WRONG FAILED=$((FAILED + 1))
  fi
  printf '%-5s | %s | %s | %s\n' "$verdict" "$1" "${2//$'\n'/ }" "${3//$'\n'/ }"
}

# found PATTERN FILE: "yes" or "no".
found() {
  if grep -qE -- "$1" "$2" 2>/dev/null; then echo yes; else echo no; fi
}

# in_root ARG…: debugfs on the root's file system, inside the image.
in_root() {
  debugfs -R "$*" "$IMAGE?offset=$ROOT_AT" 2>/dev/null
}

partition_points() {
  local number names=(bootfs rootfs data) ids=("$BOOT_PARTUUID" "$ROOT_PARTUUID" "$DATA_PARTUUID") at=$((ALIGN * MIB))
  local sizes=($((BOOT_SIZE * MIB)) $((ROOT_SIZE * MIB)) $((DATA_SIZE * MIB)))
  local types=(EBD0A0A2-B9E5-4433-87C0-68B6B72699C7 B921B045-1DF0-41C3-AF44-4C6F280D3FAE 0FC63DAF-8483-4772-8E79-3D69D8477DE4)
  sfdisk --json "$IMAGE" >"$READ/table" || die "$IMAGE has no partition table that sfdisk reads"
  table() { jq -r ".partitiontable.$1" "$READ/table"; }
  point 'A1 partition table' "gpt $DISK_ID" "$(table label) $(table id)"
  point 'A1 number of partitions' 3 "$(table 'partitions | length')"
  for number in 0 1 2; do
    point "A1 partition $((number + 1)): name, type, PARTUUID" "${names[number]} ${types[number]} ${ids[number]}" \
      "$(table "partitions[$number] | \"\\(.name) \\(.type) \\(.uuid)\"")"
    point "A1 partition $((number + 1)): first byte, size" "$at ${sizes[number]}" \
      "$(table "partitions[$number] | \"\\(.start * 512) \\(.size * 512)\"")"
    point "A1 partition $((number + 1)): begins at a multiple of 8 MiB" 0 "$((at % (8 * MIB)))"
    at=$((at + sizes[number]))
  done
  point 'A3 length: a multiple of 512' 0 "$(($(stat -c %s "$IMAGE") % 512))"
}

fat_points() {
  local file
  dd if="$IMAGE" of="$READ/boot.vfat" bs=1M skip="$ALIGN" count="$BOOT_SIZE" conv=sparse status=none
  point 'A1 partition 1: file system, label' 'vfat FAT32 bootfs' \
    "$(blkid -p -o value -s TYPE "$READ/boot.vfat") $(blkid -p -o value -s VERSION "$READ/boot.vfat") $(blkid -p -o value -s LABEL "$READ/boot.vfat")"
  point 'A1 partition 1: fsck' 0 "$(fsck.vfat -n "$READ/boot.vfat" >/dev/null && echo 0 || echo $?)"
  mkdir "$READ/fat"
  LC_ALL=C.UTF-8 mcopy -s -n -i "$READ/boot.vfat" ::/ "$READ/fat/" </dev/null
  for file in kernel_2712.img bcm2712-rpi-5-b.dtb bcm2712d0-rpi-5-b.dtb overlays/README overlays/vc4-kms-v3d-pi5.dtbo \
    overlays/hifiberry-dac.dtbo start4.elf fixup4.dat config.txt cmdline.txt; do
    point "A1 $file: there and not empty" yes "$([ -s "$READ/fat/$file" ] && echo yes || echo no)"
  done
  point 'A1 kernel_2712.img: the package'"'"'s' "$(sha256sum <"$WORK/kernel/boot/vmlinuz-$KERNEL_VERSION")" "$(sha256sum <"$READ/fat/kernel_2712.img")"
  point 'A1 no initramfs, none asked for' '' "$(cd "$READ/fat" && ls -d initr* 2>/dev/null; grep -E '^(auto_initramfs|initramfs)' config.txt || true)"
}

# section NAME: the lines of config.txt that hold in it, sorted.
section() {
  awk -v want="[$1]" '/^\[/ { on = $0 == want; next } on && !/^(#|$)/' "$READ/fat/config.txt" | LC_ALL=C sort
}

config_points() {
  local cmdline=$READ/fat/cmdline.txt
  point 'A1 config.txt [all]' $'arm_64bit=1\narm_boost=1\ndisable_fw_kms_setup=1\ndtparam=watchdog=on' "$(section all)"
  point 'A1 config.txt [pi5]' $'dtparam=pciex1\nkernel=kernel_2712.img' "$(section pi5)"
  point 'A3 config.txt: what Imager appends holds for all' '[all]' "$(grep '^\[' "$READ/fat/config.txt" | tail -n 1)"
  point 'A1 cmdline.txt: lines' 1 "$(wc -l <"$cmdline")"
  point 'A1 cmdline.txt: root is partition 2' "root=PARTUUID=$(table 'partitions[1].uuid | ascii_downcase')" "$(grep -o 'root=[^ ]*' "$cmdline")"
  point 'A1 cmdline.txt: waits for it, knows its type' 'rootfstype=ext4 rootwait' "$(grep -oE '\b(rootfstype=[^ ]*|rootwait)\b' "$cmdline" | paste -sd ' ')"
  point 'A5 cmdline.txt: no name of a kind of disk' no "$(found '/dev/|mmcblk|nvme|sd[a-z][0-9]' "$cmdline")"
}

root_points() {
  local number places=(/boot/firmware / /srv)
  in_root "dump /etc/fstab $READ/fstab"
  for number in 0 1 2; do
    point "A1 fstab: partition $((number + 1))" "PARTUUID=$(table "partitions[$number].uuid | ascii_downcase")" \
      "$(awk -v place="${places[number]}" '$2 == place { print $1 }' "$READ/fstab")"
  done
  point 'A5 fstab: no name of a kind of disk' no "$(found '^/dev/|mmcblk|nvme' "$READ/fstab")"
  point 'A4 /srv grows' yes "$(found ' /srv .*x-systemd.growfs' "$READ/fstab")"
  in_root "dump /usr/lib/repart.d/50-data.conf $READ/repart"
  point 'A4 partition 3 grows' yes "$(found '^Type=' "$READ/repart")"
  dumpe2fs -h "$IMAGE?offset=$ROOT_AT" >"$READ/super" 2>/dev/null
  point 'A1 root: blocks, label' '4096 rootfs' "$(awk -F': *' '/^Block size/ { b = $2 } /volume name/ { n = $2 } END { print b, n }' "$READ/super")"
  point 'A1 root: nothing below the mount of the FAT partition' '' "$(in_root 'ls -p /boot/firmware' | awk -F/ 'NF > 5 && $6 !~ /^\.\.?$/ { print $6 }')"
}

package_points() {
  local package
  in_root "dump /var/lib/dpkg/status $READ/status"
  in_root "dump /etc/apt/sources.list.d/raspi.sources $READ/raspi.sources"
  in_root "dump /usr/share/keyrings/raspberrypi-archive-keyring.gpg $READ/keyring"
  for package in "${STAND_INS[@]}"; do
    point "A2 $package" 'install ok installed' "$(awk -v package="$package" '/^Package: / { on = $2 == package } on && sub(/^Status: /, "")' "$READ/status")"
  done
  point "A2 what Debian has is Debian's" 'pciutils, not 99:1-1+standin' \
    "$(awk '$0 == "Package: pciutils" { on = 1 } on && sub(/^Version: /, "") { print ($0 == "99:1-1+standin" ? "pciutils " : "pciutils, not ") "99:1-1+standin"; exit }' "$READ/status")"
  point 'A2 kernels' "$KERNEL_VERSION" "$(in_root 'ls -p /usr/lib/modules' | awk -F/ 'NF > 5 && $6 !~ /^\.\.?$/ { print $6 }')"
  point "A2 none of Debian's kernels" '' "$(grep -E '^Package: linux-image-(arm64|[0-9.]+\+deb)' "$READ/status" || true)"
  point 'A2 no automounter' '' "$(grep -E '^Package: (udisks2|usbmount|udevil|autofs)$' "$READ/status" || true)"
  point 'A2 source' "deb|copy:$WORK/archive|trixie|main|arm64|/usr/share/keyrings/raspberrypi-archive-keyring.gpg" \
    "$(sed -n 's/^\(Types\|URIs\|Suites\|Components\|Architectures\|Signed-By\): //p' "$READ/raspi.sources" | paste -sd '|')"
  point 'A2 keyring: the one key, and the one of the pin' "$FINGERPRINT" \
    "$(gpg --homedir "$WORK/keys/archive" --batch --with-colons --show-keys "$READ/keyring" | awk -F: '$1 == "fpr" { print $10 }')"
}

# What the Imager writes must be what cloud-init reads, and nothing of it may be there before.
imager_points() {
  in_root "dump /etc/cloud/cloud.cfg.d/90-toolmaster.cfg $READ/cloud.cfg"
  point 'A3 cloud-init reads its seed on partition 1' bootfs "$(sed -n 's/^ *fs_label: //p' "$READ/cloud.cfg")"
  point 'A3 no seed before the Imager writes one' '' "$(cd "$READ/fat" && ls -d user-data meta-data network-config firstrun.sh 2>/dev/null)"
}

# units IMAGE OFFSET DIRECTORY: the links and files of /etc/systemd there.
units() {
  mkdir "$3"
  debugfs -R "rdump /etc/systemd $3" "$1?offset=$2" 2>/dev/null
  (cd "$3" && find . ! -type d -printf '%P -> %l\n' | LC_ALL=C sort) >"$3.list"
}

unit_points() {
  units "$IMAGE" "$ROOT_AT" "$READ/units"
  units "$VIRT" "$ROOT_AT" "$READ/virt-units"
  point 'units: as in the image for QEMU, but' $'> systemd/system.conf.d/watchdog.conf -> \n> systemd/system/rpi-eeprom-update.service -> /dev/null' \
    "$(diff "$READ/virt-units.list" "$READ/units.list" | grep '^[<>]')"
  point 'A5 watchdog' 15s "$(sed -n 's/^RuntimeWatchdogSec=//p' "$READ/units/systemd/system.conf.d/watchdog.conf")"
  point 'A5 nothing flashes the boot loader by itself' /dev/null "$(readlink "$READ/units/systemd/system/rpi-eeprom-update.service")"
}

all_points() {
  READ=$WORK/read ROOT_AT=$(((ALIGN + BOOT_SIZE) * MIB))
  mkdir "$READ"
  printf 'verdict | point | expected | found\n'
  partition_points
  fat_points
  config_points
  root_points
  package_points
  imager_points
  unit_points
}
