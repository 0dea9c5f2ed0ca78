//! `toolmaster stick …`: looks at sticks, makes them, takes care of them (SPEC 1).

mod adopt;
mod enroll;
mod guard;
mod init;
mod park;
mod plumbing;
mod probe;
mod rescan;
mod verify;

use std::io::Write;
use std::path::Path;

use argh::FromArgs;

use super::{Env, Report, prove};
use crate::error::{Error, Result};

/// Look at sticks, make them, take care of them.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "stick")]
pub struct Args {
    #[argh(subcommand)]
    what: What,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum What {
    Probe(probe::Args),
    Init(init::Args),
    Verify(verify::Args),
    Adopt(adopt::Args),
    Enroll(enroll::Args),
    Rescan(rescan::Args),
    Park(park::Park),
    Unpark(park::Unpark),
    Guard(guard::Args),
    Mount(plumbing::Mount),
    Unmount(plumbing::Unmount),
    Validate(plumbing::Validate),
}

/// Carries it out.
///
/// # Errors
/// SPEC 3.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    match &args.what {
        What::Probe(args) => probe::run(args),
        What::Init(args) => init::run(args, env),
        What::Verify(args) => verify::run(args, env),
        What::Adopt(args) => adopt::run(args, env),
        What::Enroll(args) => enroll::run(args, env),
        What::Rescan(args) => rescan::run(args, env),
        What::Park(args) => park::park(args, env),
        What::Unpark(args) => park::unpark(args),
        What::Guard(args) => guard::run(args, env),
        What::Mount(args) => plumbing::mount(args, env),
        What::Unmount(args) => plumbing::unmount(args, env),
        What::Validate(args) => plumbing::validate(args, env),
    }
}

/// Writes a line for whoever called us to standard output.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").map_err(|error| Error::io("write to", Path::new("standard output"), error))
}

/// Records the run for `status`. A terminal that only reads sticks keeps no records.
fn record(report: Report, env: &Env, result: Result<()>) -> Result<()> {
    if env.settings.server_root.is_dir() {
        report.end(env, result.as_ref().err());
    }
    result
}
