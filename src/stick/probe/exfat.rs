//! exFAT. On-disk format: Microsoft's "exFAT file system specification" (section numbers below). Pure.
//!
//! The backup boot region is never used in place of a damaged main one; it only decides what the operator is told.

use super::directory::{self, Chain, Look};
use super::medium::{Bytes, Medium, push, serial};
use super::{Finding, FsType, NotAStick, Superblock};

// Main boot sector, §3.1.
const JUMP_BOOT: usize = 0;
const FILE_SYSTEM_NAME: usize = 3;
const MUST_BE_ZERO: usize = 11;
const MUST_BE_ZERO_LEN: usize = 53;
const VOLUME_LENGTH: usize = 72;
const FAT_OFFSET: usize = 80;
const FAT_LENGTH: usize = 84;
const CLUSTER_HEAP_OFFSET: usize = 88;
const CLUSTER_COUNT: usize = 92;
const ROOT_CLUSTER: usize = 96;
const SERIAL_NUMBER: usize = 100;
/// Two bytes, minor then major.
const REVISION: usize = 104;
const VOLUME_FLAGS: usize = 106;
const SECTOR_SHIFT: usize = 108;
const CLUSTER_SHIFT: usize = 109;
const NUMBER_OF_FATS: usize = 110;
const PERCENT_IN_USE: usize = 112;
const BOOT_SIGNATURE: usize = 510;

// §3.1.13: volume flags.
const FLAG_ACTIVE_FAT: u16 = 0x1;
const FLAG_DIRTY: u16 = 0x2;
const FLAG_MEDIA_FAILURE: u16 = 0x4;

/// §3.1: a boot region is 12 sectors; the twelfth repeats the checksum of the other eleven (§3.4).
const REGION_SECTORS: u64 = 12;
/// §7.3: directory entry of the volume label: its type, its length in characters, 11 UTF-16 characters from byte 2.
const ENTRY_LABEL: u8 = 0x83;
const LABEL_CHARS: u8 = 11;

/// Sizes and places, in sectors unless said otherwise, checked against each other.
struct Geometry {
    sector_shift: u8,
    cluster_shift: u8,
    volume: u64,
    fat: u64,
    fat_len: u64,
    heap: u64,
    clusters: u32,
    root: u32,
}

/// Looks for exFAT at the medium's beginning.
pub(super) fn probe(head: &Bytes, medium: &mut Medium<'_>) -> Result<Finding, NotAStick> {
    if !head.has(FILE_SYSTEM_NAME, b"EXFAT   ") {
        return Ok(Finding::Absent);
    }
    let geometry = match geometry(head, medium.size()) {
        Ok(geometry) => geometry,
        Err(what) => return Ok(damaged(what)),
    };
    if let Some(what) = region_fault(head, medium, geometry.sector_shift)? {
        return Ok(damaged(what));
    }
    let flags = head.u16(VOLUME_FLAGS);
    let label = match find_label(medium, &geometry, flags & FLAG_ACTIVE_FAT != 0 && head.u8(NUMBER_OF_FATS) == 2)? {
        Ok(label) => label,
        Err(what) => return Ok(damaged(what)),
    };
    Ok(Finding::Valid(Superblock {
        fstype: FsType::Exfat,
        label,
        uuid: serial(head.u32(SERIAL_NUMBER)),
        size: geometry.volume << geometry.sector_shift,
        dirty: flags & (FLAG_DIRTY | FLAG_MEDIA_FAILURE) != 0,
        use_count: 0,
    }))
}

fn damaged(what: &'static str) -> Finding {
    // The name alone is eight bytes: no chance.
    Finding::Damaged { format: "exFAT", what, sure: true }
}

/// Reads and checks the boot sector's numbers, each within the bounds that §3.1 gives it.
fn geometry(head: &Bytes, medium: u64) -> Result<Geometry, &'static str> {
    let zero = head.slice(MUST_BE_ZERO, MUST_BE_ZERO_LEN);
    if !head.has(JUMP_BOOT, &[0xeb, 0x76, 0x90])
        || !head.has(BOOT_SIGNATURE, &[0x55, 0xaa])
        || zero.iter().any(|b| *b != 0)
    {
        return Err("its boot sector is overwritten");
    }
    if head.u8(REVISION + 1) != 1 {
        return Err("its revision is unknown");
    }
    let (sector_shift, cluster_shift) = (head.u8(SECTOR_SHIFT), head.u8(CLUSTER_SHIFT));
    if !(9..=12).contains(&sector_shift) || cluster_shift > 25 - sector_shift {
        return Err("its sector or cluster size is impossible");
    }
    let geometry = Geometry {
        sector_shift,
        cluster_shift,
        volume: head.u64(VOLUME_LENGTH),
        fat: head.u32(FAT_OFFSET).into(),
        fat_len: head.u32(FAT_LENGTH).into(),
        heap: head.u32(CLUSTER_HEAP_OFFSET).into(),
        clusters: head.u32(CLUSTER_COUNT),
        root: head.u32(ROOT_CLUSTER),
    };
    // No overflow below: each factor but the volume's length has 32 bits and is shifted by 25 at most.
    let fats = u64::from(head.u8(NUMBER_OF_FATS));
    let fat_needed = (u64::from(geometry.clusters) + 2) * 4;
    let end = geometry.heap + (u64::from(geometry.clusters) << cluster_shift);
    if !(1..=2).contains(&fats) || geometry.fat < 2 * REGION_SECTORS || geometry.fat_len << sector_shift < fat_needed {
        return Err("its allocation table is impossible");
    }
    if geometry.clusters == 0 || geometry.heap < geometry.fat + geometry.fat_len * fats || end > geometry.volume {
        return Err("its clusters do not fit into it");
    }
    if geometry.volume > medium >> sector_shift {
        return Err("it is larger than the medium");
    }
    Ok(geometry)
}

/// What is wrong with the boot region, if anything. The main one is in `head`: 12 sectors of 4 KiB at most.
fn region_fault(head: &Bytes, medium: &mut Medium<'_>, sector_shift: u8) -> Result<Option<&'static str>, NotAStick> {
    let sector = 1_usize << sector_shift;
    let len = REGION_SECTORS << sector_shift;
    if checksum_holds(head, sector) {
        return Ok(None);
    }
    let backup = medium.bytes(len, len)?.unwrap_or_default();
    Ok(Some(if checksum_holds(&backup, sector) {
        "its boot region's checksum is wrong, but the backup is sound"
    } else {
        "its boot region's checksum is wrong"
    }))
}

/// §3.4: eleven sectors without the flags and the percentage, which change while it is mounted.
fn checksum_holds(region: &Bytes, sector: usize) -> bool {
    let covered = region.slice(0, sector * 11);
    let stored = region.slice(sector * 11, sector);
    if covered.len() != sector * 11 || stored.len() != sector {
        return false;
    }
    let sum = covered.iter().enumerate().fold(0_u32, |sum, (i, byte)| {
        if i == VOLUME_FLAGS || i == VOLUME_FLAGS + 1 || i == PERCENT_IN_USE {
            sum
        } else {
            sum.rotate_right(1).wrapping_add(u32::from(*byte))
        }
    });
    stored.as_chunks::<4>().0.iter().all(|word| u32::from_le_bytes(*word) == sum)
}

/// The label in the root directory, empty for none. The inner `Err` says what is wrong with the directory.
fn find_label(
    medium: &mut Medium<'_>,
    geometry: &Geometry,
    second_fat: bool,
) -> Result<Result<heapless::String<64>, &'static str>, NotAStick> {
    let fat = geometry.fat + if second_fat { geometry.fat_len } else { 0 };
    let chain = Chain {
        fat: fat << geometry.sector_shift,
        heap: geometry.heap << geometry.sector_shift,
        cluster_size: 1 << (geometry.sector_shift + geometry.cluster_shift),
        clusters: geometry.clusters,
        first: geometry.root,
        mask: u32::MAX,
        last: u32::MAX,
    };
    let found = directory::chain(medium, &chain, &mut |entry| match entry {
        [0, ..] => Look::End,
        [ENTRY_LABEL, length, name @ ..] => Look::Found(decode(*length, name)),
        _ => Look::On,
    })?;
    Ok(match found {
        Ok(None) => Ok(heapless::String::new()),
        Ok(Some(Ok(label))) => Ok(label),
        Ok(Some(Err(what))) | Err(what) => Err(what),
    })
}

/// UTF-16LE with lone surrogates replaced.
fn decode(length: u8, name: &[u8]) -> Result<heapless::String<64>, &'static str> {
    if length > LABEL_CHARS {
        return Err("its label is longer than a label may be");
    }
    let units = name.as_chunks::<2>().0.iter().take(length.into()).map(|unit| u16::from_le_bytes(*unit));
    let mut label = heapless::String::new();
    for c in char::decode_utf16(units.take_while(|unit| *unit != 0)) {
        push(&mut label, c.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    // As with the other formats, and as Windows does.
    label.truncate(label.trim_end().len());
    Ok(label)
}
