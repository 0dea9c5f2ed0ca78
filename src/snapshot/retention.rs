//! *Pure.* Which snapshots may go, and why the others stay (SPEC 7).

use crate::clock::{Belief, DAY};

/// So many complete snapshots stay whatever the clock says.
const NEWEST: usize = 7;

/// What is known of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its directory's name.
    pub name: String,
    /// The time that the name says, unix seconds.
    pub named: i64,
    /// Whether its manifest says that it is complete, or it is of the original system.
    pub complete: bool,
}

/// What becomes of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays, because…
    Kept(&'static str),
    /// It goes: older than the retention days.
    Surplus,
}

/// Decides about snapshots, oldest first in the order of their sequence. `days`: how long they are kept at least.
pub fn decide(snapshots: &[Known], days: u32, belief: &Belief) -> Vec<Fate> {
    let limit = belief.now.saturating_sub(i64::from(days).saturating_mul(DAY));
    let mut complete = 0;
    let mut fates: Vec<Fate> = snapshots
        .iter()
        .rev()
        .map(|snapshot| {
            complete += usize::from(snapshot.complete);
            if snapshot.complete && complete <= NEWEST {
                Fate::Kept("one of the newest seven")
            } else if !belief.believed {
                Fate::Kept("the clock is not believed")
            } else if snapshot.named >= limit {
                Fate::Kept("younger than the retention days")
            } else {
                Fate::Surplus
            }
        })
        .collect();
    fates.reverse();
    fates
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Belief = Belief { now: 1000 * DAY, newest: 0, believed: true };

    fn aged(days: i64) -> Known {
        Known { name: String::new(), named: NOW.now - days * DAY, complete: true }
    }

    fn gone(snapshots: &[Known], days: u32, belief: &Belief) -> Vec<usize> {
        let fates = decide(snapshots, days, belief);
        (0..fates.len()).filter(|index| fates[*index] == Fate::Surplus).collect()
    }

    #[test]
    fn the_newest_seven_stay_however_old() {
        let old: Vec<_> = (0..9).map(|age| aged(500 - age)).collect();
        assert_eq!(gone(&old, 7, &NOW), [0, 1]);
        assert_eq!(gone(&old[..7], 7, &NOW), [0; 0]);
    }

    #[test]
    fn the_young_stay_however_many() {
        let young: Vec<_> = (0..20).map(|age| aged(20 - age)).collect();
        assert_eq!(gone(&young, 7, &NOW), (0..13).collect::<Vec<_>>());
        assert_eq!(gone(&young, 30, &NOW), [0; 0]);
        let later = Belief { now: NOW.now + 40 * DAY, ..NOW };
        assert_eq!(gone(&young, 30, &later), (0..13).collect::<Vec<_>>(), "only now moved");
    }

    #[test]
    fn an_incomplete_one_takes_nobodys_place() {
        let mut all: Vec<_> = (0..8).map(|_| aged(100)).collect();
        all[7].complete = false;
        assert_eq!(gone(&all, 7, &NOW), [7]);
    }

    #[test]
    fn names_from_a_wrong_clock_decide_little() {
        let mut all: Vec<_> = (0..8).map(|_| aged(1)).collect();
        all[7].named = 0;
        assert_eq!(gone(&all, 7, &NOW), [0; 0], "the newest by sequence, named 1970");
        let unbelieved = Belief { believed: false, ..NOW };
        all[0].named = 0;
        assert_eq!(gone(&all, 7, &unbelieved), [0; 0]);
        assert_eq!(gone(&all, 7, &NOW), [0]);
    }
}
