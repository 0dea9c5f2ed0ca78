//! `toolmaster stick guard`: says in the log why nothing happens with USB storage that is no stick of ours (SPEC 4, 5). Run
//! by a unit.

use std::path::PathBuf;

use argh::FromArgs;
use log::warn;

use super::park::note;
use super::{Env, Report};
use crate::error::{Error, Result};
use crate::os::block::Block;
use crate::os::disk;
use crate::os::led;
use crate::stick::probe::probe;
use crate::stick::role::Role;
use crate::text::Shown;

/// Tell in usb_guard.log of USB storage that is no stick of ours.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "guard")]
pub struct Args {
    /// the device, such as /dev/sda1
    #[argh(positional)]
    device: PathBuf,
}

/// Tells of it, once for as long as it is in. What this system runs from, and what is gone again, is not told of.
///
/// # Errors
/// `Io`. That it is no stick of ours is none: telling of it is what this is for.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let Ok(block) = Block::open(&args.device) else {
        return Ok(());
    };
    if disk::is_the_system_s(&block, &env.settings.server_root) || !note(&args.device, &block, false)? {
        return Ok(());
    }
    let mut report = Report::new("guard");
    report.device = Some(args.device.clone());
    let why = match probe(&mut block.file()) {
        Ok(superblock) => {
            report.stick = Some((superblock.label.to_string(), superblock.uuid.to_string()));
            format!("its label is \"{}\"", Shown(superblock.label.as_bytes()))
        }
        Err(error) => error.to_string(),
    };
    let [a, b, c] = Role::ALL.map(|role| role.label(&env.settings.labels));
    let error = Error::Refused {
        why: format!("{} is no stick of ours: {why}", args.device.display()),
        next: format!("nothing is read from it or written to it; a stick needs the label {a}, {b} or {c}"),
    };
    warn!("{error}");
    // The unit's last step, which may reach the lights, shows it.
    if let Err(error) = led::note(&args.device, Some(led::State::Refused)) {
        warn!("{error}");
    }
    report.end(env, Some(&error));
    Ok(())
}
