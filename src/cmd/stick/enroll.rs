//! `toolmaster stick enroll`: an operator says that a stick may be trusted with the server's data (SPEC 1). Only
//! `REQUIRE_ENROLLED=1` makes that necessary.

use std::path::PathBuf;

use argh::FromArgs;
use log::info;

use super::{Env, Report, record};
use crate::error::{Error, Result};
use crate::stick::chain::Probed;
use crate::stick::enroll::Key;

/// Enroll a stick at this server, so that it is taken where only enrolled ones are.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "enroll")]
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
    let mut report = Report::new("stick-enroll");
    let result = enroll(args, env, &mut report);
    if !args.dry_run {
        record(report, env, result)?;
    } else {
        result?;
    }
    info!("stick enroll completed (dry_run={})", u8::from(args.dry_run));
    Ok(())
}

fn enroll(args: &Args, env: &Env, report: &mut Report) -> Result<()> {
    let settings = &env.settings;
    report.device = Some(args.device.clone());
    let probed = Probed::open(&args.device, settings, env.clock)?;
    report.probed(&args.device, probed.superblock());
    let role = probed.role(settings)?;
    let stick = probed.not_enrolled_yet().mount(role, settings)?.prove()?;
    let uuid = stick.superblock().uuid.clone();
    if uuid.is_empty() {
        let next = "make it anew with \"toolmaster stick init\"".to_owned();
        return Err(Error::Refused { why: format!("{} has no UUID to sign", args.device.display()), next });
    }
    if args.dry_run {
        let writable = stick.check_writable();
        info!("plan: sign that {uuid} is this server's {} stick", role.word());
        return writable.and(stick.release());
    }
    let key = Key::make(settings)?;
    if stick.is_enrolled(&key) && !stick.was_cut_off()? {
        info!("it is enrolled already");
        return stick.release();
    }
    let stick = stick.writable(false)?;
    let written = stick.temp().and_then(|temp| stick.enroll(&temp, &key)).and_then(|()| stick.end_temp());
    written.and(stick.release())?;
    info!("{uuid} is this server's {} stick now", role.word());
    Ok(())
}
