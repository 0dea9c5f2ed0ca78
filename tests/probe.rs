//! The prober against its corpus: the answers, the reading limit, and no panic whatever is on the medium.
//! `PROBE_BLESS=1` writes `tests/images/*.expect` anew; read the difference before you commit it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // clippy.toml spares only `#[test]` functions

#[path = "images/corpus.rs"]
mod corpus;

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicUsize, Ordering};

use toolmaster::stick::probe::{FsType, MAX_READ, NotAStick, probe, to_json, to_text};

/// Counts what is read and can fail at the n-th read.
struct Medium<'a> {
    inner: Cursor<&'a [u8]>,
    read: u64,
    reads_left: u32,
}

impl<'a> Medium<'a> {
    fn new(image: &'a [u8]) -> Self {
        Self { inner: Cursor::new(image), read: 0, reads_left: u32::MAX }
    }
}

impl Read for Medium<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads_left = self.reads_left.checked_sub(1).ok_or_else(|| io::Error::other("pulled"))?;
        let n = self.inner.read(buffer)?;
        self.read += n as u64;
        Ok(n)
    }
}

impl Seek for Medium<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

fn image(name: &str) -> Vec<u8> {
    corpus::zstd(name, &["-c"]).stdout
}

/// Probes and holds the reading limit.
fn ask(image: &[u8]) -> (Result<toolmaster::stick::probe::Superblock, NotAStick>, u64) {
    let mut medium = Medium::new(image);
    let answer = probe(&mut medium);
    assert!(medium.read <= MAX_READ, "{} bytes were read", medium.read);
    (answer, medium.read)
}

#[test]
fn every_image_gives_the_expected_answer() {
    let mut wrong = String::new();
    for name in corpus::names() {
        let text = to_text(&ask(&image(&name)).0);
        let path = corpus::folder().join(format!("{name}.expect"));
        if corpus::blessing() {
            std::fs::write(&path, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if text != expected {
            wrong += &format!("{name}: expected\n{expected}but got\n{text}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_expectation_has_its_image() {
    for entry in std::fs::read_dir(corpus::folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "expect") {
            assert!(path.with_extension("img.zst").exists(), "{} is left over", path.display());
        }
    }
}

#[test]
fn json_has_the_promised_keys() {
    for name in corpus::names() {
        let answer = ask(&image(&name)).0;
        let json: serde_json::Value = serde_json::from_str(&to_json(&answer)).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        match &answer {
            Ok(found) => {
                // serde_json keeps the keys sorted.
                assert_eq!(keys, ["dirty", "label", "size", "type", "uuid"], "{name}");
                assert_eq!(json["label"], found.label.as_str());
                assert_eq!(json["size"], found.size);
                assert!(!found.label.chars().any(char::is_control), "{name}");
            }
            Err(error) => {
                assert_eq!(keys, ["error", "message"], "{name}");
                assert_eq!(json["error"], error.word());
            }
        }
    }
}

#[test]
fn an_endless_directory_meets_the_limit() {
    for name in ["fat32-root-loop", "exfat-root-loop"] {
        let (answer, read) = ask(&image(name));
        assert!(matches!(answer, Err(NotAStick::Damaged { .. })), "{name}");
        // It did loop, else this test shows nothing.
        assert!(read > 2 * 1024 * 1024, "{name}: {read}");
    }
}

/// Runs `check` on every image, on all cores.
fn for_every_image(check: impl Fn(&str, Vec<u8>) + Sync) {
    let names = corpus::names();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(name, image(name));
                }
            });
        }
    });
}

#[test]
fn no_single_wrong_byte_makes_it_panic() {
    for_every_image(|_, mut image| {
        // Where a directory goes round in a circle each answer takes long: one wrong value must do.
        let values = if ask(&image).1 > MAX_READ / 2 { 1 } else { 3 };
        for at in 0..image.len().min(2048) {
            let right = image[at];
            for wrong in [!right, 0, 0xff].into_iter().take(values) {
                if wrong != right {
                    image[at] = wrong;
                    let _answer = ask(&image);
                }
            }
            image[at] = right;
        }
    });
}

#[test]
fn no_truncation_makes_it_panic_or_larger_than_the_medium() {
    const STEP: usize = 512;
    // Every step; of the images above 8 MiB every step of the first 2 MiB, then every 64th.
    for_every_image(|name, image| {
        let mut len = 0;
        while len < image.len() {
            if let Ok(found) = ask(&image[..len]).0 {
                assert!(found.size <= len as u64, "{name} cut to {len}");
            }
            len += if len >= 2 << 20 && image.len() > 8 << 20 { 64 * STEP } else { STEP };
        }
    });
}

#[test]
fn numbers_drawn_by_lot_do_not_make_it_panic() {
    // Sound images whose superblock is overwritten in many places at once: xorshift, so that a failure comes again.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    for (name, from, len) in
        [("ext4-no-csum", 1024, 1024), ("fat16-label", 11, 50), ("fat32-label", 11, 79), ("exfat-label", 64, 48)]
    {
        let sound = image(name);
        for _ in 0..4000 {
            let mut image = sound.clone();
            for _ in 0..=random() % 6 {
                image[from + random() % len] = [0, 1, 2, 0x7f, 0x80, 0xff][random() % 6];
            }
            let _answer = ask(&image);
        }
    }
}

#[test]
fn a_read_error_is_told_as_one() {
    for name in ["ext4-1k", "fat16-label", "fat32-label", "exfat-label"] {
        let image = image(name);
        let mut failed = 0;
        for reads_left in 0.. {
            let mut medium = Medium { reads_left, ..Medium::new(&image) };
            match probe(&mut medium) {
                Ok(_) => break,
                Err(NotAStick::Io(_)) => failed += 1,
                Err(other) => panic!("{name}: {other}"),
            }
        }
        assert!(failed >= 1, "{name}");
    }
}

#[test]
fn a_medium_that_is_shorter_than_it_says_is_a_read_error() {
    struct Liar(Cursor<Vec<u8>>);
    impl Read for Liar {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Seek for Liar {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            match to {
                SeekFrom::End(_) => Ok(u64::MAX),
                to => self.0.seek(to),
            }
        }
    }
    assert!(matches!(probe(&mut Liar(Cursor::new(image("fat16-label")))), Err(NotAStick::Io(_))));
}

#[test]
fn names() {
    assert_eq!(FsType::Fat12.to_string(), "fat12");
    assert_eq!([FsType::Ext2, FsType::Fat32, FsType::Exfat].map(FsType::kernel_name), ["ext4", "vfat", "exfat"]);
    assert!(FsType::Ext3.is_ext() && !FsType::Exfat.is_ext());
}
