//! Sticks: image files on loop devices. The kernel detaches a device when its last user closes it, so that none is left
//! behind, even by a test that was killed.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use tempfile::TempDir;

use super::{Tree, tool};

/// A stick in its port: a block device over an image file.
#[derive(Debug)]
pub struct Stick {
    dir: TempDir,
    device: PathBuf,
    open: File,
}

impl Stick {
    /// An ext4 stick as the handbook makes one: labelled `TM-INGEST`, role `INGEST`, else empty.
    pub fn ingest() -> Stick {
        Stick::labelled("TM-INGEST", 32)
    }

    /// The same with another label and size.
    pub fn labelled(label: &str, mib: u64) -> Stick {
        let stick = Stick::blank(label, mib);
        stick.edit(|root| {
            root.file(".toolmaster/role", "INGEST\n", super::ago(super::DAY));
        });
        stick
    }

    /// An ext4 filesystem with nothing on it.
    pub fn blank(label: &str, mib: u64) -> Stick {
        Stick::made(mib, |image| mkfs(image, label))
    }

    /// An image file that `make` turns into whatever is to be on the stick.
    pub fn made(mib: u64, make: impl FnOnce(&str)) -> Stick {
        Stick::made_in(tempfile::tempdir().unwrap(), mib, make)
    }

    /// The same, with the image in a directory of the test's choice.
    pub fn made_in(dir: TempDir, mib: u64, make: impl FnOnce(&str)) -> Stick {
        let image = dir.path().join("stick.img");
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        make(image.to_str().unwrap());
        Stick::attach(dir, &[])
    }

    /// A disk as it comes from the shop, with nothing but zeros on it, whose partitions are devices too.
    pub fn bare(mib: u64) -> Stick {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join("stick.img")).unwrap().set_len(mib << 20).unwrap();
        Stick::attach(dir, &["--partscan"])
    }

    fn attach(dir: TempDir, options: &[&str]) -> Stick {
        assert!(
            Path::new("/run/etc-upper").exists(),
            "run the tests with cargo inside the checkout (scripts/in-namespace)"
        );
        let image = dir.path().join("stick.img");
        let mut arguments = vec!["--find", "--show"];
        arguments.extend(options);
        arguments.push(image.to_str().unwrap());
        let device = PathBuf::from(tool("losetup", &arguments).trim());
        let open = File::open(&device).unwrap();
        // Not detached yet, since it is open: detached when the last user closes it.
        tool("losetup", &["-d", device.to_str().unwrap()]);
        Stick { dir, device, open }
    }

    /// The same medium in another port: what it holds at this instant, without what the kernel has not written yet.
    pub fn copy(&self) -> Stick {
        self.copied(&[])
    }

    /// A copy whose write-protect switch is set.
    pub fn write_protected(&self) -> Stick {
        self.copied(&["--read-only"])
    }

    /// A copy whose partitions can be devices too.
    pub fn partitionable(&self) -> Stick {
        self.copied(&["--partscan"])
    }

    /// A copy whose partitions are devices too; see [`Stick::partition`].
    pub fn partitioned(&self) -> Stick {
        let stick = self.partitionable();
        // A kernel without partition tables of its own is told what they say.
        tool("partx", &["--update", stick.device()]);
        stick
    }

    fn copied(&self, options: &[&str]) -> Stick {
        let dir = tempfile::tempdir().unwrap();
        // The kernel may be writing: only what was the same twice was so at one instant.
        let mut bytes = fs::read(self.image()).unwrap();
        loop {
            let again = fs::read(self.image()).unwrap();
            if again == bytes {
                break;
            }
            bytes = again;
        }
        fs::write(dir.path().join("stick.img"), bytes).unwrap();
        Stick::attach(dir, options)
    }

    /// `/dev/loopN`.
    pub fn device(&self) -> &str {
        self.device.to_str().unwrap()
    }

    /// `/dev/loopNpM`.
    pub fn partition(&self, number: u32) -> String {
        format!("{}p{number}", self.device())
    }

    /// The file behind it.
    pub fn image(&self) -> PathBuf {
        self.dir.path().join("stick.img")
    }

    /// Every byte on the medium (compare with `assert!`, not `assert_eq!`, which would print them).
    pub fn bytes(&self) -> Vec<u8> {
        rustix::fs::fsync(&self.open).unwrap();
        fs::read(self.image()).unwrap()
    }

    /// Changes what is on it, as a PC does: mounted, changed, ejected.
    pub fn edit<T>(&self, change: impl FnOnce(&Tree) -> T) -> T {
        let place = Mounted::new(self.device(), MountFlags::empty(), "");
        let result = change(&Tree::at(place.0.path()));
        place.unmount();
        result
    }

    /// Changes what is on it as a PC does that it is then pulled out of: a copy with all of it written, but not ejected.
    pub fn edit_and_pull(&self, change: impl FnOnce(&Tree)) -> Stick {
        let place = Mounted::new(self.device(), MountFlags::empty(), "");
        change(&Tree::at(place.0.path()));
        rustix::fs::syncfs(File::open(place.0.path()).unwrap()).unwrap();
        let pulled = self.copy();
        place.unmount();
        pulled
    }

    /// Looks at what is on it and writes nothing to it, not even a journal replay.
    pub fn read<T>(&self, look: impl FnOnce(&Tree) -> T) -> T {
        let place = Mounted::new(self.device(), MountFlags::RDONLY, "noload");
        let result = look(&Tree::at(place.0.path()));
        place.unmount();
        result
    }

    /// The same for the filesystem in its first partition.
    pub fn read_partition<T>(&self, look: impl FnOnce(&Tree) -> T) -> T {
        let place = Mounted::new(self.partition(1), MountFlags::RDONLY, "noload");
        let result = look(&Tree::at(place.0.path()));
        place.unmount();
        result
    }

    /// Where this device is mounted below `/run/toolmaster`.
    pub fn mountpoint(&self) -> Option<PathBuf> {
        mountpoint_of(self.device())
    }

    /// Whether it is mounted for writing, anywhere here.
    pub fn is_writable(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let start = format!("{} ", self.device());
        mounts.lines().any(|line| line.starts_with(&start) && line.contains(" ext4 rw,"))
    }

    /// Whether it is mounted there.
    pub fn is_mounted(&self) -> bool {
        self.mountpoint().is_some()
    }

    /// Changes the filesystem's own structures.
    pub fn debugfs(&self, request: &str) {
        tool("debugfs", &["-w", "-R", request, self.device()]);
    }
}

/// Makes an ext4 filesystem as large sticks have it (blocks of 4 KiB, inodes of 256 bytes) in a small image.
pub fn mkfs(image: &str, label: &str) {
    tool("mkfs.ext4", &["-q", "-F", "-b", "4096", "-I", "256", "-L", label, image]);
}

/// One value as `blkid -p` sees it, nothing if it sees none.
pub fn blkid(node: &str, key: &str) -> String {
    let output = std::process::Command::new("blkid").args(["-p", "-s", key, "-o", "value", node]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Where a device is mounted below `/run/toolmaster`.
pub fn mountpoint_of(device: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let start = format!("{device} /run/toolmaster");
    mounts.lines().find(|line| line.starts_with(&start))?.split(' ').nth(1).map(PathBuf::from)
}

/// An ext4 device on a directory of its own.
pub struct Mounted(pub TempDir);

impl Mounted {
    /// Mounts a device.
    pub fn new(device: impl AsRef<Path>, flags: MountFlags, data: &str) -> Mounted {
        Mounted::of_type("ext4", device, flags, data)
    }

    /// The same with another filesystem.
    pub fn of_type(fstype: &str, device: impl AsRef<Path>, flags: MountFlags, data: &str) -> Mounted {
        let dir = tempfile::tempdir().unwrap();
        let data = CString::new(data).unwrap();
        let device = device.as_ref();
        rustix::mount::mount(device, dir.path(), fstype, flags, data.as_c_str())
            .unwrap_or_else(|error| panic!("mount {}: {error}", device.display()));
        Mounted(dir)
    }

    /// Unmounts it, waiting while another thread's child has it in use.
    pub fn unmount(self) {
        let place = self.0.path();
        // Busy for a moment: another thread's child has a copy of our descriptors until it executes its program.
        for _ in 0..2000 {
            match rustix::mount::unmount(place, UnmountFlags::empty()) {
                Err(Errno::BUSY) => std::thread::sleep(Duration::from_millis(5)),
                result => return result.unwrap_or_else(|error| panic!("unmount {}: {error}", place.display())),
            }
        }
        panic!("{} stays busy", place.display());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // After `unmount` this finds nothing; after a failed assertion it leaves the directory removable.
        let _ = rustix::mount::unmount(self.0.path().as_os_str().as_bytes(), UnmountFlags::DETACH);
    }
}
