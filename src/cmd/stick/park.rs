//! `toolmaster stick park|unpark`: shows a stick to the operator between its jobs (SPEC 5). Run by units: `unpark` as a job's
//! condition, `park` after its end.
//!
//! Both hold the disk's lock, and `park` does nothing while a job of the stick is about to run, so that no job ever finds
//! its stick in use by the parking.

use std::path::{Path, PathBuf};

use argh::FromArgs;
use log::info;

use super::{Env, Report, prove};
use crate::error::{Error, Result};
use crate::os::block::Block;
use crate::os::lock::Lock;
use crate::os::{mount, systemd};
use crate::stick::probe::probe;
use crate::stick::role::Role;

/// Show a stick of ours read-only at /mnt/backup (TM-BACKUP) or /mnt/physusb (TM-INGEST, TM-DIST).
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "park")]
pub struct Park {
    /// the stick's device, such as /dev/sda1
    #[argh(positional)]
    device: PathBuf,
}

/// End the showing of a stick.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "unpark")]
pub struct Unpark {
    /// as the condition of its job: fail if that has run since the stick was plugged in
    #[argh(switch)]
    for_job: bool,
    /// the stick's device, such as /dev/sda1
    #[argh(positional)]
    device: PathBuf,
}

/// Parks a stick after its job, if its label and role are proven; any other, or one that was pulled, is left alone. Without a
/// job since the last time it does nothing: an operator may have unmounted it.
///
/// # Errors
/// `Busy` if something else is mounted where it is to be shown, `Failed` if systemctl fails, `Io`.
pub fn park(args: &Park, env: &Env) -> Result<()> {
    let device = &args.device;
    let Some((role, identity)) = look(device, env) else {
        return Ok(());
    };
    let unit = role.unit_for(device);
    match noted(device) {
        // A stick that came back under its old name before its old job's unit had ended was not heard by systemd.
        Some(noted) if noted.identity != identity => {
            info!("{} was pulled and plugged in again: starting {unit}", device.display());
            return systemd::start_no_block(&unit);
        }
        Some(noted) if noted.had_job => {}
        _ => return Ok(()),
    }
    let mut report = Report::new("park");
    match prove(device, Some(role), env, &mut report) {
        Ok(_) if systemd::is_active(&unit)? => return Ok(()),
        Ok(stick) => {
            let place = stick.park()?;
            info!("{} can be seen at {}, read-only: it may be pulled at any time", device.display(), place.display());
        }
        // Its job has said why.
        Err(Error::Refused { .. }) => {}
        Err(_) if !device.exists() => return Ok(()),
        Err(error) => return Err(error),
    }
    Noted { identity, had_job: false }.write(device)
}

/// What a device is by its label, and which stick it is; none if it is gone or no stick of ours.
fn look(device: &Path, env: &Env) -> Option<(Role, String)> {
    let block = Block::open(device).ok()?;
    let superblock = probe(&mut block.file()).ok()?;
    Some((Role::of_label(&superblock.label, &env.settings.labels)?, identity(&block)))
}

/// Takes the parking away. As a job's condition it notes which stick the job is for: systemd starts a device's units again at
/// every "change" event, of which a stick has some while it is in. A stick that is gone is left to the job.
///
/// # Errors
/// `NoSource` if the stick's job has run already, `Io`, `Interrupted`.
pub fn unpark(args: &Unpark) -> Result<()> {
    let device = &args.device;
    let Ok(block) = Block::open(device) else {
        return Ok(());
    };
    let _lock = Lock::device(&block.whole)?;
    if args.for_job && !note(device, &block, true)? {
        return Err(Error::NoSource {
            why: format!("the job of the stick on {} has run already", device.display()),
            next: "plug it in again, or run: sudo toolmaster stick rescan",
        });
    }
    mount::unpark(block.number)
}

/// Which stick a device's unit was for. Lost with the next start of the system, like the kernel's numbers.
struct Noted {
    identity: String,
    /// It had a job since it was parked.
    had_job: bool,
}

impl Noted {
    fn write(&self, device: &Path) -> Result<()> {
        let path = note_path(device);
        let _ = std::fs::create_dir(mount::RUN_DIR);
        let text = if self.had_job { format!("{}\njob\n", self.identity) } else { format!("{}\n", self.identity) };
        std::fs::write(&path, text).map_err(|error| Error::io("write", &path, error))
    }
}

/// Notes which stick a device's unit is for. False if it was that one already.
///
/// # Errors
/// `Io`.
pub fn note(device: &Path, block: &Block, had_job: bool) -> Result<bool> {
    let identity = identity(block);
    if noted(device).is_some_and(|noted| noted.identity == identity) {
        return Ok(false);
    }
    Noted { identity, had_job }.write(device).map(|()| true)
}

/// Lets a stick's job run once more.
pub fn forget(device: &Path) {
    let _ = std::fs::remove_file(note_path(device));
}

/// The disk as the kernel counts it, and the filesystem on it: the same only as long as the stick is in and is not made anew.
fn identity(block: &Block) -> String {
    let uuid = probe(&mut block.file()).map(|superblock| superblock.uuid.to_string()).unwrap_or_default();
    format!("{} {uuid}", block.sequence().unwrap_or_default())
}

fn noted(device: &Path) -> Option<Noted> {
    let text = std::fs::read_to_string(note_path(device)).ok()?;
    let mut lines = text.lines().map(str::to_owned);
    Some(Noted { identity: lines.next()?, had_job: lines.next().is_some() })
}

fn note_path(device: &Path) -> PathBuf {
    let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Path::new(mount::RUN_DIR).join(format!("{name}.seen"))
}
