//! Archives of snapshots: stock tools take them, the same snapshot gives the same bytes, and damage is found and named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic and tell what it measured, its helpers too"
)]

#[path = "archive/frames.rs"]
mod frames;
#[path = "archive/snapshot.rs"]
mod snapshot;

use std::fs;
use std::io::{Cursor, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use frames::frame_starts;
use sha2::{Digest, Sha256};
use snapshot::{Snapshot, listing, progress, random};
use toolmaster::error::{Error, Result};
use toolmaster::os::dir::Dir;
use toolmaster::snapshot::archive::{
    Checked, FRAME, Pattern, READ_MEMORY, Source, WRITE_MEMORY, estimate, list, read, write,
};

fn check(archive: &[u8], sha256: Option<[u8; 32]>) -> Result<Checked> {
    let source = Source { shown: "A", sha256, target: None, only: None };
    read(Cursor::new(archive.to_vec()), source, &mut progress())
}

fn extract(archive: &[u8], target: &Path, only: Option<&str>) -> Result<Checked> {
    let target = Dir::open(target).unwrap();
    let only = only.map(Pattern::new);
    let source = Source { shown: "A", sha256: None, target: Some(&target), only: only.as_ref() };
    read(Cursor::new(archive.to_vec()), source, &mut progress())
}

/// Runs a stock tool; it must succeed and say nothing.
fn tool(dir: &Path, program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).current_dir(dir).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.is_empty(), "{program} {args:?}: {said}");
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[test]
fn stock_tools_restore_it() {
    let snapshot = Snapshot::rich();
    let (archive, written) = snapshot.archive();
    assert_eq!(written.bytes, archive.len() as u64);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a.tar.zst");
    fs::write(&file, &archive).unwrap();
    let digits: String = sha256(&archive).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(place.path().join("a.tar.zst.sha256"), format!("{digits}  a.tar.zst\n")).unwrap();
    tool(place.path(), "sha256sum", &["--status", "-c", "a.tar.zst.sha256"]);
    tool(place.path(), "zstd", &["-q", "-t", "a.tar.zst"]);
    tool(place.path(), "tar", &["--zstd", "--warning=no-timestamp", "-xpf", "a.tar.zst"]);
    assert_eq!(listing(&place.path().join(Snapshot::NAME)), listing(snapshot.path()));
    if Command::new("bsdtar").arg("--version").output().is_ok() {
        fs::remove_dir_all(place.path().join(Snapshot::NAME)).unwrap();
        tool(place.path(), "bsdtar", &["-xpf", "a.tar.zst"]);
        assert_eq!(listing(&place.path().join(Snapshot::NAME)), listing(snapshot.path()));
    }
}

#[test]
fn our_own_restore_gives_the_same_tree() {
    let snapshot = Snapshot::rich();
    let (archive, written) = snapshot.archive();
    let place = tempfile::tempdir().unwrap();
    let checked = extract(&archive, place.path(), None).unwrap();
    assert_eq!(listing(place.path()), listing(snapshot.path()));
    assert_eq!((checked.files, checked.content), (written.files, written.content));
    assert_eq!((checked.bytes, checked.sha256), (written.bytes, sha256(&archive)));
    assert_eq!(checked.written, written.files + 1);
    assert_eq!(checked.manifest.unwrap().server, "server-1");
    assert!(estimate(&Dir::open(snapshot.path()).unwrap()).unwrap() >= written.bytes);
}

#[test]
fn one_file_or_one_directory() {
    let snapshot = Snapshot::rich();
    let (archive, _) = snapshot.archive();
    for (only, count) in [("db/pg_dump.sql", 1), ("master", 5), ("settings/empty", 0), ("db/pg_dump", 0)] {
        let place = tempfile::tempdir().unwrap();
        match extract(&archive, place.path(), Some(only)) {
            Ok(checked) => {
                assert_eq!(checked.written, count);
                assert!(
                    listing(place.path())
                        .iter()
                        .all(|(path, _)| b"db/pg_dump.sql".starts_with(path) || path.starts_with(only.as_bytes()))
                );
            }
            Err(error) => assert_eq!((count, error.exit_code()), (0, 3), "{error}"),
        }
    }
}

#[test]
fn the_same_snapshot_gives_the_same_bytes() {
    let snapshot = Snapshot::rich();
    let (one, written) = snapshot.archive();
    let (two, again) = snapshot.archive();
    assert!(one == two && written == again);
}

#[test]
fn the_largest_size_is_known_before() {
    let snapshot = Snapshot::empty();
    for number in 0..300 {
        snapshot.file(format!("master/{}{number}", "名".repeat(60)), &random(number, 100 + number as usize), -5);
    }
    snapshot.file("db/pg_dump.sql", &random(1, 10_000_000), 1);
    snapshot.seal();
    let (archive, _) = snapshot.archive();
    let most = estimate(&Dir::open(snapshot.path()).unwrap()).unwrap();
    assert!(most >= archive.len() as u64 && most < archive.len() as u64 + 800_000, "{most}, {}", archive.len());
}

#[test]
fn every_flipped_bit_is_found() {
    let (archive, _) = Snapshot::of_megabytes(9).archive();
    let right = sha256(&archive);
    let mut state = 42_u64;
    let (mut by_content, mut named) = (0, 0);
    for _ in 0..100 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bit = (state >> 20) as usize % (archive.len() * 8);
        let mut bad = archive.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let said = check(&bad, Some(right)).expect_err("a flip passed");
        assert_eq!(said.exit_code(), 2, "{said}");
        let said = said.to_string();
        by_content += u32::from(!said.contains("SHA-256 is"));
        named += u32::from(said.contains("damaged in ") || said.contains("damaged after "));
    }
    assert!(by_content >= 99 && named >= 98, "{by_content} without the SHA-256, {named} with a path");
}

#[test]
fn every_truncation_is_found() {
    let (archive, _) = Snapshot::of_megabytes(17).archive();
    let starts = frame_starts(&archive);
    assert!(starts.len() >= 5, "{starts:?}");
    let evenly = (0..archive.len()).step_by(archive.len() / 60);
    for length in starts.iter().copied().chain(evenly).chain(archive.len() - 6..archive.len()) {
        let said = check(&archive[..length], None).expect_err("a cut passed");
        assert_eq!(said.exit_code(), 2, "{said}");
        let place = if length < 200 { "at its beginning" } else { "" };
        assert!(said.to_string().starts_with(&format!("A is damaged {place}")), "{length}: {said}");
    }
    // The last frame missing, one in the middle, two exchanged, one twice.
    let frame = |index: usize| &archive[starts[index]..starts.get(index + 1).copied().unwrap_or(archive.len())];
    let last = starts.len() - 1;
    for order in
        [vec![0, 1, 2, 3], vec![0, 2, 3, last], vec![0, 2, 1, 3, last], vec![0, 1, 1, 2, 3, last], vec![1, last]]
    {
        let bad: Vec<u8> = order.iter().flat_map(|index| frame(*index)).copied().collect();
        assert!(check(&bad, None).is_err(), "{order:?}");
    }
}

#[test]
fn what_follows_the_end_is_found() {
    let (archive, _) = Snapshot::rich().archive();
    let last = archive[*frame_starts(&archive).last().unwrap()..].to_vec();
    let empty = b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00".to_vec();
    let zeros = b"\x28\xb5\x2f\xfd\x60\x00\x27\x02\x00\x00\x50\x01\x00\x00".to_vec();
    for garbage in [vec![0], vec![0; 4096], b"x".to_vec(), last, empty, zeros] {
        let said = check(&[archive.clone(), garbage.clone()].concat(), None).expect_err("garbage passed");
        assert_eq!(said.exit_code(), 2, "{said}");
        assert!(said.to_string().starts_with("A is damaged after settings"), "{said}");
    }
}

#[test]
fn a_snapshot_that_changed_makes_no_archive() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 2] = [
        ("db/pg_dump.sql has 2 bytes instead of 1", |path| fs::write(path.join("db/pg_dump.sql"), "AA").unwrap()),
        ("master/a is missing", |path| fs::remove_file(path.join("master/a")).unwrap()),
    ];
    for (says, change) in changes {
        let snapshot = Snapshot::empty();
        snapshot.file("db/pg_dump.sql", b"A", 5).file("master/a", b"1", 5).file("master/c", b"1", 5);
        snapshot.seal();
        assert_eq!(snapshot.try_archive().unwrap().1.files, 3);
        change(snapshot.path());
        let said = snapshot.try_archive().unwrap_err();
        assert_eq!(said.exit_code(), 2);
        assert!(said.to_string().contains(says), "{said}");
    }
}

#[test]
fn a_content_that_changed_is_found_where_the_archive_is_read() {
    let snapshot = Snapshot::empty();
    snapshot.file("db/pg_dump.sql", b"A", 5).file("master/a", b"1", 5);
    snapshot.seal();
    fs::write(snapshot.path().join("db/pg_dump.sql"), "B").unwrap();
    let said = check(&snapshot.archive().0, None).unwrap_err();
    assert_eq!(said.exit_code(), 2);
    assert!(said.to_string().contains("A is damaged in db/pg_dump.sql: its content is not that"), "{said}");
}

#[test]
fn archives_of_the_original_system_are_read_but_not_called_checked() {
    let snapshot = Snapshot::rich();
    fs::remove_file(snapshot.path().join("manifest.json")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let above = snapshot.path().parent().unwrap();
    for (format, zstd) in [("gnu", "zstd"), ("posix", "zstd"), ("gnu", "zstd -19")] {
        let archive = place.path().join("a.tar.zst");
        let format = format!("--format={format}");
        tool(above, "tar", &["-I", zstd, &format, "-cf", archive.to_str().unwrap(), Snapshot::NAME]);
        let target = tempfile::tempdir().unwrap();
        let checked = extract(&fs::read(&archive).unwrap(), target.path(), None).unwrap();
        assert_eq!(checked.manifest, None);
        let whole_seconds = |root: &Path| {
            let mut found = listing(root);
            found.iter_mut().for_each(|(_, facts)| facts.mtime = facts.mtime.div_euclid(1_000_000_000));
            found
        };
        assert_eq!(whole_seconds(target.path()), whole_seconds(snapshot.path()));
    }
}

/// An archive of another maker: the script that writes it, and what is said of it if it is not taken.
struct Form {
    make: &'static str,
    says: Option<&'static str>,
}

/// Forms that stock tools make and take: each is taken, or is said to be sound and not taken.
#[test]
fn what_others_make_is_never_called_damaged() {
    let forms = [
        "tar --format=v7 -cf - S | zstd -q",
        "tar --format=ustar -cf - S | zstd -q",
        "tar --format=oldgnu -cf - S | zstd -q",
        "tar --format=posix -cf - S | zstd -q -T2 --rsyncable",
        "tar -C S --zstd -cf - .",
        "cd S && tar --zstd -cf - *",
        "tar -cf - S | pzstd -qc",
        "tar -cf - S | zstd -q --no-check --no-content-size",
        "tar -cf - S | zstd -q --ultra -22",
        "tar -cf - S | zstd -q --long=27",
        "tar -cf all S; (head -c 5000 all | zstd -q; printf '' | zstd -q; tail -c +5001 all | zstd -q)",
        "tar --format=gnu -V label --zstd -cf - S",
        "tar --format=posix --pax-option=globexthdr.name=g,comment=made -cf - S | zstd -q",
        "ln -s b.csv S/master/link; mkfifo S/master/pipe; tar --zstd -cf - S",
    ]
    .map(|make| Form { make, says: None });
    let not_taken = [
        ("ln S/master/b.csv S/master/c; tar --zstd -cf - S", "is a hard link"),
        ("truncate -s 1M S/master/holes; tar -S --zstd -cf - S", "master/holes is a file with holes"),
        ("truncate -s 1M S/master/holes; tar -S --format=posix --zstd -cf - S", "is a file with holes"),
        ("tar -cf - S | zstd -q --long=30 --no-content-size", "it asks for a window of 1024 MiB"),
        ("tar -g state --zstd -cf - S", "is a member of unknown kind"),
    ]
    .map(|(make, says)| Form { make, says: Some(says) });
    for Form { make, says } in forms.into_iter().chain(not_taken) {
        let place = tempfile::tempdir().unwrap();
        let prepare = "mkdir -p S/db S/docviewer S/master/sub; echo 'CREATE TABLE a ();' >S/db/pg_dump.sql; printf 1 >S/docviewer/図面.pdf; \
            head -c 9000 /dev/zero >S/master/b.csv; echo >S/master/sub/empty";
        tool(place.path(), "sh", &["-euc", &format!("{prepare}; ({make}) >a.tar.zst")]);
        let archive = fs::read(place.path().join("a.tar.zst")).unwrap();
        let target = tempfile::tempdir().unwrap();
        match (extract(&archive, target.path(), None), says) {
            (Ok(checked), None) => {
                assert_eq!((checked.files, checked.manifest), (4, None), "{make}");
                tool(place.path(), "sh", &["-euc", "find S -type l -delete; find S -type p -delete"]);
                tool(place.path(), "diff", &["-r", "S", target.path().to_str().unwrap()]);
            }
            (Err(error), Some(says)) => {
                let said = error.to_string();
                assert!(
                    said.contains("is sound as far as it was read, but of a form that is not taken here")
                        && said.contains(says),
                    "{make}: {said}"
                );
                assert_eq!(error.exit_code(), 2);
            }
            (other, _) => panic!("{make}: {other:?}"),
        }
    }
}

#[test]
fn what_is_in_an_archive_is_told_without_reading_all_of_it() {
    let snapshot = Snapshot::of_megabytes(17);
    let (archive, written) = snapshot.archive();
    // Its end is gone, and is not missed.
    let begin = archive[..archive.len() / 2].to_vec();
    let mut paths = Vec::new();
    let header = list(Cursor::new(begin.clone()), "A", |seen| {
        paths.push(String::from_utf8(seen.path.to_vec()).unwrap());
        ControlFlow::Continue(())
    });
    assert_eq!(header.unwrap().unwrap().server, "server-1");
    assert_eq!(paths.len() as u64, written.files);
    let mut count = 0;
    let header = list(Cursor::new(begin), "A", |_| {
        count += 1;
        ControlFlow::Break(())
    });
    assert_eq!((header.unwrap().unwrap().server.as_str(), count), ("server-1", 1));
    let said = list(Cursor::new(archive[..90].to_vec()), "A", |_| ControlFlow::Continue(())).unwrap_err();
    assert!(said.exit_code() == 2 && said.to_string().contains("A is damaged"), "{said}");
}

#[test]
fn an_archive_of_nothing_is_refused() {
    let place = tempfile::tempdir().unwrap();
    for script in
        ["head -c 10240 /dev/zero | zstd -q >a", "mkdir 2026-01-01_000000 && tar --zstd -cf a 2026-01-01_000000"]
    {
        tool(place.path(), "sh", &["-euc", script]);
        let said = check(&fs::read(place.path().join("a")).unwrap(), None).unwrap_err();
        assert!(said.exit_code() == 2 && said.to_string().contains("holds no files"), "{said}");
    }
}

#[test]
fn a_failing_medium_is_no_damage() {
    struct Failing(Cursor<Vec<u8>>, usize);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let left = self.1.saturating_sub(self.0.position() as usize).min(buffer.len());
            match self.0.read(&mut buffer[..left])? {
                0 => Err(std::io::Error::from_raw_os_error(5)),
                count => Ok(count),
            }
        }
    }
    let (archive, _) = Snapshot::of_megabytes(5).archive();
    for at in [0, 3, 1000, archive.len() / 2] {
        let source = Source { shown: "A", sha256: None, target: None, only: None };
        let said = read(Failing(Cursor::new(archive.clone()), at), source, &mut progress()).unwrap_err();
        assert!(matches!(said, Error::Unreadable { .. }), "{at}: {said}");
        assert!(said.to_string().contains("the medium has a read or write error"), "{said}");
    }
}

#[test]
fn frames_are_cut_by_size() {
    let (archive, written) = Snapshot::of_megabytes(17).archive();
    let starts = frame_starts(&archive);
    assert_eq!(starts.len() as u64, (written.content + 30_000).div_ceil(FRAME as u64));
}

/// Tests unwind; the program that is installed aborts. So the guard is compiled as it is there, and panics.
#[test]
fn a_decoder_that_panics_does_not_abort_the_program() {
    let place = tempfile::tempdir().unwrap();
    let guard = concat!(env!("CARGO_MANIFEST_DIR"), "/src/snapshot/archive/guard.rs");
    let thread = concat!(env!("CARGO_MANIFEST_DIR"), "/src/os/thread.rs");
    let main = format!(
        "#[path = {guard:?}] mod guard;\nmod os {{ #[path = {thread:?}] pub mod thread; }}\nfn work() -> guard::Work<u8> {{ Box::new(|_| panic!(\"a bug\")) }}\n\
         fn main() {{ assert_eq!(guard::Workers::new(1, work).give(1).unwrap().wait(), None); println!(\"ended in order\"); }}"
    );
    fs::write(place.path().join("main.rs"), main).unwrap();
    tool(place.path(), "rustc", &["--edition", "2024", "-Cpanic=abort", "main.rs"]);
    let out = Command::new(place.path().join("main")).output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    assert_eq!(out.stdout, b"ended in order\n");
}

/// What a child process does, by the environment: nothing without it. Prints its own peak memory, KiB.
#[test]
fn child() {
    let Ok(order) = std::env::var("ARCHIVE_TEST") else { return };
    let (what, path) = order.split_once(' ').unwrap();
    let root = Path::new(path);
    let archive = root.with_extension("tar.zst");
    if what == "write" {
        write(&Dir::open(root).unwrap(), Snapshot::NAME, &mut fs::File::create(archive).unwrap(), &mut progress())
            .unwrap();
    } else {
        let source = Source { shown: "A", sha256: None, target: None, only: None };
        read(fs::File::open(archive).unwrap(), source, &mut progress()).unwrap().manifest.unwrap();
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("peak {}", peak.trim().trim_end_matches(" kB"));
}

/// Peak memory, bytes, of writing the archive of a snapshot or reading it.
fn peak(what: &str, snapshot: &Snapshot) -> u64 {
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env("ARCHIVE_TEST", format!("{what} {}", snapshot.path().display()))
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let kib = said.lines().find_map(|line| Some(line.split_once("peak ")?.1.trim().parse::<u64>().unwrap()));
    kib.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&out.stderr))) << 10
}

fn memory(name: &str, snapshot: &Snapshot) {
    let start = Instant::now();
    let written = peak("write", snapshot);
    let middle = start.elapsed();
    let read = peak("read", snapshot);
    let (a, b) = (middle.as_secs_f64(), (start.elapsed() - middle).as_secs_f64());
    println!("{name}: write {} KiB {a:.1} s, read {} KiB {b:.1} s", written >> 10, read >> 10);
    assert!(written < WRITE_MEMORY && read < READ_MEMORY, "{name}: {written} {read}");
}

#[test]
fn memory_is_bounded() {
    let small = Snapshot::empty();
    small.file("master/a", &random(1, 10_000_000), 1).seal();
    memory("10 MB", &small);
    let large = Snapshot::empty();
    large.file("master/a", &random(1, 10_000_000).repeat(100), 1).seal();
    memory("1 GB", &large);
}

#[test]
#[ignore = "takes minutes: scripts/test --full"]
fn a_file_of_nine_gigabytes() {
    let snapshot = Snapshot::empty();
    snapshot.file("db/pg_dump.sql", b"", 1).file("master/a", b"after it", 1);
    fs::File::options()
        .write(true)
        .open(snapshot.path().join("db/pg_dump.sql"))
        .unwrap()
        .set_len(9_000_000_000)
        .unwrap();
    snapshot.seal();
    memory("9 GB", &snapshot);
    let place = snapshot.path().parent().unwrap();
    let listed =
        Command::new("tar").args(["--zstd", "-tvf"]).arg(snapshot.path().with_extension("tar.zst")).output().unwrap();
    assert!(listed.status.success() && String::from_utf8_lossy(&listed.stdout).contains(" 9000000000 "), "{place:?}");
}
