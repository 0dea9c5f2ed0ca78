//! `toolmaster stick rescan`: starts the units for sticks that are in already, as udev does for one plugged in (SPEC 10).
//!
//! Safe whatever a stick is doing: a unit that runs already is not started again, a parked stick's parking is ended by
//! the job itself, and one that somebody mounted by hand is left alone by it.

use std::fs::File;
use std::path::{Path, PathBuf};

use argh::FromArgs;
use log::{error, info};

use super::Env;
use super::park::forget;
use crate::error::{Error, Result};
use crate::os::{block, systemd};
use crate::settings::Labels;
use crate::stick::probe::probe;
use crate::stick::role::Role;

/// Start the jobs of all sticks that are plugged in.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "rescan")]
pub struct Args {
    /// log what would be started and start nothing
    #[argh(switch)]
    dry_run: bool,
}

/// Carries it out.
///
/// # Errors
/// `NoSource` if no stick is in, `Failed` if systemctl fails (the other sticks' units are started all the same).
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let labels = &env.settings.labels;
    let found: Vec<(PathBuf, Role)> =
        block::list().into_iter().filter_map(|node| role_of(&node, labels).map(|role| (node, role))).collect();
    if found.is_empty() {
        let [a, b, c] = Role::ALL.map(|role| role.label(labels));
        let why = format!("no stick with the label {a}, {b} or {c} is plugged in");
        return Err(Error::NoSource { why, next: "plug it in; \"toolmaster stick probe\" shows a device's label" });
    }
    let mut first_error = Ok(());
    for (node, role) in found {
        let unit = role.unit_for(&node);
        let label = role.label(labels);
        if args.dry_run {
            info!("plan: start {unit} for {} ({label})", node.display());
            continue;
        }
        forget(&node);
        match (systemd::start_no_block(&unit), &first_error) {
            (Ok(()), _) => info!("started {unit} for {} ({label})", node.display()),
            (Err(error), Ok(())) => first_error = Err(error),
            (Err(error), Err(_)) => error!("{error}"),
        }
    }
    first_error
}

fn role_of(node: &Path, labels: &Labels) -> Option<Role> {
    let superblock = probe(&mut File::open(node).ok()?).ok()?;
    Role::of_label(&superblock.label, labels)
}
