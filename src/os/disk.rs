//! A whole disk: what the kernel tells of it in sysfs, who uses it, and what is written to it when it is made anew.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::block::{self, Block};
use super::{mount, signal};
use crate::error::{Error, Result};

/// So much is looked at and wiped at either end: all signatures that tools look for lie there, and partitions begin
/// after it.
pub const END: u64 = 1024 * 1024;
/// How long a partition's node may take to appear.
const PATIENCE: u32 = 100;
const POLL: Duration = Duration::from_millis(100);
/// Disks that hold others (a volume on an encrypted one on a RAID): more levels are a loop.
const MAX_SLAVES: usize = 8;

/// A whole disk, or a partition of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its node.
    pub node: PathBuf,
    /// Its device number.
    pub number: u64,
    sysfs: PathBuf,
}

/// A whole disk.
#[derive(Debug)]
pub struct Disk {
    /// The disk itself.
    pub whole: Part,
    /// Bytes.
    pub size: u64,
    /// Maker and model as the disk names itself, or a loop device's file.
    pub model: String,
    /// Serial number, if it tells one.
    pub serial: Option<String>,
    /// It hangs on USB.
    pub usb: bool,
    /// It is write-protected.
    pub read_only: bool,
}

impl Disk {
    /// The disk that a device is.
    ///
    /// # Errors
    /// `Usage` if it is a partition; `Io`.
    pub fn of(block: &Block) -> Result<Disk> {
        let link = block::sysfs_dir(block.number);
        let sysfs = link.canonicalize().map_err(|error| Error::io("look at", &link, error))?;
        if sysfs.join("partition").exists() {
            return Err(Error::Usage(format!(
                "{} is a partition; the whole disk is made anew: name {}",
                block.path.display(),
                block.whole.display()
            )));
        }
        let words = ["device/vendor", "device/model", "device/name", "loop/backing_file"];
        let words: Vec<String> = words.iter().filter_map(|name| text(&sysfs.join(name))).collect();
        Ok(Disk {
            size: text(&sysfs.join("size")).and_then(|size| size.parse::<u64>().ok()).unwrap_or(0).saturating_mul(512),
            model: if words.is_empty() { "unknown model".to_owned() } else { words.join(" ") },
            serial: serial(&sysfs),
            usb: on_usb(&sysfs),
            read_only: block.read_only,
            whole: Part { node: block.path.clone(), number: block.number, sysfs },
        })
    }

    /// Its partitions, as the kernel knows them.
    pub fn partitions(&self) -> Vec<Part> {
        let Ok(entries) = std::fs::read_dir(&self.whole.sysfs) else {
            return Vec::new();
        };
        let dirs = entries.flatten().map(|entry| entry.path()).filter(|dir| dir.join("partition").exists());
        let mut partitions: Vec<Part> = dirs.filter_map(part).collect();
        partitions.sort_by_key(|part| part.number);
        partitions
    }

    /// The disk and its partitions.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = vec![self.whole.clone()];
        parts.extend(self.partitions());
        parts
    }

    /// Says if anything uses the disk or a part of it. The operator's parking does not count: every run ends that.
    ///
    /// # Errors
    /// `Busy`; `Io`.
    pub fn check_unused(&self) -> Result<()> {
        let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
        let mut parked = false;
        for part in self.parts() {
            let node = part.node.display();
            let busy = |why: String, next| Err(Error::Busy { why, next });
            for place in mount::places_of(part.number)? {
                if !mount::is_parking(&place) {
                    return busy(format!("{node} is mounted at {}", place.display()), "unmount it and run it again");
                }
                parked = true;
            }
            if let Some(holder) = std::fs::read_dir(part.sysfs.join("holders")).ok().and_then(|mut dir| dir.next()) {
                let holder = holder.map(|holder| holder.file_name().to_string_lossy().into_owned()).unwrap_or_default();
                return busy(format!("{node} is a part of {holder}"), "end that (dmsetup, mdadm) and run it again");
            }
            if swaps.lines().any(|line| line.split_whitespace().next().is_some_and(|name| Path::new(name) == part.node))
            {
                return busy(format!("{node} is used as swap"), "end that with swapoff and run it again");
            }
        }
        // What we can't see, such as a mount in another namespace, the kernel knows.
        if parked { Ok(()) } else { claim(&self.whole.node, false).map(drop) }
    }

    /// Opens the disk as its only user: the kernel refuses that while anything has it or a partition of it mounted or
    /// claimed, in whatever mount namespace.
    ///
    /// # Errors
    /// `Busy`, `Io`.
    pub fn claim(&self) -> Result<File> {
        claim(&self.whole.node, true)
    }

    /// Whether the first MiB is all zeros.
    ///
    /// # Errors
    /// `Io`.
    pub fn begins_empty(&self, mut file: &File) -> Result<bool> {
        let fail = |error| Error::io("read", &self.whole.node, error);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).map_err(fail)?;
        file.take(END).read_to_end(&mut bytes).map_err(fail)?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }

    /// The node of the one partition that was just made, from [`END`] on.
    ///
    /// # Errors
    /// `Failed` if none appears, `Interrupted`.
    pub fn wait_for_partition(&self) -> Result<PathBuf> {
        for _ in 0..PATIENCE {
            if let [part] = self.partitions().as_slice()
                && text(&part.sysfs.join("start")) == Some((END / 512).to_string())
                && Block::open(&part.node).is_ok_and(|block| block.number == part.number)
            {
                return Ok(part.node.clone());
            }
            signal::check()?;
            std::thread::sleep(POLL);
        }
        Err(Error::Failed {
            why: format!("the new partition of {} does not appear", self.whole.node.display()),
            next: "pull the stick, plug it in and run it again with --erase (a loop device: losetup --partscan)",
        })
    }
}

/// Whether a device is on a disk that this system runs from: `/`, `/usr`, `/boot`, the server's data.
pub fn is_the_system_s(block: &Block, server_root: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let dirs = ["/", "/usr", "/boot", "/boot/firmware"].map(Path::new);
    let mut disks = BTreeSet::new();
    for dir in dirs.into_iter().chain([server_root]) {
        if let Ok(metadata) = std::fs::metadata(dir) {
            disks_below(&block::sysfs_dir(metadata.dev()), &mut disks, MAX_SLAVES);
        }
    }
    let mut own = BTreeSet::new();
    disks_below(&block::sysfs_dir(block.number), &mut own, MAX_SLAVES);
    !own.is_disjoint(&disks)
}

/// Writes zeros over the first and the last MiB, so that nobody finds what was there before.
///
/// # Errors
/// `Busy`, `Io`.
pub fn wipe_ends(node: &Path) -> Result<()> {
    let fail = |error| Error::io("write to", node, error);
    let mut file = claim(node, true)?;
    let size = file.seek(SeekFrom::End(0)).map_err(fail)?;
    let zeros = vec![0; usize::try_from(size.min(END)).unwrap_or(0)];
    for at in [0, size.saturating_sub(END)] {
        file.seek(SeekFrom::Start(at)).map_err(fail)?;
        file.write_all(&zeros).map_err(fail)?;
    }
    file.sync_all().map_err(fail)
}

/// open(2): `O_EXCL` without `O_CREAT` on a block device fails with `EBUSY` if the system uses it.
fn claim(node: &Path, writable: bool) -> Result<File> {
    let access = if writable { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = access | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match rustix::fs::open(node, flags, Mode::empty()) {
        Ok(fd) => Ok(File::from(fd)),
        Err(Errno::BUSY) => Err(Error::Busy {
            why: format!("{} is in use by something else", node.display()),
            next: "close what uses it, unmount it and run it again",
        }),
        Err(error) => Err(Error::io("open", node, error)),
    }
}

fn text(path: &Path) -> Option<String> {
    let text = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if text.is_empty() { None } else { Some(text) }
}

fn part(sysfs: PathBuf) -> Option<Part> {
    let number = text(&sysfs.join("dev"))?;
    let (major, minor) = number.split_once(':')?;
    let number = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    Some(Part { node: block::node(number)?, number, sysfs })
}

/// `/sys/devices/…/usb2/2-1/2-1:1.0/host0/target0:0:0/0:0:0:0/block/sda`: a USB bus is a directory on the way.
fn on_usb(sysfs: &Path) -> bool {
    let bus = |name: &str| {
        name.strip_prefix("usb").is_some_and(|bus| !bus.is_empty() && bus.bytes().all(|byte| byte.is_ascii_digit()))
    };
    sysfs.components().any(|part| part.as_os_str().to_str().is_some_and(bus))
}

/// The nearest device on the way that tells a serial number: of a USB stick the USB device.
fn serial(sysfs: &Path) -> Option<String> {
    let devices = sysfs.ancestors().take_while(|dir| *dir != Path::new("/sys/devices"));
    devices.flat_map(|dir| [dir.join("serial"), dir.join("device/serial")]).find_map(|path| text(&path))
}

/// Adds the whole disks that a device lies on.
fn disks_below(sysfs: &Path, disks: &mut BTreeSet<PathBuf>, levels: usize) {
    let (Ok(real), true) = (sysfs.canonicalize(), levels > 0) else {
        return;
    };
    for slave in std::fs::read_dir(real.join("slaves")).into_iter().flatten().flatten() {
        disks_below(&slave.path(), disks, levels - 1);
    }
    let disk = if real.join("partition").exists() { real.parent().map(Path::to_owned) } else { Some(real) };
    disks.extend(disk);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usb_is_seen_in_the_path() {
        let pi = "/sys/devices/platform/axi/1000120000.pcie/1f00200000.usb/xhci-hcd.0/";
        let stick = "usb2/2-1/2-1:1.0/host0/target0:0:0/0:0:0:0/block/sda";
        assert!(on_usb(&Path::new(pi).join(stick)));
        for other in [
            "/sys/devices/virtual/block/loop0",
            "/sys/devices/platform/axi/1000110000.pcie/pci0001:00/0001:01:00.0/nvme/nvme0/nvme0n1",
            "/sys/devices/platform/1000fff000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0",
            "/sys/devices/platform/usb/block/usbstick",
        ] {
            assert!(!on_usb(Path::new(other)), "{other}");
        }
    }
}
