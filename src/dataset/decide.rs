//! *Pure.* Who wins, per dataset, with the reason (SPEC 6, ingest).

/// What is on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// No directory.
    Missing,
    /// A directory without a file that counts.
    Empty,
    /// At least one file.
    Filled,
}

/// Files changed, added or removed since the common state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// On the stick.
    pub stick: u64,
    /// On the server.
    pub server: u64,
}

/// Why a stick that changed is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It was not cleanly removed.
    Dirty,
    /// More than half of the files or bytes are gone, empty or all zero.
    Halved,
}

impl Doubt {
    fn words(self) -> &'static str {
        match self {
            Doubt::Dirty => DIRTY,
            Doubt::Halved => "more than half of the files or bytes are gone from the stick, or empty, or all zero",
        }
    }
}

/// All that decides.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The stick's dataset.
    pub stick: Presence,
    /// The server's dataset.
    pub server: Presence,
    /// `--force`, or a file `REPLACE` on the stick.
    pub consent: bool,
    /// Both hold the same files with the same contents.
    pub equal: bool,
    /// Changes since the common state; none if there is no common state.
    pub since: Option<Since>,
    /// Why the stick is not to be trusted.
    pub doubt: Option<Doubt>,
    /// A file on the stick can't be read.
    pub unreadable: bool,
    /// The stick's time, unix seconds, 0 if unknown.
    pub stick_time: i64,
    /// The server's time, unix seconds, 0 if unknown.
    pub server_time: i64,
    /// The stick's `meta.json` was changed since the common state and says a believed time that is newer than the server's.
    pub meta_newer: bool,
    /// Whether the clock may decide.
    pub believed: bool,
}

/// What is to be done, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Neither side changes.
    Nothing(&'static str),
    /// The stick's dataset replaces the server's.
    StickWins(&'static str),
    /// The server's dataset replaces the stick's.
    ServerWins(&'static str),
    /// Neither side changes, because it would destroy data.
    Refused(&'static str),
    /// Neither side changes, because only the clock could decide and it is not to be believed.
    Undecidable,
}

use Decision::{Nothing, Refused, ServerWins, StickWins, Undecidable};

/// The refusal of a stick that was pulled from a PC.
pub const DIRTY: &str = "the stick changed, but it was not cleanly removed from the PC and may be damaged";
/// Rule 1's refusal: no time in a `meta.json` lifts it.
pub const EMPTIED: &str = "the stick's dataset is empty and the server's is not";
/// Rule 2's refusal.
pub const UNREADABLE: &str = "a file on the stick can't be read";
/// The stick has no directory of that name.
pub const MISSING: &str = "not on the stick";

/// SPEC 6's five rules, in their order.
pub fn decide(facts: &Facts) -> Decision {
    match (facts.stick, facts.server) {
        (Presence::Missing, _) => return Nothing(MISSING),
        (Presence::Empty, Presence::Filled) if !facts.consent => return Refused(EMPTIED),
        (Presence::Empty, Presence::Empty | Presence::Missing) => return Nothing("empty on both sides"),
        (Presence::Filled, Presence::Empty) => return StickWins("the server's dataset is empty"),
        (Presence::Filled, Presence::Missing) => return StickWins("the server has none"),
        _ => {}
    }
    if facts.equal {
        return Nothing("equal contents");
    }
    if facts.consent {
        return StickWins("it was told to replace the server's");
    }
    if facts.unreadable {
        return Refused(UNREADABLE);
    }
    match facts.since {
        Some(Since { stick: 1.., server: 0 }) => edited_on_the_stick(facts),
        Some(Since { stick: 0, server: 1.. }) => {
            ServerWins("changed on the server since the last run, not on the stick")
        }
        // The stick is as an earlier run found it or left it, and the server went on since.
        Some(Since { stick: 0, server: 0 }) => ServerWins("nobody edited the stick"),
        Some(_) => newer(
            facts,
            ["both sides changed, its meta.json is newer", "both sides changed, the server's meta.json is not older"],
        ),
        None => newer(facts, ["its meta.json is newer", "the server's meta.json is not older"]),
    }
}

/// Rule 3. A doubt is lifted by a newer `meta.json`, but only if times can be compared at all.
fn edited_on_the_stick(facts: &Facts) -> Decision {
    match facts.doubt {
        None => StickWins("changed on the stick since the last run, not on the server"),
        Some(_) if !facts.believed => Undecidable,
        Some(_) if facts.meta_newer => StickWins("changed on the stick, and its meta.json is newer"),
        Some(doubt) => Refused(doubt.words()),
    }
}

/// Rule 5.
fn newer(facts: &Facts, [stick, server]: [&'static str; 2]) -> Decision {
    match facts.doubt {
        _ if !facts.believed => Undecidable,
        _ if facts.stick_time <= facts.server_time => ServerWins(server),
        None => StickWins(stick),
        Some(doubt) => Refused(doubt.words()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts {
        stick: Presence::Filled,
        server: Presence::Filled,
        consent: false,
        equal: false,
        since: None,
        doubt: None,
        unreadable: false,
        stick_time: 100,
        server_time: 100,
        meta_newer: false,
        believed: true,
    };

    fn since(stick: u64, server: u64) -> Facts {
        Facts { since: Some(Since { stick, server }), ..FACTS }
    }

    fn winner(facts: &Facts) -> &'static str {
        match decide(facts) {
            Nothing(_) => "nothing",
            StickWins(_) => "stick",
            ServerWins(_) => "server",
            Refused(_) => "refused",
            Undecidable => "undecidable",
        }
    }

    #[test]
    fn rule_1_missing_and_empty() {
        use Presence::{Empty, Filled, Missing};
        for (stick, server, consent, expected) in [
            (Missing, Filled, false, "nothing"),
            (Missing, Filled, true, "nothing"),
            (Empty, Filled, false, "refused"),
            (Empty, Filled, true, "stick"),
            (Empty, Empty, false, "nothing"),
            (Empty, Missing, true, "nothing"),
            (Filled, Empty, false, "stick"),
            (Filled, Missing, false, "stick"),
        ] {
            let facts = Facts { stick, server, consent, ..FACTS };
            assert_eq!(winner(&facts), expected, "{stick:?} {server:?} consent={consent}");
            assert_eq!(winner(&Facts { believed: false, ..facts }), expected, "the clock has no say here");
        }
    }

    #[test]
    fn rule_2_consent_equality_and_what_cant_be_read() {
        assert_eq!(winner(&Facts { equal: true, ..FACTS }), "nothing");
        assert_eq!(winner(&Facts { equal: true, consent: true, ..FACTS }), "nothing");
        for facts in [FACTS, since(1, 1), since(0, 1)] {
            let consent = Facts { consent: true, server_time: 200, doubt: Some(Doubt::Dirty), ..facts };
            assert_eq!(winner(&consent), "stick");
            assert_eq!(winner(&Facts { believed: false, ..consent }), "stick");
            assert_eq!(winner(&Facts { unreadable: true, stick_time: 300, ..facts }), "refused");
        }
    }

    #[test]
    fn rule_3_a_forgotten_meta_json() {
        let facts = Facts { server_time: 200, ..since(1, 0) };
        assert_eq!(winner(&facts), "stick");
        assert_eq!(winner(&Facts { believed: false, ..facts }), "stick", "no clock needed");
        for doubt in [Doubt::Dirty, Doubt::Halved] {
            let doubtful = Facts { doubt: Some(doubt), ..facts };
            assert_eq!(winner(&doubtful), "refused");
            assert_eq!(winner(&Facts { stick_time: 300, ..doubtful }), "refused", "a time that nobody wrote");
            assert_eq!(winner(&Facts { meta_newer: true, ..doubtful }), "stick");
            assert_eq!(winner(&Facts { meta_newer: true, believed: false, ..doubtful }), "undecidable");
        }
    }

    #[test]
    fn rule_4_a_stick_that_nobody_edited_never_wins() {
        for facts in [since(0, 1), since(0, 0)] {
            for stick_time in [0, 300] {
                for doubt in [None, Some(Doubt::Dirty)] {
                    let facts = Facts { stick_time, doubt, ..facts };
                    assert_eq!(winner(&facts), "server");
                    assert_eq!(winner(&Facts { believed: false, ..facts }), "server", "no clock needed");
                }
            }
        }
    }

    #[test]
    fn rule_5_the_newer_meta_json() {
        for facts in [FACTS, since(1, 1)] {
            assert_eq!(winner(&facts), "server", "a tie is the server's");
            let newer = Facts { stick_time: 101, ..facts };
            assert_eq!(winner(&newer), "stick");
            assert_eq!(winner(&Facts { believed: false, ..newer }), "undecidable");
            let doubtful = Facts { doubt: Some(Doubt::Halved), meta_newer: true, ..newer };
            assert_eq!(winner(&doubtful), "refused", "no time lifts a doubt here");
            assert_eq!(winner(&Facts { stick_time: 99, ..doubtful }), "server");
        }
    }
}
