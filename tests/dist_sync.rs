//! `dist-sync` (SPEC 6): a terminal becomes what a whole TM-DIST stick has, or keeps what it has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::call::Call;
use common::stick::Mounted;
use common::{Run, Server, Stick, Tree, add_many, ago, files, sample, sample_master};
use rustix::mount::MountFlags;
use rustix::process::Signal;
use tempfile::TempDir;

/// A server, its stick, filled, and a terminal that has nothing.
struct Site {
    server: Server,
    stick: Stick,
    terminal: TempDir,
}

impl Site {
    fn new() -> Site {
        let (server, stick) = (Server::new(), Stick::blank("TM-DIST", 48));
        sample(&server.tree(), ago(3600));
        stick.edit(|root| {
            root.file(".toolmaster/role", "DIST\n", ago(60));
        });
        let site = Site { server, stick, terminal: tempfile::tempdir().unwrap() };
        site.export();
        site
    }

    fn export(&self) {
        let stick = &self.stick;
        Call::new(&self.server, &["dist-export", "--device", stick.device()], Some(stick)).finish().ended(0);
    }

    fn call<'a>(&'a self, arguments: &[&str]) -> Call<'a> {
        Call::new(&self.server, arguments, None)
            .var("LOCAL_MASTER_DIR", self.terminal.path().join("toolmaster/master"))
            .var("LOCAL_DOC_DIR", self.terminal.path().join("toolmaster/docviewer"))
    }

    fn sync(&self) -> Call<'_> {
        self.call(&["dist-sync", "--device", self.stick.device()])
    }

    fn terminal(&self) -> Tree {
        Tree::at(self.terminal.path().join("toolmaster"))
    }

    /// Runs it; the stick's image must be the same bit by bit, however it ends.
    fn end(&self, call: Call<'_>, code: i32) -> Run {
        let before = self.stick.bytes();
        let run = call.finish();
        run.ended(code);
        assert!(self.stick.bytes() == before, "the stick was written to\n{run}");
        assert!(!self.stick.is_mounted());
        let aside = self.terminal().sub(".toolmaster");
        assert!(!aside.has("master") && !aside.has("docviewer"), "something is left aside\n{run}");
        let completed = run.stderr.contains("dist sync completed source=");
        assert_eq!(completed, code == 0, "{run}");
        run
    }

    fn assert_equal(&self) {
        for dataset in ["master", "docviewer"] {
            assert_eq!(self.terminal().sub(dataset).files(), self.server.tree().sub(dataset).files(), "{dataset}");
        }
        let meta = "master/meta.json";
        assert_eq!(self.terminal().text(meta), self.server.tree().text(meta));
    }
}

#[test]
fn a_new_terminal_gets_everything_and_then_nothing_is_to_do() {
    let site = Site::new();
    let run = site.end(site.sync(), 0);
    let last = format!("dist sync completed source={}", site.stick.device());
    assert_eq!(run.stderr.lines().last(), Some(&last[..]));
    site.assert_equal();
    let before = site.terminal().snapshot_of_inodes();
    site.end(site.sync(), 0);
    assert_eq!(site.terminal().snapshot_of_inodes(), before);
}

#[test]
fn a_terminal_that_has_more_gets_exactly_what_the_stick_has() {
    let site = Site::new();
    site.terminal().file("master/own.csv", "x", ago(60)).file("master/a.csv/clash", "x", ago(60)).dir("master/empty");
    site.terminal().file("docviewer/sub/own.pdf", "x", ago(60)).file("master/sub", "a file", ago(60));
    site.end(site.sync(), 0);
    site.assert_equal();
    assert!(!site.terminal().has("docviewer/sub") && !site.terminal().has("master/empty"));
}

#[test]
fn half_a_stick_is_refused_and_the_terminal_keeps_its_own() {
    let site = Site::new();
    // A directory that the stick lacks would come to it whole, in one step.
    add_many(&site.server.master(), 1);
    site.export();
    site.end(site.sync(), 0);
    let before = site.terminal().snapshot_of_inodes();
    add_many(&site.server.master(), 300);
    let mut run = Call::new(&site.server, &["dist-export", "--device", site.stick.device()], None).start();
    run.until("the mark is set", || {
        site.stick.mountpoint().is_some_and(|place| {
            std::fs::read_to_string(place.join(".toolmaster/manifest.json"))
                .is_ok_and(|text| text.contains("incomplete"))
        })
    });
    run.signal(Signal::STOP);
    let place = site.stick.mountpoint().expect("it is mounted while it is written to");
    rustix::fs::syncfs(std::fs::File::open(&place).unwrap()).unwrap();
    let pulled = site.stick.copy();
    run.signal(Signal::KILL);
    run.reap();
    while let Some(place) = site.stick.mountpoint() {
        rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
    let site = Site { stick: pulled, ..site };
    // Its journal is not clean and may not be replayed by the terminal: without it the stick may still look as it was,
    // and that is a whole generation.
    let run = site.sync().finish();
    assert!(matches!(run.code, Some(0 | 2)), "{run}");
    assert_eq!(site.terminal().snapshot_of_inodes(), before);
    // A PC replays it.
    site.stick.edit(|_| {});
    let run = site.end(site.sync(), 2);
    assert!(run.stderr.contains("not whole"), "{run}");
    assert_eq!(site.terminal().snapshot_of_inodes(), before);
    site.export();
    site.end(site.sync(), 0);
    site.assert_equal();
}

#[test]
fn a_journal_that_is_not_clean_is_not_replayed() {
    let site = Site::new();
    let pulled = site.stick.edit_and_pull(|root| {
        root.file("note.txt", "somebody pulled it from a PC", ago(5));
    });
    let site = Site { stick: pulled, ..site };
    site.end(site.sync(), 0);
    site.assert_equal();
}

#[test]
fn what_the_manifest_says_must_be_there() {
    for (what, edit) in [
        (
            "is missing",
            (|root: &Tree| {
                root.remove("master/b.csv");
            }) as fn(&Tree),
        ),
        ("has another size", |root| {
            root.file("master/b.csv", "longer", ago(3600));
        }),
        ("is no directory", |root| {
            root.remove("master").file("master", "x", ago(60));
        }),
        ("is no directory", |root| {
            root.remove("master");
        }),
        ("is missing", |root| {
            root.remove("master/b.csv").link("master/b.csv", "a.csv");
        }),
        ("not a sound manifest", |root| {
            let text = root.text(".toolmaster/manifest.json");
            root.file(".toolmaster/manifest.json", text.get(..text.len() - 5).unwrap(), ago(60));
        }),
    ] {
        let site = Site::new();
        site.end(site.sync(), 0);
        let before = site.terminal().sub("master").snapshot();
        site.stick.edit(edit);
        let run = site.end(site.sync(), 2);
        assert!(run.stderr.contains(what), "{what}\n{run}");
        assert_eq!(site.terminal().sub("master").snapshot(), before);
    }
}

#[test]
fn what_is_copied_must_have_its_hash() {
    let site = Site::new();
    site.stick.edit(|root| {
        root.file("master/b.csv", "XX", ago(3600));
    });
    let run = site.end(site.sync(), 2);
    assert!(run.stderr.contains("master/b.csv is not what the server wrote"), "{run}");
    assert!(!site.terminal().has("master"), "master is refused");
    assert_eq!(site.terminal().sub("docviewer").files(), files([("plan.pdf", "p1")]), "docviewer is done");
}

#[test]
fn checksum_finds_what_was_silently_altered_on_either_side() {
    let site = Site::new();
    site.end(site.sync(), 0);
    site.terminal().file("master/b.csv", "XX", ago(3600));
    site.end(site.sync(), 0);
    assert_eq!(site.terminal().text("master/b.csv"), "XX", "size and time are the same");
    site.end(site.sync().flag("--checksum"), 0);
    site.assert_equal();
    site.stick.edit(|root| {
        root.file("master/b.csv", "XX", ago(3600));
    });
    site.end(site.sync(), 0);
    site.end(site.sync().flag("--checksum"), 2);
    site.assert_equal();
}

#[test]
fn a_dataset_that_the_stick_does_not_have_is_a_warning() {
    let site = Site::new();
    site.terminal().file("docviewer/own.pdf", "x", ago(60));
    site.server.tree().remove("docviewer");
    site.stick.edit(|root| {
        root.remove("docviewer").remove("master").remove(".toolmaster/manifest.json");
    });
    site.end(site.sync(), 3);
    std::fs::remove_dir_all(site.server.path(".toolmaster/sticks")).unwrap();
    site.export();
    let run = site.end(site.sync(), 0);
    assert!(run.stderr.contains("docviewer: not on the stick"), "{run}");
    assert_eq!(site.terminal().sub("docviewer").files(), files([("own.pdf", "x")]));
    assert_eq!(site.terminal().sub("master").files(), sample_master());
}

#[test]
fn an_emptied_stick_does_not_empty_a_terminal() {
    let site = Site::new();
    site.end(site.sync(), 0);
    site.stick.edit(|root| {
        root.remove("master").dir("master").remove(".toolmaster/manifest.json");
    });
    site.end(site.sync(), 3);
    site.assert_equal();
}

#[test]
fn a_stick_of_the_original_is_taken_unchecked() {
    let site = Site::new();
    site.stick.edit(|root| {
        root.remove(".toolmaster/manifest.json").file("master/more.csv", "m", ago(60));
    });
    let run = site.end(site.sync(), 0);
    assert!(run.stderr.contains("no manifest"), "{run}");
    assert_eq!(site.terminal().text("master/more.csv"), "m");
}

#[test]
fn a_dry_run_changes_nothing() {
    let site = Site::new();
    let run = site.end(site.sync().flag("--dry-run"), 0);
    assert_eq!(run.plan().len(), 4, "{run}");
    assert!(!site.terminal().path("").exists());
}

#[test]
fn a_stick_that_is_mounted_already_is_read_where_it_is() {
    let site = Site::new();
    let before = site.stick.bytes();
    {
        let mounted = Mounted::new(site.stick.device(), MountFlags::RDONLY, "noload");
        let place = mounted.0.path();
        let run = site.call(&["dist-sync", "--mountpoint", place.to_str().unwrap()]).finish();
        run.ended(0);
        let last = format!("dist sync completed source={}", place.display());
        assert_eq!(run.stderr.lines().last(), Some(&last[..]));
        site.call(&["dist-sync", "--mountpoint", site.terminal.path().to_str().unwrap()])
            .fails(2)
            .says("validation failed");
        assert!(site.server.tree().text("logs/usb_guard.log").contains("validation failed"));
        site.sync().finish().ended(75);
        drop(mounted);
    }
    assert!(site.stick.bytes() == before);
    site.assert_equal();
}

#[test]
fn a_terminal_s_directory_that_is_a_link_is_refused() {
    let site = Site::new();
    let elsewhere = tempfile::tempdir().unwrap();
    site.terminal().dir("").link("master", elsewhere.path());
    site.end(site.sync(), 78);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
