//! The one reading of the clock: now, the site's offset from UTC, and the forms in which times are written.
//! Only user of `time`. Read before any thread is started, because the local offset can't be had safely after.

use std::time::{SystemTime, UNIX_EPOCH};

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

/// 2000-01-01T00:00:00Z: no time before it is believed (SPEC 6).
pub const YEAR_2000: i64 = 946_684_800;
/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// Now, and the site's offset.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset: UtcOffset,
}

impl Clock {
    /// Reads the site's offset (`TZ`, `/etc/localtime`); UTC where there is none.
    pub fn read() -> Clock {
        Clock { offset: UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC) }
    }

    /// Seconds since 1970 (negative before it).
    pub fn now(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
        }
    }

    /// The site's offset from UTC in minutes, as FAT's local times need it.
    pub fn offset_minutes(&self) -> i32 {
        self.offset.whole_seconds() / 60
    }

    fn local(&self, seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH).to_offset(self.offset)
    }

    /// `2026-01-31T02:30:00+09:00`, the form of log lines and records.
    pub fn log_time(&self, seconds: i64) -> String {
        let form = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second][offset_hour sign:mandatory]:[offset_minute]"
        );
        self.local(seconds).format(&form).unwrap_or_default()
    }

    /// `2026-01-30T17:30:00Z`, the form of the mirror's records.
    pub fn utc_time(&self, seconds: i64) -> String {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        self.local(seconds).to_offset(UtcOffset::UTC).format(&form).unwrap_or_default()
    }

    /// The names for a directory made now, to be tried in turn: the first, then with `-2` and so on.
    pub fn dir_names(&self) -> impl Iterator<Item = String> {
        let name = self.dir_name(self.now());
        (1_u64..).map(move |number| if number == 1 { name.clone() } else { format!("{name}-{number}") })
    }

    /// Unix seconds of the local time that a directory's name says.
    pub fn of_dir_name(&self, name: &str) -> Option<i64> {
        parse_dir_name(name).map(|local| local - i64::from(self.offset.whole_seconds()))
    }

    /// `20260131023000`, the form of rotated logs' names.
    pub fn compact(&self, seconds: i64) -> String {
        self.dir_name(seconds).replace(['-', '_'], "")
    }

    /// Unix seconds of the local time that a rotated log's name says.
    pub fn of_compact(&self, name: &str) -> Option<i64> {
        let part = |from: usize, to: usize| name.get(from..to);
        let date = format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?);
        self.of_dir_name(&format!("{date}_{}", name.get(8..).filter(|time| time.len() == 6)?))
    }

    /// `2026-01-31_023000`, the form of directory names.
    pub fn dir_name(&self, seconds: i64) -> String {
        let form = format_description!("[year]-[month]-[day]_[hour][minute][second]");
        self.local(seconds).format(&form).unwrap_or_default()
    }
}

/// The local time that a directory's name says (`2026-01-31_023000`, with `-2` and so on if there were several in a
/// second), as seconds since 1970 on the site's clock; nothing if it is no such name.
pub fn parse_dir_name(name: &str) -> Option<i64> {
    let form = format_description!("[year]-[month]-[day]_[hour][minute][second]");
    let time = name.get(..17)?;
    let number = name.get(17..)?;
    let digits =
        number.strip_prefix('-').filter(|digits| !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()));
    if !number.is_empty() && digits.is_none() {
        return None;
    }
    PrimitiveDateTime::parse(time, &form).ok().map(|time| time.assume_utc().unix_timestamp())
}

/// Unix seconds of an RFC 3339 time, or nothing if the text is none.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}

/// What is known of the clock's truth (SPEC 8).
#[derive(Clone, Copy, Debug)]
pub struct Belief {
    /// What the clock says, unix seconds.
    pub now: i64,
    /// The newest time on record that counts, 0 if there is none.
    pub newest: i64,
    /// Whether the clock may decide anything.
    pub believed: bool,
}

impl Belief {
    /// *Pure.* `seen`: the latest time that the clock itself had shown and was believed. `claimed`: the latest time
    /// that the server's datasets carry, which may rightly be up to a day ahead of the clock. `sure`: the clock is
    /// synchronised, or an operator confirmed it; then later records do not count.
    pub fn new(now: i64, seen: i64, claimed: i64, sure: bool) -> Belief {
        let newest = seen.max(claimed);
        if sure {
            let newest = if newest > now.saturating_add(DAY) { 0 } else { newest };
            return Belief { now, newest, believed: now >= YEAR_2000 };
        }
        let behind = now < seen || now.saturating_add(DAY) < claimed;
        let year_beyond = newest > 0 && now > newest.saturating_add(366 * DAY);
        Belief { now, newest, believed: now >= YEAR_2000 && !behind && !year_beyond }
    }

    /// Whether a time that a file claims can be true: from 2000 to a day after the later of now and the newest record.
    pub fn plausible(&self, seconds: i64) -> bool {
        seconds >= YEAR_2000 && seconds <= self.now.max(self.newest).saturating_add(DAY)
    }

    /// A time later than all that is known; a clock that is not believed has no say.
    pub fn next(&self, others: &[i64]) -> i64 {
        let now = if self.believed { self.now } else { YEAR_2000 };
        others.iter().fold(now.max(self.newest), |a, b| a.max(*b)).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    #[test]
    fn a_clock_is_believed_between_its_records() {
        let believed = |now, seen, claimed, sure| Belief::new(now, seen, claimed, sure).believed;
        assert!(believed(NOW, 0, 0, false), "nothing on record");
        assert!(believed(NOW, NOW, NOW + 1, false));
        assert!(believed(NOW, NOW - 5, NOW + DAY, false), "a PC's clock may be ahead by a day");
        assert!(!believed(NOW, NOW + 1, 0, false), "earlier than it was before");
        assert!(!believed(NOW, 0, NOW + DAY + 1, false), "earlier than the data");
        assert!(!believed(NOW, NOW - 400 * DAY, 0, false), "a year beyond, not synchronised");
        assert!(believed(NOW, NOW - 400 * DAY, 0, true));
        assert!(!believed(100, 0, 0, false), "1970");
        assert!(!believed(100, 0, 0, true), "1970, whoever says so");
    }

    #[test]
    fn a_sure_clock_forgets_later_records() {
        let belief = Belief::new(NOW, 4_070_908_800, 0, true);
        assert!(belief.believed);
        assert_eq!(belief.newest, 0);
        assert!(!belief.plausible(4_070_908_800));
    }

    #[test]
    fn an_unbelieved_clock_does_not_poison_the_next_time() {
        let belief = Belief::new(4_070_908_800, NOW, 0, false);
        assert!(!belief.believed);
        assert_eq!(belief.next(&[NOW - 3]), NOW + 1);
    }

    #[test]
    fn dir_names() {
        assert_eq!(parse_dir_name("1970-01-02_000001"), Some(DAY + 1));
        assert_eq!(parse_dir_name("1970-01-02_000001-12"), Some(DAY + 1));
        for other in
            ["1970-01-02", "1970-01-02_000001-", "1970-01-02_00000x", "1970-13-02_000001", "1970-01-02_000001.old", ""]
        {
            assert_eq!(parse_dir_name(other), None, "{other}");
        }
        let tokyo = Clock { offset: UtcOffset::from_hms(9, 0, 0).unwrap() };
        assert_eq!(tokyo.dir_name(0), "1970-01-01_090000");
        assert_eq!(tokyo.of_dir_name("1970-01-01_090000"), Some(0));
        assert_eq!((tokyo.compact(0), tokyo.of_compact("19700101090000")), ("19700101090000".to_owned(), Some(0)));
        for other in ["", "1970010109000", "197001010900000", "1970010109000x", "19701301090000"] {
            assert_eq!(tokyo.of_compact(other), None, "{other}");
        }
        assert_eq!(tokyo.utc_time(1), "1970-01-01T00:00:01Z");
    }

    #[test]
    fn rfc3339() {
        assert_eq!(parse_rfc3339("1970-01-01T09:00:10+09:00"), Some(10));
        assert_eq!(parse_rfc3339("2026-01-31"), None);
    }
}
