//! *Pure.* Which files of a backup are wanted: a path, or a pattern with `*` and `?`, as people write them.
//!
//! It means what it names and all below that. Capitals do not count, since names come from Windows too; nor does whether a Mac took
//! a kana apart (`か` and a mark instead of `が`). Brackets are themselves: drawings are called `[旧]…`.

use crate::clock::parse_dir_name;
use crate::snapshot::generation::{MANIFEST, PARTS};

/// The pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Its components; without any all is wanted.
    parts: Vec<Vec<char>>,
    /// It is looked for at any depth, as in `.gitignore`: it names no directory, and no part of a backup.
    anywhere: bool,
    text: String,
}

impl Pattern {
    /// Understands it. The snapshot's own directory, which stands first in an archive, may be named and may be left out.
    pub fn new(text: &str) -> Pattern {
        let mut parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.first().is_some_and(|first| parse_dir_name(first).is_some()) {
            parts.remove(0);
        }
        let is_part = |name: &str| PARTS.contains(&name) || name.as_bytes() == MANIFEST;
        let anywhere = !text.trim_end_matches('/').contains('/') && parts.iter().all(|part| !is_part(part));
        Pattern { parts: parts.iter().map(|part| fold(part.as_bytes())).collect(), anywhere, text: text.to_owned() }
    }

    /// Whether it takes everything.
    pub fn is_all(&self) -> bool {
        self.parts.is_empty()
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it takes a path below the backup's root.
    pub fn takes(&self, path: &[u8]) -> bool {
        let names: Vec<Vec<char>> = path.split(|byte| *byte == b'/').map(fold).collect();
        let begins = |names: &[Vec<char>]| {
            names.len() >= self.parts.len() && self.parts.iter().zip(names).all(|(part, name)| fits(part, name))
        };
        let last = if self.anywhere { names.len() } else { 1 };
        (0..last).any(|at| begins(names.get(at..).unwrap_or_default()))
    }
}

/// Whether a name is as a component says. What follows the last star is tried at each place.
fn fits(mut part: &[char], mut name: &[char]) -> bool {
    let mut star = None;
    loop {
        match (part.split_first(), name.split_first()) {
            (Some((&'*', rest)), _) => {
                star = Some((rest, name));
                part = rest;
            }
            (Some((wanted, part_rest)), Some((there, name_rest))) if *wanted == '?' || wanted == there => {
                (part, name) = (part_rest, name_rest);
            }
            (None, None) => return true,
            _ => match star {
                Some((rest, [_, later @ ..])) => {
                    star = Some((rest, later));
                    (part, name) = (rest, later);
                }
                _ => return false,
            },
        }
    }
}

/// The letters that count. A name that is no text is its bytes.
fn fold(name: &[u8]) -> Vec<char> {
    let Ok(text) = std::str::from_utf8(name) else {
        return name.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect();
    };
    let mut letters: Vec<char> = Vec::with_capacity(text.len());
    for letter in text.chars() {
        let joined = letters.last().and_then(|before| join(*before, letter));
        match (joined, letters.last_mut()) {
            (Some(joined), Some(before)) => *before = joined,
            _ => letters.push(letter.to_ascii_lowercase()),
        }
    }
    letters
}

/// A kana and a voicing mark that follows it, as the one letter that they are (Unicode's canonical composition). In both rows of kana
/// the voiced letter follows the plain one.
fn join(kana: char, mark: char) -> Option<char> {
    const MARKS: [char; 2] = ['\u{3099}', '\u{309a}'];
    let is_second = MARKS.iter().position(|known| *known == mark)?;
    let code = u32::from(kana);
    // Of the katakana the hiragana's place, 0x60 below.
    let place = if code >= 0x30a1 { code - 0x60 } else { code };
    let plus = match (place, is_second) {
        (0x306f | 0x3072 | 0x3075 | 0x3078 | 0x307b, second) => 1 + u32::try_from(second).ok()?,
        (0x304b..=0x3061, 0) if place % 2 == 1 => 1,
        (0x3064 | 0x3066 | 0x3068 | 0x309d, 0) => 1,
        (0x3046, 0) => 0x4e,
        (0x308f..=0x3092, 0) if code != place => 8,
        _ => return None,
    };
    char::from_u32(code + plus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).takes(path.as_bytes())
    }

    #[test]
    fn a_path_takes_itself_and_all_below() {
        for pattern in [
            "master",
            "master/",
            "/master",
            "./master",
            "master/*",
            "master/*/*.csv",
            "2026-10-01_023000/master",
            "",
            ".",
            "MASTER/A",
        ] {
            assert!(takes(pattern, "master/a/b.csv"), "{pattern}");
        }
        for pattern in
            ["master/b.csv", "maste", "docviewer", "master/a/b.csv/c", "..", "master/../master", "master/?.csv"]
        {
            assert!(!takes(pattern, "master/a/b.csv"), "{pattern}");
        }
        // A dataset's name is that dataset, not any directory of the name.
        assert!(!takes("master", "docviewer/master/a.csv") && takes("a.csv", "docviewer/master/a.csv"));
        assert!(!takes("manifest.json", "master/manifest.json"));
        assert!(Pattern::new("./").is_all() && !Pattern::new("*").is_all());
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, good) in [
            ("*", "a", true),
            ("*.pdf", "x.PDF", true),
            ("*.pdf", "x.pdf.bak", false),
            ("*図面*", "旧図面3.pdf", true),
            ("図?.pdf", "図面.pdf", true),
            ("図?.pdf", "図.pdf", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("**", "x", true),
            ("[旧]*", "[旧]a", true),
            ("[旧]*", "旧a", false),
        ] {
            assert_eq!(takes(pattern, &format!("docviewer/sub/{name}")), good, "{pattern} {name}");
        }
        // It ends soon whatever it is.
        assert!(!takes(&"*a".repeat(200), &format!("docviewer/{}b", "a".repeat(255))));
    }

    #[test]
    fn kana_that_a_mac_took_apart_are_the_same() {
        for (whole, apart) in [
            ("が", "か\u{3099}"),
            ("ヂ", "チ\u{3099}"),
            ("づ", "つ\u{3099}"),
            ("ド", "ト\u{3099}"),
            ("ば", "は\u{3099}"),
            ("パ", "ハ\u{309a}"),
            ("ぼ", "ほ\u{3099}"),
            ("ポ", "ホ\u{309a}"),
            ("ヴ", "ウ\u{3099}"),
            ("ゔ", "う\u{3099}"),
            ("ヺ", "ヲ\u{3099}"),
            ("ゞ", "ゝ\u{3099}"),
            ("ヾ", "ヽ\u{3099}"),
        ] {
            assert_eq!(fold(whole.as_bytes()), fold(apart.as_bytes()), "{whole}");
        }
        for alone in ["な\u{3099}", "あ\u{309a}", "か\u{309a}", "x\u{3099}", "\u{3099}", "を\u{3099}"] {
            assert_eq!(fold(alone.as_bytes()), alone.chars().collect::<Vec<_>>());
        }
        assert!(Pattern::new("docviewer/ハ\u{309a}ネル.pdf").takes("docviewer/パネル.pdf".as_bytes()));
        assert!(Pattern::new("docviewer/?").takes(b"docviewer/\xff"));
    }
}
