//! `toolmaster stick adopt`: an operator says that a stick is this server's from now on (SPEC 7: the backup of another
//! server is not written over).

use std::path::PathBuf;

use argh::FromArgs;
use log::info;

use super::{Env, Report, prove, record};
use crate::dataset::server::Server;
use crate::error::Result;
use crate::stick::chain::Stick;
use crate::text::Shown;

/// Make a stick this server's own, whosever it was before.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "adopt")]
pub struct Args {
    /// the stick's device, such as /dev/sda1
    #[argh(option)]
    device: PathBuf,
    /// log what would be done and change nothing
    #[argh(switch)]
    dry_run: bool,
}

/// Carries it out.
///
/// # Errors
/// SPEC 3.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let mut report = Report::new("stick-adopt");
    let result = adopt(args, env, &mut report);
    if !args.dry_run {
        record(report, env, result)?;
    } else {
        result?;
    }
    info!("stick adopt completed (dry_run={})", u8::from(args.dry_run));
    Ok(())
}

fn adopt(args: &Args, env: &Env, report: &mut Report) -> Result<()> {
    let server = Server::open(&env.settings, args.dry_run)?;
    let stick = prove(&args.device, None, env, report)?;
    let before = stick.server()?;
    say_whose(&stick, before.as_deref());
    if before.as_ref() == Some(&server.id) && !stick.was_cut_off()? {
        info!("it is this server's ({}) already", server.id);
        return stick.release();
    }
    let id = if server.id.is_empty() { "its id is still to be made" } else { &server.id };
    if args.dry_run {
        let writable = stick.check_writable();
        info!("plan: write to the stick that it is this server's ({id})");
        return writable.and(stick.release());
    }
    let stick = stick.writable(false)?;
    let written = stick.temp().and_then(|temp| stick.set_server(&temp, &server.id)).and_then(|()| stick.end_temp());
    written.and(stick.release())?;
    info!("it is this server's ({id}) now");
    Ok(())
}

/// Whose it was: by an earlier adoption, else by its manifest.
fn say_whose(stick: &Stick, before: Option<&str>) {
    let writer = stick.manifest().map(|manifest| manifest.server);
    match (before, writer) {
        (Some(id), _) => info!("it was the server {}'s", Shown(id.as_bytes())),
        (None, Some(id)) => info!("nobody adopted it yet; its manifest is the server {}'s", Shown(id.as_bytes())),
        (None, None) => info!("nobody adopted it yet"),
    }
}
