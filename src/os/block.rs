//! Block devices as the kernel shows them in sysfs.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::dir::Dir;
use crate::error::{Error, Result};

/// An open block device.
#[derive(Debug)]
pub struct Block {
    /// The node as the operator named it.
    pub path: PathBuf,
    /// Its device number, as `st_rdev` and as `st_dev` of a filesystem mounted from it.
    pub number: u64,
    /// The node of the whole disk that it is (a partition of).
    pub whole: PathBuf,
    /// Whether the kernel holds it write-protected.
    pub read_only: bool,
    file: File,
}

/// The state of a medium when a reading began.
#[derive(Debug)]
pub struct Watch {
    errors: Option<String>,
}

/// What is read past the kernel's memory has to lie like that (open(2), `O_DIRECT`).
#[repr(align(4096))]
struct Aligned([u8; 4096]);

impl Block {
    /// Opens a device for reading.
    ///
    /// # Errors
    /// `Usage` if there is no such device or it is none; `Io`.
    pub fn open(path: &Path) -> Result<Block> {
        // NONBLOCK: a FIFO or a drive without a medium must not hold us.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => {
                return Err(Error::Usage(format!("there is no device {}", path.display())));
            }
            Err(error) => return Err(Error::io("open the device", path, error)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|error| Error::io("look at", path, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
            return Err(Error::Usage(format!("{} is not a block device", path.display())));
        }
        #[allow(clippy::useless_conversion, reason = "the field's type differs between architectures")]
        let number = u64::from(stat.st_rdev);
        let sysfs = sysfs_dir(number);
        Ok(Block {
            path: path.to_owned(),
            number,
            whole: whole_disk(&sysfs).unwrap_or_else(|| path.to_owned()),
            read_only: std::fs::read_to_string(sysfs.join("ro")).is_ok_and(|text| text.trim() == "1"),
            file: File::from(fd),
        })
    }

    /// The number that the kernel gives each disk that appears, never twice until it is started again: a stick that was
    /// pulled and is back under its old name has another one.
    pub fn sequence(&self) -> Option<String> {
        let disk = Block::open(&self.whole).ok()?;
        let text = std::fs::read_to_string(sysfs_dir(disk.number).join("diskseq")).ok()?;
        Some(text.trim().to_owned())
    }

    /// The device that a directory's file system is on, if it has one that may be opened.
    pub fn under(dir: &Dir) -> Option<Block> {
        Block::open(&node(dir.entry().ok()?.dev)?).ok()
    }

    /// Begins a watch over what is read from it.
    pub fn watch(&self) -> Watch {
        Watch { errors: self.read_errors() }
    }

    /// Whether all that was read below `dir`, a directory on it, since the watch began may be believed. To be asked after the last reading and before
    /// anything is replaced by what was read.
    ///
    /// FAT leaves the blocks of a directory that can't be read out of its list and says nothing (Linux, fs/fat/dir.c, `fat__get_entry`). So a stick
    /// that is pulled while it is listed looks like one with fewer files, for as long as the kernel's memory answers for it.
    ///
    /// # Errors
    /// `Io`: it is gone, or has had a read error.
    pub fn check(&self, watch: &Watch, dir: &Dir) -> Result<()> {
        let told = |error| Error::io("read all of", dir.path(), error);
        self.answer().map_err(told)?;
        if self.read_errors() != watch.errors {
            return Err(told(rustix::io::Errno::IO));
        }
        Ok(())
    }

    /// Reads its first block, and not from memory. A device that is gone has no bytes any more.
    fn answer(&self) -> rustix::io::Result<()> {
        let mut block = Box::new(Aligned([0; 4096]));
        let flags = rustix::fs::fcntl_getfl(&self.file)?;
        rustix::fs::fcntl_setfl(&self.file, flags | OFlags::DIRECT)?;
        let read = rustix::io::pread(&self.file, &mut block.0[..], 0);
        rustix::fs::fcntl_setfl(&self.file, flags)?;
        if read? == block.0.len() { Ok(()) } else { Err(rustix::io::Errno::NODEV) }
    }

    /// How often the disk has answered with an error; only those that speak SCSI, as sticks do, count it.
    fn read_errors(&self) -> Option<String> {
        let name = self.whole.file_name()?;
        std::fs::read_to_string(Path::new("/sys/class/block").join(name).join("device/ioerr_cnt")).ok()
    }

    /// The open node, positioned anywhere.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// Where sysfs describes the device of that number.
pub(super) fn sysfs_dir(number: u64) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{}:{}", rustix::fs::major(number), rustix::fs::minor(number)))
}

/// The node of the device of that number (`DEVNAME=` of its uevent file).
pub fn node(number: u64) -> Option<PathBuf> {
    let text = std::fs::read_to_string(sysfs_dir(number).join("uevent")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(|name| Path::new("/dev").join(name))
}

/// Whether the kernel still knows a device of that number.
pub fn exists(number: u64) -> bool {
    sysfs_dir(number).exists()
}

/// `/sys/dev/block/8:1` links to `…/block/sda/sda1`: of a partition the parent directory names the disk.
fn whole_disk(sysfs: &Path) -> Option<PathBuf> {
    let real = sysfs.canonicalize().ok()?;
    let disk = if real.join("partition").exists() { real.parent()?.to_owned() } else { real };
    Some(Path::new("/dev").join(disk.file_name()?))
}

/// The nodes of all block devices that hold at least one sector, in name order.
pub fn list() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/sys/class/block") else {
        return Vec::new();
    };
    let mut nodes: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| std::fs::read_to_string(entry.path().join("size")).is_ok_and(|size| size.trim() != "0"))
        .map(|entry| Path::new("/dev").join(entry.file_name()))
        .collect();
    nodes.sort();
    nodes
}
