//! `toolmaster stick park|unpark`: shows a stick to the operator between its jobs (SPEC 5). Run by units: `unpark` before a
//! job, `park` after its end.
//!
//! Both hold the disk's lock, and `park` does nothing while a job of the stick is about to run, so that no job ever finds
//! its stick in use by the parking.

use std::path::{Path, PathBuf};

use argh::FromArgs;
use log::info;

use super::rescan::unit;
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

/// End the showing of a stick, before its job.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "unpark")]
pub struct Unpark {
    /// the stick's device, such as /dev/sda1
    #[argh(positional)]
    device: PathBuf,
}

/// Parks a stick whose label and role are proven; any other, or one that was pulled, is left alone.
///
/// # Errors
/// `Busy` if something else is mounted where it is to be shown, `Failed` if systemctl fails, `Io`.
pub fn park(args: &Park, env: &Env) -> Result<()> {
    let device = &args.device;
    let Some((role, sequence)) = look(device, env) else {
        return Ok(());
    };
    let unit = unit(device, role);
    // A stick that came back under its old name before its old job's unit had ended was not heard by systemd.
    if let (Some(handled), Some(now)) = (handled(device), sequence)
        && handled != now
    {
        info!("{} was pulled and plugged in again: starting {unit}", device.display());
        return systemd::start_no_block(&unit);
    }
    let mut report = Report::new("park");
    match prove(device, Some(role), env, &mut report) {
        Ok(_) if systemd::is_active(&unit)? => Ok(()),
        Ok(stick) => {
            let place = stick.park()?;
            info!("{} can be seen at {}, read-only: it may be pulled at any time", device.display(), place.display());
            Ok(())
        }
        // Its job has said why.
        Err(Error::Refused { .. }) => Ok(()),
        Err(_) if !device.exists() => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a device is by its label, and its disk's sequence number; none if it is gone or no stick of ours.
fn look(device: &Path, env: &Env) -> Option<(Role, Option<String>)> {
    let block = Block::open(device).ok()?;
    let superblock = probe(&mut block.file()).ok()?;
    Some((Role::of_label(&superblock.label, &env.settings.labels)?, block.sequence()))
}

/// Takes the parking away and notes which disk it is that the job is for. A stick that is gone is left to the job.
///
/// # Errors
/// `Io`, `Interrupted`.
pub fn unpark(args: &Unpark) -> Result<()> {
    let Ok(block) = Block::open(&args.device) else {
        return Ok(());
    };
    let _lock = Lock::device(&block.whole)?;
    mount::unpark(block.number)?;
    if let Some(sequence) = block.sequence() {
        let path = note(&args.device);
        let _ = std::fs::create_dir(mount::RUN_DIR);
        // Lost with the next start of the system, like the numbers themselves.
        std::fs::write(&path, sequence).map_err(|error| Error::io("write", &path, error))?;
    }
    Ok(())
}

/// The disk that the last job was for.
fn handled(device: &Path) -> Option<String> {
    std::fs::read_to_string(note(device)).ok()
}

fn note(device: &Path) -> PathBuf {
    let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Path::new(mount::RUN_DIR).join(format!("{name}.diskseq"))
}
