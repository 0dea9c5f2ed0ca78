//! Damage to an archive or a snapshot, wherever it is: `restore --check` names it, and so does the next `backup` (SPEC 7).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "archive/frames.rs"]
mod frames;

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use common::site::{Site, archives, backup_stick, done};
use common::{Run, Tree, ago, noise};
use frames::frame_starts;
use rustix::process::Signal;

/// A site whose archive has several frames, with what compresses and what does not; it is on the stick.
fn site() -> Site {
    let site = Site { stick: backup_stick(32), ..Site::new() };
    for number in 0..4_u64 {
        let text = format!("{number}: a line of text that comes again\n").repeat(90_000);
        let content = [noise(number, 600_000), text.into_bytes()].concat();
        site.server.docviewer().file(format!("図面/{number}.bin"), content, ago(50));
    }
    site.snapshot();
    done(site.backup(), "backup export completed");
    site
}

/// The stick's archive with its checksum in a directory of the server's own, as a PC has it.
struct Pc<'a> {
    site: &'a Site,
    dir: tempfile::TempDir,
    name: String,
    archive: Vec<u8>,
}

impl Pc<'_> {
    fn new(site: &Site) -> Pc<'_> {
        let (archive, name) = site.archive();
        let pc = Pc { site, dir: tempfile::tempdir().unwrap(), name, archive };
        pc.put(&pc.archive);
        pc
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    fn put(&self, archive: &[u8]) {
        fs::write(self.path(), archive).unwrap();
    }

    fn put_checksum(&self) {
        let name = format!("{}.sha256", self.name);
        fs::write(self.dir.path().join(&name), self.site.stick.read(|root| root.text(&name))).unwrap();
    }

    /// What `restore --check` says of a damaged archive, in the line that is its error.
    fn check(&self, archive: &[u8]) -> String {
        self.put(archive);
        let call = self.site.call(&["restore", "--check", "--archive", self.path().to_str().unwrap()]);
        call.fails(2).stderr.lines().last().unwrap().to_owned()
    }

    /// What `backup` says when it meets this archive on the stick, before it would write it anew.
    fn backup(&self, archive: &[u8]) -> String {
        let stick = &self.site.stick;
        stick.edit(|root| fs::write(root.path(&self.name), archive).unwrap());
        let run = done(self.site.backup().flag("--dry-run"), "backup export completed");
        let said = run.stderr.lines().find(|line| line.contains("on the stick is written anew: "));
        said.unwrap_or_else(|| panic!("the damage was not found: {run}")).to_owned()
    }
}

/// A place in the archive, or its checksum, is named.
fn names_it(said: &str) -> bool {
    ["is damaged in ", "is damaged after ", "is damaged at its beginning", "is not what was written: its SHA-256 is "]
        .iter()
        .any(|words| said.contains(words))
}

#[test]
fn a_hundred_flipped_bits_are_found_by_both() {
    let site = site();
    let pc = Pc::new(&site);
    pc.put_checksum();
    let mut state = 7_u64;
    let mut with_a_file = 0;
    for _ in 0..100 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bit = (state >> 20) as usize % (pc.archive.len() * 8);
        let mut bad = pc.archive.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        for said in [pc.check(&bad), pc.backup(&bad)] {
            assert!(names_it(&said), "bit {bit}: {said}");
            with_a_file += u32::from(said.contains("is damaged in ") || said.contains("is damaged after "));
        }
    }
    println!("{} bytes of archive; of 200 findings {with_a_file} name the file", pc.archive.len());
    assert!(with_a_file >= 180, "{with_a_file}");
}

#[test]
fn a_cut_at_each_frame_is_found_by_both() {
    let site = site();
    let pc = Pc::new(&site);
    let starts = frame_starts(&pc.archive);
    assert!(starts.len() >= 4, "{starts:?}");
    // No checksum beside it: what is in it must tell. The last of the cuts takes exactly the last frame away.
    for length in &starts {
        let said = pc.check(&pc.archive[..*length]);
        assert!(names_it(&said) && !said.contains("SHA-256"), "cut at {length}: {said}");
        let said = pc.backup(&pc.archive[..*length]);
        assert!(names_it(&said), "cut at {length}: {said}");
    }
    // And it is put right.
    let run = done(site.backup(), "backup export completed");
    assert!(run.stderr.contains("is written anew"), "{run}");
    assert!(site.archive().0 == pc.archive, "the same snapshot gives the same bytes");
    site.unpacked();
}

#[test]
fn a_snapshot_that_changed_after_its_manifest_is_named_by_both() {
    type Change = fn(&Tree);
    let site = Site::new();
    // What the check of the snapshot says of each, and what the backup says.
    let changes: [(&str, &str, Change); 4] = [
        (
            "damaged in master/b.csv: its content is not that of the manifest",
            "master/b.csv: edited or damaged: another content and time than in the manifest: the snapshot is not whole",
            |root| fs::write(root.path("master/b.csv"), "XX").unwrap(),
        ),
        ("db/pg_dump.sql has ", "db/pg_dump.sql has ", |root| {
            fs::write(root.path("db/pg_dump.sql"), "SELECT 1;").unwrap();
        }),
        ("docviewer/plan.pdf is missing", "docviewer/plan.pdf is missing", |root| {
            fs::remove_file(root.path("docviewer/plan.pdf")).unwrap();
        }),
        ("manifest.json", "manifest.json", |root| {
            let text = root.text("manifest.json");
            fs::write(root.path("manifest.json"), text.split_inclusive('\n').skip(2).collect::<String>()).unwrap();
        }),
    ];
    let before = site.stick.read(Tree::files);
    let newest = site.latest();
    let kept = tempfile::tempdir().unwrap();
    common::tool("cp", &["-a", &format!("{}/.", newest.path("").display()), kept.path().to_str().unwrap()]);
    for (check_says, says, change) in changes {
        change(&newest);
        let path = newest.path("");
        let arguments = ["restore", "--check", "--snapshot", path.to_str().unwrap()];
        let check = site.call(&arguments).finish();
        assert!(matches!(check.code, Some(1 | 2)) && check.stderr.contains(check_says), "{check_says}: {check}");
        let dry = site.backup().flag("--dry-run").finish();
        let backup = site.backup().finish();
        assert_eq!(dry.code, backup.code, "{dry}");
        // A snapshot whose manifest can't be read is none: there is nothing to back up.
        let code = if says == "manifest.json" { 3 } else { 1 };
        assert!(backup.code == Some(code) && backup.stderr.contains(says), "{says}: {backup}");
        assert!(!site.server.tree().has("logs/usb_guard.log"), "no stick was refused: {backup}");
        site.stick.read(|root| assert_eq!(archives(root), [""; 0], "{says}"));
        common::tool(
            "cp",
            &["-a", "--remove-destination", &format!("{}/.", kept.path().display()), path.to_str().unwrap()],
        );
    }
    let mut after = site.stick.read(Tree::files);
    after.remove("RESULT.txt").expect("the receipt tells of the failure");
    assert_eq!(after, before, "nothing of it stays on the stick");
    done(site.backup(), "backup export completed");
}

/// An editor's copy in a snapshot, or a restore into it, makes what was taken no worse.
#[test]
fn what_somebody_put_into_a_snapshot_stays_out_of_what_comes_from_it() {
    let site = site();
    let newest = site.latest();
    fs::write(newest.path("master/a.csv~"), "").unwrap();
    let run = done(site.backup(), "backup export completed");
    let dest = tempfile::tempdir().unwrap();
    let snapshot = newest.path("").display().to_string();
    for (to, code) in [(newest.path("here"), 2), (newest.path("master"), 2), (dest.path().join("new"), 0)] {
        let arguments = ["restore", "--snapshot", &snapshot, "--dest", to.to_str().unwrap()];
        let run = site.call(&arguments).finish();
        assert_eq!(run.code, Some(code), "{run}");
        let said = if code == 0 { "left out: " } else { "lies in a snapshot, " };
        assert!(run.stderr.contains(said), "{run}");
    }
    assert!(!newest.has("here") && !dest.path().join("new/master/a.csv~").exists());
    assert!(dest.path().join("new/master/a.csv").exists(), "{run}");
    site.unpacked();
}

/// The run is stopped after it unmounted what it wrote and before it mounts it again to read it back.
#[test]
fn a_bit_that_turns_over_on_the_medium_between_writing_and_reading_back_is_found() {
    let site = site();
    let (archive, name) = site.archive();
    let old = "2020-01-01_full.tar.zst";
    site.stick.edit(|root| fs::rename(root.path(&name), root.path(old)).unwrap());
    let before = site.stick.read(|root| (archives(root), fs::read(root.path(old)).unwrap()));
    // Free blocks of the medium may hold what was there once: only what this run writes is to be found.
    let stale = site.stick.bytes();

    let stop = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=umount2", "-e"];
    let stop = [&stop[..], &["inject=umount2:signal=SIGSTOP:when=2"]].concat();
    let mut run = site.backup().through(&stop).start();
    let mut seen_mounted = false;
    run.until("it is stopped between unmounting and mounting", || {
        seen_mounted |= site.stick.is_writable();
        seen_mounted && !site.stick.is_mounted()
    });
    let image = site.stick.bytes();
    let middle = &archive[archive.len() / 2..][..64];
    let written =
        image.windows(64).enumerate().filter(|(at, window)| *window == middle && stale[*at..][..64] != *middle);
    let places: Vec<usize> = written.map(|(at, _)| at).collect();
    assert_eq!(places.len(), 1, "{places:?}");
    let file = OpenOptions::new().write(true).open(site.stick.image()).unwrap();
    file.write_all_at(&[middle[0] ^ 1], places[0] as u64).unwrap();
    run.signal(Signal::CONT);
    let run: Run = run.wait();

    run.ended(1);
    assert!(run.stderr.contains("what the stick gives back is not what was written: "), "{run}");
    assert!(run.stderr.contains("is damaged in docviewer/図面/") && run.stderr.contains("use another stick"), "{run}");
    site.stick.read(|root| {
        assert_eq!((archives(root), fs::read(root.path(old)).unwrap()), before, "the older archive is as it was");
        assert!(!root.has(".toolmaster/tmp"), "nothing is left of the writing");
    });
}
