# shellcheck shell=bash
# The disk: file systems made from tar files and folders, put into a sparse file. No mount, no loop device, no root.

make_disk() {
  local image=$WORK/disk.img mib=$((1024 * 1024)) boot_at=$ALIGN root_at data_at
  root_at=$((boot_at + BOOT_SIZE)) data_at=$((boot_at + BOOT_SIZE + ROOT_SIZE))
  make_boot_partition "$WORK/boot.vfat"
  tar -C "$WORK" --owner=0 --group=0 -cf "$WORK/data.tar" --files-from=/dev/null
  make_ext4 rootfs "$ROOT_UUID" "$ROOT_SIZE" "$ROOT" "$WORK/root.ext4"
  data_tar "$WORK/data.tar"
  make_ext4 data "$DATA_UUID" "$DATA_SIZE" "$WORK/data.tar" "$WORK/data.ext4"

  truncate -s $(((data_at + DATA_SIZE + ALIGN) * mib)) "$image"
  sfdisk --quiet --no-reread --no-tell-kernel "$image" <<TABLE
label: gpt
label-id: $DISK_ID
start=$((boot_at * mib / 512)), size=$((BOOT_SIZE * mib / 512)), type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, uuid=$BOOT_PARTUUID, name=bootfs
start=$((root_at * mib / 512)), size=$((ROOT_SIZE * mib / 512)), type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE, uuid=$ROOT_PARTUUID, name=rootfs
start=$((data_at * mib / 512)), size=$((DATA_SIZE * mib / 512)), type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=$DATA_PARTUUID, name=data
TABLE
  put() { dd if="$1" of="$image" bs=1M seek="$2" conv=notrunc,sparse status=none; }
  put "$WORK/boot.vfat" "$boot_at"
  put "$WORK/root.ext4" "$root_at"
  put "$WORK/data.ext4" "$data_at"
  mv "$image" "$OUT/toolmaster-$TARGET.img"
}

# make_ext4 LABEL UUID MIB TAR FILE: owners, modes and times come from the tar file.
make_ext4() {
  MKE2FS_CONFIG=$TOOLS/etc/mke2fs.conf tool mke2fs -q -F -t ext4 -b 4096 -L "$1" -U "$2" \
    -E "hash_seed=$2,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0" -d "$4" "$5" "$3M"
}

# The data partition is empty but for the place where docker keeps its things.
data_tar() {
  mkdir -p "$WORK/data/docker"
  chmod 755 "$WORK/data"
  chmod 710 "$WORK/data/docker"
  tar -C "$WORK/data" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -cf "$1" .
}

# make_boot_partition FILE: what the target's make_boot_files put into $WORK/boot, and what an operator starts from. Folders and files by name in sorted order,
# for the order of a folder's entries is part of the partition's bytes.
make_boot_partition() {
  local path
  cp config/toolmaster.sample.json "$WORK/boot/toolmaster-sample.json"
  find "$WORK/boot" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
  truncate -s "${BOOT_SIZE}M" "$1"
  tool mkfs.vfat --invariant -F 32 -s 1 -n bootfs -i "$BOOT_SERIAL" "$1" >/dev/null
  while read -r path; do
    if [ -d "$WORK/boot/$path" ]; then
      TZ=UTC MTOOLS_SKIP_CHECK=1 tool mmd -i "$1" "::/$path"
    else
      TZ=UTC MTOOLS_SKIP_CHECK=1 tool mcopy -m -i "$1" "$WORK/boot/$path" "::/$path"
    fi
  done < <(cd "$WORK/boot" && find . -mindepth 1 -printf '%P\n' | LC_ALL=C sort)
}

# What this image is made of, for whoever finds it later.
make_manifest() {
  cat >"$OUT/toolmaster-$TARGET.json" <<JSON
{
  "image": "toolmaster-$TARGET.img",
  "target": "$TARGET",
  "suite": "$SUITE",${MANIFEST_MORE-}
  "source_date_epoch": $SOURCE_DATE_EPOCH,
  "package": "$(basename "$DEB")",
  "package_sha256": "$(sha256sum "$DEB" | cut -d ' ' -f 1)",
  "kernel_sha256": "$(sha256sum "$KERNEL" | cut -d ' ' -f 1)",
  "container": "$(<"$CONTAINER/postgres.id")",
  "container_source": "$CONTAINER_SOURCE",
  "container_bytes": $(stat -c %s "$CONTAINER/postgres.tar.zst")
}
JSON
}
