//! `toolmaster clock confirm`: an operator says that the clock is right (SPEC 8).

use argh::FromArgs;
use log::info;

use super::Env;
use crate::clock::YEAR_2000;
use crate::dataset::server::Server;
use crate::error::{Error, Result};

/// The server's clock.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "clock")]
pub struct Args {
    #[argh(subcommand)]
    what: What,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum What {
    Confirm(Confirm),
}

/// Say that the clock is right: later times on record stop to count.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "confirm")]
struct Confirm {}

/// Carries it out.
///
/// # Errors
/// `Failed` if the clock can't be right, `Config`, `Io`.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let What::Confirm(Confirm {}) = args.what;
    let now = env.clock.now();
    if now < YEAR_2000 {
        return Err(Error::Failed {
            why: format!("the clock says {}, which can't be right", env.clock.log_time(now)),
            next: "set it first, for example: sudo timedatectl set-time \"2026-01-31 09:00\"",
        });
    }
    Server::open(&env.settings, false)?.confirm_clock(now)?;
    info!("the clock is confirmed: {}", env.clock.log_time(now));
    Ok(())
}
