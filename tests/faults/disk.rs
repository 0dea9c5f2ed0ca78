//! Disks that can be put back: each run of a fault begins with the same bytes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::common::stick::mkfs;
use crate::common::{Stick, Tree, tool};

/// What a filesystem writes at once.
const BLOCK: usize = 4096;

/// An ext4 filesystem on a loop device over an image in memory, and what it held when it was kept.
pub struct Disk {
    stick: Stick,
    kept: Vec<u8>,
    /// Where the harness mounts it.
    place: tempfile::TempDir,
}

impl Disk {
    /// A new one with nothing on it.
    pub fn new(label: &str, mib: u64) -> Disk {
        // The tests have a /run of their own, in memory (scripts/in-namespace).
        let image = tempfile::tempdir_in("/run").unwrap();
        let stick = Stick::made_in(image, mib, |image| mkfs(image, label));
        Disk { stick, kept: Vec::new(), place: tempfile::tempdir_in("/run").unwrap() }
    }

    /// Its node.
    pub fn device(&self) -> &str {
        self.stick.device()
    }

    /// Where the harness mounts it.
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// Mounts it there: read-only, it writes nothing at all, not even a journal replay.
    pub fn mount(&self, read_only: bool) {
        let (flags, data) = if read_only { (MountFlags::RDONLY, c"noload") } else { (MountFlags::empty(), c"") };
        // The mount of a run that was killed may end a moment after the run itself.
        patiently(|| rustix::mount::mount(self.device(), self.place(), "ext4", flags, data))
            .unwrap_or_else(|error| panic!("mount {}: {error}", self.device()));
    }

    /// Looks at what is on it, or changes it, with the disk mounted for that alone.
    pub fn with<T>(&self, read_only: bool, work: impl FnOnce(&Tree) -> T) -> T {
        self.mount(read_only);
        let result = work(&Tree::at(self.place()));
        self.unmount();
        result
    }

    /// Looks at what is on it, wherever it is mounted already.
    pub fn look<T>(&self, look: impl FnOnce(&Tree) -> T) -> T {
        match self.mounts().first() {
            Some(place) => look(&Tree::at(place)),
            None => self.with(true, look),
        }
    }

    /// Where it is mounted, by whomever.
    pub fn mounts(&self) -> Vec<PathBuf> {
        let start = format!("{} ", self.device());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let lines = mounts.lines().filter(|line| line.starts_with(&start));
        lines.filter_map(|line| line.split(' ').nth(1).map(PathBuf::from)).collect()
    }

    /// Unmounts it everywhere. A program of a killed run may have it in use for a moment longer.
    pub fn unmount(&self) {
        for place in self.mounts() {
            patiently(|| rustix::mount::unmount(&place, UnmountFlags::empty()))
                .unwrap_or_else(|error| panic!("unmount {}: {error}", place.display()));
        }
    }

    /// From now on this is what it is put back to. It must not be mounted.
    pub fn keep(&mut self) {
        self.kept = self.stick.bytes();
    }

    /// Gives it back the bytes that were kept. It must not be mounted.
    pub fn put_back(&self) {
        let image = OpenOptions::new().read(true).write(true).open(self.stick.image()).unwrap();
        for (start, end) in extents(&image) {
            let mut bytes = vec![0; end - start];
            image.read_exact_at(&mut bytes, start as u64).unwrap();
            for (at, now) in (start..).step_by(BLOCK).zip(bytes.chunks(BLOCK)) {
                let before = &self.kept[at..at + now.len()];
                if now != before {
                    image.write_all_at(before, at as u64).unwrap();
                }
            }
        }
        // What the kernel remembers of the device's bytes is no longer true.
        tool("blockdev", &["--flushbufs", self.device()]);
    }
}

/// Tries again for ten seconds while something is in use.
fn patiently(work: impl Fn() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    for _ in 0..5000 {
        match work() {
            Err(Errno::BUSY) => std::thread::sleep(Duration::from_millis(2)),
            result => return result,
        }
    }
    work()
}

/// Where an image has bytes at all.
fn extents(image: &File) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Ok(start) = seek(image, SeekFrom::Data(at)) {
        let end = seek(image, SeekFrom::Hole(start)).unwrap();
        found.push((start as usize, end as usize));
        at = end;
    }
    found
}
