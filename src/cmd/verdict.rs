//! What is seen of a dataset on both sides, what follows from it, and how both are told (SPEC 6).

use log::{info, warn};

use crate::clock::{Belief, Clock};
use crate::dataset::Dataset;
use crate::dataset::base::Known;
use crate::dataset::decide::{self, Decision, Facts, decide};
use crate::dataset::meta::Meta;
use crate::dataset::survey::{How, Survey, survey};
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::stick::chain::Stick;

/// How a winner is called in logs and records.
pub const STICK_WINS: &str = "stick wins";
/// How a winner is called in logs and records.
pub const SERVER_WINS: &str = "server wins";

/// What the operator asked for, and what is the same for both datasets.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// `--force`.
    pub force: bool,
    /// `--checksum`.
    pub checksum: bool,
    /// The stick may have been damaged on a PC.
    pub dirty: bool,
    /// The clock's worth.
    pub belief: &'a Belief,
}

/// A dataset's directory on the stick, if there is one.
///
/// # Errors
/// `Refused` if what is there is no real directory of the stick's own filesystem; `Io`.
pub fn open_on_stick(stick: &Stick, dataset: Dataset) -> Result<Option<Dir>> {
    let name = dataset.name();
    let refused = || Error::Refused {
        why: format!("{name}: {name} on the stick is not a real directory"),
        next: "replace it by a directory on a PC".to_owned(),
    };
    let Some(dir) =
        stick.root().sub(name.as_bytes()).map_err(|error| if error.is_no_directory() { refused() } else { error })?
    else {
        return Ok(None);
    };
    if dir.entry()?.dev == stick.root().entry()?.dev { Ok(Some(dir)) } else { Err(refused()) }
}

/// All that the decision about a dataset is made from.
pub struct Seen {
    /// What was found.
    pub found: Survey,
    /// Who wins.
    pub decision: Decision,
    /// The new time for both sides.
    pub time: i64,
    /// Stick and server agree on a last common state, and nothing changed since.
    pub settled: bool,
}

/// Tells the operator that the clock is not believed, before it matters.
pub fn doubt_clock(belief: &Belief, clock: Clock) {
    if !belief.believed {
        warn!(
            "the clock says {}, the newest record {}: it is not believed until it is synchronised or confirmed with \"toolmaster clock confirm\"",
            clock.log_time(belief.now),
            clock.log_time(belief.newest)
        );
    }
}

/// Looks at a dataset on the stick and on the server, and decides. `tell`: what is skipped is logged.
///
/// # Errors
/// As [`survey`].
pub fn see(
    asked: Asked<'_>,
    stick: &Stick,
    known: Known,
    dirs: (Option<&Dir>, Option<&Dir>),
    tell: bool,
) -> Result<Seen> {
    let (on_stick, live) = dirs;
    let belief = asked.belief;
    let how = How { limits: stick.limits(), checksum: asked.checksum, belief, tell };
    let has_base = known.base.is_some();
    let found = survey(on_stick, live, known, how)?;
    let time_of =
        |dir: Option<&Dir>, newest| Ok(dir.map(Meta::read).transpose()?.map_or(0, |meta| meta.time(newest, belief)));
    let stick_time = time_of(on_stick, found.stick_newest)?;
    let server_time = time_of(live, found.server_newest)?;
    let side = |dir: Option<&Dir>, files| match (dir, files) {
        (None, _) => decide::Side::Missing,
        (Some(_), 0) => decide::Side::Empty,
        (Some(_), _) => decide::Side::Filled,
    };
    let facts = Facts {
        stick: side(on_stick, found.stick_files),
        server: side(live, found.server_files),
        force: asked.force,
        equal: found.different == 0,
        since: found.since,
        dirty: asked.dirty,
        unreadable: found.unreadable.is_some(),
        stick_time,
        server_time,
        believed: belief.believed,
    };
    let settled = has_base && found.since.is_some_and(|since| since.stick == 0 && since.server == 0);
    let time = belief.next(&[stick_time, server_time]);
    Ok(Seen { decision: decide(&facts), found, time, settled })
}

/// What a decision against both sides is answered.
pub fn no_winner(dataset: Dataset, decision: Decision) -> Option<Error> {
    let name = dataset.name();
    match decision {
        Decision::Refused(reason) => Some(Error::Refused {
            why: format!("{name}: refused: {reason}"),
            next: if reason == decide::EMPTIED {
                "look at the stick on a PC; if the server's dataset is to be emptied too, use --force"
            } else {
                "look at the stick on a PC; if it is right, set a newer updated_at in its meta.json or use --force"
            }
            .to_owned(),
        }),
        Decision::Undecidable => Some(Error::Busy {
            why: format!("{name}: only the times could decide, and the clock is not to be believed"),
            next: "set the clock and run \"toolmaster clock confirm\", then plug the stick in again",
        }),
        _ => None,
    }
}

/// Refuses a name that the winner has and the loser can't hold, before the first byte is written.
///
/// # Errors
/// `Refused`.
pub fn unfit(dataset: Dataset, found: Option<&(String, &str)>, place: &str) -> Result<()> {
    match found {
        Some((path, why)) => Err(Error::Refused {
            why: format!("{}: {place} can't hold {path}: {why}", dataset.name()),
            next: "rename it; nothing was changed".to_owned(),
        }),
        None => Ok(()),
    }
}

/// Logs the decision; gives it as words.
pub fn say(dataset: Dataset, seen: &Seen) -> (&'static str, &'static str) {
    let name = dataset.name();
    let (word, reason, lost) = match seen.decision {
        Decision::Nothing(reason) => ("nothing to do", reason, false),
        Decision::StickWins { reason, lost } => (STICK_WINS, reason, lost),
        Decision::ServerWins { reason, lost } => (SERVER_WINS, reason, lost),
        Decision::Refused(reason) => return ("refused", reason),
        Decision::Undecidable => return ("busy", "the clock is not to be believed"),
    };
    if reason == "not on the stick" {
        warn!("{name}: {word}: {reason}");
    } else {
        info!("{name}: {word}: {reason}");
    }
    if lost {
        warn!("{name}: the side that lost had been changed too; what it held is kept in undo/");
    }
    (word, reason)
}

/// A stick that wins only because somebody edited it must be readable as a whole (SPEC 6, rule 3).
pub fn distrust(dataset: Dataset, reason: &str, error: Error) -> Error {
    match error {
        Error::Unreadable { path, source } if reason == decide::EDITED => Error::Refused {
            why: format!("{}: refused: {path} on the stick can't be read: {source}", dataset.name()),
            next: "copy what can be read to another stick".to_owned(),
        },
        error => error,
    }
}
