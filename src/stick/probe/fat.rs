//! FAT12, FAT16, FAT32. On-disk format: Microsoft's "FAT32 File System Specification" 1.03 (fatgen103); where practice
//! differs, libblkid `superblocks/vfat.c` and the kernel's `fs/fat/inode.c`. Pure.
//!
//! Decisions: `BPB_FATSz16 == 0` makes a FAT32, as kernel and libblkid see it; fatgen103 would go by the cluster count
//! alone and call a small FAT32 a FAT16. FAT12 and FAT16 are told apart by the count (below 4085), as fatgen103 says.
//!
//! A label is in the OEM code page of the PC that wrote it, which the medium does not name. A byte that is not
//! printable ASCII therefore becomes U+FFFD, one each: a guess (CP932, CP850) could turn into somebody's role label.

use super::directory::{self, Chain, Entry, Look};
use super::medium::{Bytes, Medium, push, serial};
use super::{Finding, FsType, NotAStick, Superblock};

// Boot sector, fatgen103 "Boot Sector and BPB Structure".
const JUMP_BOOT: usize = 0;
const BYTES_PER_SECTOR: usize = 11;
const SECTORS_PER_CLUSTER: usize = 13;
const RESERVED: usize = 14;
const FATS: usize = 16;
const ROOT_ENTRIES: usize = 17;
const TOTAL_16: usize = 19;
const MEDIA: usize = 21;
const FAT_LEN_16: usize = 22;
const TOTAL_32: usize = 32;
/// FAT32 only, as the five that follow.
const FAT_LEN_32: usize = 36;
/// Bits 0-3 the active FAT, bit 7 "only that one is kept".
const EXT_FLAGS: usize = 40;
const VERSION: usize = 42;
const ROOT_CLUSTER: usize = 44;
const FSINFO: usize = 48;
/// Begins the extended part, at 36 or 64: drive number, state (bit 0 dirty, bit 1 surface errors), signature
/// 0x28 or 0x29, serial number, label (0x29 only), type.
const EXTENDED_16: usize = 36;
const EXTENDED_32: usize = 64;
const EXT_STATE: usize = 1;
const EXT_SIGNATURE: usize = 2;
const EXT_SERIAL: usize = 3;
const EXT_LABEL: usize = 7;
const EXT_TYPE: usize = 18;
const SIGNATURE: usize = 510;

// Directory entry, fatgen103 "FAT Directory Structure": name 0-10, attributes 11, cluster 20-21 and 26-27.
const ATTR: usize = 11;
const ATTR_VOLUME_ID: u8 = 0x08;
const ATTR_ARCHIVE: u8 = 0x20;
/// Bits 6 and 7 are reserved.
const ATTR_MASK: u8 = 0x3f;
const DELETED: u8 = 0xe5;
const NAME_LEN: usize = 11;
const NO_NAME: &[u8] = b"NO NAME    ";

/// Sizes and places, in sectors unless said otherwise, checked against each other.
struct Geometry {
    fstype: FsType,
    sector: u64,
    cluster: u64,
    reserved: u64,
    fat_len: u64,
    /// First sector of FAT12/16's root directory, and of the clusters.
    root: u64,
    data: u64,
    total: u64,
    clusters: u32,
    extended: usize,
}

/// Looks for a FAT at the medium's beginning.
pub(super) fn probe(head: &Bytes, medium: &mut Medium<'_>) -> Result<Finding, NotAStick> {
    let jump = matches!(head.slice(JUMP_BOOT, 3), [0xeb, _, 0x90] | [0xe9, _, _]);
    let signed = head.has(SIGNATURE, &[0x55, 0xaa]);
    let named = [b"FAT12   ", b"FAT16   ", b"FAT     "].iter().any(|name| head.has(EXTENDED_16 + EXT_TYPE, *name))
        || head.has(EXTENDED_32 + EXT_TYPE, b"FAT32   ");
    let damaged = |what| {
        if named { Finding::Damaged { format: "FAT", what, sure: jump && signed } } else { Finding::Absent }
    };
    let geometry = match geometry(head) {
        Err(what) => return Ok(damaged(what)),
        // A boot sector of JFS or HPFS imitates one of FAT (libblkid vfat.c, fat_valid_superblock).
        Ok(_) if head.has(EXTENDED_16 + EXT_TYPE, b"JFS     ") || head.has(EXTENDED_16 + EXT_TYPE, b"HPFS    ") => {
            return Ok(Finding::Absent);
        }
        Ok(_) if !jump || !signed => return Ok(damaged("its boot sector is overwritten")),
        Ok(geometry) => geometry,
    };
    // From here on it is a FAT whether it has the name or not: fatgen103 forbids to go by the name.
    let damaged = |what| Ok(Finding::Damaged { format: "FAT", what, sure: true });
    if geometry.total * geometry.sector > medium.size() {
        return damaged("it is larger than the medium");
    }
    if !fsinfo_holds(head, medium, &geometry)? {
        return damaged("its FSInfo sector is overwritten");
    }
    let entry = match root_label(head, medium, &geometry)? {
        Ok(entry) => entry,
        Err(what) => return damaged(what),
    };
    Ok(Finding::Valid(Superblock {
        fstype: geometry.fstype,
        label: label(entry, head, &geometry),
        uuid: uuid(head, &geometry),
        size: geometry.total * geometry.sector,
        dirty: dirty(head, medium, &geometry)?,
        use_count: 0,
    }))
}

/// Reads and checks the BIOS parameter block.
fn geometry(head: &Bytes) -> Result<Geometry, &'static str> {
    let sector = u64::from(head.u16(BYTES_PER_SECTOR));
    let cluster = u64::from(head.u8(SECTORS_PER_CLUSTER));
    if !matches!(sector, 512 | 1024 | 2048 | 4096) || !cluster.is_power_of_two() {
        return Err("its sector or cluster size is impossible");
    }
    let (reserved, fats, media) = (u64::from(head.u16(RESERVED)), u64::from(head.u8(FATS)), head.u8(MEDIA));
    if reserved == 0 || fats == 0 || media != 0xf0 && media < 0xf8 {
        return Err("its boot sector is overwritten");
    }
    let is_32 = head.u16(FAT_LEN_16) == 0;
    let fat_len = if is_32 { u64::from(head.u32(FAT_LEN_32)) } else { u64::from(head.u16(FAT_LEN_16)) };
    let total = match head.u16(TOTAL_16) {
        0 => u64::from(head.u32(TOTAL_32)),
        total => u64::from(total),
    };
    let root_len = u64::from(head.u16(ROOT_ENTRIES)) * 32;
    if is_32 && head.u16(VERSION) != 0 {
        return Err("its version is unknown");
    }
    if is_32 != (root_len == 0) || !root_len.is_multiple_of(sector) {
        return Err("its root directory is impossible");
    }
    // No overflow: 8 bits by 32 bits and some.
    let root = reserved + fats * fat_len;
    let data = root + root_len / sector;
    let clusters = total.checked_sub(data).map_or(0, |sectors| sectors / cluster);
    // fatgen103 "FAT Type Determination"; the kernel's MAX_FAT12, MAX_FAT16 and MAX_FAT32 are the same limits.
    let (fstype, bits) = match clusters {
        1..=0x0fff_fff5 if is_32 => (FsType::Fat32, 32),
        1..=4084 => (FsType::Fat12, 12),
        4085..=65524 => (FsType::Fat16, 16),
        _ => return Err("its number of clusters is impossible"),
    };
    if (clusters + 2) * bits > fat_len * sector * 8 {
        return Err("its allocation table is too short");
    }
    let extended = if is_32 { EXTENDED_32 } else { EXTENDED_16 };
    let clusters = u32::try_from(clusters).unwrap_or(0);
    Ok(Geometry { fstype, sector, cluster, reserved, fat_len, root, data, total, clusters, extended })
}

/// FAT32's FSInfo sector has its two signatures, or zeros, or there is none: what libblkid demands, and with it udev,
/// without which no stick's job starts.
fn fsinfo_holds(head: &Bytes, medium: &mut Medium<'_>, geometry: &Geometry) -> Result<bool, NotAStick> {
    let place = u64::from(head.u16(FSINFO));
    if geometry.fstype != FsType::Fat32 || place == 0 {
        return Ok(true);
    }
    let Some(sector) = medium.bytes(place * geometry.sector, 512)? else {
        return Ok(false);
    };
    Ok(matches!(sector.slice(0, 4), b"RRaA" | b"RRdA" | [0, 0, 0, 0])
        && matches!(sector.slice(484, 4), b"rrAa" | [0, 0, 0, 0]))
}

/// The name of the root directory's label entry. The inner `Err` says what is wrong with the directory.
fn root_label(
    head: &Bytes,
    medium: &mut Medium<'_>,
    geometry: &Geometry,
) -> Result<Result<Option<[u8; NAME_LEN]>, &'static str>, NotAStick> {
    if geometry.fstype != FsType::Fat32 {
        let (start, len) = (geometry.root * geometry.sector, (geometry.data - geometry.root) * geometry.sector);
        return Ok(directory::span(medium, start, len, &mut look)?.map(|end| match end {
            Look::Found(name) => Some(name),
            _ => None,
        }));
    }
    let chain = Chain {
        fat: active_fat(head, geometry),
        heap: geometry.data * geometry.sector,
        cluster_size: geometry.cluster * geometry.sector,
        clusters: geometry.clusters,
        first: head.u32(ROOT_CLUSTER),
        mask: 0x0fff_ffff,
        last: 0x0fff_fff8,
    };
    directory::chain(medium, &chain, &mut look)
}

/// Byte offset of the FAT that counts: the first, unless FAT32's flags say that only another one is kept.
fn active_fat(head: &Bytes, geometry: &Geometry) -> u64 {
    let flags = u64::from(head.u16(EXT_FLAGS));
    let active = if geometry.fstype == FsType::Fat32 && flags & 0x80 != 0 { flags & 0xf } else { 0 };
    let active = if active < u64::from(head.u8(FATS)) { active } else { 0 };
    (geometry.reserved + active * geometry.fat_len) * geometry.sector
}

/// A label is the entry with only that attribute (old DOS adds "archive") and no cluster. A long name's entries carry
/// it together with three others, and are no label.
fn look(entry: &Entry) -> Look<[u8; NAME_LEN]> {
    let attributes = entry[ATTR] & ATTR_MASK;
    match entry[0] {
        0 => Look::End,
        DELETED => Look::On,
        _ if attributes & !ATTR_ARCHIVE != ATTR_VOLUME_ID || [entry[20], entry[21], entry[26], entry[27]] != [0; 4] => {
            Look::On
        }
        _ => {
            let mut name = [0; NAME_LEN];
            name.iter_mut().zip(entry).for_each(|(to, from)| *to = *from);
            // 0xE5 as a first byte would mean "deleted" and is written as 5.
            name[0] = if name[0] == 5 { DELETED } else { name[0] };
            Look::Found(name)
        }
    }
}

/// The label entry's name, or else the boot sector's.
fn label(entry: Option<[u8; NAME_LEN]>, head: &Bytes, geometry: &Geometry) -> heapless::String<64> {
    let boot = match head.u8(geometry.extended + EXT_SIGNATURE) {
        0x29 => head.slice(geometry.extended + EXT_LABEL, NAME_LEN),
        _ => &[],
    };
    let name = entry.as_ref().map(<[u8; NAME_LEN]>::as_slice).filter(|name| *name != NO_NAME).unwrap_or(boot);
    let name = if name == NO_NAME { &[] } else { name };
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut label = heapless::String::new();
    for byte in name.trim_ascii_end() {
        push(&mut label, if byte.is_ascii() { char::from(*byte) } else { char::REPLACEMENT_CHARACTER });
    }
    label
}

/// The serial number, if the boot sector has the part with it.
fn uuid(head: &Bytes, geometry: &Geometry) -> heapless::String<36> {
    match head.u8(geometry.extended + EXT_SIGNATURE) {
        0x28 | 0x29 => serial(head.u32(geometry.extended + EXT_SERIAL)),
        _ => heapless::String::new(),
    }
}

/// The boot sector's state (kernel: `FAT_STATE_DIRTY`; bit 1 is a wish for a surface scan), and FAT\[1\]'s two highest
/// bits, of which zero means dirty and hard error (fatgen103 "FAT Data Structure"); FAT12 has none.
fn dirty(head: &Bytes, medium: &mut Medium<'_>, geometry: &Geometry) -> Result<bool, NotAStick> {
    if head.u8(geometry.extended + EXT_STATE) & 3 != 0 {
        return Ok(true);
    }
    let (place, good) = match geometry.fstype {
        FsType::Fat16 => (2, 0xc000),
        FsType::Fat32 => (4, 0x0c00_0000),
        _ => return Ok(false),
    };
    let entry = medium.bytes(active_fat(head, geometry) + place, 4)?.unwrap_or_default();
    Ok(entry.u32(0) & good != good)
}
