//! A backup is of a snapshot that is no older than asked for (SPEC 7).

use std::time::Duration;

use log::{info, warn};

use super::super::{recovery, snapshot};
use super::{Args, Env, snapshot_dir};
use crate::clock::DAY;
use crate::dataset::server::Server;
use crate::error::Result;
use crate::os::systemd;
use crate::snapshot::generation;

const SNAPSHOT_UNIT: &str = "tool-snapshot.service";
/// The unit's own limit, and a little.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(3 * 3600 + 60);

/// Takes a snapshot first if the newest is too old (`--fresh`); by hand only says how old it is.
///
/// # Errors
/// `Io`. That none could be taken is none: the newest one is backed up.
pub fn freshen(args: &Args, env: &Env, server: &Server) -> Result<()> {
    let Some(root) = server.snapshots(&snapshot_dir(args, env))? else { return Ok(()) };
    let newest = generation::list(&root)?.pop();
    let taken = newest
        .as_ref()
        .and_then(|newest| newest.header.as_ref()?.taken.or_else(|| env.clock.of_dir_name(&newest.name)));
    let age = taken.map(|taken| env.clock.now().saturating_sub(taken));
    // One of a server without data is never fresh enough: the first data may have come a minute after it.
    let holds = match &newest {
        Some(newest) if args.fresh.is_some() => recovery::holds_anything(&newest.dir(&root)?)?,
        _ => true,
    };
    match (age, args.fresh) {
        (Some(age), Some(fresh)) if age <= fresh && holds => Ok(()),
        (_, Some(_)) if args.dry_run => {
            info!("plan: take a snapshot first");
            Ok(())
        }
        (_, Some(_)) => {
            if let Err(error) = take_snapshot(args, env) {
                warn!("{error}");
                warn!("no fresh snapshot could be taken: the newest one is backed up");
            }
            Ok(())
        }
        (Some(age), None) if age > DAY => {
            warn!("the newest snapshot is {} hours old", age / 3600);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The stick's unit has no network, and so no database; the snapshot's has.
fn take_snapshot(args: &Args, env: &Env) -> Result<()> {
    if systemd::is_unit() {
        info!("taking a snapshot first: {SNAPSHOT_UNIT}");
        return systemd::start_and_wait(SNAPSHOT_UNIT, SNAPSHOT_LIMIT, "journalctl -t tool-snapshot says why");
    }
    snapshot::run(&snapshot::Args::for_backup(snapshot_dir(args, env)), env)
}
