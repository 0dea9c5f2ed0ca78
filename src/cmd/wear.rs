//! `wear`: asks the data disk how worn it is and notes it among the runs, from which `status` tells it: only this asks the disk.

use std::path::PathBuf;

use argh::FromArgs;
use log::info;
use serde_json::json;

use super::{Env, Report};
use crate::error::{Error, Result};
use crate::os::block::{self, Block};
use crate::os::dir::Dir;
use crate::os::smart;

/// Look how worn the data disk is, for "toolmaster status".
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "wear")]
pub struct Args {}

/// Carries it out.
///
/// # Errors
/// `Config` without smartctl, `NoSource` if the data are on no disk, `Failed`, `Io`. A disk that tells nothing is no error.
pub fn run(_: &Args, env: &Env) -> Result<()> {
    let mut report = Report::new("wear");
    let result = look(env, &mut report);
    report.end(env, result.as_ref().err());
    result
}

fn look(env: &Env, report: &mut Report) -> Result<()> {
    let disk = data_disk(env)?;
    report.device = Some(disk.clone());
    let entry = match smart::ask(&disk)? {
        Some(health) => {
            let worn = health.worn.map_or_else(|| "unknown".to_owned(), |worn| format!("{worn} %"));
            info!("{}: worn {worn}, health {}", disk.display(), if health.passed { "passed" } else { "FAILED" });
            json!({"outcome": "read", "worn_percent": health.worn, "passed": health.passed})
        }
        None => {
            info!("{}: it does not tell how worn it is", disk.display());
            json!({"outcome": "not told"})
        }
    };
    report.datasets.insert("disk".to_owned(), entry);
    Ok(())
}

/// The whole disk that holds the server's data.
fn data_disk(env: &Env) -> Result<PathBuf> {
    let root = &env.settings.server_root;
    let node = block::node(Dir::open(root)?.entry()?.dev).ok_or_else(|| Error::NoSource {
        why: format!("{} is on no disk of its own", root.display()),
        next: "nothing: what it is on tells nothing of its wear",
    })?;
    Ok(Block::open(&node)?.whole)
}
