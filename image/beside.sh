# shellcheck shell=bash
# What lies beside an image that is given away: compressed image, block map, list of contents, Imager's manifest, sums.

need_beside_packages() {
  need_packages jq perl
}

make_beside() {
  local image=$OUT/toolmaster-$TARGET.img file
  # Two threads and a fixed level: xz cuts its blocks by them, not by the machine's cores. Of what Imager reads, xz is the smallest.
  tool xz --threads=2 -3 --keep --force --stdout "$image" >"$WORK/image.xz"
  mv "$WORK/image.xz" "$image.xz"
  used_blocks "$image" | image/bmap.pl --make "$image" >"$WORK/bmap"
  mv "$WORK/bmap" "$image.bmap"
  make_sbom >"$WORK/sbom"
  mv "$WORK/sbom" "$OUT/toolmaster-$TARGET.spdx.json"
  imager_manifest "$image" >"$WORK/imager"
  mv "$WORK/imager" "$OUT/toolmaster-$TARGET.rpi-imager-manifest"
  (
    cd "$OUT" || exit
    for file in "toolmaster-$TARGET".{img.xz,img.bmap,spdx.json,rpi-imager-manifest,json,kernel,initrd,cmdline}; do
      [ ! -f "$file" ] || sha256sum "$file" # the last three are QEMU's
    done
  ) >"$WORK/sums"
  mv "$WORK/sums" "$OUT/toolmaster-$TARGET.SHA256SUMS"
}

# partitions IMAGE: number, first byte and bytes of each.
partitions() {
  sfdisk --dump "$1" | sed -n 's/^.*[^0-9]\([0-9]*\) : start= *\([0-9]*\), size= *\([0-9]*\),.*/\1 \2 \3/p' |
    awk '{ printf "%d %.0f %.0f\n", $1, $2 * 512, $3 * 512 }'
}

# used_blocks IMAGE: ranges of 4 KiB blocks that must be written to a disk: what the file systems have in use, zeros or not, and
# all that is outside of the partitions, where the partition tables are.
used_blocks() {
  local number start size last=0
  while read -r number start size; do
    [ "$start" -eq "$last" ] || printf '%d-%d\n' $((last / 4096)) $((start / 4096 - 1))
    case $number in
      1) image/bmap.pl --fat "$1" "$start" ;;
      *) ext4_blocks "$1" "$start" "$size" ;;
    esac
    last=$((start + size))
  done < <(partitions "$1")
  printf '%d-%d\n' $((last / 4096)) $((($(stat -c %s "$1") - 1) / 4096))
}

# ext4_blocks IMAGE START BYTES: everything but the free blocks (the file systems have blocks of 4 KiB too).
ext4_blocks() {
  dd if="$1" of="$WORK/ext4" bs=1M iflag=skip_bytes,count_bytes skip="$2" count="$3" conv=sparse status=none
  tool dumpe2fs "$WORK/ext4" 2>"$WORK/dumpe2fs.log" | sed -n 's/^  Free blocks: //p' | tr ',' '\n' | tr -d ' ' |
    awk -F - -v first=$(($2 / 4096)) -v blocks=$(($3 / 4096)) '
      $1 == "" { next }
      { end = NF > 1 ? $2 : $1; if ($1 > next_used) printf "%d-%d\n", first + next_used, first + $1 - 1; next_used = end + 1 }
      END { if (next_used < blocks) printf "%d-%d\n", first + next_used, first + blocks - 1 }'
  rm "$WORK/ext4"
}

# imager_manifest IMAGE: what Raspberry Pi Imager needs to offer this image, with users, keys and host name to set (it writes
# cloud-init's files). Without --url it holds bare file names; Imager wants whole addresses.
imager_manifest() {
  jq -n --arg target "$TARGET" --arg base "$URL" --arg file "${1##*/}" \
    --arg sha "$(sha256sum <"$1" | cut -c 1-64)" --argjson size "$(stat -c %s "$1")" \
    --arg xzsha "$(sha256sum <"$1.xz" | cut -c 1-64)" --argjson xzsize "$(stat -c %s "$1.xz")" \
    --arg date "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%d)" '
    { os_list: [ {
      name: (if $target == "rpi5" then "toolmaster" else "toolmaster for QEMU (boots no Pi)" end),
      description: "Tool lists and drawings on labelled USB sticks, snapshots, backups",
      icon: "",
      url: ($base + $file + ".xz"),
      bmap_url: ($base + $file + ".bmap"),
      extract_size: $size,
      extract_sha256: $sha,
      image_download_size: $xzsize,
      image_download_sha256: $xzsha,
      release_date: $date,
      init_format: "cloudinit",
      architecture: "armv8",
      devices: (if $target == "rpi5" then ["pi5-64bit", "pi5"] else [] end)
    } ] }'
}
