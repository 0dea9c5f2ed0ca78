//! A backup is of a snapshot that is no older than asked for (SPEC 7).

use std::time::Duration;

use log::{info, warn};

use super::super::snapshot;
use super::work::snapshot_dir;
use super::{Args, Env};
use crate::clock::DAY;
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::systemd;
use crate::snapshot::generation::{self, Generation};
use crate::snapshot::rot;
use crate::snapshot::shelf::Archive;

const SNAPSHOT_UNIT: &str = "tool-snapshot.service";
/// The unit's own limit, and a little.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(3 * 3600 + 60);

/// Takes a snapshot first if the newest is too old, later than the clock, or rotten (`--fresh`); by hand only says how old it is. Where the stick holds one with
/// a higher number, one is taken in any case: an archive of a lower number would not be the newest there.
///
/// # Errors
/// `Io`. That none could be taken is none: the newest one is backed up, unless the stick's numbers are higher.
pub fn freshen(args: &Args, env: &Env, server: &Server, archives: &[Archive]) -> Result<()> {
    let Some(root) = server.snapshots(&snapshot_dir(args, env))? else { return Ok(()) };
    let newest = generation::list(&root)?.pop();
    let age =
        newest.as_ref().and_then(|newest| newest.taken(env.clock)).map(|taken| env.clock.now().saturating_sub(taken));
    // One of a server without data is never fresh enough: the first data may have come a minute after it.
    let good = match &newest {
        Some(newest) if args.fresh.is_some() => !newest.filled(&root)?.is_empty() && !is_rotten(server)?,
        _ => true,
    };
    if let Some((newest, highest)) = newest.as_ref().and_then(|newest| Some((newest, ahead(newest, archives)?))) {
        info!(
            "the stick holds a backup of snapshot number {highest}, and the newest here has number {}",
            newest.number()
        );
        if args.dry_run {
            info!("plan: take a snapshot first");
            return Ok(());
        }
        server.raise_snapshot_number(highest)?;
        return take_snapshot(args, env).map_err(|error| match error {
            Error::Interrupted => error,
            error => Error::Failed {
                why: format!("no snapshot with a higher number could be taken, so there is no backup: {error}"),
                next: "then plug the stick in again",
            },
        });
    }
    match (age, args.fresh) {
        (Some(age), Some(fresh)) if (0..=fresh).contains(&age) && good => Ok(()),
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
        (Some(..0), None) => {
            warn!("the newest snapshot is later than the clock");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The highest number on the stick, if it is higher than the newest snapshot's, or the same and of another one: a server that was recovered from an older
/// backup meets such sticks.
fn ahead(newest: &Generation, archives: &[Archive]) -> Option<u64> {
    let highest = archives.iter().map(Archive::number).max()?;
    let is_other = |archive: &&Archive| {
        archive.number() > 0 && archive.number() == newest.number() && archive.header != newest.header
    };
    (highest > newest.number() || archives.iter().any(|archive| is_other(&archive))).then_some(highest)
}

/// Whether a snapshot's file is known to be rotten, so that it has to be copied anew.
fn is_rotten(server: &Server) -> Result<bool> {
    server.state.as_ref().map_or(Ok(false), |state| rot::noted(state).map(|noted| !noted.is_empty()))
}

/// The stick's unit has no network, and so no database; the snapshot's has.
fn take_snapshot(args: &Args, env: &Env) -> Result<()> {
    if systemd::is_unit() {
        info!("taking a snapshot first: {SNAPSHOT_UNIT}");
        return systemd::start_and_wait(SNAPSHOT_UNIT, SNAPSHOT_LIMIT, "journalctl -t tool-snapshot says why");
    }
    snapshot::run(&snapshot::Args::for_backup(snapshot_dir(args, env)), env)
}
