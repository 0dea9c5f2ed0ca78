//! The superblock prober: what is on a medium, and under which label (SPEC 5).
//!
//! Pure: no clock, no I/O but the `Read + Seek` that it is given, and of that at most [`MAX_READ`] bytes.
//! Everything on the medium is untrusted until checked: a stick comes from anywhere, and the answer decides
//! whether it is mounted and written to. What is wrong or doubtful is refused with a sentence that tells the
//! operator what to do; nothing is repaired, guessed or passed over.
//!
//! One file per format: `ext`, `fat`, `exfat` are sticks, `known` is what is recognised and refused by name.

mod directory;
mod exfat;
mod ext;
mod fat;
mod known;
mod medium;
mod report;

use std::fmt;
use std::io::{Read, Seek};

use medium::Medium;
pub use report::{to_json, to_text};

/// Upper bound of the bytes read by one [`probe`], whatever the medium says: the head, one root directory of
/// the longest kind with its chain, exFAT's two boot regions, and the few bytes at the end for RAID.
pub const MAX_READ: u64 = 2304 * 1024;

/// A filesystem that a stick may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FsType {
    /// ext without a journal and without ext4's features.
    Ext2,
    /// ext with a journal and without ext4's features.
    Ext3,
    /// ext with at least one feature that ext3 does not know.
    Ext4,
    /// FAT with 12-bit entries: below 4085 clusters.
    Fat12,
    /// FAT with 16-bit entries: 4085 to 65524 clusters.
    Fat16,
    /// FAT with 32-bit entries and its root directory in a cluster chain.
    Fat32,
    /// exFAT.
    Exfat,
}

impl FsType {
    /// The name in lower case, as it is printed: `ext4`, `fat32`, `exfat`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Fat12 => "fat12",
            Self::Fat16 => "fat16",
            Self::Fat32 => "fat32",
            Self::Exfat => "exfat",
        }
    }

    /// The kernel's driver for `mount`: `ext4` (it serves ext2 and ext3 too), `vfat` or `exfat`.
    #[must_use]
    pub const fn kernel_name(self) -> &'static str {
        match self {
            Self::Ext2 | Self::Ext3 | Self::Ext4 => "ext4",
            Self::Fat12 | Self::Fat16 | Self::Fat32 => "vfat",
            Self::Exfat => "exfat",
        }
    }

    /// Whether it is one of ext2, ext3, ext4.
    #[must_use]
    pub const fn is_ext(self) -> bool {
        matches!(self, Self::Ext2 | Self::Ext3 | Self::Ext4)
    }
}

impl fmt::Display for FsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a stick's superblock says, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Superblock {
    /// The filesystem.
    pub fstype: FsType,
    /// Its label, empty for none. Bytes that are no text in the label's encoding, and control characters, are
    /// U+FFFD, so that a label can be printed anywhere and never equals a stick's role by accident.
    pub label: heapless::String<64>,
    /// ext: the UUID in its standard form. FAT, exFAT: the serial number as `XXXX-XXXX`. Empty for none.
    pub uuid: heapless::String<36>,
    /// Size of the filesystem in bytes; never more than the medium has.
    pub size: u64,
    /// Not cleanly unmounted, or errors were recorded: its owner should check it.
    pub dirty: bool,
    /// ext: changes with each mounting for writing. 0 where the filesystem itself keeps its mark until it is repaired.
    pub use_count: u64,
}

/// Why a medium is not taken for a stick. `Display` is the sentence for the operator.
#[derive(Debug)]
pub enum NotAStick {
    /// No format that we know.
    Nothing,
    /// Signs of more than one format: the names of the first four. (More would make every `Result` with it large.)
    Ambiguous(heapless::Vec<&'static str, 4>),
    /// Something that a stick must not be, by name: `LUKS2`, `NTFS`, `partition table (GPT)`.
    Known(&'static str),
    /// A stick's format, but wrong in itself.
    Damaged {
        /// The format: `ext`, `FAT`, `exFAT`.
        format: &'static str,
        /// What is wrong with it, as half a sentence.
        what: &'static str,
    },
    /// Reading failed.
    Io(std::io::Error),
}

impl NotAStick {
    /// A word for programs: `nothing`, `ambiguous`, `known`, `damaged` or `io`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Ambiguous(_) => "ambiguous",
            Self::Known(_) => "known",
            Self::Damaged { .. } => "damaged",
            Self::Io(_) => "io",
        }
    }
}

impl fmt::Display for NotAStick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => {
                f.write_str("no file system was found: format the stick (ext4, FAT32 or exFAT) and give it its label")
            }
            Self::Ambiguous(names) => {
                f.write_str("signs of more than one format were found (")?;
                for (i, name) in names.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { ", " })?;
                    f.write_str(name)?;
                }
                f.write_str("): save what is on it, erase it with `wipefs -a` and format it anew")
            }
            Self::Known(name) if name.ends_with("without partitions") => {
                write!(
                    f,
                    "this is a whole disk with a {name}: make a partition and format it, or format the whole disk"
                )
            }
            Self::Known(name) if name.starts_with("partition table") => {
                write!(f, "this is a whole disk with a {name}: name the partition, such as /dev/sdX1")
            }
            Self::Known(name) => write!(
                f,
                "this is {name}, which no stick may be: take another stick, or format this one as ext4, FAT32 or exFAT (that erases it)"
            ),
            Self::Damaged { format, what } => write!(
                f,
                "the {format} file system is damaged ({what}): check it on a PC (fsck, chkdsk), or format it anew"
            ),
            Self::Io(error) => write!(f, "the medium cannot be read ({error}): plug it in again, or take another one"),
        }
    }
}

impl std::error::Error for NotAStick {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// What one format's prober found.
enum Finding {
    /// Not this format.
    Absent,
    /// This format, and sound as far as a superblock can show.
    Valid(Superblock),
    /// A format or a variant that is refused by name. `sure` as below.
    Known { name: &'static str, sure: bool },
    /// This format, and wrong. `sure`: the signs are too many for chance, so that it counts even beside a
    /// sound superblock of another format; two matching bytes in the middle of a FAT must not.
    Damaged { format: &'static str, what: &'static str, sure: bool },
}

impl Finding {
    fn name(&self) -> &'static str {
        match self {
            Self::Absent => "",
            Self::Valid(superblock) => superblock.fstype.name(),
            Self::Known { name, .. } => name,
            Self::Damaged { format, .. } => format,
        }
    }

    fn is_sure(&self) -> bool {
        match self {
            Self::Absent => false,
            Self::Valid(_) => true,
            Self::Known { sure, .. } | Self::Damaged { sure, .. } => *sure,
        }
    }
}

/// Everything found on one medium.
type Findings = heapless::Vec<Finding, 16>;

/// Finds out what is on a medium. Its position is moved; its contents are only read, [`MAX_READ`] bytes at most.
///
/// # Errors
/// [`NotAStick`]: everything but exactly one sound ext2/3/4, FAT or exFAT filesystem, and read errors.
pub fn probe<R: Read + Seek>(source: &mut R) -> Result<Superblock, NotAStick> {
    let mut medium = Medium::new(source)?;
    let head = medium.head()?;
    // A RAID member, an encrypted or a volume manager's device is that and nothing else, whatever shows through:
    // with RAID1 and BitLocker To Go a whole filesystem does (libblkid superblocks.c, superblocks_safeprobe).
    if let Some(name) = known::container(&head, &mut medium)? {
        return Err(NotAStick::Known(name));
    }
    let mut findings = Findings::new();
    for finding in
        [ext::probe(&head, medium.size()), exfat::probe(&head, &mut medium)?, fat::probe(&head, &mut medium)?]
    {
        add(&mut findings, finding);
    }
    known::filesystems(&head, &mut findings);
    known::partitions(&head, medium.size(), &mut findings);
    decide(findings)
}

/// Adds a finding; more than the list holds are ambiguous anyway.
fn add(findings: &mut Findings, finding: Finding) {
    if !matches!(finding, Finding::Absent) {
        let _full = findings.push(finding);
    }
}

/// One finding is the answer, several are ambiguous; the unsure ones count only when there is nothing else.
fn decide(mut findings: Findings) -> Result<Superblock, NotAStick> {
    if findings.iter().any(Finding::is_sure) {
        findings.retain(Finding::is_sure);
    } else {
        findings.truncate(1);
    }
    if findings.len() > 1 {
        return Err(NotAStick::Ambiguous(findings.iter().map(Finding::name).take(4).collect()));
    }
    match findings.pop() {
        None | Some(Finding::Absent) => Err(NotAStick::Nothing),
        Some(Finding::Valid(superblock)) => Ok(superblock),
        Some(Finding::Known { name, .. }) => Err(NotAStick::Known(name)),
        Some(Finding::Damaged { format, what, .. }) => Err(NotAStick::Damaged { format, what }),
    }
}
