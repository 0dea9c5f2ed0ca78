//! SPEC 6 and 8: a stick that is pulled while the server's data is written to it, and comes back.
//!
//! How it is pulled: the run is stopped in the middle of its writing, the medium is copied as it is then, the run is killed
//! and its mount taken away. The copy is the stick that comes back; whoever mounts it replays its journal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::{Server, Stick, Tree, add_many, ago, assert_unchanged, in_step, kept, sample, stop_in_write_back};
use rustix::mount::UnmountFlags;
use rustix::process::Signal;

type Files = BTreeMap<String, String>;

/// Bytes of a file that leave the stick no room for a second one, so that it is written in place and not aside.
const BALLAST: usize = 18 << 20;
/// Where ext4's superblock, 1024 bytes in, names the first inode that is deleted and not yet freed
/// (<https://docs.kernel.org/filesystems/ext4/super.html>).
const LAST_ORPHAN: usize = 1024 + 0xe8;
/// On a stick.
const MANIFEST: &str = ".toolmaster/manifest.json";
/// The files that the server has more than the stick.
const MANY: usize = 600;

/// Runs an ingest that writes to the stick, and pulls the stick in the middle of it.
fn pull(server: &Server, stick: &Stick) -> Stick {
    // Each file takes a while longer, so that a busy machine finds the run at its writing too; -D: what is stopped and killed is the run itself.
    let slow = "inject=utimensat:delay_enter=2000";
    let strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=utimensat", "-e", slow];
    let mut run = server.run(stick).through(&strace).start();
    let place = stop_in_write_back(&mut run, stick);
    rustix::fs::syncfs(fs::File::open(&place).unwrap()).unwrap();
    let pulled = stick.copy();
    run.signal(Signal::KILL);
    run.reap();
    rustix::mount::unmount(&place, UnmountFlags::DETACH).unwrap();
    pulled
}

/// A server that changed `b.csv`, removed `sub` and got many files since it met the stick, which was pulled on the way.
fn pulled() -> (Server, Stick) {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| {
        sample(root, ago(7200));
        root.sub("master").file("ballast", vec![b'1'; BALLAST], ago(7200));
    });
    server.run(&stick).clock("-3600").done();
    server.master().file("b.csv", "server", ago(60)).file("d.csv", "d1", ago(60));
    server.master().file("ballast", vec![b'2'; BALLAST], ago(60));
    add_many(&server.master(), MANY);
    let pulled = pull(&server, &stick);
    (server, pulled)
}

/// Says what differs, not all there is.
fn assert_same(found: &Files, expected: &Files) {
    let missing: Vec<_> = expected.iter().filter(|(name, text)| found.get(*name) != Some(*text)).take(5).collect();
    let more: Vec<_> = found.iter().filter(|(name, text)| expected.get(*name) != Some(*text)).take(5).collect();
    assert!(missing.is_empty() && more.is_empty(), "expected, but not there: {missing:?}; there instead: {more:?}");
}

fn master_on(stick: &Stick) -> Files {
    stick.read(|root| root.sub("master").files())
}

/// What a PC does with it.
fn edit(stick: &Stick, change: impl FnOnce(&Tree)) {
    stick.edit(|root| {
        let master = root.sub("master");
        assert!(master.files().len() < MANY, "it was to be pulled before all was written");
        change(&master);
    });
}

#[test]
fn it_is_finished_when_it_is_plugged_in_again() {
    let (server, stick) = pulled();
    let expected = server.master().files();
    server.run(&stick).done();
    assert_same(&server.master().files(), &expected);
    assert_same(&master_on(&stick), &expected);
    let again = server.run(&stick).flag("--dry-run").done();
    assert_eq!(again.plan(), [""; 0], "{again}");
}

#[test]
fn edits_made_on_a_pc_arrive_and_the_rest_is_finished() {
    let (server, stick) = pulled();
    edit(&stick, |master| {
        // One that the write-back leaves alone, a new one.
        master.file("a.csv", "edited on the PC", ago(30)).file("new.csv", "made there", ago(30));
    });
    let mut expected = server.master().files();
    server.run(&stick).done().outcome("master", "stick wins");
    for (name, text) in [("a.csv", "edited on the PC"), ("new.csv", "made there")] {
        expected.insert(name.to_owned(), text.to_owned());
    }
    assert_same(&server.master().files(), &expected);
    assert_same(&master_on(&stick), &expected);
}

#[test]
fn a_file_that_was_edited_on_both_sides_is_a_conflict_all_the_same() {
    let (server, stick) = pulled();
    edit(&stick, |master| {
        master.file("b.csv", "edited there too", ago(30)).meta(ago(-1800));
    });
    server.run(&stick).done().outcome("master", "stick wins").says("had been changed too");
    assert_eq!(server.master().text("b.csv"), "edited there too");
    let (old, lost) = kept(&server, "server", "master").expect("what the server had is kept");
    assert_eq!((old.text("b.csv").as_str(), lost), ("server", true));
}

#[test]
fn it_gets_what_the_server_has_by_then() {
    let (server, stick) = pulled();
    server.master().file("b.csv", "later", ago(20)).remove("d.csv").file("many/3.csv", "later too", ago(20));
    let expected = server.master().files();
    server.run(&stick).done();
    assert_same(&server.master().files(), &expected);
    assert_same(&master_on(&stick), &expected);
}

#[test]
fn what_the_server_lost_meanwhile_is_kept_before_it_goes_from_the_stick_too() {
    let (server, stick) = pulled();
    assert!(common::lost::kept_texts(&server, "master/a.csv").is_empty(), "nothing was about to replace it");
    server.master().remove("a.csv").file("sub/c.csv", "by hand", ago(20));
    let expected = server.master().files();
    server.run(&stick).done();
    assert_same(&master_on(&stick), &expected);
    assert_eq!(common::lost::kept_texts(&server, "master/a.csv"), ["a1"]);
    assert_eq!(common::lost::kept_texts(&server, "master/sub/c.csv"), ["c1"]);
    // What the run that was cut off was about to replace it had kept itself, and the rest nobody took away.
    assert_eq!(common::lost::kept_texts(&server, "master/b.csv"), ["b1"]);
    assert!(common::lost::kept_texts(&server, "master/many/3.csv").is_empty());
    server.run(&stick).done().says("master: nothing to do");
}

#[test]
fn what_is_kept_for_finishing_does_not_come_back_with_what_the_stick_brings_then() {
    let (server, stick) = pulled();
    server.master().remove("a.csv");
    edit(&stick, |master| {
        master.file("sub/c.csv", "pc", ago(10));
    });
    let run = server.run(&stick).done();
    run.outcome("master", "stick wins");
    assert_eq!(server.master().text("sub/c.csv"), "pc");
    assert!(!server.master().has("a.csv"), "{run}");
    assert_eq!(common::lost::kept_texts(&server, "master/a.csv"), ["a1"]);
    assert_eq!(common::lost::kept_texts(&server, "master/sub/c.csv"), ["c1"]);
}

#[test]
fn it_may_be_pulled_again() {
    let (server, stick) = pulled();
    add_many(&server.master().sub("more"), MANY);
    let expected = server.master().files();
    let stick = pull(&server, &stick);
    server.run(&stick).done();
    assert_same(&server.master().files(), &expected);
    assert_same(&master_on(&stick), &expected);
}

#[test]
fn a_half_written_stick_does_not_win_by_force() {
    let (server, stick) = pulled();
    let expected = server.master().files();
    server.run(&stick).flag("--force").done();
    assert_same(&server.master().files(), &expected);
    assert_same(&master_on(&stick), &expected);
}

#[test]
fn a_dry_run_in_between_changes_nothing() {
    let (server, stick) = in_step();
    add_many(&server.master(), MANY);
    let stick = pull(&server, &stick);
    let all_on = |stick: &Stick| stick.copy().read(Tree::snapshot);
    let before = (server.tree().snapshot_of_inodes(), all_on(&stick), stick.bytes());
    server.run(&stick).flag("--dry-run").finish();
    assert_unchanged(&before.0, &server.tree().snapshot_of_inodes());
    assert_unchanged(&before.1, &all_on(&stick));
    // Only a deletion that was under way (ext4's s_last_orphan in the superblock) the kernel ends at any mount, also at a read-only one.
    let no_orphan = before.2[LAST_ORPHAN..][..4] == [0; 4];
    assert!(!no_orphan || stick.bytes() == before.2, "not a byte of the stick changes");
}

#[test]
fn another_stick_in_between_is_not_disturbed() {
    let (server, stick) = pulled();
    let other = Stick::ingest();
    other.edit(|root| common::sample(root, ago(7000)));
    server.run(&other).done().outcome("master", "server wins");
    let expected = server.master().files();
    assert_same(&master_on(&other), &expected);
    server.run(&stick).done();
    assert_same(&server.master().files(), &expected);
    assert_same(&master_on(&stick), &expected);
}

/// A run is killed at each step of its writing to a stick, and a clone of that stick, which has lost its manifest, wins meanwhile. What the stick holds that
/// the server wrote there is no edit.
#[test]
fn a_half_written_stick_does_not_win_after_a_clone_of_it_did() {
    let mut seen = 0;
    for number in 1.. {
        let (server, stick) = in_step();
        let clone = stick.copy();
        server.master().file("b.csv", "server", ago(60)).file("n1.csv", "new", ago(60)).meta(ago(60));
        if killed_at(number, &server, &stick).is_some() {
            break;
        }
        if stick.read(|root| !root.text(MANIFEST).contains("incomplete")) {
            continue;
        }
        clone.edit(|root| {
            root.remove(MANIFEST).sub("master").meta(ago(-1800));
        });
        let run = server.run(&clone).done();
        run.outcome("master", "stick wins").says("had been changed too");
        let expected = master_on(&clone);
        assert_same(&server.master().files(), &expected);
        let run = server.run(&stick).done();
        assert_same(&server.master().files(), &expected);
        assert_same(&master_on(&stick), &expected);
        assert!(common::lost::kept_texts(&server, "master/n1.csv").contains(&"new".to_owned()), "{number}: {run}");
        seen += 1;
    }
    assert!(seen > 3, "{seen}");
}

/// One stick is killed at each step of its visit, and an edited clone of before comes next. What the server has come to hold is no common state of the clone's.
#[test]
fn a_clone_of_before_does_not_replace_untold_what_a_killed_run_brought() {
    let edits = ["b.csv", "n1.csv"];
    let write = |tree: &Tree, who: &str| {
        for name in edits {
            tree.file(name, who, ago(60));
        }
    };
    let mut conflicts = 0;
    for on_stick in [false, true] {
        for number in 1.. {
            let (server, stick) = in_step();
            let clone = stick.copy();
            if on_stick {
                stick.edit(|root| write(&root.sub("master"), "first"));
            } else {
                write(&server.master(), "first");
            }
            if killed_at(number, &server, &stick).is_some() {
                break;
            }
            clone.edit(|root| write(&root.sub("master"), "second"));
            let had = server.master().text("b.csv") == "first";
            let run = server.run(&clone).done();
            if had {
                run.outcome("master", "server wins").says("had been changed too");
                assert_eq!(server.master().text("b.csv"), "first", "{number}: {run}");
                conflicts += 1;
            }
        }
    }
    assert!(conflicts > 6, "{conflicts}");
}

/// What a run had exchanged and not noted is noted by the next one, and counts for that at once: what was edited on the stick meanwhile is an edit alone.
#[test]
fn an_edit_after_a_killed_exchange_is_no_conflict() {
    let mut seen = 0;
    for number in 1.. {
        let (server, stick) = in_step();
        stick.edit(|root| {
            root.sub("master").file("b.csv", "first", ago(60)).file("n1.csv", "new", ago(60));
        });
        if killed_at(number, &server, &stick).is_some() {
            break;
        }
        if server.master().text("b.csv") != "first" {
            continue;
        }
        stick.edit(|root| {
            root.sub("master").file("b.csv", "second", ago(30));
        });
        let run = server.run(&stick).done();
        run.outcome("master", "stick wins").never_says("both sides");
        assert_eq!(server.master().text("b.csv"), "second", "{number}: {run}");
        let state = server.path(".toolmaster/sticks");
        let left = common::tool("find", &[state.to_str().unwrap(), "-name", "master.*"]);
        assert_eq!(left.trim(), "", "{number}");
        seen += 1;
    }
    assert!(seen > 3, "{seen}");
}

/// An order is followed for the stick that bears it, whatever clone of it comes in between.
#[test]
fn a_clone_does_not_use_up_the_order_of_a_killed_run() {
    let mut seen = 0;
    for number in 1.. {
        let (server, stick) = in_step();
        let clone = stick.copy();
        server.master().file("b.csv", "server", ago(60)).meta(ago(-60));
        stick.edit(|root| {
            root.file("REPLACE.txt", "", ago(10)).sub("master").file("b.csv", "stick", ago(30));
        });
        if killed_at(number, &server, &stick).is_some() {
            break;
        }
        server.run(&clone).done();
        let run = server.run(&stick).done();
        assert_eq!(server.master().text("b.csv"), "stick", "{number}: {run}");
        seen += 1;
    }
    assert!(seen > 6, "{seen}");
}

/// Runs an ingest that is killed before its so manieth change of a name or flush; its code if it came to its end.
fn killed_at(number: u32, server: &Server, stick: &Stick) -> Option<i32> {
    let inject = format!("inject=fsync,renameat,syncfs:signal=SIGKILL:when={number}");
    let strace = ["strace", "-D", "-qq", "-o", "/dev/null", "-e", "trace=fsync,renameat,syncfs", "-e", &inject];
    let run = server.run(stick).through(&strace).start().wait();
    if let Some(place) = stick.mountpoint() {
        rustix::mount::unmount(&place, UnmountFlags::DETACH).unwrap();
    }
    run.code
}

/// Once the server has noted what the stick holds, what is missing there was deleted by a person.
#[test]
fn what_is_deleted_on_a_stick_that_was_written_whole_is_deleted_on_the_server_too() {
    let noted = |server: &Server| {
        let sticks = fs::read_dir(server.path(".toolmaster/sticks")).unwrap();
        sticks.flatten().any(|stick| stick.path().join("master.common").exists())
    };
    let [mut whole, mut half] = [0, 0];
    for number in 1.. {
        let (server, stick) = in_step();
        server.master().file("b.csv", "server", ago(60)).file("n1.csv", "new", ago(60)).meta(ago(60));
        if killed_at(number, &server, &stick).is_some() {
            break;
        }
        let written = stick.read(|root| root.sub("master").has("n1.csv") && root.text(MANIFEST).contains("incomplete"));
        if !written {
            continue;
        }
        stick.edit(|root| {
            root.sub("master").file("a.csv", "edited on the PC", ago(30)).remove("n1.csv");
        });
        let common = noted(&server);
        let run = server.run(&stick).done();
        run.outcome("master", "stick wins").never_says("both sides");
        assert_eq!(server.master().text("a.csv"), "edited on the PC", "{number}: {run}");
        // Before that nobody can tell: a file that is missing comes back, and costs nobody his work.
        assert_eq!(server.master().has("n1.csv"), !common, "{number}: {run}");
        assert_same(&master_on(&stick), &server.master().files());
        if common { whole += 1 } else { half += 1 }
    }
    assert!(whole > 0 && half > 0, "{whole} {half}");
}
