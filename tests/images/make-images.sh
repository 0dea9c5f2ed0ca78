#!/bin/bash
# Makes the prober's corpus: *.img.zst beside this script. Which answer each must give is in *.expect, which
# `PROBE_BLESS=1 cargo test --test probe` writes; read what it wrote before you believe it.
#
# Needs Debian packages: dosfstools mtools exfatprogs e2fsprogs ntfs-3g xfsprogs btrfs-progs squashfs-tools genisoimage
# cryptsetup-bin gdisk fdisk util-linux zstd perl-base. Needs no root and no loop device; /srv, /mnt stay untouched.
# Serial numbers, UUIDs and times are fixed where the tools allow it; images of NTFS, XFS, btrfs, LUKS, ISO 9660 and
# fatlabel differ each time.
set -euo pipefail
export LC_ALL=C.UTF-8 TZ=UTC SOURCE_DATE_EPOCH=1735689600 E2FSPROGS_FAKE_TIME=1735689600 MTOOLS_SKIP_CHECK=1
export PATH=$PATH:/usr/sbin:/sbin

out=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uuid=6d1f0a52-3c2e-4b0e-9a54-0123456789ab

# new NAME SIZE: an empty image.
new() { rm -f "$1.img"; truncate -s "$2" "$1.img"; }
# copy FROM TO: a copy to be changed.
copy() { cp --sparse=always "$1.img" "$2.img"; }
# put NAME OFFSET BYTES: BYTES as printf(1) writes them.
put() {
    # shellcheck disable=SC2059 # the bytes are the format
    printf -- "$3" | dd of="$1.img" bs=1 seek="$(($2))" conv=notrunc status=none
}
# graft FROM TO OFFSET LENGTH: LENGTH bytes at OFFSET from one image into another.
graft() { dd if="$1.img" of="$2.img" bs=1 skip="$(($3))" seek="$(($3))" count="$(($4))" conv=notrunc status=none; }
# exfat_sum NAME: computes an exFAT boot checksum anew (512-byte sectors), after the boot sector was changed.
exfat_sum() {
    perl -e 'open F, "+<:raw", $ARGV[0] or die; read F, $d, 5632 or die; my $s = 0; my $i = 0;
        for (unpack "C*", $d) { if ($i != 106 && $i != 107 && $i != 112) { $s = ((($s & 1) << 31) + ($s >> 1) + $_) & 0xffffffff } $i++ }
        seek F, 5632, 0; print F pack("V", $s) x 128; close F' "$1.img"
}

# --- ext ---------------------------------------------------------------------------------------------------------------
ext() { # NAME SIZE TYPE [mke2fs options]
    local name=$1 size=$2 type=$3
    shift 3
    new "$name" "$size"
    mke2fs -q -F -t "$type" -U "$uuid" -E "hash_seed=$uuid,root_owner=0:0" "$@" "$name.img" 2>/dev/null
}
ext ext2-1k 1M ext2 -b 1024 -L TM-DIST
ext ext2-4k 2M ext2 -b 4096
ext ext3-1k 4M ext3 -b 1024 -L TM-BACKUP
ext ext3-4k 16M ext3 -b 4096
ext ext4-1k 4M ext4 -b 1024 -L TM-INGEST
ext ext4-4k 16M ext4 -b 4096 -L TM-BACKUP
ext ext4-64bit 4M ext4 -b 1024 -O 64bit
ext ext4-no-journal 2M ext4 -b 1024 -O ^has_journal
ext ext4-no-csum 4M ext4 -b 1024 -O ^metadata_csum -L TM-INGEST
ext ext4-bigalloc 16M ext4 -b 4096 -O bigalloc
ext ext4-label-16 2M ext4 -b 1024 -L 0123456789ABCDEF
ext ext4-label-japanese 2M ext4 -b 1024 -L 工場データ
ext ext4-journal-device 4M ext4 -b 1024 -O journal_dev
ext ext2-rev0 1M ext2 -b 1024 -r 0
copy ext4-no-csum ext4-label-control && put ext4-label-control 0x478 '\033[31mRED\n'
copy ext4-no-csum ext4-label-not-utf8 && put ext4-label-not-utf8 0x478 '\203c\201[\203\213TM'
copy ext4-1k ext4-journal-dirty && debugfs -w -R 'feature needs_recovery' ext4-journal-dirty.img >/dev/null 2>&1
copy ext4-1k ext4-error-state && debugfs -w -R 'ssv state 2' ext4-error-state.img 2>/dev/null
copy ext4-1k ext4-error-count && debugfs -w -R 'ssv error_count 3' ext4-error-count.img 2>/dev/null
copy ext2-1k ext2-not-clean && debugfs -w -R 'ssv state 0' ext2-not-clean.img 2>/dev/null
copy ext3-1k ext3-journal-dirty && debugfs -w -R 'feature needs_recovery' ext3-journal-dirty.img >/dev/null 2>&1
copy ext4-1k ext4-journal-elsewhere && debugfs -w -R 'ssv journal_inum 0' ext4-journal-elsewhere.img 2>/dev/null
copy ext4-1k ext4-checksum-wrong && put ext4-checksum-wrong 0x47b X
copy ext4-1k ext4-magic-flipped && put ext4-magic-flipped 0x438 R
copy ext4-no-csum ext4-unknown-feature && put ext4-unknown-feature 0x463 '\100'
copy ext4-no-csum ext4-test-filesys && put ext4-test-filesys 0x560 '\005'
copy ext4-no-csum ext4-block-shift-255 && put ext4-block-shift-255 0x418 '\377'
copy ext4-no-csum ext4-blocks-0 && put ext4-blocks-0 0x404 '\0\0\0\0'
copy ext4-no-csum ext4-blocks-huge && put ext4-blocks-huge 0x404 '\377\377\377\377'
copy ext4-no-csum ext4-inodes-per-group-0 && put ext4-inodes-per-group-0 0x428 '\0\0\0\0'
copy ext2-1k ext2-needs-recovery && put ext2-needs-recovery 0x460 '\006'
for size in 1024 1536 2048 65536; do copy ext4-1k "ext4-cut-$size" && truncate -s "$size" "ext4-cut-$size.img"; done
# A copy of the superblock where the first one would be: what a wrong `dd skip=` leaves.
ext long 10M ext4 -b 1024 -O ^sparse_super2
dd if=long.img of=ext4-begins-elsewhere.img bs=1024 skip=8192 conv=sparse status=none && rm long.img

# --- FAT ---------------------------------------------------------------------------------------------------------------
fat() { # NAME SIZE BITS [mkfs.vfat options]
    local name=$1 size=$2 bits=$3
    shift 3
    new "$name" "$size"
    mkfs.vfat --invariant -F "$bits" -i 1234ABCD "$@" "$name.img" >/dev/null 2>&1
}
fat fat12 1M 12
fat fat12-label 1M 12 -n TM-DIST
fat fat16 4M 16 -s 1
fat fat16-label 4M 16 -s 1 -n TM-INGEST
fat fat16-label-11 4M 16 -s 1 -n ABCDEFGHIJK
fat fat16-fake-mbr 4M 16 -s 1 -n TM-INGEST --mbr=y
fat fat32 2M 32 -s 1
fat fat32-label 2M 32 -s 1 -n TM-BACKUP
fat fat32-65525-clusters 34M 32 -s 1 -n TM-INGEST
fat fat32-sectors-4096 16M 32 -s 1 -S 4096 -n TM-INGEST
fat fat32-one-fat 2M 32 -s 1 -f 1 -n TM-INGEST
copy fat16 fat16-fatlabel && fatlabel fat16-fatlabel.img TM-INGEST >/dev/null
copy fat32 fat32-fatlabel && fatlabel fat32-fatlabel.img TM-INGEST >/dev/null
copy fat16 fat16-mlabel && mlabel -i fat16-mlabel.img ::TM-DIST
# mtools takes a FAT32 with fewer than 65525 clusters for a FAT16 without a root directory.
fat fat32-mlabel 34M 32 -s 1
copy fat32-mlabel fat32-label-second-cluster
mlabel -i fat32-mlabel.img ::TM-DIST
# Places in these images: FAT16's root directory, FAT32's first FAT and root cluster.
root16=$((($(od -An -tu2 -j14 -N2 fat16.img) + 2 * $(od -An -tu2 -j22 -N2 fat16.img)) * 512))
fat32=$(($(od -An -tu2 -j14 -N2 fat32.img) * 512))
data32=$((fat32 + 2 * $(od -An -tu4 -j36 -N4 fat32.img) * 512))
copy fat16 fat16-label-boot-only && put fat16-label-boot-only 43 'TM-INGEST  '
copy fat32 fat32-label-boot-only && put fat32-label-boot-only 71 'TM-INGEST  '
copy fat16-label fat16-label-root-only && put fat16-label-root-only 43 'NO NAME    '
copy fat32-label fat32-label-root-only && put fat32-label-root-only 71 'NO NAME    '
copy fat16-label fat16-labels-differ && put fat16-labels-differ 43 'TM-DIST    '
copy fat16-label fat16-label-no-name && put fat16-label-no-name 43 'NO NAME    ' && put fat16-label-no-name "$root16" 'NO NAME    '
copy fat16-label fat16-label-deleted && put fat16-label-deleted "$root16" '\345' && put fat16-label-deleted 43 'NO NAME    '
copy fat16-label fat16-label-0x05 && put fat16-label-0x05 "$root16" '\005ABC       '
copy fat16-label fat16-label-cp932 && put fat16-label-cp932 "$root16" '\203c\201[\203\213     '
copy fat16-label fat16-label-archive && put fat16-label-archive "$((root16 + 11))" '\050'
copy fat16-label fat16-label-directory && put fat16-label-directory "$((root16 + 11))" '\030'
copy fat16 fat16-label-after-files
echo x >x && for i in 1 2 3; do mcopy -i fat16-label-after-files.img x "::A long file name, number $i"; done
mlabel -i fat16-label-after-files.img ::TM-INGEST
for i in $(seq 8); do mcopy -i fat32-label-second-cluster.img x "::A long file name, number $i"; done
mlabel -i fat32-label-second-cluster.img ::TM-INGEST
# A full root cluster, whose chain then loops, leaves the medium, or meets a bad cluster.
copy fat32 full
for i in $(seq 16); do put full "$((data32 + (i - 1) * 32))" "$(printf 'FILE%04dTXT\\040' "$i")"; done
copy full fat32-root-loop && put fat32-root-loop "$((fat32 + 8))" '\002\0\0\0'
copy full fat32-root-chain-beyond && put fat32-root-chain-beyond "$((fat32 + 8))" '\377\377\0\0'
copy full fat32-root-chain-bad && put fat32-root-chain-bad "$((fat32 + 8))" '\367\377\377\017'
copy fat32-label fat32-root-0 && put fat32-root-0 44 '\0\0\0\0'
copy fat32-label fat32-root-beyond && put fat32-root-beyond 44 '\377\377\377\017'
copy fat16-label fat16-dirty-boot && put fat16-dirty-boot 37 '\001'
copy fat16-label fat16-dirty-table && put fat16-dirty-table 515 '\177'
copy fat32-label fat32-dirty-boot && put fat32-dirty-boot 65 '\001'
copy fat32-label fat32-dirty-table && put fat32-dirty-table "$((fat32 + 7))" '\007'
copy fat32-label fat32-hard-error && put fat32-hard-error "$((fat32 + 7))" '\013'
copy fat32-label fat32-fsinfo-overwritten && put fat32-fsinfo-overwritten 512 XXXX
copy fat32-label fat32-fsinfo-none && put fat32-fsinfo-none 48 '\0\0'
copy fat32-label fat32-version-1 && put fat32-version-1 42 '\001'
copy fat16-label fat16-no-serial && put fat16-no-serial 38 '\0'
copy fat16-label fat16-serial-only && put fat16-serial-only 38 '\050'
copy fat16-label fat16-type-name-lies && put fat16-type-name-lies 54 'FAT12   '
copy fat16-label fat16-no-type-name && put fat16-no-type-name 54 '        '
copy fat16-label fat16-no-55aa && put fat16-no-55aa 510 '\0\0'
copy fat16-label fat16-sectors-per-cluster-0 && put fat16-sectors-per-cluster-0 13 '\0'
copy fat16-label fat16-sector-size-0 && put fat16-sector-size-0 11 '\0\0'
copy fat16-label fat16-total-0 && put fat16-total-0 19 '\0\0'
copy fat16-label fat16-reserved-0 && put fat16-reserved-0 14 '\0\0'
copy fat16-label fat16-root-entries-65535 && put fat16-root-entries-65535 17 '\377\377'
copy fat16-label fat16-fat-too-short && put fat16-fat-too-short 22 '\001\0'
copy fat32-label fat32-total-huge && put fat32-total-huge 19 '\0\0\370\0\0' && put fat32-total-huge 32 '\377\377\377\377'
copy fat32-label fat32-fat-huge && put fat32-fat-huge 36 '\377\377\377\377'
# 4084 clusters: FAT12's last number by fatgen103 (below 4085), FAT16's first by libblkid (below 4084 is FAT12).
fat fat12-4084-clusters 2M 12 -s 1 -r 16 -R 1 && truncate -s 3M fat12-4084-clusters.img
total=$((1 + 2 * $(od -An -tu2 -j22 -N2 fat12-4084-clusters.img) + 1 + 4084))
put fat12-4084-clusters 19 "$(printf '\\%03o\\%03o' $((total & 255)) $((total >> 8)))"
for size in 512 1024 4096 1048576; do copy fat16-label "fat16-cut-$size" && truncate -s "$size" "fat16-cut-$size.img"; done

# --- exFAT -------------------------------------------------------------------------------------------------------------
exfat() { # NAME [mkfs.exfat options]
    local name=$1
    shift
    new "$name" 2M
    mkfs.exfat -b 64K "$@" "$name.img" >/dev/null
    exfatlabel -i "$name.img" 0x1234ABCD >/dev/null
}
exfat exfat
exfat exfat-label -L TM-INGEST
exfat exfat-label-japanese -L 工場データ
exfat exfat-label-11 -L ABCDEFGHIJK
exfat exfat-small-clusters -c 512 -L TM-DIST
heap=$(($(od -An -tu4 -j88 -N4 exfat-label.img) * 512))
rootc=$(od -An -tu4 -j96 -N4 exfat-label.img)
cluster=$((512 << $(od -An -tu1 -j109 -N1 exfat-label.img)))
root=$((heap + (rootc - 2) * cluster))
copy exfat-label exfat-label-lone-surrogate && put exfat-label-lone-surrogate "$((root + 2))" '\075\330'
copy exfat-label exfat-label-blanks && put exfat-label-blanks "$((root + 18))" ' \0'
copy exfat-label exfat-label-control && put exfat-label-control "$((root + 2))" '\033\0'
copy exfat-label exfat-label-length-255 && put exfat-label-length-255 "$((root + 1))" '\377'
copy exfat-label exfat-label-deleted && put exfat-label-deleted "$root" '\003'
copy exfat-label exfat-dirty && put exfat-dirty 106 '\002'
copy exfat-label exfat-media-failure && put exfat-media-failure 106 '\004'
copy exfat-label exfat-checksum-wrong && put exfat-checksum-wrong 300 X
copy exfat-checksum-wrong exfat-both-checksums-wrong && put exfat-both-checksums-wrong "$((6144 + 300))" X
copy exfat-label exfat-no-55aa && put exfat-no-55aa 510 '\0'
copy exfat-label exfat-must-be-zero && put exfat-must-be-zero 20 X && exfat_sum exfat-must-be-zero
copy exfat-label exfat-revision-2 && put exfat-revision-2 105 '\002' && exfat_sum exfat-revision-2
copy exfat-label exfat-root-0 && put exfat-root-0 96 '\0\0\0\0' && exfat_sum exfat-root-0
copy exfat-label exfat-root-beyond && put exfat-root-beyond 96 '\377\377\0\0' && exfat_sum exfat-root-beyond
copy exfat-label exfat-sector-shift-255 && put exfat-sector-shift-255 108 '\377'
copy exfat-label exfat-cluster-shift-255 && put exfat-cluster-shift-255 109 '\377'
copy exfat-label exfat-volume-huge && put exfat-volume-huge 72 '\377\377\377\377\377\377\377\377' && exfat_sum exfat-volume-huge
copy exfat-label exfat-clusters-huge && put exfat-clusters-huge 92 '\377\377\377\377' && exfat_sum exfat-clusters-huge
copy exfat-label exfat-fats-0 && put exfat-fats-0 110 '\0' && exfat_sum exfat-fats-0
# A root cluster full of deleted entries whose chain leads back to itself.
fat=$(($(od -An -tu4 -j80 -N4 exfat-small-clusters.img) * 512))
heap=$(($(od -An -tu4 -j88 -N4 exfat-small-clusters.img) * 512))
rootc=$(od -An -tu4 -j96 -N4 exfat-small-clusters.img)
copy exfat-small-clusters exfat-root-loop
for i in $(seq 0 31); do put exfat-root-loop "$((heap + (rootc - 2) * 512 + i * 32))" '\003'; done
put exfat-root-loop "$((fat + rootc * 4))" "$(printf '\\%03o\\%03o\\0\\0' $((rootc & 255)) $((rootc >> 8)))"
for size in 512 6144 131072; do copy exfat-label "exfat-cut-$size" && truncate -s "$size" "exfat-cut-$size.img"; done

# --- what a stick must not be ------------------------------------------------------------------------------------------
new gpt 2M && sgdisk -U "$uuid" -n 1:2048:0 -u "1:$uuid" -t 1:0700 gpt.img >/dev/null
copy gpt gpt-header-lost && put gpt-header-lost 512 '\0\0\0\0\0\0\0\0'
new mbr 2M && printf 'label: dos\nlabel-id: 0x1234abcd\nstart=1024, type=c\n' | sfdisk -q mbr.img
new mbr-empty 2M && printf 'label: dos\nlabel-id: 0x1234abcd\n' | sfdisk -q mbr-empty.img
new swap 1M && mkswap -q -U "$uuid" -L TM-INGEST swap.img 2>/dev/null
echo key >key
new luks1 20M && cryptsetup -q luksFormat --type luks1 --uuid "$uuid" --pbkdf-force-iterations 1000 luks1.img key && truncate -s 4K luks1.img
new luks2 20M && cryptsetup -q luksFormat --type luks2 --uuid "$uuid" --pbkdf pbkdf2 --pbkdf-force-iterations 1000 luks2.img key && truncate -s 32K luks2.img
copy luks2 luks2-second-header && dd if=/dev/zero of=luks2-second-header.img bs=4096 count=1 conv=notrunc status=none
new xfs 300M && mkfs.xfs -q -m uuid="$uuid" -L TM-INGEST xfs.img && truncate -s 128K xfs.img
new btrfs 120M && mkfs.btrfs -q -U "$uuid" -L TM-INGEST btrfs.img >/dev/null 2>&1 && truncate -s 1M btrfs.img
mkdir tree && echo x >tree/x && touch -d @1735689600 tree/x tree
mksquashfs tree squashfs.img -quiet -no-progress -all-root -noappend
genisoimage -quiet -V TM-INGEST -o iso9660.img tree
new ntfs 2M && mkntfs -q -F -f -L TM-INGEST ntfs.img >/dev/null 2>&1
copy fat32-label bitlocker-to-go && put bitlocker-to-go 3 'MSWIN4.1'
put bitlocker-to-go 440 '\0\0\020' && put bitlocker-to-go 0x100000 '-FVE-FS-\100\0\002\0'
put bitlocker-to-go 424 '\073\326\147\111\051\056\330\112\203\231\366\243\071\343\320\001'
# Linux RAID, by hand: only the magic and the version, which is all that is looked at.
copy ext4-1k raid1-of-ext4 && put raid1-of-ext4 "$((4 * 1024 * 1024 - 8192))" '\374\116\053\251\001\0\0\0'
new raid-1.2 1M && put raid-1.2 4096 '\374\116\053\251\001\0\0\0'
new lvm2 1M && put lvm2 512 'LABELONE\001\0\0\0\0\0\0\0\0\0\0\0\040\0\0\0LVM2 001'
new udf 1M && put udf 0x8000 '\0BEA01\001' && put udf 0x8800 '\0NSR03\001' && put udf 0x9000 '\0TEA01\001'

# --- two at once -------------------------------------------------------------------------------------------------------
copy ext4-1k ext4-and-fat && graft fat12-label ext4-and-fat 0 512
copy ext4-1k ext4-and-mbr && graft mbr ext4-and-mbr 0 512
fat fat16-and-gpt 4M 16 -s 1 -R 32 -n TM-INGEST && graft gpt fat16-and-gpt 512 512
# What fdisk leaves of a stick that was one FAT: its numbers in the boot sector, and a partition table behind them.
copy fat32-label fat32-and-mbr && graft mbr fat32-and-mbr 440 72
copy exfat-label exfat-and-btrfs && graft btrfs exfat-and-btrfs 0x10000 4096
copy fat32-label fat32-and-swap && graft swap fat32-and-swap 1024 3072
copy ext4-1k ext4-and-damaged-fat && graft fat16-sectors-per-cluster-0 ext4-and-damaged-fat 0 512
copy ext4-checksum-wrong damaged-ext4-and-fat && graft fat12-label damaged-ext4-and-fat 0 512
# Two bytes like ext's magic in the middle of a FAT are chance.
copy fat16-label fat16-chance-ext-magic && put fat16-chance-ext-magic 1080 '\123\357'

# --- nothing -----------------------------------------------------------------------------------------------------------
new zero 1M
new empty 0
printf x >one-byte.img
{ printf 'not a file system\n' && seq 1000; } >text.img

rm -f "$out"/*.img.zst
for image in *.img; do
    case $image in full.img) continue ;; esac
    zstd -q -19 "$image" -o "$out/$image.zst"
done
printf '%s images, %s\n' "$(find "$out" -name '*.img.zst' | wc -l)" "$(du -sh "$out" | cut -f1)"
