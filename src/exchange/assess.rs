//! What is seen of a dataset on both sides, what follows from it, and how both are told (SPEC 6).

use log::{info, warn};

use crate::clock::{Belief, Clock};
use crate::dataset::Dataset;
use crate::dataset::decide::{self, Decision, Doubt, Facts, Presence, Since, decide};
use crate::dataset::meta::Meta;
use crate::dataset::stick_state::known::Known;
use crate::dataset::survey::{How, Lost, Survey, survey};
use crate::dataset::undo::Pruning;
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
    /// `--force`, or a file `REPLACE` on the stick.
    pub consent: bool,
    /// `--checksum`.
    pub checksum: bool,
    /// The stick was not cleanly removed from a PC.
    pub dirty: bool,
    /// The clock's worth.
    pub belief: &'a Belief,
    /// As what times are told.
    pub clock: Clock,
    /// Nothing is to be changed.
    pub dry_run: bool,
}

impl<'a> Asked<'a> {
    /// What of `undo/` may go for room.
    pub fn pruning(&self) -> Pruning<'a> {
        Pruning { belief: self.belief, spare: None, dry_run: self.dry_run }
    }
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

/// Where a dataset's time comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// Unix seconds, 0 if nothing tells it.
    pub time: i64,
    /// `meta.json` says it.
    claimed: bool,
    /// A time that `meta.json` says and that is not believed.
    disbelieved: Option<i64>,
}

impl Told {
    fn of(meta: &Meta, newest_file: i64, belief: &Belief) -> Told {
        let time = meta.time(newest_file, belief);
        let claimed = meta.claimed.is_some_and(|claimed| belief.plausible(claimed));
        Told { time, claimed, disbelieved: meta.claimed.filter(|_| !claimed) }
    }

    /// Says in the log what is weak about it, where it decides.
    fn warn(&self, name: &str, side: &str, clock: Clock) {
        if let Some(time) = self.disbelieved {
            warn!("{name}: the updated_at of the {side}'s meta.json, {}, is not believed", clock.log_time(time));
        }
        match (self.claimed, self.time) {
            (true, _) => {}
            (false, 0) => warn!("{name}: nothing tells the {side}'s time"),
            (false, time) => {
                warn!(
                    "{name}: the {side}'s time, {}, is only a file's mtime: its meta.json says none",
                    clock.log_time(time)
                );
            }
        }
    }
}

/// All that the decision about a dataset is made from.
pub struct Assessment {
    /// What was found.
    pub found: Survey,
    /// Who wins.
    pub decision: Decision,
    /// The new time for both sides.
    pub time: i64,
    /// Stick and server agree on a last common state, and nothing changed since.
    pub settled: bool,
    /// What the loser had and the winner never had.
    pub lost: Lost,
    /// What the loser had in an older version than the winner: it may be all that somebody wrote, so it is told by name.
    pub older: Lost,
    stick_told: Told,
    server_told: Told,
}

impl Assessment {
    /// Whether times had a say.
    fn is_by_time(&self) -> bool {
        let one_sided = matches!(self.found.since, Some(Since { stick: 0, .. } | Since { server: 0, .. }));
        let filled = self.found.stick_files > 0 && self.found.server_files > 0;
        filled && !one_sided && self.found.different > 0 && !matches!(self.decision, Decision::Nothing(_))
    }
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
/// As [`survey`]; `Io` if not all that was read from the stick may be believed.
pub fn assess(
    asked: Asked<'_>,
    stick: &Stick,
    known: &dyn Fn() -> Result<Known>,
    (on_stick, live): (Option<&Dir>, Option<&Dir>),
    tell: bool,
) -> Result<Assessment> {
    let belief = asked.belief;
    let how = How { limits: stick.limits(), checksum: asked.checksum, belief, tell, strict: true };
    let mut found = survey(on_stick, live, known, how)?;
    // A list that the kernel cut short looks like deletions. Where a file's name is known that can't be read, the refusal names it.
    if found.unreadable.is_none() {
        stick.check_read()?;
    }
    let meta = |dir: Option<&Dir>| Ok(dir.map(Meta::read).transpose()?.unwrap_or_default());
    let (stick_meta, server_meta) = (meta(on_stick)?, meta(live)?);
    let stick_told = Told::of(&stick_meta, found.stick_newest, belief);
    let server_told = Told::of(&server_meta, found.server_newest, belief);
    let presence = |dir: Option<&Dir>, files| match (dir, files) {
        (None, _) => Presence::Missing,
        (Some(_), 0) => Presence::Empty,
        (Some(_), _) => Presence::Filled,
    };
    let doubt = match (asked.dirty, found.gone.is_most()) {
        (true, _) => Some(Doubt::Dirty),
        (false, true) => Some(Doubt::Halved),
        (false, false) => None,
    };
    let facts = Facts {
        stick: presence(on_stick, found.stick_files),
        server: presence(live, found.server_files),
        consent: asked.consent,
        equal: found.different == 0,
        since: found.since,
        doubt,
        unreadable: found.unreadable.is_some(),
        stick_time: stick_told.time,
        server_time: server_told.time,
        // Both got one time at the common state, and the server has not changed since where this is asked.
        meta_newer: stick_told.claimed && stick_told.time > server_told.time,
        believed: belief.believed,
    };
    let settled = found.based && found.since.is_some_and(|since| since.stick == 0 && since.server == 0);
    let time = belief.next(&[stick_told.time, server_told.time]);
    let decision = decide(&facts);
    let (lost, older) = match (decision, on_stick, live) {
        (Decision::StickWins(_), Some(stick), Some(server)) => {
            let lost = std::mem::take(&mut found.lost_on_server).not_elsewhere(server, stick, known)?;
            (lost, std::mem::take(&mut found.older_on_server))
        }
        (Decision::ServerWins(_), Some(stick), Some(server)) => {
            let lost = std::mem::take(&mut found.lost_on_stick).not_elsewhere(stick, server, known)?;
            (lost, std::mem::take(&mut found.older_on_stick))
        }
        _ => Default::default(),
    };
    Ok(Assessment { decision, found, time, settled, lost, older, stick_told, server_told })
}

/// What a decision against both sides is answered.
pub fn no_winner(dataset: Dataset, assessed: &Assessment) -> Option<Error> {
    let name = dataset.name();
    match assessed.decision {
        Decision::Refused(reason) => {
            let path = assessed.found.unreadable.as_ref().filter(|_| reason == decide::UNREADABLE);
            Some(Error::Refused {
                why: format!("{name}: refused: {reason}{}", path.map_or(String::new(), |path| format!(": {path}"))),
                next: match reason {
                    decide::UNREADABLE => "copy what can be read to another stick",
                    decide::DIRTY => "plug it into a PC, let it be checked there, eject it properly, and plug it in again",
                    _ => "look at the stick on a PC; if it is right and shall replace the server's data, make a file REPLACE.txt in its root",
                }
                .to_owned(),
            })
        }
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
pub fn say(dataset: Dataset, assessed: &Assessment, clock: Clock) -> (&'static str, &'static str) {
    let name = dataset.name();
    if assessed.is_by_time() {
        assessed.stick_told.warn(name, "stick", clock);
        assessed.server_told.warn(name, "server", clock);
    }
    let (word, reason) = match assessed.decision {
        Decision::Nothing(reason) => ("nothing to do", reason),
        Decision::StickWins(reason) => (STICK_WINS, reason),
        Decision::ServerWins(reason) => (SERVER_WINS, reason),
        Decision::Refused(reason) => return ("refused", reason),
        Decision::Undecidable => return ("busy", "the clock is not to be believed"),
    };
    if reason == decide::MISSING {
        warn!("{name}: {word}: {reason}");
    } else {
        info!("{name}: {word}: {reason}");
    }
    let lost = &assessed.lost;
    if lost.files > 0 {
        warn!(
            "{name}: the side that lost had been changed too: {} file(s) that the winner never had are kept in undo/: {}",
            lost.files,
            lost.names.join(", ")
        );
    }
    let older = &assessed.older;
    if older.files > 0 {
        info!(
            "{name}: {} file(s) that the winner has in a newer version are kept in undo/: {}",
            older.files,
            older.names.join(", ")
        );
    }
    (word, reason)
}
