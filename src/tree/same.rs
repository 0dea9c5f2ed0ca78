//! *Pure.* The one rule of "same file", and what a filesystem can hold (SPEC 6). Only this file knows FAT's limits.

use std::collections::HashSet;

/// What a stick's filesystem can and can't keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Two times closer than this (nanoseconds) are one time; 0: exact.
    pub granularity: i64,
    /// Names are UTF-16 of at most 255 units, without `" * / : < > ? \ |`, folded in case (FAT, exFAT).
    pub windows_names: bool,
    /// Largest file, bytes.
    pub max_size: u64,
}

impl Limits {
    /// ext2/3/4: names are bytes, files as large as we meet them.
    pub const EXT: Limits = Limits { granularity: 0, windows_names: false, max_size: u64::MAX };
    /// FAT12/16/32: times of two seconds, files below 4 GiB (Microsoft fatgen103).
    pub const FAT: Limits = Limits { granularity: 2_000_000_000, windows_names: true, max_size: 0xffff_ffff };
    /// exFAT: the 10 ms field is not kept by all writers, so two seconds as well (exFAT specification 7.4.8).
    pub const EXFAT: Limits = Limits { granularity: 2_000_000_000, windows_names: true, max_size: u64::MAX };
}

/// What size and time say of two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// Same size and time.
    Yes,
    /// Same size, another time: the content decides. On FAT a shifted time zone ends here too, so that no edit is
    /// taken for a shift nor a shift for an edit.
    Content,
    /// Another size.
    No,
}

/// Compares two files by size (bytes) and time (nanoseconds since 1970) as the limits allow.
pub fn same(a: (u64, i64), b: (u64, i64), limits: Limits) -> Same {
    const SECOND: i64 = 1_000_000_000;
    if a.0 != b.0 {
        return Same::No;
    }
    let close = a.1 == b.1 || a.1.abs_diff(b.1) < limits.granularity.unsigned_abs();
    // Old ext inodes keep whole seconds.
    let whole = (a.1 % SECOND == 0 || b.1 % SECOND == 0) && a.1.div_euclid(SECOND) == b.1.div_euclid(SECOND);
    if close || whole { Same::Yes } else { Same::Content }
}

/// Whether the first of two times (nanoseconds since 1970) is later than the second, for all that the filesystem can tell.
pub fn is_newer(a: i64, b: i64, limits: Limits) -> bool {
    a > b && a.abs_diff(b) >= limits.granularity.unsigned_abs()
}

/// Why the target can't hold a name, or nothing if it can.
pub fn unfit_name(name: &[u8], limits: Limits) -> Option<&'static str> {
    if name.len() > 255 {
        return Some("longer than 255 bytes");
    }
    if !limits.windows_names {
        return None;
    }
    let Ok(text) = std::str::from_utf8(name) else {
        return Some("not UTF-8, which the stick's filesystem needs");
    };
    if text.encode_utf16().count() > 255 {
        return Some("longer than 255 characters");
    }
    if text.chars().any(|c| c < ' ' || c == '\u{7f}' || "\"*:<>?\\|".contains(c)) {
        return Some("a character that the stick's filesystem does not allow");
    }
    if text.ends_with(['.', ' ']) {
        return Some("ends with a dot or a space, which the stick's filesystem drops");
    }
    None
}

/// The names of one directory as a case-folding filesystem sees them: finds two that would be one there.
#[derive(Default)]
pub struct Folded {
    seen: HashSet<String>,
}

impl Folded {
    /// `false`: a name that differs only in case was there before.
    pub fn insert(&mut self, name: &[u8]) -> bool {
        self.seen.insert(String::from_utf8_lossy(name).chars().flat_map(char::to_uppercase).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn size_first_then_time_then_content() {
        assert_eq!(same((1, 5), (2, 5), Limits::EXT), Same::No);
        assert_eq!(same((1, 5), (1, 5), Limits::EXT), Same::Yes);
        assert_eq!(same((1, 5), (1, 6), Limits::EXT), Same::Content);
        assert_eq!(same((1, 7 * S), (1, 7 * S + 9), Limits::EXT), Same::Yes, "a filesystem of whole seconds");
        assert_eq!(same((1, -1), (1, 0), Limits::EXT), Same::Content);
        assert_eq!(same((1, i64::MIN), (1, i64::MAX), Limits::FAT), Same::Content);
    }

    #[test]
    fn fat_keeps_even_seconds_and_local_time() {
        assert_eq!(same((1, 10 * S), (1, 11 * S + 999_999_999), Limits::FAT), Same::Yes);
        assert_eq!(same((1, 10 * S), (1, 12 * S + 1), Limits::FAT), Same::Content);
        assert_eq!(same((1, 10 * S), (1, (10 + 9 * 3600) * S), Limits::FAT), Same::Content, "a shifted zone");
    }

    #[test]
    fn names() {
        assert_eq!(unfit_name("図面.pdf".as_bytes(), Limits::FAT), None);
        assert_eq!(unfit_name(b"a:b", Limits::EXT), None);
        for bad in [&b"a:b"[..], b"a\nb", b"\xff", b"dot.", b"blank ", b"a\\b"] {
            assert!(unfit_name(bad, Limits::EXFAT).is_some(), "{bad:?}");
        }
        assert!(unfit_name(&[b'x'; 256], Limits::EXT).is_some());
        let long = "図".repeat(85);
        assert_eq!(unfit_name(long.as_bytes(), Limits::EXT), None);
        assert!(unfit_name("図".repeat(86).as_bytes(), Limits::EXT).is_some());
    }

    #[test]
    fn case_folds() {
        let mut folded = Folded::default();
        assert!(folded.insert(b"A.csv"));
        assert!(folded.insert(b"B.csv"));
        assert!(!folded.insert(b"a.CSV"));
    }
}
