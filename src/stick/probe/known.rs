//! What is recognised by its magic number and refused by name. Offsets and magic numbers as in libblkid
//! `superblocks/*.c` and `partitions/*.c`; each also in the format's own documentation. Pure.
//!
//! Only the beginning of the medium is looked at, and the end for Linux RAID, whose members otherwise look like what is
//! inside. Other things at the end (a GPT's copy, ZFS's last labels, firmware RAID) are left over from earlier lives of
//! sticks far more often than they are true; the kernel does not act on them either.

use super::medium::{Bytes, Medium};
use super::{Finding, Findings, NotAStick, add};

/// A magic number.
struct Magic {
    name: &'static str,
    /// Bytes from the beginning of the medium.
    offset: usize,
    bytes: &'static [u8],
}

const fn magic(name: &'static str, offset: usize, bytes: &'static [u8]) -> Magic {
    Magic { name, offset, bytes }
}

/// Devices that contain others: each is the whole answer.
const CONTAINERS: &[Magic] = &[
    magic("LUKS1", 0, b"LUKS\xba\xbe\x00\x01"),
    magic("LUKS2", 0, b"LUKS\xba\xbe\x00\x02"),
    magic("BitLocker", 3, b"-FVE-FS-"),
    // BitLocker To Go: a FAT boot sector with BitLocker's GUID 4967d63b-2e29-4ad8-8399-f6a339e3d001 at 424.
    magic("BitLocker", 424, b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01"),
    // The same where only used space is encrypted: 92a84d3b-dd80-4d0e-9e4e-b1e3284eaed8 (cryptsetup `lib/bitlk`).
    magic("BitLocker", 424, b"\x3b\x4d\xa8\x92\x80\xdd\x0e\x4d\x9e\x4e\xb1\xe3\x28\x4e\xae\xd8"),
    // Version 1.1 at the beginning, 1.2 at 4 KiB: magic 0xa92b4efc, major version 1.
    magic("Linux RAID member", 0, b"\xfc\x4e\x2b\xa9\x01\x00\x00\x00"),
    magic("Linux RAID member", 4096, b"\xfc\x4e\x2b\xa9\x01\x00\x00\x00"),
    magic("Stratis", 512 + 4, b"!Stra0tis\x86\xff\x02^\x41rh"),
    magic("VDO", 0, b"dmvdo001"),
    magic("dm-verity", 0, b"verity\0\0"),
    magic("dm-integrity", 0, b"integrt\0"),
    magic("bcache", 4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    // The first pair of the label's list in XDR: a name of 7 characters, "version".
    magic("ZFS", 16384 + 20, b"\0\0\0\x07version"),
];

/// Filesystems and other uses of a whole device.
const FILESYSTEMS: &[Magic] = &[
    magic("NTFS", 3, b"NTFS    "),
    magic("ReFS", 0, b"\0\0\0ReFS\0"),
    magic("XFS", 0, b"XFSB"),
    magic("btrfs", 0x1_0000 + 64, b"_BHRfS_M"),
    magic("bcachefs", 4096 + 24, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
    magic("squashfs", 0, b"hsqs"),
    magic("squashfs", 0, b"sqsh"),
    magic("EROFS", 1024, b"\xe2\xe1\xf5\xe0"),
    magic("F2FS", 1024, b"\x10\x20\xf5\xf2"),
    magic("NILFS2", 1024, b"\x02\0\0\0\0\0\x34\x34"),
    magic("HFS+", 1024, b"H+\0\x04"),
    magic("HFS+", 1024, b"HX\0\x05"),
    magic("APFS", 32, b"NXSB"),
    magic("cramfs", 0, b"\x45\x3d\xcd\x28"),
    magic("cramfs", 0, b"\x28\xcd\x3d\x45"),
    magic("romfs", 0, b"-rom1fs-"),
    magic("JFS", 0x8000, b"JFS1"),
    magic("ReiserFS", 0x1_0000 + 52, b"ReIsEr"),
    magic("ReiserFS", 0x2000 + 52, b"ReIsEr"),
    magic("Reiser4", 0x1_0000, b"ReIsEr4"),
    magic("GFS2", 0x1_0000, b"\x01\x16\x19\x70"),
    magic("UFS", 0x2000 + 1372, b"\x54\x19\x01\x00"),
    magic("UFS", 0x1_0000 + 1372, b"\x19\x01\x54\x19"),
    // The second header alone, where cryptsetup puts it: left behind by a format over the first.
    magic("LUKS2 (its second header)", 0x4000, b"SKUL\xba\xbe\x00\x02"),
    magic("LUKS2 (its second header)", 0x8000, b"SKUL\xba\xbe\x00\x02"),
    magic("LUKS2 (its second header)", 0x1_0000, b"SKUL\xba\xbe\x00\x02"),
];

/// Swap's and hibernation's signatures end at the end of the first page, whatever its size.
const PAGES: [usize; 5] = [0x1000, 0x2000, 0x4000, 0x8000, 0x1_0000];
const SWAP: &[(&str, &[u8])] = &[
    ("swap", b"SWAPSPACE2"),
    ("swap", b"SWAP-SPACE"),
    ("a hibernated system", b"S1SUSPEND"),
    ("a hibernated system", b"S2SUSPEND"),
    ("a hibernated system", b"ULSUSPEND"),
    ("a hibernated system", b"LINHIB0001"),
];

/// The Linux RAID, encryption or volume manager that the medium belongs to.
pub(super) fn container(head: &Bytes, medium: &mut Medium<'_>) -> Result<Option<&'static str>, NotAStick> {
    if let Some(magic) = CONTAINERS.iter().find(|magic| head.has(magic.offset, magic.bytes)) {
        return Ok(Some(magic.name));
    }
    // LVM2's label is in one of the first four sectors.
    if (0..4).map(|i| i * 512).any(|at| head.has(at, b"LABELONE") && head.has(at + 24, b"LVM2 001")) {
        return Ok(Some("LVM2 physical volume"));
    }
    Ok(raid_at_end(medium)?.then_some("Linux RAID member"))
}

/// md superblocks at the end (kernel `md.c`): version 1.0 in the 4 KiB that begin 8 KiB before it, rounded down; version
/// 0.90 in the last whole 64 KiB, in the byte order of the machine that wrote it.
fn raid_at_end(medium: &mut Medium<'_>) -> Result<bool, NotAStick> {
    let size = medium.size();
    if let Some(at) = size.checked_sub(8192)
        && medium.bytes(at & !4095, 8)?.is_some_and(|sb| sb.has(0, b"\xfc\x4e\x2b\xa9\x01\x00\x00\x00"))
    {
        return Ok(true);
    }
    let Some(at) = (size & !0xffff).checked_sub(0x1_0000) else {
        return Ok(false);
    };
    Ok(medium.bytes(at, 8)?.is_some_and(|sb| {
        sb.has(0, b"\xfc\x4e\x2b\xa9\x00\x00\x00\x00") || sb.has(0, b"\xa9\x2b\x4e\xfc\x00\x00\x00\x00")
    }))
}

/// Adds every filesystem that is refused.
pub(super) fn filesystems(head: &Bytes, findings: &mut Findings) {
    for magic in FILESYSTEMS.iter().filter(|magic| head.has(magic.offset, magic.bytes)) {
        add(findings, Finding::Known { name: magic.name, sure: true });
    }
    for (name, bytes) in SWAP {
        if PAGES.iter().any(|page| head.has(page.saturating_sub(10), bytes)) {
            add(findings, Finding::Known { name, sure: true });
        }
    }
    if let Some(name) = optical(head) {
        add(findings, Finding::Known { name, sure: true });
    }
    // Two bytes only.
    if head.has(1024, b"BD") {
        add(findings, Finding::Known { name: "HFS", sure: false });
    }
}

/// ISO 9660 and UDF share their volume recognition sequence, from 32 KiB on in steps of 2 KiB (ECMA-167 2/8.3.1); a
/// disc that is both is UDF.
fn optical(head: &Bytes) -> Option<&'static str> {
    let mut descriptors = (0x8000..0x1_0000).step_by(2048);
    if descriptors.clone().any(|at| head.has(at + 1, b"NSR02") || head.has(at + 1, b"NSR03")) {
        return Some("UDF");
    }
    // ISO 9660 8.1: type 1 primary, 0 boot record.
    descriptors.any(|at| head.has(at + 1, b"CD001") && head.u8(at) <= 2).then_some("ISO9660")
}

/// Adds a partition table. Beside a boot sector it counts if it has partitions: `fdisk` on a stick that was one FAT leaves
/// that FAT's numbers standing, and the kernel shows the partitions (`block/partitions/msdos.c`; libblkid sees the FAT
/// alone). Code and texts in a boot sector's end do not pass for partitions, and the entry that mkfs.fat writes there
/// begins at sector 0. A hybrid ISO image has partition tables too, and is an ISO image.
pub(super) fn partitions(head: &Bytes, size: u64, findings: &mut Findings) {
    if findings.iter().any(|finding| matches!(finding.name(), "ISO9660" | "UDF")) {
        return;
    }
    // UEFI specification, table 5-5: signature and revision 1.0 in LBA 1, of 512 or 4096 bytes.
    let gpt = [512, 4096].iter().any(|at| head.has(*at, b"EFI PART\0\0\x01\0") && head.u64(*at + 24) == 1);
    if gpt {
        add(findings, Finding::Known { name: "partition table (GPT)", sure: true });
    } else if let Some(finding) = mbr(head, size) {
        add(findings, finding);
    } else if head.has(0, b"ER") && head.has(512, b"PM") {
        add(findings, Finding::Known { name: "partition table (Apple)", sure: true });
    } else if head.has(512, b"\x57\x45\x56\x82") {
        add(findings, Finding::Known { name: "partition table (BSD)", sure: true });
    }
}

/// A master boot record: four entries of 16 bytes at 446 (flag, 3 bytes, type, 3 bytes, first sector, sectors), then 55 AA.
fn mbr(head: &Bytes, size: u64) -> Option<Finding> {
    if !head.has(510, &[0x55, 0xaa]) {
        return None;
    }
    let entries = (0..4).map(|i| 446 + i * 16);
    let used = entries.clone().filter(|at| head.slice(*at, 16) != [0; 16]);
    let sound = used.clone().all(|at| {
        let (first, count) = (head.u32(at + 8), head.u32(at + 12));
        matches!(head.u8(at), 0 | 0x80)
            && head.u8(at + 4) != 0
            && first > 0
            && count > 0
            && u64::from(first) * 512 < size
    });
    if !sound {
        return None;
    }
    Some(if used.clone().next().is_none() {
        // 55 AA and zeros: also what is left of many a boot sector.
        Finding::Known { name: "partition table (MBR) without partitions", sure: false }
    } else if used.clone().any(|at| head.u8(at + 4) == 0xee) {
        Finding::Known { name: "partition table (GPT)", sure: true }
    } else {
        Finding::Known { name: "partition table (MBR)", sure: true }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::{NotAStick, probe};
    use super::{CONTAINERS, FILESYSTEMS, PAGES, SWAP};

    fn refused_as(offset: usize, bytes: &[u8]) -> String {
        let mut image = vec![0; 0x2_0000];
        image[offset..offset + bytes.len()].copy_from_slice(bytes);
        match probe(&mut Cursor::new(image)) {
            Err(NotAStick::Known(name)) => name.to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn each_magic_number_alone_is_refused_by_its_name() {
        for magic in CONTAINERS.iter().chain(FILESYSTEMS) {
            assert_eq!(refused_as(magic.offset, magic.bytes), magic.name);
        }
        for (name, bytes) in SWAP {
            for page in PAGES {
                assert_eq!(refused_as(page - 10, bytes), *name);
            }
        }
        assert_eq!(refused_as(1024, b"BD"), "HFS");
        assert_eq!(refused_as(512, b"\x57\x45\x56\x82"), "partition table (BSD)");
    }

    #[test]
    fn raid_superblocks_at_the_end() {
        // Of 128 KiB: version 1.0 at 8 KiB before the end, 0.90 in the last 64 KiB, in either byte order.
        assert_eq!(refused_as(0x1_e000, b"\xfc\x4e\x2b\xa9\x01\0\0\0"), "Linux RAID member");
        assert_eq!(refused_as(0x1_0000, b"\xfc\x4e\x2b\xa9\0\0\0\0"), "Linux RAID member");
        assert_eq!(refused_as(0x1_0000, b"\xa9\x2b\x4e\xfc\0\0\0\0"), "Linux RAID member");
    }
}
