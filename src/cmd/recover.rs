//! `recover`: puts in its place what a TM-BACKUP stick's job has brought onto the server to replace a dead one (SPEC 7). Run by
//! a unit; by hand it finishes what a power cut or a pulled stick cut off, or does all of it from a stick without a consent on it.

use std::path::PathBuf;

use argh::FromArgs;
use log::info;
use serde_json::json;

use super::{Env, Report, recovery};
use crate::error::{Error, Result};
use crate::text::Bytes;

/// Make this server, which holds nothing, the one that a backup is of; without a stick, finish what was begun.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "recover")]
pub struct Args {
    /// the TM-BACKUP stick's device, such as /dev/sda1: no file RESTORE is asked of it
    #[argh(option)]
    device: Option<PathBuf>,
    /// end a recovery whose dump can't be loaded without the database
    #[argh(switch)]
    no_database: bool,
    /// what was left out of the database is made anew, or not needed: status is red for it no more
    #[argh(switch)]
    accept: bool,
}

/// Carries it out.
///
/// # Errors
/// SPEC 3; then it can be run again.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    if args.accept {
        if args.device.is_some() || args.no_database {
            return Err(Error::Usage("--accept goes with nothing else".to_owned()));
        }
        recovery::accept_left_out(env)?;
        info!("what was left out of the database is accepted");
        return Ok(());
    }
    let mut report = Report::new("recover-apply");
    let result = match &args.device {
        Some(_) if args.no_database => {
            Err(Error::Usage("--no-database ends what was begun: it goes without --device".to_owned()))
        }
        Some(device) => recovery::by_hand(device, env, &mut report),
        None => recovery::apply(env, args.no_database),
    };
    if let (Ok(record), None) = (&result, &args.device) {
        report.bytes = record.bytes;
        let told = json!({"outcome": "restored", "name": record.archive, "files": record.files, "bytes": record.bytes});
        report.datasets.insert("archive".to_owned(), told);
    }
    report.end(env, result.as_ref().err());
    let record = result?;
    info!("{} file(s) ({}) are in their place", record.files, Bytes(record.bytes));
    info!("recovery completed archive={} dry_run=0", record.archive);
    Ok(())
}
