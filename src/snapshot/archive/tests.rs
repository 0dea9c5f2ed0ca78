//! Hostile and foreign archives, made by hand: refused by name, or harmless.

use std::io::Cursor;
use std::path::Path;

use super::frames::Frames;
use super::header::{Plain, Proof};
use super::{Checked, Pattern, Source, read};
use crate::error::Result;
use crate::os::dir::Dir;
use crate::os::progress::Progress;

/// A tar being made.
struct Tar(Vec<u8>);

impl Tar {
    fn new() -> Tar {
        Tar(Vec::new())
    }

    /// An entry whose type, size and content are what the test says.
    fn raw(mut self, path: &[u8], kind: u8, size: u64, content: &[u8]) -> Tar {
        let proof = Some(Proof { sha256: [0; 32], number: 0 });
        let bytes = Plain { path, proof, size, mode: 0o644, mtime: 1_000_000_000 }.encode();
        let mut header = bytes[bytes.len() - 512..].to_vec();
        header[156] = kind;
        if matches!(kind, b'1' | b'2') {
            header[157..168].copy_from_slice(b"/etc/passwd");
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(header);
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &[u8], content: &[u8]) -> Tar {
        self.raw(path, b'0', content.len() as u64, content)
    }

    fn dir(self, path: &[u8]) -> Tar {
        self.raw(path, b'5', 0, b"")
    }

    fn archive(mut self) -> Vec<u8> {
        self.0.resize((self.0.len() + 1024).next_multiple_of(10_240), 0);
        frames(&self.0)
    }
}

fn frames(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut frames = Frames::new(&mut out, String::new());
    frames.put(bytes).unwrap();
    frames.finish().unwrap();
    out
}

fn extract(archive: Vec<u8>, target: Option<&Path>, only: Option<&str>) -> Result<Checked> {
    let target = target.map(|path| Dir::open(path).unwrap());
    let only = only.map(Pattern::new);
    let source = Source { shown: "A", sha256: None, target: target.as_ref(), only: only.as_ref() };
    read(Cursor::new(archive), source, &mut Progress::new(String::new(), 0, 0))
}

/// What extracting it says. Beside the target lies a file that must stay as it is.
fn refusal(tar: Tar) -> String {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("target")).unwrap();
    std::fs::write(place.path().join("outside"), "as it was").unwrap();
    let archive = tar.archive();
    let said = extract(archive.clone(), Some(&place.path().join("target")), None).unwrap_err();
    assert_eq!(said.exit_code(), 2, "{said}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
    assert_eq!(std::fs::read_to_string(place.path().join("outside")).unwrap(), "as it was");
    let mut open = vec![place.path().join("target")];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
            let kind = entry.file_type().unwrap();
            assert!(kind.is_dir() || kind.is_file(), "{entry:?}");
            open.extend(kind.is_dir().then(|| entry.path()));
        }
    }
    said.to_string()
}

#[test]
fn nothing_leads_out() {
    for (path, says) in [
        (&b"s/../../outside"[..], "s/../../outside is no path"),
        (b"../outside", "../outside is no path"),
        (b"/etc/passwd", "/etc/passwd is no path"),
        (b"s//x", "s//x is no path"),
        (b"s/./x", "s/./x is no path"),
        (b"other/x", "other/x lies outside of s"),
        (b"", "an entry has no name"),
    ] {
        let said = refusal(Tar::new().dir(b"s/").file(path, b"x"));
        assert!(said.starts_with("A is damaged at its beginning: ") && said.contains(says), "{said}");
    }
}

#[test]
fn only_files_and_directories_are_made() {
    for (kind, says) in [(b'1', "hard link"), (b'S', "file with holes"), (b'Z', "member of unknown kind")] {
        let tar = Tar::new().dir(b"s/").file(b"s/a", b"x").raw(b"s/l", kind, 0, b"").file(b"s/l/outside", b"x");
        let said = refusal(tar);
        assert!(
            said.starts_with("A is sound as far as it was read") && said.contains(&format!("l is a {says}")),
            "{said}"
        );
    }
    // What has no content is left out, and leads nowhere.
    for kind in [b'2', b'3', b'4', b'6'] {
        let tar = Tar::new().dir(b"s/").file(b"s/a", b"x").raw(b"s/l", kind, 0, b"").file(b"s/l/inside", b"x");
        let place = tempfile::tempdir().unwrap();
        assert_eq!(extract(tar.archive(), Some(place.path()), None).unwrap().written, 2);
        assert!(place.path().join("l").symlink_metadata().unwrap().is_dir());
    }
    let long_link = Tar::new().raw(b"././@LongLink", b'K', 3, b"to\0").raw(b"s/l", b'2', 0, b"").file(b"s/a", b"x");
    assert_eq!(extract(long_link.archive(), None, None).unwrap().files, 1);
    for (records, taken) in [(&b"17 comment=by it\n"[..], true), (b"9 size=3\n", false), (b"9 size=x\n", false)] {
        let tar = Tar::new().raw(b"g", b'g', records.len() as u64, records).file(b"s/a", b"x");
        assert_eq!(extract(tar.archive(), None, None).is_ok(), taken);
    }
    let holes = b"22 GNU.sparse.major=1\n";
    let said = refusal(Tar::new().raw(b"x", b'x', holes.len() as u64, holes).file(b"s/a", b"x"));
    assert!(said.contains("a is a file with holes"), "{said}");
}

#[test]
fn a_name_is_there_once() {
    for tar in [
        Tar::new().file(b"s/a", b"1").file(b"s/a", b"2"),
        Tar::new().file(b"s/a", b"1").dir(b"s/a"),
        Tar::new().file(b"s/a", b"1").file(b"s/a/b", b"2"),
        Tar::new().dir(b"s/a").file(b"s/a", b"2"),
    ] {
        let said = refusal(tar);
        assert!(said.contains("is there already, or twice in the archive"), "{said}");
    }
}

#[test]
fn claimed_sizes_cost_nothing() {
    for size in [1 << 20, 1 << 33, 1 << 62, u64::MAX] {
        let said = refusal(Tar::new().raw(b"s/a", b'0', size, b"short"));
        assert!(said.contains("A is damaged in a: it is cut off"), "{said}");
        for kind in [b'x', b'L'] {
            let said = refusal(Tar::new().raw(b"x", kind, size, b"short").file(b"s/a", b""));
            assert!(said.contains("is longer than any we take"), "{said}");
        }
    }
    // As many long names as one likes, one after the other: each replaces the last.
    let bomb = (0..2000).fold(Tar::new(), |tar, _| tar.raw(b"x", b'L', 60_000, &[b'n'; 60_000]));
    assert!(refusal(bomb.file(b"s/a", b"x")).contains("is no path"));
}

#[test]
fn damaged_tar_is_found() {
    let whole = Tar::new().dir(b"s/").file(b"s/a", b"x").file(b"s/b", b"y").0;
    let cut = |length: usize| extract(frames(&whole[..length]), None, None).unwrap_err().to_string();
    assert!(cut(whole.len()).starts_with("A is damaged after b: it is cut off -> "));
    for length in (1..whole.len()).step_by(97) {
        assert!(cut(length).contains("it is cut off"));
    }
    let mut flipped = whole.clone();
    flipped[512 + 20] ^= 1;
    assert!(refusal(Tar(flipped)).contains("a header is damaged"));
    let mut follows = whole;
    follows.resize(20_480, 0);
    follows.push(1);
    assert!(refusal(Tar(follows)).contains("something follows its end"));
}

#[test]
fn archives_from_elsewhere_are_taken_as_unchecked() {
    let long = [&b"s/master/"[..], &[b'n'; 200]].concat();
    let place = tempfile::tempdir().unwrap();
    let tar = Tar::new()
        .dir(b"s/")
        .file(b"s/master/b", b"no directory entry, no order")
        .raw(b"././@LongLink", b'L', long.len() as u64 + 1, &[&long[..], b"\0"].concat())
        .file(&long[..100], b"long")
        .file(b"s/master/a", b"1");
    let checked = extract(tar.archive(), Some(place.path()), None).unwrap();
    assert_eq!((checked.files, checked.written, checked.manifest), (3, 3, None));
    assert_eq!(std::fs::read(place.path().join("master").join("n".repeat(200))).unwrap(), b"long");
    // Made from inside the snapshot, with and without a dot.
    for [first, second] in [[&b"./"[..], b"./db/x"], [b"db/", b"db/x"]] {
        let place = tempfile::tempdir().unwrap();
        let tar = Tar::new().dir(first).file(second, b"1").file(b"master/y", b"2");
        let checked = extract(tar.archive(), Some(place.path()), Some("db")).unwrap();
        assert_eq!((checked.files, checked.written), (2, 1));
        assert_eq!(std::fs::read(place.path().join("db/x")).unwrap(), b"1");
        assert!(!place.path().join("master").exists());
    }
}

#[test]
fn noise_is_refused() {
    for bytes in [&b""[..], b"x", b"\x28\xb5\x2f\xfd", b"PK\x03\x04 a zip file", &[0; 100_000]] {
        let said = extract(bytes.to_vec(), None, None).unwrap_err();
        assert_eq!(said.exit_code(), 2, "{said}");
        assert!(said.to_string().starts_with("A is damaged at its beginning: "), "{said}");
    }
}

/// Bytes that nothing compresses (splitmix64).
pub(super) fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb).to_le_bytes()
    };
    (0..count.div_ceil(8)).flat_map(|_| next()).take(count).collect()
}
