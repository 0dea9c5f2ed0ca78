//! `dist-sync` (SPEC 6): a terminal becomes what a whole TM-DIST stick has, or keeps what it has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::call::Call;
use common::stick::Mounted;
use common::{Run, Server, Stick, Tree, add_many, ago, files, noise, sample, sample_master, tool};
use rustix::fs::XattrFlags;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::Signal;
use serde_json::Value;

/// A server, its stick, filled, and a terminal that has nothing.
struct Site {
    server: Server,
    stick: Stick,
    terminal: Server,
}

impl Site {
    fn new() -> Site {
        Site::with_terminal(Server::new())
    }

    fn with_terminal(terminal: Server) -> Site {
        let (server, stick) = (Server::new(), Stick::blank("TM-DIST", 48));
        sample(&server.tree(), ago(3600));
        stick.edit(|root| {
            root.file(".toolmaster/role", "DIST\n", ago(60));
        });
        let site = Site { server, stick, terminal };
        site.export();
        site
    }

    fn export(&self) {
        let stick = &self.stick;
        Call::new(&self.server, &["dist-export", "--device", stick.device()], Some(stick)).finish().ended(0);
    }

    fn call<'a>(&'a self, arguments: &[&str]) -> Call<'a> {
        Call::new(&self.server, arguments, None)
            .var("LOCAL_MASTER_DIR", self.terminal.path("toolmaster/master"))
            .var("LOCAL_DOC_DIR", self.terminal.path("toolmaster/docviewer"))
    }

    fn sync(&self) -> Call<'_> {
        self.sync_from(&self.stick)
    }

    fn sync_from(&self, stick: &Stick) -> Call<'_> {
        self.call(&["dist-sync", "--device", stick.device()])
    }

    fn terminal(&self) -> Tree {
        Tree::at(self.terminal.path("toolmaster"))
    }

    /// What the terminal has on record of what it took.
    fn taken(&self, dataset: &str) -> Value {
        serde_json::from_str(&self.terminal().sub(".toolmaster").text(format!("{dataset}.json"))).unwrap()
    }

    /// Runs it; the stick's image must be the same bit by bit, however it ends.
    fn end(&self, call: Call<'_>, code: i32) -> Run {
        self.end_with(&self.stick, call, code)
    }

    fn end_with(&self, stick: &Stick, call: Call<'_>, code: i32) -> Run {
        let before = stick.bytes();
        let run = call.finish();
        run.ended(code);
        assert!(stick.bytes() == before, "the stick was written to\n{run}");
        assert!(!stick.is_mounted());
        let aside = self.terminal().sub(".toolmaster");
        for left in ["master", "docviewer", "master.next.json", "docviewer.next.json"] {
            assert!(!aside.has(left), "{left} is left aside\n{run}");
        }
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

    /// Changes the server, and fills a second stick with that: an old stick and a new one of one server.
    fn old_and_new(&self) -> (Stick, Stick) {
        let old = self.stick.copy();
        dated(&old, Some((OLD, OLD)));
        self.server.master().file("a.csv", "a2", ago(60)).remove("b.csv").file("new/n.csv", "n", ago(60)).meta(ago(60));
        self.server.docviewer().file("plan.pdf", "p2", ago(60)).meta(ago(60));
        self.export();
        dated(&self.stick, Some((NEW, NEW)));
        (old, self.stick.copy())
    }
}

const OLD: i64 = 1_700_000_000;
const NEW: i64 = 1_700_086_400;

/// Has a stick's manifest say when master and docviewer were last seen to be the server's, or say nothing of it.
fn dated(stick: &Stick, times: Option<(i64, i64)>) {
    edit_manifest(stick, |header| {
        match times {
            Some((master, docviewer)) => {
                header["times"] = serde_json::json!({"master": master, "docviewer": docviewer});
            }
            None => drop(header.as_object_mut().unwrap().remove("times")),
        };
    });
}

/// Changes the first line of a stick's manifest.
fn edit_manifest(stick: &Stick, edit: impl FnOnce(&mut Value)) {
    const MANIFEST: &str = ".toolmaster/manifest.json";
    const START_OF_FILES: &str = ",\"files\":[";
    stick.edit(|root| {
        let text = root.text(MANIFEST);
        let (first, files) = text.split_once('\n').unwrap();
        let mut header = serde_json::from_str(&format!("{}}}", first.strip_suffix(START_OF_FILES).unwrap())).unwrap();
        edit(&mut header);
        let header = header.to_string();
        let text = format!("{}{START_OF_FILES}\n{files}", header.strip_suffix('}').unwrap());
        root.file(MANIFEST, text, ago(60));
    });
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
    let dry = site.end(site.sync().flag("--dry-run"), 2);
    assert!(dry.stderr.contains("master/b.csv is not what the server wrote"), "{dry}");
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
        root.remove("master").file("master/Thumbs.db", "t", ago(60)).file("master/sub/._a.csv", "t", ago(60));
        root.sub("master").meta(ago(30));
        root.remove(".toolmaster/manifest.json").file("docviewer/more.pdf", "m", ago(60));
    });
    site.end(site.sync().flag("--dry-run"), 3);
    let run = site.end(site.sync(), 3);
    assert!(run.stderr.contains("master: empty on the stick, but not on the terminal"), "{run}");
    assert_eq!(site.terminal().sub("master").files(), sample_master());
    assert_eq!(site.terminal().text("docviewer/more.pdf"), "m", "the other one is done");
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
    site.terminal().file("master/own.csv", "x", ago(60));
    let before = site.terminal().snapshot_of_inodes();
    let run = site.end(site.sync().flag("--dry-run"), 0);
    assert_eq!(run.plan().len(), 5, "{run}");
    assert_eq!(site.terminal().snapshot_of_inodes(), before);
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
        site.call(&["dist-sync", "--mountpoint", site.terminal.path("").to_str().unwrap()])
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
fn an_older_stick_of_the_same_server_is_refused_without_force() {
    let site = Site::new();
    let (old, new) = site.old_and_new();
    site.end_with(&new, site.sync_from(&new), 0);
    let before = site.terminal().snapshot_of_inodes();
    for flags in [&[][..], &["--dry-run"], &["--checksum"]] {
        let call = flags.iter().fold(site.sync_from(&old), |call, flag| call.flag(flag));
        let run = site.end_with(&old, call, 2);
        assert!(run.stderr.contains("master: the stick is older than what the terminal has"), "{run}");
        assert!(run.stderr.contains("docviewer: the stick is older than what the terminal has"), "{run}");
        assert_eq!(site.terminal().snapshot_of_inodes(), before);
    }
    site.end_with(&old, site.sync_from(&old).flag("--force").flag("--dry-run"), 0);
    assert_eq!(site.terminal().snapshot_of_inodes(), before);
    site.end_with(&old, site.sync_from(&old).flag("--force"), 0);
    assert_eq!(site.terminal().sub("master").files(), sample_master());
    assert_eq!(site.taken("master")["time"], OLD, "that is what it has now");
    site.end_with(&old, site.sync_from(&old), 0);
    site.end_with(&new, site.sync_from(&new), 0);
    site.end_with(&old, site.sync_from(&old), 2);
    site.assert_equal();
    // Whoever has taken its directory away wants it filled again.
    site.terminal().remove("master").remove("docviewer");
    site.end_with(&old, site.sync_from(&old), 0);
}

#[test]
fn a_dataset_that_is_older_does_not_keep_the_other_one_from_being_done() {
    let site = Site::new();
    let (old, new) = site.old_and_new();
    site.end_with(&old, site.sync_from(&old), 0);
    dated(&new, Some((OLD - 1, NEW)));
    let run = site.end_with(&new, site.sync_from(&new), 2);
    assert!(!run.stderr.contains("docviewer: the stick is older"), "{run}");
    assert_eq!(site.terminal().sub("master").files(), sample_master());
    assert_eq!(site.terminal().text("docviewer/plan.pdf"), "p2");
}

#[test]
fn equal_contents_are_never_refused_and_only_make_the_record_newer() {
    let site = Site::new();
    let (old, new) = site.old_and_new();
    site.end_with(&new, site.sync_from(&new), 0);
    for (time, then) in [(NEW - 5, NEW), (NEW + 5, NEW + 5), (NEW, NEW + 5)] {
        dated(&new, Some((time, time)));
        let data = site.terminal().sub("master").snapshot_of_inodes();
        let run = site.end_with(&new, site.sync_from(&new), 0);
        assert_eq!(run.stderr.matches("nothing to do: equal contents").count(), 2, "{run}");
        assert_eq!(site.terminal().sub("master").snapshot_of_inodes(), data);
        for dataset in ["master", "docviewer"] {
            assert_eq!(site.taken(dataset)["time"], then, "a stick of {time}");
        }
    }
    dated(&old, Some((NEW, NEW)));
    site.end_with(&old, site.sync_from(&old), 2);
    // The same files with an older meta.json: that stays too.
    dated(&new, Some((NEW, NEW)));
    new.edit(|root| {
        root.sub("master").meta(ago(9000));
    });
    site.end_with(&new, site.sync_from(&new), 0);
    site.assert_equal();
}

#[test]
fn a_stick_of_another_server_is_taken_and_both_are_named() {
    let site = Site::new();
    let (old, new) = site.old_and_new();
    site.end_with(&new, site.sync_from(&new), 0);
    edit_manifest(&old, |header| header["server"] = "another".into());
    let run = site.end_with(&old, site.sync_from(&old), 0);
    let its = site.server.tree().text(".toolmaster/server-id");
    for id in ["another", its.trim()] {
        assert!(run.stderr.lines().any(|line| line.contains("master: ") && line.contains(id)), "{run}");
    }
    assert_eq!(site.terminal().sub("master").files(), sample_master());
    assert_eq!(site.taken("master")["server"], "another");
}

#[test]
fn a_stick_that_does_not_say_when_is_not_judged() {
    let site = Site::new();
    let (old, new) = site.old_and_new();
    site.end_with(&new, site.sync_from(&new), 0);
    dated(&old, None);
    site.end_with(&old, site.sync_from(&old), 0);
    assert_eq!(site.terminal().sub("master").files(), sample_master());
    // How old what the terminal has now is not known.
    dated(&new, Some((OLD, OLD)));
    site.end_with(&new, site.sync_from(&new), 0);
}

#[test]
fn a_run_that_was_cut_off_around_the_exchange_is_ended_by_the_next() {
    let site = Site::new();
    let (old, new) = site.old_and_new();
    site.end_with(&new, site.sync_from(&new), 0);
    let aside = site.terminal().sub(".toolmaster");
    let move_to = |from: &str, to: &str| std::fs::rename(aside.path(from), aside.path(to)).unwrap();
    // After the exchange, before its record took its place.
    for dataset in ["master", "docviewer"] {
        move_to(&format!("{dataset}.json"), &format!("{dataset}.next.json"));
    }
    let dry = site.sync_from(&old).flag("--dry-run").finish();
    dry.ended(2);
    assert!(aside.has("master.next.json"));
    site.end_with(&old, site.sync_from(&old), 2);
    assert_eq!(site.taken("master")["time"], NEW);
    // Before it: of what never came the record is worth nothing.
    let record = aside.text("master.json");
    let mut next: Value = serde_json::from_str(&record).unwrap();
    next["time"] = (NEW + 9).into();
    next["inode"] = 1.into();
    aside.file("master.next.json", next.to_string(), ago(5)).file("master/half.csv", "h", ago(5));
    site.end_with(&new, site.sync_from(&new), 0);
    assert_eq!(aside.text("master.json"), record);
    // After it, when a program had saved something into the directory that was replaced.
    let mut next: Value = serde_json::from_str(&record).unwrap();
    next["replaced"] = 1.into();
    aside.file("master.next.json", next.to_string(), ago(5)).file("master/saved.csv", "s", ago(5));
    let run = site.end_with(&new, site.sync_from(&new), 0);
    assert!(run.stderr.contains("it is kept in "), "{run}");
    let kept = std::fs::read_dir(aside.path("")).unwrap().map(|entry| entry.unwrap().path());
    let kept: Vec<PathBuf> = kept.filter(|path| path.to_string_lossy().contains("master.saved-")).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(Tree::at(&kept[0]).files(), files([("saved.csv", "s")]));
    site.assert_equal();
}

#[test]
fn room_for_both_datasets_is_there_before_the_first_byte_is_changed() {
    let site = Site::with_terminal(Server::on_disk(16));
    site.server.master().file("large.csv", noise(1, 7 << 20), ago(60));
    site.export();
    // A terminal that has room for one of them.
    site.end(site.sync(), 0);
    site.server.master().file("large.csv", noise(2, 3 << 20), ago(60));
    site.server.docviewer().file("large.pdf", noise(3, 3 << 20), ago(60));
    site.export();
    let before = site.terminal().snapshot_of_inodes();
    for flags in [&[][..], &["--dry-run"]] {
        let call = flags.iter().fold(site.sync(), |call, flag| call.flag(flag));
        let run = site.end(call, 1);
        assert!(
            run.stderr.contains("not enough room on the terminal: ") && run.stderr.contains(" bytes free"),
            "{run}"
        );
        assert_eq!(site.terminal().snapshot_of_inodes(), before);
    }
}

#[test]
fn inodes_are_room_too() {
    let few = |image: &str| drop(tool("mkfs.ext4", &["-q", "-F", "-b", "4096", "-N", "64", image]));
    let site = Site::with_terminal(Server::on_disk_of(few));
    add_many(&site.server.docviewer(), 300);
    site.export();
    let run = site.end(site.sync(), 1);
    assert!(run.stderr.contains(" inodes free"), "{run}");
    assert!(!site.terminal().has("master") && !site.terminal().has("docviewer"));
}

#[test]
fn directories_keep_mode_owner_acl_and_attributes() {
    let site = Site::with_terminal(Server::on_disk(32));
    site.end(site.sync(), 0);
    let dirs = ["master", "master/sub", "docviewer"];
    for (dir, mode) in dirs.into_iter().zip([0o2775, 0o750, 0o700]) {
        let path = site.terminal().path(dir);
        std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        rustix::fs::setxattr(&path, "user.note", dir.as_bytes(), XattrFlags::empty()).unwrap();
        for kind in ["access", "default"] {
            let name = format!("system.posix_acl_{kind}");
            rustix::fs::setxattr(&path, name, &acl_for(77), XattrFlags::empty()).unwrap();
        }
    }
    let look = || {
        dirs.map(|dir| {
            let path = site.terminal().path(dir);
            let metadata = path.metadata().unwrap();
            let attributes = ["user.note", "system.posix_acl_access", "system.posix_acl_default"].map(|name| {
                let mut value = vec![0; 256];
                let count = rustix::fs::getxattr(&path, name, &mut value[..]).unwrap();
                value.truncate(count);
                value
            });
            (metadata.mode(), metadata.uid(), metadata.gid(), attributes)
        })
    };
    let before = look();
    let inode = site.terminal().path("master").metadata().unwrap().ino();
    site.server.master().file("sub/c.csv", "c2", ago(60)).file("deep/new.csv", "n", ago(60));
    site.server.docviewer().file("plan.pdf", "p2", ago(60));
    site.export();
    site.end(site.sync(), 0);
    assert_ne!(site.terminal().path("master").metadata().unwrap().ino(), inode, "it was exchanged");
    assert_eq!(look(), before);
    // A file is the dataset's owner's and nobody's program; what is new inherits as anything that is made there.
    let new = site.terminal().path("master/deep/new.csv").metadata().unwrap();
    assert_eq!((new.uid(), new.gid(), new.mode() & 0o7133), (1234, 4321, 0));
    assert!(
        rustix::fs::getxattr(site.terminal().path("master/deep"), "system.posix_acl_default", &mut [0; 256]).is_ok()
    );
    site.assert_equal();
}

/// An ACL that gives one more user everything (Linux, include/uapi/linux/posix_acl_xattr.h: version 2, then tag, permissions, id).
fn acl_for(user: u32) -> Vec<u8> {
    let none = u32::MAX;
    let entries = [(0x01_u16, 7_u16, none), (0x02, 7, user), (0x04, 5, none), (0x10, 7, none), (0x20, 5, none)];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[test]
fn links_and_droppings_on_the_terminal_stay() {
    let site = Site::new();
    let (_, new) = site.old_and_new();
    let master = site.terminal().sub("master");
    master.file("own.csv", "o", ago(60)).file("Thumbs.db", "t", ago(60)).link("alias", "a.csv");
    master.file("gone/deep/own.csv", "o", ago(60)).file("gone/deep/.DS_Store", "d", ago(60)).link("gone/deep/up", "..");
    master.file("gone/System Volume Information/x/y", "y", ago(60)).file("empty/own.csv", "o", ago(60));
    // The stick has something of that name.
    master.link("b.csv", "nowhere").link("a.csv", "nowhere").link("sub", "nowhere").file("new/._n.csv", "n", ago(60));
    let run = site.end_with(&new, site.sync_from(&new), 0);
    for name in ["a.csv", "sub"] {
        let told = format!("master: {name} is replaced, a symbolic link on the terminal");
        assert!(run.stderr.contains(&told), "{run}");
    }
    let mut expected = site.server.master().files();
    for (name, text) in [("Thumbs.db", "t"), ("gone/deep/.DS_Store", "d"), ("gone/System Volume Information/x/y", "y")]
    {
        expected.insert(name.to_owned(), text.to_owned());
    }
    expected.insert("new/._n.csv".to_owned(), "n".to_owned());
    assert_eq!(master.files(), expected);
    for (name, to) in [("alias", "a.csv"), ("gone/deep/up", ".."), ("b.csv", "nowhere")] {
        assert_eq!(std::fs::read_link(master.path(name)).unwrap(), PathBuf::from(to));
    }
    assert!(!master.has("empty"), "a directory that holds nothing else goes");
    let run = site.end_with(&new, site.sync_from(&new), 0);
    assert_eq!(run.stderr.matches("nothing to do").count(), 2, "{run}");
    // A file of the stick in the place of a directory that held a dropping: that goes, and is named.
    site.server.master().file("gone", "a file", ago(60));
    site.export();
    let run = site.end(site.sync(), 0);
    assert!(run.stderr.contains("master: gone/System Volume Information goes"), "{run}");
    assert_eq!(site.terminal().text("master/gone"), "a file");
}

#[test]
fn a_terminal_s_directories_are_real_ones_of_one_filesystem_apart_from_one_another() {
    let site = Site::new();
    let disk = Server::on_disk(16);
    let terminal = site.terminal();
    terminal.file("docviewer/own.pdf", "o", ago(60)).file("precious/archive.dwg", "dwg", ago(60)).dir("master/nas");
    let at = |name: &str| terminal.path(name);
    let bind = |place: &str| rustix::mount::mount_bind(at("precious"), at(place)).unwrap();
    let end = |place: &str| rustix::mount::unmount(at(place), UnmountFlags::empty()).unwrap();
    let refused = |case: &str, master: PathBuf, docviewer: PathBuf| {
        let before = terminal.snapshot_of_inodes();
        for flags in [&[][..], &["--dry-run"]] {
            let call = flags.iter().fold(site.sync(), |call, flag| call.flag(flag));
            let call = call.var("LOCAL_MASTER_DIR", &master).var("LOCAL_DOC_DIR", &docviewer);
            let run = call.finish();
            run.ended(78);
            assert!(run.stderr.contains(" -> "), "{case}\n{run}");
            assert_eq!(terminal.snapshot_of_inodes(), before, "{case}");
            assert!(!site.stick.is_mounted(), "{case}");
        }
    };
    refused("equal", at("docviewer"), at("docviewer"));
    std::os::unix::fs::symlink(at(""), site.terminal.path("way")).unwrap();
    let way = |name: &str| site.terminal.path("way").join(name);
    refused("equal by another way", at("docviewer"), way("docviewer"));
    refused("one in the other", at("docviewer/sub/master"), at("docviewer"));
    refused("the other in the one", at("new"), at("new/docviewer"));
    refused("in what is kept beside", at(".toolmaster"), at("docviewer"));
    refused("another filesystem", disk.path("new/master"), at("docviewer"));
    terminal.link("link", at("precious"));
    refused("a link", at("link"), at("docviewer"));
    terminal.file("file", "no directory", ago(60));
    refused("a file", at("file"), at("docviewer"));
    // A bind mount is of the same disk.
    bind("master");
    refused("a mount point", at("master"), at("docviewer"));
    end("master");
    bind("master/nas");
    refused("a mount below", at("master"), at("docviewer"));
    end("master/nas");
    terminal.dir(".toolmaster");
    bind(".toolmaster");
    refused("a mount beside", at("master"), at("docviewer"));
    end(".toolmaster");
    site.end(site.sync(), 0);
    site.assert_equal();
    assert_eq!(terminal.text("precious/archive.dwg"), "dwg");
    // What leads there may be links.
    let call = site.sync().var("LOCAL_MASTER_DIR", way("master"));
    assert!(site.end(call, 0).stderr.contains("nothing to do"));
}

#[test]
fn what_a_program_saves_while_the_new_generation_is_built_is_seen() {
    let site = Site::new();
    site.end(site.sync(), 0);
    add_many(&site.server.master(), 1500);
    site.export();
    let mut run = site.sync().start();
    let aside = site.terminal().path(".toolmaster/master");
    run.until("it builds", || aside.join("many").exists());
    run.signal(Signal::STOP);
    assert!(aside.exists() && !site.terminal().has("master/many"), "it was stopped too late");
    site.terminal().file("master/b.csv", "saved", ago(1)).file("master/sub/saved.csv", "saved", ago(1));
    run.signal(Signal::CONT);
    let run = run.wait();
    run.ended(0);
    assert!(run.stderr.contains("master: edited on the terminal meanwhile: exchanged back"), "{run}");
    assert_eq!(run.job["datasets"]["master"]["deleted"], 1, "{run}");
    assert!(!site.terminal().sub(".toolmaster").has("master.next.json"));
    site.assert_equal();
}

#[test]
fn a_terminal_that_is_written_to_all_the_time_is_left_alone() {
    let site = Site::new();
    site.end(site.sync(), 0);
    add_many(&site.server.master(), 500);
    site.server.docviewer().file("plan.pdf", "p2", ago(60));
    site.export();
    let (ended, terminal) = (AtomicBool::new(false), site.terminal());
    let run = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0_u64.. {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                // Never in the instant in which it stands for nothing.
                let _ = std::fs::write(terminal.path("master/own.csv"), number.to_string());
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let run = site.sync().finish();
        ended.store(true, Ordering::Relaxed);
        run
    });
    run.ended(75);
    assert!(run.stderr.contains("master: something keeps writing to it on the terminal"), "{run}");
    assert!(site.terminal().has("master/own.csv") && !site.terminal().has("master/many"), "{run}");
    assert_eq!(site.terminal().text("docviewer/plan.pdf"), "p2", "the other one is done");
    let aside = site.terminal().sub(".toolmaster");
    assert!(!aside.has("master") && !aside.has("master.next.json"), "{run}");
}
