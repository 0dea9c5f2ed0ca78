//! *Pure.* Which snapshots and which archives on a stick may go, and why the others stay (SPEC 7).

use super::part::{Filled, Part};
use crate::clock::{Belief, DAY};

/// So many snapshots stay whatever the clock says.
const NEWEST: usize = 7;
/// Why one stays that is surplus otherwise.
pub const LAST_WITH: &str = "all newer ones lack something that it holds";

/// What is known of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its directory's name.
    pub name: String,
    /// The time that the name says, unix seconds.
    pub named: i64,
    /// The parts that hold anything.
    pub filled: Filled,
}

/// What becomes of a snapshot or an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays, because…
    Kept(&'static str),
    /// It goes: older than the retention days, or more than the retention's number.
    Surplus,
}

/// Decides about snapshots, oldest first in the order of their numbers. `days`: how long they are kept at least.
pub fn decide(snapshots: &[Known], days: u32, belief: &Belief) -> Vec<Fate> {
    let limit = belief.now.saturating_sub(i64::from(days).saturating_mul(DAY));
    let newest = snapshots.len().saturating_sub(NEWEST);
    let last = last_with(snapshots.iter().map(|snapshot| Some(&snapshot.filled)));
    snapshots
        .iter()
        .enumerate()
        .map(|(at, snapshot)| {
            if at >= newest {
                Fate::Kept("one of the newest seven")
            } else if !belief.believed {
                Fate::Kept("the clock is not believed")
            } else if snapshot.named >= limit {
                Fate::Kept("younger than the retention days")
            } else if last.contains(&at) {
                Fate::Kept(LAST_WITH)
            } else {
                Fate::Surplus
            }
        })
        .collect()
}

/// Decides about the archives on a stick, oldest first in the order of their numbers. For each the parts that it holds, `None` where that is not known: it
/// may be any. `coming`: the parts of one that is there beside them, newer than all; so many stay with it (0: all).
pub fn on_stick(archives: &[Option<Filled>], coming: &Filled, retention: u32) -> Vec<Fate> {
    let stay = usize::try_from(retention).unwrap_or(usize::MAX).saturating_sub(1);
    let gone = if retention == 0 { 0 } else { archives.len().saturating_sub(stay) };
    let last = last_with(archives.iter().map(Option::as_ref).chain([Some(coming)]));
    (0..archives.len())
        .map(|at| {
            if at >= gone {
                Fate::Kept("within the retention")
            } else if last.contains(&at) {
                Fate::Kept(LAST_WITH)
            } else {
                Fate::Surplus
            }
        })
        .collect()
}

/// Of generations, oldest first: those that hold, or may hold, a part that none of the newer ones is known to hold.
fn last_with<'a>(filled: impl Iterator<Item = Option<&'a Filled>>) -> Vec<usize> {
    let filled: Vec<Option<&Filled>> = filled.collect();
    let mut found = Vec::new();
    for part in Part::ALL {
        let known = filled.iter().rposition(|filled| filled.is_some_and(|filled| filled.contains(&part)));
        let perhaps = filled.iter().rposition(Option::is_none);
        found.extend(known);
        found.extend(perhaps.filter(|perhaps| known.is_none_or(|known| *perhaps > known)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Belief = Belief { now: 1000 * DAY, newest: 0, believed: true };

    fn all() -> Filled {
        Part::ALL.into_iter().collect()
    }

    fn without(part: Part) -> Filled {
        all().into_iter().filter(|other| *other != part).collect()
    }

    fn aged(days: i64) -> Known {
        Known { name: String::new(), named: NOW.now - days * DAY, filled: all() }
    }

    fn surplus(fates: &[Fate]) -> Vec<usize> {
        (0..fates.len()).filter(|index| fates[*index] == Fate::Surplus).collect()
    }

    fn gone(snapshots: &[Known], days: u32, belief: &Belief) -> Vec<usize> {
        surplus(&decide(snapshots, days, belief))
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
    fn names_from_a_wrong_clock_decide_little() {
        let mut all: Vec<_> = (0..8).map(|_| aged(1)).collect();
        all[7].named = 0;
        assert_eq!(gone(&all, 7, &NOW), [0; 0], "the newest by number, named 1970");
        let unbelieved = Belief { believed: false, ..NOW };
        all[0].named = 0;
        assert_eq!(gone(&all, 7, &unbelieved), [0; 0]);
        assert_eq!(gone(&all, 7, &NOW), [0]);
    }

    #[test]
    fn the_last_snapshot_with_a_part_stays_until_a_newer_one_has_it() {
        let mut old: Vec<_> = (0..12).map(|age| aged(500 - age)).collect();
        for snapshot in &mut old[3..] {
            snapshot.filled = without(Part::Rows);
        }
        assert_eq!(gone(&old, 7, &NOW), [0, 1, 3, 4], "2 is the last with rows");
        old[4].filled = without(Part::Master);
        old[11].filled = [Part::Docviewer, Part::Tables].into();
        assert_eq!(gone(&old, 7, &NOW), [0, 1, 2, 3], "4 has rows now, and 5 to 10 have master");
        old[11].filled = all();
        assert_eq!(gone(&old, 7, &NOW), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_oldest_archives_go_but_for_the_last_with_a_part() {
        let full = || Some(all());
        let of =
            |archives: &[Option<Filled>], coming: &Filled, retention| surplus(&on_stick(archives, coming, retention));
        let four = vec![full(), full(), full(), full()];
        assert_eq!(of(&four, &all(), 4), [0]);
        assert_eq!(of(&four, &all(), 1), [0, 1, 2, 3]);
        assert_eq!(of(&four, &all(), 0), [0; 0], "0 keeps all");
        assert_eq!(of(&four, &Filled::new(), 1), [0, 1, 2], "the new one holds nothing");
        let lost = vec![full(), full(), Some(without(Part::Rows)), Some(without(Part::Rows))];
        assert_eq!(of(&lost, &without(Part::Rows), 2), [0, 2]);
        assert_eq!(of(&lost, &all(), 2), [0, 1, 2]);
    }

    #[test]
    fn an_archive_of_unknown_content_vouches_for_nothing_and_stays_while_it_may_be_the_last() {
        let of = |archives: &[Option<Filled>], coming: &Filled| surplus(&on_stick(archives, coming, 1));
        assert_eq!(
            of(&[Some(all()), None, None], &without(Part::Rows)),
            [1],
            "0 is the last known, 2 the last perhaps"
        );
        assert_eq!(of(&[Some(all()), None, None], &all()), [0, 1, 2]);
        assert_eq!(of(&[Some(Filled::new()), None], &without(Part::Master)), [0]);
    }
}
