# shellcheck shell=bash
# Kernel and initrd, beside the image for QEMU's direct boot and on the FAT partition.
make_boot_files() {
  local tree=$WORK/initrd modules=$WORK/modules version module file
  mkdir -p "$modules" "$tree"/{bin,lib,modules}
  tar -C "$modules" -xf "$ROOT" --wildcards './usr/lib/modules' './boot/vmlinuz-*' './usr/bin/busybox' './usr/sbin/findfs' \
    './usr/lib/ld-linux-aarch64.so.1' './usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1' './usr/lib/aarch64-linux-gnu/libblkid.so.1*' \
    './usr/lib/aarch64-linux-gnu/libc.so.6'
  ln -s usr/lib "$modules/lib"
  version=$(ls "$modules/usr/lib/modules")
  cp "$modules/usr/bin/busybox" "$modules/usr/sbin/findfs" "$tree/bin/"
  cp -L "$modules/usr/lib/aarch64-linux-gnu/"{ld-linux-aarch64.so.1,libblkid.so.1,libc.so.6} "$tree/lib/"
  install -m 755 image/initrd/init "$tree/init"
  while read -r module; do
    modprobe -d "$modules" -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
  done < <(grep -vE '^(#|$)' image/initrd/modules) | awk '!seen[$0]++' >"$WORK/insmod"
  while read -r file; do
    module=${file##*/}
    module=${module%.xz}
    if [ "$file" = "${file%.xz}" ]; then cp "$file" "$tree/modules/$module"; else xz -dc "$file" >"$tree/modules/$module"; fi
    echo "$module"
  done <"$WORK/insmod" >"$tree/modules/order"
  find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  (cd "$tree" && find . | LC_ALL=C sort | cpio --quiet --reproducible -o -H newc -R 0:0) | gzip -n9 >"$OUT/toolmaster-$TARGET.initrd"
  # The kernel is a compressed EFI program; QEMU takes it as it is.
  cp "$modules/boot/vmlinuz-$version" "$OUT/toolmaster-$TARGET.kernel"
  printf 'root=PARTUUID=%s ro quiet\n' "${ROOT_PARTUUID,,}" >"$OUT/toolmaster-$TARGET.cmdline"
  KERNEL=$OUT/toolmaster-$TARGET.kernel
  mkdir "$WORK/boot"
  cp "$KERNEL" "$WORK/boot/vmlinuz"
  cp "$OUT/toolmaster-$TARGET.initrd" "$WORK/boot/initrd"
  cp "$OUT/toolmaster-$TARGET.cmdline" "$WORK/boot/cmdline.txt"
}
