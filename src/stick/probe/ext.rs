//! ext2, ext3, ext4. On-disk format: the kernel's `Documentation/filesystems/ext4/super.rst`; the three are told
//! apart as in libblkid `superblocks/ext.c`. Pure.
//!
//! Decisions: an external journal is refused by name, and so is a filesystem whose journal is on another device:
//! neither can be mounted from this stick alone. ext4dev (`s_flags` bit 2) is taken as ext4, as the kernel has done
//! since 2.6.28. An incompatible feature that mainline ext4 does not know is refused by name, for nothing could
//! mount it. An unknown read-only-compatible feature is not: it shows when the stick is mounted for writing.

use std::fmt::Write;

use super::medium::{Bytes, push};
use super::{Finding, FsType, Superblock};

/// The superblock's place on the medium; all offsets below are within it.
const SUPERBLOCK: usize = 0x400;
/// Its length, of which all but the last four bytes are covered by the checksum.
const SUPERBLOCK_LEN: usize = 0x400;

const INODES: usize = 0x00;
const BLOCKS_LO: usize = 0x04;
const FIRST_DATA_BLOCK: usize = 0x14;
const LOG_BLOCK_SIZE: usize = 0x18;
const LOG_CLUSTER_SIZE: usize = 0x1c;
const BLOCKS_PER_GROUP: usize = 0x20;
const INODES_PER_GROUP: usize = 0x28;
const MOUNT_TIME: usize = 0x2c;
const MOUNT_COUNT: usize = 0x34;
const MAGIC: usize = 0x38;
const CHECK_TIME: usize = 0x40;
const STATE: usize = 0x3a;
const ERRORS: usize = 0x3c;
const REV_LEVEL: usize = 0x4c;
const INODE_SIZE: usize = 0x58;
const BLOCK_GROUP_NR: usize = 0x5a;
const COMPAT: usize = 0x5c;
const INCOMPAT: usize = 0x60;
const RO_COMPAT: usize = 0x64;
const UUID: usize = 0x68;
const VOLUME_NAME: usize = 0x78;
const VOLUME_NAME_LEN: usize = 16;
const JOURNAL_INUM: usize = 0xe0;
const LAST_ORPHAN: usize = 0xe8;
const BLOCKS_HI: usize = 0x150;
const CHECKSUM_TYPE: usize = 0x175;
const ERROR_COUNT: usize = 0x194;
const CHECKSUM: usize = 0x3fc;

/// `MAGIC`'s value, 0xEF53.
const MAGIC_BYTES: [u8; 2] = [0x53, 0xef];
/// `STATE` bit 0: cleanly unmounted.
const STATE_VALID: u16 = 0x1;
/// `STATE` bits 1 and 2: errors were found; orphans were being recovered.
const STATE_BAD: u16 = 0x2 | 0x4;

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const INCOMPAT_FILETYPE: u32 = 0x2;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
/// What mainline ext4 mounts: filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed,
/// largedir, inline_data, encrypt, casefold. Missing: compression (0x1) and Lustre's dirdata (0x1000).
const INCOMPAT_EXT4: u32 = 0x3_e7d6;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
const RO_COMPAT_ORPHAN_PRESENT: u32 = 0x1_0000;
/// sparse_super, large_file, btree_dir: all that ext2 and ext3 know.
const RO_COMPAT_EXT3: u32 = 0x1 | 0x2 | 0x4;

/// The superblock, by its offsets.
struct Super<'a>(&'a Bytes);

impl Super<'_> {
    fn u8(&self, offset: usize) -> u8 {
        self.0.u8(SUPERBLOCK + offset)
    }
    fn u16(&self, offset: usize) -> u16 {
        self.0.u16(SUPERBLOCK + offset)
    }
    fn u32(&self, offset: usize) -> u32 {
        self.0.u32(SUPERBLOCK + offset)
    }
    fn slice(&self, offset: usize, len: usize) -> &[u8] {
        self.0.slice(SUPERBLOCK + offset, len)
    }

    /// Block size in bytes; 64 KiB is the most (`EXT4_MAX_BLOCK_LOG_SIZE`).
    fn block_size(&self) -> Option<u32> {
        let log = self.u32(LOG_BLOCK_SIZE);
        (log <= 6).then(|| 1024 << log)
    }

    /// Filesystem size in bytes.
    fn size(&self) -> Option<u64> {
        let high = if self.u32(INCOMPAT) & INCOMPAT_64BIT == 0 { 0 } else { u64::from(self.u32(BLOCKS_HI)) };
        let blocks = high << 32 | u64::from(self.u32(BLOCKS_LO));
        blocks.checked_mul(u64::from(self.block_size()?))
    }

    fn label(&self) -> heapless::String<64> {
        let name = self.slice(VOLUME_NAME, VOLUME_NAME_LEN);
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut label = heapless::String::new();
        // libblkid cuts trailing white space off, and so does whatever compares with it.
        String::from_utf8_lossy(name.trim_ascii_end()).chars().for_each(|c| push(&mut label, c));
        label
    }

    fn uuid(&self) -> heapless::String<36> {
        let mut text = heapless::String::new();
        let uuid = self.slice(UUID, 16);
        if uuid.iter().all(|byte| *byte == 0) {
            return text;
        }
        for (i, byte) in uuid.iter().enumerate() {
            let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
            let _full = write!(text, "{dash}{byte:02x}");
        }
        text
    }

    /// When it was mounted and checked last, and how often it was mounted since.
    fn use_count(&self) -> u64 {
        let mixed = u64::from(self.u32(MOUNT_TIME)) << 32 | u64::from(self.u32(CHECK_TIME));
        mixed.rotate_left(16) ^ u64::from(self.u16(MOUNT_COUNT)) | 1 << 63
    }

    fn dirty(&self) -> bool {
        let state = self.u16(STATE);
        state & STATE_VALID == 0
            || state & STATE_BAD != 0
            || self.u32(INCOMPAT) & INCOMPAT_RECOVER != 0
            || self.u32(RO_COMPAT) & RO_COMPAT_ORPHAN_PRESENT != 0
            || self.u32(LAST_ORPHAN) != 0
            || self.u32(ERROR_COUNT) != 0
    }

    /// Type by features, as libblkid's probe_ext2, probe_ext3 and probe_ext4.
    fn fstype(&self) -> FsType {
        let incompat = self.u32(INCOMPAT);
        let beyond_ext3 = incompat & !(INCOMPAT_FILETYPE | INCOMPAT_RECOVER | INCOMPAT_META_BG) != 0
            || self.u32(RO_COMPAT) & !RO_COMPAT_EXT3 != 0;
        if beyond_ext3 {
            FsType::Ext4
        } else if self.has_journal() {
            FsType::Ext3
        } else {
            FsType::Ext2
        }
    }

    fn has_journal(&self) -> bool {
        self.u32(COMPAT) & COMPAT_HAS_JOURNAL != 0
    }

    /// The first thing that is wrong, in the order in which the kernel's `ext4_fill_super` would stumble on it.
    fn fault(&self, medium: u64) -> Option<&'static str> {
        let Some(block_size) = self.block_size() else {
            return Some("its block size is impossible");
        };
        if let Some(what) = self.checksum_fault() {
            return Some(what);
        }
        // Revision 0 has fixed inodes of 128 bytes.
        let inode_size = u32::from(self.u16(INODE_SIZE));
        let inode_ok = (128..=block_size).contains(&inode_size) && inode_size.is_power_of_two();
        if self.u32(REV_LEVEL) > 1 || self.u32(REV_LEVEL) == 1 && !inode_ok {
            return Some("its revision or inode size is impossible");
        }
        let group_fits = |n: u32| n > 0 && n <= block_size * 8;
        let clustered = self.u32(LOG_CLUSTER_SIZE) != self.u32(LOG_BLOCK_SIZE);
        let group = self.u32(BLOCKS_PER_GROUP);
        if group == 0
            || !clustered && !group_fits(group)
            || !group_fits(self.u32(INODES_PER_GROUP))
            || self.u32(INODES) == 0
        {
            return Some("its block groups are impossible");
        }
        if self.u16(BLOCK_GROUP_NR) != 0 {
            return Some("this is a copy of the superblock, the file system begins elsewhere");
        }
        if self.u32(INCOMPAT) & INCOMPAT_RECOVER != 0 && !self.has_journal() {
            return Some("its journal is gone but needed");
        }
        let first = u64::from(self.u32(FIRST_DATA_BLOCK));
        match self.size() {
            None => Some("its size is impossible"),
            Some(size) if size <= (first + 1) * u64::from(block_size) => Some("its size is impossible"),
            Some(size) if size > medium => Some("it is larger than the medium"),
            Some(_) => None,
        }
    }

    fn checksum_fault(&self) -> Option<&'static str> {
        if self.u32(RO_COMPAT) & RO_COMPAT_METADATA_CSUM == 0 {
            return None;
        }
        let right = self.u8(CHECKSUM_TYPE) == 1 && crc32c(self.slice(0, CHECKSUM)) == self.u32(CHECKSUM);
        (!right).then_some("its superblock's checksum is wrong")
    }

    /// A variant that is whole but cannot be used as a stick.
    fn refused(&self) -> Option<&'static str> {
        let incompat = self.u32(INCOMPAT);
        if incompat & INCOMPAT_JOURNAL_DEV != 0 {
            Some("the external journal of an ext file system")
        } else if incompat & !INCOMPAT_EXT4 != 0 {
            Some("ext with features that no kernel of this system knows")
        } else if self.has_journal() && self.u32(JOURNAL_INUM) == 0 {
            Some("ext with its journal on another device")
        } else {
            None
        }
    }
}

/// Looks for ext2, ext3, ext4 in the medium's first bytes; `medium` is its size in bytes.
pub(super) fn probe(head: &Bytes, medium: u64) -> Finding {
    let sb = Super(head);
    if sb.slice(0, SUPERBLOCK_LEN).len() < SUPERBLOCK_LEN || sb.slice(MAGIC, 2) != MAGIC_BYTES {
        return Finding::Absent;
    }
    // The magic is but two bytes. With these three it is no chance.
    let sure = sb.u32(REV_LEVEL) <= 1 && (1..=3).contains(&sb.u16(ERRORS)) && sb.u16(STATE) <= 7;
    // An external journal's superblock has no groups to check.
    if sb.u32(INCOMPAT) & INCOMPAT_JOURNAL_DEV == 0
        && let Some(what) = sb.fault(medium)
    {
        return Finding::Damaged { format: "ext", what, sure };
    }
    if let Some(name) = sb.refused() {
        return Finding::Known { name, sure };
    }
    Finding::Valid(Superblock {
        fstype: sb.fstype(),
        label: sb.label(),
        uuid: sb.uuid(),
        size: sb.size().unwrap_or_default(),
        dirty: sb.dirty(),
        use_count: sb.use_count(),
    })
}

/// CRC-32C (Castagnoli, reflected 0x82F63B78), begun with all ones and, as ext4 keeps it, not inverted at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        // Two halves of a byte; the index has four bits and the table sixteen entries.
        crc = crc >> 4 ^ CRC32C[(crc & 15) as usize];
        crc = crc >> 4 ^ CRC32C[(crc & 15) as usize];
    }
    crc
}

/// What four bits shifted out change.
const CRC32C: [u32; 16] = {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        let (mut crc, mut bit) = (i as u32, 0);
        while bit < 4 {
            crc = crc >> 1 ^ if crc & 1 == 0 { 0 } else { 0x82f6_3b78 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn crc32c_of_rfc_3720() {
        // RFC 3720 B.4: 32 bytes of zeros, and the usual check word; both inverted at the end there.
        assert_eq!(!crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283);
    }
}
