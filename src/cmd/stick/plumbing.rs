//! `toolmaster stick mount|unmount|validate`: what `lib/toolmaster-usb.sh` is made of (SPEC 1).

use std::path::{Path, PathBuf};

use argh::FromArgs;
use log::info;

use super::{Env, print};
use crate::error::{Error, Result};
use crate::os::block::{self, Block};
use crate::os::dir::Dir;
use crate::os::mount as os_mount;
use crate::stick::chain::Probed;
use crate::stick::control::role_trouble;
use crate::stick::enroll::{Key, is_enrolled};
use crate::stick::probe::probe;
use crate::stick::role::Role;

/// Mount a stick below /run/toolmaster, print where, and leave it mounted until "stick unmount" or the next job on it.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "mount")]
pub struct Mount {
    /// the stick's device, such as /dev/sda1
    #[argh(positional)]
    device: PathBuf,
}

/// Write everything to a stick that "stick mount" mounted, and unmount it.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "unmount")]
pub struct Unmount {
    /// where it is mounted
    #[argh(positional)]
    mountpoint: PathBuf,
}

/// Check that the stick mounted somewhere has the role and its label.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "validate")]
pub struct Validate {
    /// where it is mounted
    #[argh(positional)]
    mountpoint: PathBuf,
    /// INGEST, DIST or BACKUP
    #[argh(positional)]
    role: Role,
    /// the label it must have; without it the role's
    #[argh(positional)]
    label: Option<String>,
}

/// Mounts a stick for a script. Read-only unless label and role are proven (SPEC 5) and it is not write-protected.
///
/// # Errors
/// As [`Probed::open`] and [`Probed::keep_mounted`].
pub fn mount(args: &Mount, env: &Env) -> Result<()> {
    let probed = Probed::open(&args.device, &env.settings, env.clock)?;
    let (place, writable) = probed.keep_mounted(&env.settings)?;
    let how = if writable { "for writing" } else { "read-only: it is write-protected, or no stick of ours" };
    info!("{} is mounted at {} {how}", args.device.display(), place.display());
    print(&place.to_string_lossy())
}

/// Ends such a mount. None there is no error: the stick was pulled, or a job ended it.
///
/// # Errors
/// `Usage` for any other place, `Busy`, `Io`.
pub fn unmount(args: &Unmount, env: &Env) -> Result<()> {
    let place = &args.mountpoint;
    if !os_mount::is_place(place) {
        return Err(Error::Usage(format!("{} is no place where \"stick mount\" mounts", place.display())));
    }
    if os_mount::mounted_at(place)?.is_none() {
        info!("nothing is mounted at {}", place.display());
        return Ok(());
    }
    // Unmounting flushes, but tells nobody if that failed; this does.
    let flushed = Dir::open(place).and_then(|root| root.sync_all());
    let released = os_mount::Mount::at(place, env.settings.max_retry).release();
    flushed.and(released)
}

/// Checks label and role of what is mounted.
///
/// # Errors
/// `NoSource` if nothing is mounted there; `Refused` if label or role are missing or others, or it is not enrolled where
/// that is asked for.
pub fn validate(args: &Validate, env: &Env) -> Result<()> {
    let Some(device) = device_at(&args.mountpoint)? else {
        let why = format!("no stick is mounted at {}", args.mountpoint.display());
        return Err(Error::NoSource { why, next: "mount one there" });
    };
    let refused = |why: String| Error::Refused {
        why: format!("validation failed for {}: {why}", device.display()),
        next: "plug in the right stick".to_owned(),
    };
    let block = Block::open(&device)?;
    let superblock = probe(&mut block.file()).map_err(|error| refused(error.to_string()))?;
    let label = args.label.as_deref().unwrap_or_else(|| args.role.label(&env.settings.labels));
    if superblock.label != label {
        return Err(refused(format!("its label is \"{}\", not \"{label}\"", superblock.label)));
    }
    let root = Dir::open(&args.mountpoint)?;
    if let Some(why) = role_trouble(&root, args.role) {
        return Err(refused(why));
    }
    let settings = &env.settings;
    let enrolled = || Ok(Key::read(settings)?.is_some_and(|key| is_enrolled(&root, &superblock.uuid, args.role, &key)));
    if settings.require_enrolled && !enrolled()? { Err(refused("it is not enrolled".to_owned())) } else { Ok(()) }
}

fn device_at(mountpoint: &Path) -> Result<Option<PathBuf>> {
    let Ok(real) = mountpoint.canonicalize() else {
        return Ok(None);
    };
    Ok(os_mount::mounted_at(&real)?.and_then(block::node))
}
