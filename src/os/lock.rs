//! One run at a time per stick and per dataset (SPEC 8).

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use log::info;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::dir::Dir;
use super::signal;
use crate::error::{Error, Result};

/// How long a run by hand waits.
const BY_HAND: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);

/// A lock, held as long as this lives. The kernel frees it with the process, so a kill leaves none behind.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held for its descriptor")] File);

impl Lock {
    /// Locks a block device's node, as udev and systemd do (whole disks): while it is held no unit starts for it.
    ///
    /// # Errors
    /// `Busy` by hand after ten seconds, `Io`, `Interrupted`.
    pub fn device(path: &Path) -> Result<Lock> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
            .map_err(|error| Error::io("open", path, error))?;
        take(File::from(fd), path)
    }

    /// Locks a directory itself; nothing is made in it.
    ///
    /// # Errors
    /// `Busy` by hand after ten seconds, `Io`, `Interrupted`.
    pub fn dir(dir: &Dir) -> Result<Lock> {
        let fd = dir.as_fd().try_clone_to_owned().map_err(|error| Error::io("open", dir.path(), error))?;
        take(File::from(fd), dir.path())
    }

    /// Locks a file in a directory, made if it is not there.
    ///
    /// # Errors
    /// `Busy` by hand after ten seconds, `Io`, `Interrupted`.
    pub fn file(dir: &Dir, name: &str) -> Result<Lock> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = dir.path_of(name.as_bytes());
        let fd = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| Error::io("open", &path, error))?;
        take(File::from(fd), &path)
    }
}

/// A unit waits, saying so, as long as its time limit lets it; a run by hand ten seconds.
fn take(file: File, path: &Path) -> Result<Lock> {
    let start = Instant::now();
    let in_unit = std::env::var_os("INVOCATION_ID").is_some();
    let mut said = false;
    loop {
        match rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Lock(file)),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(error) => return Err(Error::io("lock", path, error)),
        }
        if !said {
            info!("waiting: another run has {} in use", path.display());
            said = true;
        }
        if !in_unit && start.elapsed() >= BY_HAND {
            return Err(Error::Busy {
                why: format!("another run has {} in use", path.display()),
                next: "wait until it is done and run it again",
            });
        }
        signal::check()?;
        std::thread::sleep(POLL);
    }
}
