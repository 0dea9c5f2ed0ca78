//! *Pure.* Who wins, per dataset, with the reason (SPEC 6, ingest).

/// What is on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// No directory.
    Missing,
    /// A directory without a file that counts.
    Empty,
    /// At least one file.
    Filled,
}

/// What changed since the last common state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// Files changed, added or removed on the stick.
    pub stick: u64,
    /// Files changed, added or removed on the server.
    pub server: u64,
    /// Files of the common state, and their bytes.
    pub base: (u64, u64),
    /// Of these, gone or zero-length on the stick.
    pub lost: (u64, u64),
}

/// All that decides.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The stick's dataset.
    pub stick: Side,
    /// The server's dataset.
    pub server: Side,
    /// `--force`.
    pub force: bool,
    /// Both hold the same files with the same contents.
    pub equal: bool,
    /// Changes since the common state; none if there is no common state.
    pub since: Option<Since>,
    /// The stick's filesystem was not cleanly unmounted, or has recorded errors.
    pub dirty: bool,
    /// A file on the stick can't be read.
    pub unreadable: bool,
    /// The stick's time, unix seconds, 0 if unknown.
    pub stick_time: i64,
    /// The server's time, unix seconds, 0 if unknown.
    pub server_time: i64,
    /// Whether the clock may decide.
    pub believed: bool,
}

/// What is to be done, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Neither side changes.
    Nothing(&'static str),
    /// The stick's dataset replaces the server's. `lost`: the server's had changed.
    StickWins {
        /// Why.
        reason: &'static str,
        /// The loser had changed since the common state.
        lost: bool,
    },
    /// The server's dataset replaces the stick's.
    ServerWins {
        /// Why.
        reason: &'static str,
        /// The loser had changed since the common state.
        lost: bool,
    },
    /// Neither side changes, because it would destroy data.
    Refused(&'static str),
    /// Neither side changes, because only the clock could decide and it is not to be believed.
    Undecidable,
}

use Decision::{Nothing, Refused, ServerWins, StickWins, Undecidable};

/// Rule 1's refusal: no time in a `meta.json` lifts it.
pub const EMPTIED: &str = "the stick's dataset is empty and the server's is not";

/// Rule 3's reason: somebody edited files on a PC and left `meta.json` as it was.
pub const EDITED: &str = "changed on the stick since the last run, not on the server";

/// SPEC 6's four rules, in their order.
pub fn decide(facts: &Facts) -> Decision {
    let since = facts.since.unwrap_or_default();
    let stick_changed = since.stick > 0;
    let server_changed = since.server > 0;
    let stick_wins = |reason| StickWins { reason, lost: server_changed };
    match (facts.stick, facts.server) {
        (Side::Missing, _) => return Nothing("not on the stick"),
        (Side::Empty, Side::Filled) if !facts.force => {
            return Refused(EMPTIED);
        }
        (Side::Empty, Side::Empty | Side::Missing) => return Nothing("empty on both sides"),
        (Side::Filled, Side::Empty) => return stick_wins("the server's dataset is empty"),
        (Side::Filled, Side::Missing) => return stick_wins("the server has none"),
        _ => {}
    }
    if facts.equal {
        return Nothing("equal contents");
    }
    if facts.force {
        return stick_wins("--force");
    }
    if stick_changed && !server_changed {
        let Some(doubt) = doubt(facts, &since) else {
            return stick_wins(EDITED);
        };
        // The doubt is lifted by a newer meta.json, but only if times can be compared at all.
        return match (facts.believed, facts.stick_time > facts.server_time) {
            (false, _) => Undecidable,
            (true, true) => stick_wins("its meta.json is newer"),
            (true, false) => Refused(doubt),
        };
    }
    if !facts.believed {
        return Undecidable;
    }
    match (facts.stick_time > facts.server_time, stick_changed && server_changed) {
        (true, false) => stick_wins("its meta.json is newer"),
        (true, true) => stick_wins("both sides changed, its meta.json is newer"),
        (false, false) => ServerWins { reason: "the server's meta.json is not older", lost: stick_changed },
        (false, true) => ServerWins { reason: "both sides changed, the server's meta.json is not older", lost: true },
    }
}

/// Why a changed stick is not to be trusted, if it is not.
fn doubt(facts: &Facts, since: &Since) -> Option<&'static str> {
    if facts.dirty {
        return Some("the stick changed, but it was not cleanly removed from the PC and may be damaged");
    }
    if facts.unreadable {
        return Some("the stick changed, but a file on it can't be read");
    }
    if since.lost.0 > since.base.0 / 2 || since.lost.1 > since.base.1 / 2 {
        return Some("more than half of the stick's files or bytes are gone or empty");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: Since = Since { stick: 0, server: 0, base: (10, 1000), lost: (0, 0) };
    const FACTS: Facts = Facts {
        stick: Side::Filled,
        server: Side::Filled,
        force: false,
        equal: false,
        since: Some(SINCE),
        dirty: false,
        unreadable: false,
        stick_time: 100,
        server_time: 100,
        believed: true,
    };

    fn changed(stick: u64, server: u64) -> Option<Since> {
        Some(Since { stick, server, ..SINCE })
    }

    fn winner(facts: &Facts) -> &'static str {
        match decide(facts) {
            Nothing(_) => "nothing",
            StickWins { lost: false, .. } => "stick",
            StickWins { lost: true, .. } => "stick, lost",
            ServerWins { lost: false, .. } => "server",
            ServerWins { lost: true, .. } => "server, lost",
            Refused(_) => "refused",
            Undecidable => "undecidable",
        }
    }

    #[test]
    fn rule_1_missing_and_empty() {
        use Side::{Empty, Filled, Missing};
        for (stick, server, force, expected) in [
            (Missing, Filled, false, "nothing"),
            (Missing, Filled, true, "nothing"),
            (Empty, Filled, false, "refused"),
            (Empty, Filled, true, "stick"),
            (Empty, Empty, false, "nothing"),
            (Empty, Missing, true, "nothing"),
            (Filled, Empty, false, "stick"),
            (Filled, Missing, false, "stick"),
        ] {
            let facts = Facts { stick, server, force, ..FACTS };
            assert_eq!(winner(&facts), expected, "{stick:?} {server:?} force={force}");
            assert_eq!(winner(&Facts { believed: false, ..facts }), expected, "the clock has no say here");
        }
    }

    #[test]
    fn rule_2_force_and_equality() {
        assert_eq!(winner(&Facts { equal: true, ..FACTS }), "nothing");
        assert_eq!(winner(&Facts { force: true, server_time: 200, ..FACTS }), "stick");
        assert_eq!(winner(&Facts { force: true, since: changed(0, 1), ..FACTS }), "stick, lost");
        assert_eq!(winner(&Facts { force: true, believed: false, ..FACTS }), "stick");
    }

    #[test]
    fn rule_3_a_forgotten_meta_json() {
        let facts = Facts { since: changed(1, 0), server_time: 200, ..FACTS };
        assert_eq!(winner(&facts), "stick");
        assert_eq!(winner(&Facts { believed: false, ..facts }), "stick", "no clock needed");
        let lost = Since { lost: (6, 0), ..changed(6, 0).unwrap() };
        let bytes = Since { lost: (1, 501), ..changed(1, 0).unwrap() };
        let half = Since { lost: (5, 500), ..changed(5, 0).unwrap() };
        for doubtful in [
            Facts { dirty: true, ..facts },
            Facts { unreadable: true, ..facts },
            Facts { since: Some(lost), ..facts },
            Facts { since: Some(bytes), ..facts },
        ] {
            assert_eq!(winner(&doubtful), "refused");
            assert_eq!(winner(&Facts { stick_time: 300, ..doubtful }), "stick");
            assert_eq!(winner(&Facts { believed: false, ..doubtful }), "undecidable");
        }
        assert_eq!(winner(&Facts { since: Some(half), ..facts }), "stick", "exactly half is not more than half");
    }

    #[test]
    fn rule_4_the_newer_meta_json() {
        for since in [None, changed(0, 0), changed(0, 3)] {
            let lost = if since == changed(0, 3) { "stick, lost" } else { "stick" };
            assert_eq!(winner(&Facts { since, stick_time: 101, ..FACTS }), lost);
            assert_eq!(winner(&Facts { since, ..FACTS }), "server", "a tie is the server's");
            assert_eq!(winner(&Facts { since, believed: false, ..FACTS }), "undecidable");
        }
        let both = Facts { since: changed(1, 1), ..FACTS };
        assert_eq!(winner(&both), "server, lost");
        assert_eq!(winner(&Facts { stick_time: 101, ..both }), "stick, lost");
    }
}
