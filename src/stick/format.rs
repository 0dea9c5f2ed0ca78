//! *Pure.* How a stick is made: its filesystem, its partition table, the programs that do it.

use crate::error::{Error, Result};

/// A filesystem that a stick can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Linux only; keeps a journal.
    Ext4,
    /// Every PC; no limit of size.
    Exfat,
    /// FAT32 (FAT16 on small sticks). Every PC and every old device; files below 4 GiB.
    Vfat,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Format, String> {
        match text {
            "ext4" => Ok(Format::Ext4),
            "exfat" => Ok(Format::Exfat),
            "vfat" => Ok(Format::Vfat),
            _ => Err("a filesystem is ext4, exfat or vfat".to_owned()),
        }
    }
}

/// MBR partition tables count sectors of 512 bytes in 32 bits.
const MBR_LIMIT: u64 = 512 * 0xffff_ffff;

impl Format {
    /// What a stick gets when nobody says otherwise, whatever its role: exFAT, which every PC reads, with UTC and files of any size, while
    /// Windows refuses to make FAT32 of more than 32 GB. A BACKUP stick goes into a PC too, where RESTORE is written on it or an archive
    /// is taken off it; ext4's journal would be safer there, but Windows offers to format such a stick.
    pub const USUAL: Format = Format::Exfat;

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Ext4 => "ext4",
            Format::Exfat => "exfat",
            Format::Vfat => "vfat",
        }
    }

    /// The program that makes it, and what to do if that is missing.
    pub fn program(self) -> (&'static str, &'static str) {
        match self {
            Format::Ext4 => ("mkfs.ext4", "sudo apt install e2fsprogs"),
            Format::Exfat => ("mkfs.exfat", "sudo apt install exfatprogs"),
            Format::Vfat => ("mkfs.vfat", "sudo apt install dosfstools"),
        }
    }

    /// The program's arguments.
    pub fn arguments<'a>(self, label: &'a str, node: &'a str) -> Vec<&'a str> {
        match self {
            // As large sticks have it, also on small ones: inodes of 256 bytes keep exact times. Nothing is held back
            // for root: all that is written is root's.
            Format::Ext4 => vec!["-q", "-b", "4096", "-I", "256", "-m", "0", "-L", label, node],
            Format::Exfat => vec!["-L", label, node],
            Format::Vfat => vec!["-n", label, node],
        }
    }

    /// Whether its label can be that.
    ///
    /// # Errors
    /// `Config`.
    pub fn check_label(self, label: &str) -> Result<()> {
        let fits = match self {
            Format::Ext4 => label.len() <= 16,
            Format::Exfat => label.encode_utf16().count() <= 11,
            // Other letters depend on a code page.
            Format::Vfat => {
                label.len() <= 11
                    && label.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
                    && !label.contains(|c: char| c.is_ascii_lowercase() || "\"*+,./:;<=>?[\\]|".contains(c))
            }
        };
        if fits && !label.is_empty() {
            return Ok(());
        }
        Err(Error::Config {
            why: format!("{} can't have the label \"{label}\"", self.name()),
            next: "use --fs ext4, or shorten the label in /etc/default/toolmaster (FAT, exFAT: 11 characters)",
        })
    }

    /// Whether it can fill a disk of that size: FAT counts sectors in 32 bits too.
    pub fn fills(self, size: u64) -> bool {
        self != Format::Vfat || size <= MBR_LIMIT
    }

    /// sfdisk's script: one partition from 1 MiB to the end. An MBR, because every PC and every old device reads it, and
    /// no second copy of it at the end can contradict it; GPT where an MBR can't count so far.
    pub fn table(self, size: u64) -> (&'static str, String) {
        let (table, kind) = match (size > MBR_LIMIT, self) {
            (false, Format::Ext4) => ("dos", "83"),
            (false, Format::Exfat) => ("dos", "7"),
            (false, Format::Vfat) => ("dos", "c"),
            (true, Format::Ext4) => ("gpt", "0FC63DAF-8483-4772-8E79-3D69D8477DE4"),
            // Microsoft basic data.
            (true, _) => ("gpt", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"),
        };
        (if table == "dos" { "MBR" } else { "GPT" }, format!("label: {table}\nstart=1MiB, type={kind}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit_or_are_refused() {
        for format in [Format::Ext4, Format::Exfat, Format::Vfat] {
            for label in ["TM-INGEST", "TM-BACKUP12"] {
                assert!(format.check_label(label).is_ok());
            }
            assert!(format.check_label("").is_err());
            assert_eq!(format.check_label("TM-BACKUP-12").is_ok(), format == Format::Ext4);
        }
        assert!(Format::Exfat.check_label("工具台帳").is_ok());
        for label in ["工具台帳", "Tm-1", "TM.1"] {
            assert_eq!(Format::Vfat.check_label(label).unwrap_err().exit_code(), 78);
        }
    }

    #[test]
    fn a_table_that_can_count_so_far() {
        assert_eq!(Format::Vfat.table(64 << 30), ("MBR", "label: dos\nstart=1MiB, type=c\n".to_owned()));
        assert_eq!(Format::Ext4.table(2 << 40).0, "GPT");
        assert_eq!(Format::Ext4.table((2 << 40) - 512).0, "MBR");
    }
}
