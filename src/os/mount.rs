//! Mounting a stick at a place of its own under `/run/toolmaster` and taking it away again (SPEC 5).

use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{info, warn};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::block;
use super::dir::Dir;
use super::lock::Lock;
use crate::error::{Error, Result};

/// Where sticks are mounted while a run works on them.
pub const RUN_DIR: &str = "/run/toolmaster";
/// Where a stick is parked read-only for the operator after a unit's run.
pub const PARKED_BACKUP: &str = "/mnt/backup";
/// The same for the sticks that bring and carry data.
pub const PARKED_DATA: &str = "/mnt/physusb";
const PARKING: [&str; 2] = [PARKED_BACKUP, PARKED_DATA];
/// Nothing on a stick is executed, followed or a device, whatever its filesystem says.
const FLAGS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NOSYMFOLLOW)
    .union(MountFlags::NOATIME);

/// A copy of the mount that a descriptor is of.
const TREE: OpenTreeFlags =
    OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC).union(OpenTreeFlags::AT_EMPTY_PATH);

/// A mount that this run made. `Drop` is the net for a run that ends early; [`Mount::release`] is the way.
#[derive(Debug)]
pub struct Mount {
    place: PathBuf,
    attempts: u32,
    mounted: bool,
}

impl Mount {
    /// Mounts a device at a new directory, trying as often as it is told if the device is in use.
    ///
    /// # Errors
    /// `Io`; `Busy`; `Refused` if it is to be written and is write-protected.
    pub fn new(device: &Path, kernel_name: &str, writable: bool, data: &str, attempts: u32) -> Result<Mount> {
        let place = make_place(device)?;
        let flags = if writable { FLAGS } else { FLAGS | MountFlags::RDONLY };
        let data = std::ffi::CString::new(data).unwrap_or_default();
        let mount = |name: &str| rustix::mount::mount(device, &place, name, flags, &*data);
        match patiently(attempts, || mount(kernel_name)) {
            Ok(()) => Ok(Mount { place, attempts, mounted: true }),
            Err(error) => {
                let _ = std::fs::remove_dir(&place);
                Err(match error {
                    Errno::ROFS | Errno::ACCESS if writable => write_protected(device),
                    Errno::PERM => Error::Config {
                        why: format!("mounting {} needs root", device.display()),
                        next: "run it with sudo",
                    },
                    Errno::BUSY => Error::Busy {
                        why: format!("{} is in use by something else", device.display()),
                        next: "close what uses it, unmount it and run it again",
                    },
                    // mount(2): no such filesystem in this kernel, nor a module of it. (A device that is gone: ENXIO.)
                    Errno::NODEV => Error::Config {
                        why: format!("this system's kernel has no {kernel_name}, which {} is", device.display()),
                        next: "use a stick with ext4, or a system whose kernel has it",
                    },
                    error => Error::io("mount", device, error),
                })
            }
        }
    }

    /// A mount that an earlier process left on purpose, to be released.
    pub fn at(place: &Path, attempts: u32) -> Mount {
        Mount { place: place.to_owned(), attempts, mounted: true }
    }

    /// Leaves it mounted when this process ends, and says where.
    pub fn keep(mut self) -> PathBuf {
        self.mounted = false;
        self.place.clone()
    }

    /// Shows it, whose root directory is given, at a place where an operator looks for it, and leaves it mounted there when this process
    /// ends. A stick that is shown there already makes way. A crash in between leaves the mount below `/run/toolmaster`, which the
    /// next run on the device ends. If the stick was pulled meanwhile, another stick's run may have ended this mount already; what is
    /// shown is the root that is held open, never what is at its path by then.
    ///
    /// # Errors
    /// `Busy` if something else is mounted there; `Io`.
    pub fn show_at(self, root: Dir, place: &Path) -> Result<()> {
        match std::fs::create_dir(place) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io("make the directory", place, error));
            }
            _ => {}
        }
        let _lock = parking_lock()?;
        clear_parking(place)?;
        let number = root.entry()?.dev;
        let shown = rustix::mount::open_tree(&root, c"", TREE).and_then(|tree| {
            rustix::mount::move_mount(&tree, c"", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        });
        shown.map_err(|error| Error::io("mount a stick at", place, error))?;
        drop(root);
        // systemd, which takes it away with the device, has nothing to go by where that was gone before.
        if is_gone(number) {
            detach(place)?;
            return Err(Error::io("mount a stick at", place, Errno::NODEV));
        }
        self.release()
    }

    /// Its root directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn root(&self) -> Result<Dir> {
        Dir::open(&self.place)
    }

    /// Unmounts, trying as often as the settings say. Every descriptor below it must be closed by now.
    ///
    /// # Errors
    /// `Busy` if something else holds it open; the mount is then taken out of sight, and ends with the last holder.
    pub fn release(mut self) -> Result<()> {
        self.unmount()
    }

    fn unmount(&mut self) -> Result<()> {
        self.mounted = false;
        let flags = UnmountFlags::NOFOLLOW;
        let result = match patiently(self.attempts, || rustix::mount::unmount(&self.place, flags)) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
            Err(Errno::BUSY) => {
                let _ = rustix::mount::unmount(&self.place, flags | UnmountFlags::DETACH);
                Err(Error::Busy {
                    why: format!("{} is still in use by another program", self.place.display()),
                    next: "close it before the stick is pulled",
                })
            }
            Err(error) => Err(Error::io("unmount", &self.place, error)),
        };
        let _ = std::fs::remove_dir(&self.place);
        result
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = self.unmount()
        {
            warn!("{error}");
        }
    }
}

/// Tries so often, half a second apart, what is answered with `EBUSY`: what a killed run had open is closed a moment after it is gone.
fn patiently(attempts: u32, act: impl Fn() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    for _ in 1..attempts {
        match act() {
            Err(Errno::BUSY) => std::thread::sleep(Duration::from_millis(500)),
            result => return result,
        }
    }
    act()
}

/// What a write-protected stick is answered.
pub fn write_protected(device: &Path) -> Error {
    Error::Refused {
        why: format!("{} is write-protected", device.display()),
        next: "unlock its switch, or check it on a PC".to_owned(),
    }
}

/// Whether a path names a place where a run mounts sticks.
pub fn is_place(path: &Path) -> bool {
    let mut parts = path.components();
    path.parent() == Some(Path::new(RUN_DIR)) && matches!(parts.next_back(), Some(std::path::Component::Normal(_)))
}

/// The number of the block device that is mounted at `place`, if one is.
///
/// # Errors
/// `Io`.
pub fn mounted_at(place: &Path) -> Result<Option<u64>> {
    // The last one is on top.
    let found = mounts()?.into_iter().rfind(|mounted| mounted.place == place);
    Ok(found.map(|mounted| mounted.number).filter(|number| rustix::fs::major(*number) != 0))
}

/// Where a device is mounted in this namespace.
///
/// # Errors
/// `Io`.
pub fn places_of(number: u64) -> Result<Vec<PathBuf>> {
    Ok(mounts()?.into_iter().filter(|mounted| mounted.number == number).map(|mounted| mounted.place).collect())
}

/// Every place where something is mounted in this namespace, as a path without links; also those that a later mount hides.
///
/// # Errors
/// `Io`.
pub fn points() -> Result<Vec<PathBuf>> {
    Ok(mounts()?.into_iter().map(|mounted| mounted.place).collect())
}

/// Whether a stick is parked there for the operator.
pub fn is_parking(place: &Path) -> bool {
    PARKING.iter().any(|parking| place == Path::new(parking))
}

/// `/run/toolmaster/<device>-<process>`: no pulled stick's old mount is ever in the way, nor one that was left on
/// purpose by a process that had our number.
fn make_place(device: &Path) -> Result<PathBuf> {
    let run_dir = Path::new(RUN_DIR);
    for dir in [Path::new("/run"), run_dir] {
        match std::fs::create_dir(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io("make the directory", dir, error));
            }
            _ => {}
        }
    }
    let name = device.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let process = std::process::id();
    let mut place = run_dir.join(format!("{name}-{process}"));
    for number in 2..100 {
        match std::fs::create_dir(&place) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                place = run_dir.join(format!("{name}-{number}-{process}"));
            }
            Err(error) => return Err(Error::io("make the directory", &place, error)),
            Ok(()) => return Ok(place),
        }
    }
    Err(Error::io("make the directory", &place, Errno::EXIST))
}

/// Takes a device's parking away, before its job, and that of sticks that were pulled.
///
/// # Errors
/// `Io`, `Interrupted`.
pub fn unpark(number: u64) -> Result<()> {
    let _lock = parking_lock()?;
    for place in PARKING.map(Path::new) {
        while mounted_at(place)?.is_some_and(|mounted| mounted == number || is_gone(mounted)) {
            detach(place)?;
            info!("the stick is no longer shown at {}", place.display());
        }
    }
    Ok(())
}

/// Two sticks are shown at once where several were plugged in: without this one would come to lie upon the other, and
/// unmounting the lower one would take the upper one away.
fn parking_lock() -> Result<Lock> {
    let _ = std::fs::create_dir(RUN_DIR);
    Lock::file(&Dir::open(Path::new(RUN_DIR))?, "parking.lock")
}

/// Takes away whatever stick is parked at a place: the latest one is shown.
fn clear_parking(place: &Path) -> Result<()> {
    while let Some(top) = mounts()?.into_iter().rfind(|mounted| mounted.place == place) {
        if !top.parked {
            return Err(Error::Busy {
                why: format!("something else is mounted at {}", place.display()),
                next: "unmount it there, and the stick is shown the next time",
            });
        }
        detach(place)?;
    }
    Ok(())
}

fn detach(place: &Path) -> Result<()> {
    match rustix::mount::unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io("unmount", place, error)),
    }
}

/// Whether a mounted device is no more. Major 0 is no disk (tmpfs, …): such a mount is never a stick's.
fn is_gone(number: u64) -> bool {
    rustix::fs::major(number) != 0 && !block::exists(number)
}

/// Clears the way for a run on a device, which the caller has locked: what a killed run left mounted of it, mounts of
/// sticks that were pulled, and the device's own parking. A mount of anything else is never touched.
///
/// # Errors
/// `Busy` if somebody mounted the device elsewhere.
pub fn clear_the_way(device: &Path, number: u64) -> Result<()> {
    for Mounted { place, number: mounted, .. } in mounts()? {
        let ours = place.starts_with(RUN_DIR);
        let gone = is_gone(mounted);
        if (ours || is_parking(&place)) && (mounted == number || gone) {
            info!("ending an earlier mount of {} at {}", if gone { "a pulled stick" } else { "it" }, place.display());
            detach(&place)?;
        } else if mounted == number {
            return Err(Error::Busy {
                why: format!("{} is mounted at {}", device.display(), place.display()),
                next: "unmount it there and run it again",
            });
        }
    }
    remove_left_places();
    Ok(())
}

/// Empty mountpoints of processes that are no more.
fn remove_left_places() {
    let Ok(entries) = std::fs::read_dir(RUN_DIR) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.rsplit_once('-').and_then(|(_, process)| process.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// A mount of this namespace.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    place: PathBuf,
    /// The device's number.
    number: u64,
    /// Mounted as sticks are for operators: read-only, no links followed.
    parked: bool,
}

/// The mounts of this namespace (proc(5), `mountinfo`).
fn mounts() -> Result<Vec<Mounted>> {
    let path = Path::new("/proc/self/mountinfo");
    let text = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse_mount).collect())
}

fn parse_mount(line: &[u8]) -> Option<Mounted> {
    use std::os::unix::ffi::OsStringExt;
    let mut fields = line.split(|byte| *byte == b' ');
    let number = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = number.split_once(':')?;
    let number = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    let place = unescape(fields.nth(1)?);
    let options: Vec<&[u8]> = fields.next()?.split(|byte| *byte == b',').collect();
    let parked = options.contains(&&b"ro"[..]) && options.contains(&&b"nosymfollow"[..]);
    Some(Mounted { place: PathBuf::from(std::ffi::OsString::from_vec(place)), number, parked })
}

/// Blank, tab, newline and backslash stand as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        let octal = if *byte == b'\\' { after.get(..3) } else { None };
        let code =
            octal.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|text| u8::from_str_radix(text, 8).ok());
        match code {
            Some(code) => {
                plain.push(code);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(*byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert!(is_place(Path::new("/run/toolmaster/sda1-77")));
        for other in ["/run/toolmaster", "/run/toolmaster/..", "/run/toolmaster/a/b", "/mnt/backup", "run/toolmaster/a"]
        {
            assert!(!is_place(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn mountinfo_lines() {
        let line = b"36 35 8:1 /mnt1 /mnt/a\\040b rw,noatime master:1 - ext4 /dev/sda1 rw";
        let (place, number) = (PathBuf::from("/mnt/a b"), rustix::fs::makedev(8, 1));
        assert_eq!(parse_mount(line), Some(Mounted { place, number, parked: false }));
        let line = b"36 35 8:1 / /mnt/backup ro,nosuid,nosymfollow shared:1 - ext4 /dev/sda1 ro";
        assert!(parse_mount(line).unwrap().parked);
        assert_eq!(parse_mount(b""), None);
        assert_eq!(parse_mount(b"36 35 8 / /mnt"), None);
    }
}
