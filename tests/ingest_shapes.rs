//! SPEC 6: two names of one file, a file where a directory was, very long paths, large and odd `meta.json`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use common::lost::{assert_live_or_told, on_stick, pull_in_write_back};
use common::undo::{latest, undo};
use common::{Call, Stick, ago, in_step};
use rustix::fs::{Mode, OFlags, mkdirat, open, openat};

/// An edit in place of what is live never reaches `undo/`, also where a live file has a second name.
#[test]
fn what_is_kept_shares_nothing_with_a_live_second_name() {
    let (server, stick) = in_step();
    let master = server.path("master");
    for (name, second) in [("a.csv", "a-again.csv"), ("b.csv", "b-again.csv")] {
        std::fs::hard_link(master.join(name), master.join(second)).unwrap();
    }
    server.run(&stick).clock("-600").done().outcome("master", "server wins");
    stick.edit(|root| {
        root.sub("master").file("a.csv", "new", ago(60)).remove("b.csv").meta(ago(30));
    });
    let run = server.run(&stick).done();
    run.outcome("master", "stick wins");
    // A program that edits in place.
    for (second, text) in [("a-again.csv", "in place"), ("b-again.csv", "in place too")] {
        std::fs::write(server.path("master").join(second), text).unwrap();
    }
    let kept = server.tree().sub("undo").sub(latest(&server)).sub("master").files();
    assert_eq!((kept["a.csv"].as_str(), kept["b.csv"].as_str()), ("a1", "b1"), "{run}");
    undo(&server, &["put", &latest(&server)]).finish().ended(0);
    assert_eq!((server.master().text("a.csv"), server.master().text("b.csv")), ("a1".into(), "b1".into()));
    assert_eq!(server.master().text("a-again.csv"), "in place");
}

/// The stick has a file where the server has a directory in which only PCs and links left something beside files, and the other way round.
#[test]
fn a_file_takes_the_place_of_a_directory() {
    for odd in ["Thumbs.db", "@eaDir/x", "link"] {
        let (server, stick) = in_step();
        match odd {
            "link" => drop(server.master().link("sub/link", "../a.csv")),
            odd => drop(server.master().file(format!("sub/{odd}"), "of a PC", ago(60))),
        }
        stick.edit(|root| {
            root.sub("master").remove("sub/c.csv");
            std::fs::remove_dir(root.path("master/sub")).unwrap();
            root.sub("master").file("sub", "a file now", ago(60));
        });
        server.run(&stick).flag("--dry-run").done();
        let run = server.run(&stick).done();
        run.outcome("master", "stick wins");
        assert_eq!(server.master().text("sub"), "a file now");
        let kept = server.tree().sub("undo").sub(latest(&server));
        assert_eq!(kept.text("master/sub/c.csv"), "c1", "{odd}\n{run}");
        assert!(odd == "link" || kept.has(format!("master/sub/{odd}")), "{odd}\n{run}");
        undo(&server, &["put", "latest"]).finish().ended(0);
        assert_eq!(server.master().text("sub/c.csv"), "c1");
    }
}

#[test]
fn undo_puts_a_file_back_where_an_empty_directory_stands() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").remove("b.csv");
    });
    server.run(&stick).done().outcome("master", "stick wins");
    server.master().dir("b.csv");
    undo(&server, &["put", "--dry-run", "latest"]).finish().ended(0);
    undo(&server, &["put", "latest"]).finish().ended(0);
    assert_eq!(server.master().text("b.csv"), "b1");
}

/// The run that emptied the server replaced all that there was, not a part.
#[test]
fn a_run_that_emptied_the_server_is_undone() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        for name in ["a.csv", "b.csv", "sub/c.csv"] {
            root.sub("master").remove(name);
        }
        root.file("REPLACE.txt", "", ago(30));
    });
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().files().len(), 0);
    undo(&server, &["put", "--dry-run", "latest"]).finish().ended(0);
    undo(&server, &["put", "latest"]).finish().ended(0);
    assert_eq!(server.master().files(), common::sample_master());
}

/// Where an undo leaves nothing, the next stick with files wins: it is not said to be made equal.
#[test]
fn an_undo_that_empties_the_server_says_what_the_next_stick_does() {
    let server = common::Server::new();
    let stick = Stick::ingest();
    stick.edit(|root| common::sample(root, ago(60)));
    server.run(&stick).clock("-600").done().outcome("master", "stick wins");
    undo(&server, &["put", "latest", "--dataset", "master"]).fails(2);
    let run = undo(&server, &["put", "latest", "--dataset", "master", "--force"]).finish();
    run.ended(0).never_says("gets it at its next ingest").says("it is empty on the server now");
    server.run(&stick).done().outcome("master", "stick wins");
}

/// A stick was pulled while the server's files were written to it, and on a PC somebody made a directory of a file, or a file of a directory.
#[test]
fn what_a_person_made_in_the_place_of_something_half_done_stays() {
    for (shape, servers, persons) in [("dir", "zz", "zz/b.csv"), ("file", "zz/c.csv", "zz")] {
        let (server, stick) = in_step();
        common::add_many(&server.master(), 200);
        server.master().file(servers, "of the server", ago(60));
        let pulled = pull_in_write_back(&server, &stick);
        pulled.edit(|root| {
            let place = root.path("master/zz");
            if place.is_dir() {
                std::fs::remove_dir_all(place).unwrap();
            } else if place.exists() {
                std::fs::remove_file(place).unwrap();
            }
            root.sub("master").file(persons, "a person's", ago(30));
        });
        let run = server.run(&pulled).finish();
        let somewhere = on_stick(&pulled, "master").get(persons).is_some_and(|text| text == "a person's");
        if !somewhere {
            assert_live_or_told(&server, "master", persons, "a person's");
        }
        assert_eq!(run.code, Some(0), "{shape}\n{run}");
    }
}

/// Whoever carries the stick away reads that nothing was done, not the paper of the visit before.
#[test]
fn a_server_without_a_free_byte_still_tells_on_the_stick() {
    let server = common::Server::on_disk(24);
    common::sample(&server.tree(), ago(3600));
    let stick = common::stick_in_step(&server);
    let receipt = || stick.read(|root| root.text("RESULT.txt"));
    assert!(receipt().contains("完了"));
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(60));
    });
    let mut filler = File::create(server.path("filler")).unwrap();
    for size in [65536, 4096, 1] {
        while filler.write_all(&vec![1; size]).and_then(|()| filler.sync_all()).is_ok() {}
    }
    let run = server.run(&stick).finish();
    run.ended(1);
    assert!(receipt().contains("失敗"), "{}\n{run}", receipt());
    drop(filler);
    std::fs::remove_file(server.path("filler")).unwrap();
    server.run(&stick).done().outcome("master", "stick wins");
}

/// The directory of a path that is longer than a system call takes at once.
fn deep(place: &Path, make: bool) -> OwnedFd {
    let level = "d".repeat(200);
    let mut dir = open(place, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..30 {
        if make {
            mkdirat(&dir, level.as_str(), Mode::from_raw_mode(0o755)).unwrap();
        }
        dir = openat(&dir, level.as_str(), OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    dir
}

fn deep_file(place: &Path, flags: OFlags) -> File {
    let dir = deep(place, flags.contains(OFlags::CREATE));
    openat(&dir, "deep.csv", flags, Mode::from_raw_mode(0o644)).unwrap().into()
}

#[test]
fn a_path_of_many_kilobytes_goes_all_the_way() {
    let (server, stick) = in_step();
    deep_file(&server.path("master"), OFlags::CREATE | OFlags::WRONLY).write_all(b"deep").unwrap();
    server.run(&stick).done().outcome("master", "server wins");
    server.run(&stick).done().outcome("master", "nothing").never_says("manifest");
    let dist = Stick::blank("TM-DIST", 32);
    dist.edit(|root| {
        root.file(".toolmaster/role", "DIST\n", ago(60));
    });
    Call::new(&server, &["dist-export", "--device", dist.device()], Some(&dist)).finish().ended(0);
    let terminal = tempfile::tempdir().unwrap();
    let [master, docviewer] = ["master", "docviewer"].map(|name| terminal.path().join(name));
    for name in [&master, &docviewer] {
        std::fs::create_dir(name).unwrap();
    }
    let sync = Call::new(&server, &["dist-sync", "--device", dist.device()], Some(&dist))
        .var("LOCAL_MASTER_DIR", master.as_os_str())
        .var("LOCAL_DOC_DIR", docviewer.as_os_str());
    sync.finish().ended(0);
    assert_eq!(std::io::read_to_string(deep_file(&master, OFlags::RDONLY)).unwrap(), "deep");
}

#[test]
fn a_large_meta_json_keeps_its_other_keys() {
    let (server, stick) = in_step();
    let notes = "注".repeat(500_000);
    stick.edit(|root| {
        root.sub("master").file("a.csv", "new", ago(60));
        root.sub("master").meta_text(&format!("{{\"notes\": \"{notes}\", \"updated_at\": {}}}", ago(30)), ago(30));
    });
    server.run(&stick).done().outcome("master", "stick wins");
    assert!(server.master().text("meta.json").contains(&notes));
    assert!(stick.read(|root| root.text("master/meta.json")).contains(&notes));
}

/// One that is larger than any of ours is a person's file of another name from then on.
#[test]
fn a_huge_meta_json_is_a_file_as_others() {
    for winner in ["stick", "server"] {
        let (server, stick) = in_step();
        let text = "x".repeat(17 << 20);
        let huge = |tree: &common::Tree| {
            tree.file("a.csv", "new", ago(60)).meta_text(&text, ago(30));
        };
        match winner {
            "stick" => stick.edit(|root| huge(&root.sub("master"))),
            _ => huge(&server.master()),
        }
        server.run(&stick).done().outcome("master", &format!("{winner} wins")).says("is called meta.json-1 now");
        assert!(server.master().text("meta.json-1") == text && on_stick(&stick, "master")["meta.json-1"] == text);
    }
}

/// What somebody wrote into a `meta.json` that is none is kept, whichever side it is on and however large.
#[test]
fn an_odd_meta_json_is_kept() {
    for (winner, size) in [("stick", 20), ("stick", 15 << 20), ("server", 20), ("server", 15 << 20)] {
        let (server, stick) = in_step();
        let text = format!("notes {}", "x".repeat(size));
        match winner {
            "stick" => stick.edit(|root| {
                root.sub("master").file("a.csv", "new", ago(60)).meta_text(&text, ago(30));
            }),
            _ => {
                server.master().file("a.csv", "new", ago(60)).meta_text(&text, ago(30));
            }
        }
        let run = server.run(&stick).done();
        run.outcome("master", &format!("{winner} wins")).says("meta.json");
        let kept = server.tree().sub("undo").sub(latest(&server)).text("master.meta.json");
        assert!(kept == text, "{winner}: {} bytes kept of {}\n{run}", kept.len(), text.len());
        assert_eq!(on_stick(&stick, "master")["a.csv"], "new");
    }
}
