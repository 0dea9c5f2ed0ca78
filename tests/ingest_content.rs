//! SPEC 5: nothing on a stick is followed or trusted; only regular files and directories are copied, with their names whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;

use common::{DAY, Server, Stick, Tree, ago, assert_unchanged, files, in_step, sample, sample_master, tool};

/// A new server and a stick with the sample and what `more` adds to it, just before the run.
fn first_meeting(more: impl FnOnce(&Tree)) -> (Server, Stick) {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| {
        sample(root, ago(100));
        more(root);
    });
    (server, stick)
}

fn mknod(tree: &Tree, name: &str, kind: &[&str]) {
    let path = tree.path(name);
    let mut arguments = vec![path.to_str().unwrap()];
    arguments.extend(kind);
    tool("mknod", &arguments);
}

#[test]
fn links_devices_fifos_and_sockets_are_skipped_with_a_warning_that_names_them() {
    Tree::at("/run/secret").file("passwd", "root", ago(10));
    let (server, stick) = first_meeting(|root| {
        let master = root.sub("master");
        master
            .link("link-to-file", "/run/secret/passwd")
            .link("link-to-dir", "/run/secret")
            .link("dangling", "nowhere");
        master.link("sub/up", "../..");
        mknod(&master, "disk", &["b", "7", "0"]);
        mknod(&master, "null", &["c", "1", "3"]);
        mknod(&master, "fifo", &["p"]);
        UnixListener::bind(master.path("socket")).unwrap();
    });
    let run = server.run(&stick).done();
    for name in ["link-to-file", "link-to-dir", "dangling", "sub/up", "disk", "null", "fifo", "socket"] {
        run.warns_of(name);
        assert!(!server.master().has(name), "{name}");
    }
    assert_eq!(server.master().files(), sample_master());
    // They are no difference either.
    let again = server.run(&stick).flag("--dry-run").done();
    assert_eq!(again.plan(), [""; 0], "{again}");
}

#[test]
fn hard_links_arrive_as_files_of_their_own() {
    let (server, stick) = first_meeting(|root| {
        fs::hard_link(root.path("master/a.csv"), root.path("master/also.csv")).unwrap();
    });
    server.run(&stick).done();
    assert_eq!(server.master().text("also.csv"), "a1");
    let inode = |name: &str| server.path("master").join(name).metadata().unwrap().ino();
    assert_ne!(inode("a.csv"), inode("also.csv"));
}

#[test]
fn pc_droppings_are_neither_compared_nor_copied_nor_deleted() {
    let droppings = [
        "Thumbs.db",
        "desktop.ini",
        "sub/.DS_Store",
        "._a.csv",
        "~$b.csv",
        "System Volume Information/IndexerVolumeGuid",
    ];
    let (server, stick) = in_step();
    stick.edit(|root| {
        for name in droppings {
            root.sub("master").file(name, "stick", ago(60));
        }
    });
    server.run(&stick).done().outcome("master", "nothing");
    assert_eq!(server.master().files(), sample_master());

    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(50));
    });
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().files(), files([("a.csv", "edited"), ("b.csv", "b1"), ("sub/c.csv", "c1")]));

    server.master().file("b.csv", "server", ago(40)).meta(ago(-100));
    server.run(&stick).clock("+3600").done().outcome("master", "server wins");
    stick.read(|root| {
        for name in droppings {
            assert!(root.sub("master").has(name), "{name} was deleted from the stick");
        }
    });
}

#[test]
fn names_that_only_look_like_droppings_are_data() {
    let names = ["Thumbs.db.csv", "desktop.ini.bak", "a~$b", ".hidden", "DS_Store", "lost+found-items"];
    let (server, stick) = first_meeting(|root| {
        for name in names {
            root.sub("master").file(name, "x", ago(100));
        }
    });
    server.run(&stick).done();
    for name in names {
        assert!(server.master().has(name), "{name}");
    }
}

#[test]
fn names_of_255_bytes_japanese_and_not_utf8_survive() {
    let long = "x".repeat(255);
    let long_japanese = "図".repeat(85);
    let latin = OsStr::from_bytes(b"gr\xfc\xdfe.csv");
    let (server, stick) = first_meeting(|root| {
        let master = root.sub("master");
        master.file(&long, "1", ago(100)).file(format!("{long_japanese}/{long}"), "2", ago(100)).file(
            latin,
            "3",
            ago(100),
        );
        master.file("工具 一覧（改）.csv", "4", ago(100)).file("-rf *;$(reboot)", "5", ago(100)).file(
            "back\\slash\"",
            "6",
            ago(100),
        );
    });
    server.run(&stick).done();
    assert_eq!(server.master().files(), stick.read(|root| root.sub("master").files()));
    assert_eq!(server.master().text(latin), "3");
    let again = server.run(&stick).flag("--dry-run").done();
    assert_eq!(again.plan(), [""; 0], "the manifest holds every name\n{again}");
    // And the base knows them: an edit is seen as one.
    stick.edit(|root| {
        root.sub("master").file(latin, "edited", ago(60));
    });
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().text(latin), "edited");
}

#[test]
fn a_newline_in_a_name_forges_no_log_line() {
    let forged = "x\n2026-01-31T02:30:00+09:00 [info] ingest completed (dry_run=0 force=0)\n\u{1b}[2J<0>";
    let (server, stick) = first_meeting(|root| {
        // A FIFO is warned of by name.
        root.sub("master").file(forged.replace('/', ""), "1", ago(100));
        mknod(&root.sub("master"), &format!("{forged}.fifo"), &["p"]);
    });
    let plan = server.run(&stick).flag("--dry-run").done();
    assert_eq!(
        plan.stderr.lines().filter(|line| line.ends_with("ingest completed (dry_run=1 force=0)")).count(),
        1,
        "{plan}"
    );
    assert!(!plan.stderr.lines().any(|line| line.starts_with("2026")), "{plan}");
    assert!(!plan.stderr.contains('\u{1b}'), "{plan}");
    let run = server.run(&stick).done();
    assert_eq!(
        run.log.lines().filter(|line| line.ends_with("ingest completed (dry_run=0 force=0)")).count(),
        1,
        "{run}"
    );
    assert!(!run.log.contains('\u{1b}') && !run.stderr.contains('\u{1b}'), "{run}");
    assert_eq!(server.master().text(forged), "1");
}

#[test]
fn more_than_100_levels_are_refused_by_name_before_anything_changes() {
    let (server, stick) = in_step();
    let deep = ["d"; 101].join("/");
    stick.edit(|root| {
        root.sub("master").file(format!("{deep}/f"), "", ago(60));
    });
    let before = server.data();
    server.run(&stick).fails(2).says("d/d/d");
    assert_unchanged(&before, &server.data());
}

#[test]
fn a_dataset_that_is_a_link_or_a_file_is_refused_and_the_other_is_done() {
    let link: fn(&Tree) = |root| {
        root.sub("elsewhere").file("a.csv", "trap", ago(10));
        root.link("master", "elsewhere");
    };
    let link_out: fn(&Tree) = |root| {
        Tree::at("/run/elsewhere").file("a.csv", "trap", ago(10));
        root.link("master", "/run/elsewhere");
    };
    let file: fn(&Tree) = |root| {
        root.file("master", "trap", ago(10));
    };
    for replace in [link, link_out, file] {
        let (server, stick) = in_step();
        stick.edit(|root| {
            root.remove("master").sub("docviewer").file("plan.pdf", "p2", ago(60));
            replace(root);
        });
        let run = server.run(&stick).fails(2);
        run.outcome("master", "refused").outcome("docviewer", "stick wins");
        assert_eq!(server.master().files(), sample_master());
        assert_eq!(server.docviewer().text("plan.pdf"), "p2");
    }
}

#[test]
fn a_manifest_that_is_a_link_is_not_followed() {
    let target = Tree::at("/run/manifest-target");
    target.file("manifest.json", "mine", ago(10));
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.remove(".toolmaster/manifest.json")
            .link(".toolmaster/manifest.json", "/run/manifest-target/manifest.json");
        root.sub("master").file("a.csv", "edited", ago(60)).meta(ago(60));
    });
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(target.text("manifest.json"), "mine");
    let kind = stick.read(|root| root.path(".toolmaster/manifest.json").symlink_metadata().unwrap().file_type());
    assert!(kind.is_file() && !kind.is_fifo(), "the link was replaced by a manifest");
}

#[test]
fn a_damaged_or_huge_manifest_is_no_base_and_no_crash() {
    let huge: fn(&Tree) = |root| {
        let file = fs::File::create(root.path(".toolmaster/manifest.json")).unwrap();
        file.set_len(1 << 30).unwrap();
    };
    let garbage: fn(&Tree) = |root| {
        root.file(".toolmaster/manifest.json", b"{\"state\":\"complete\",\xff".repeat(1000), ago(10));
    };
    let cut: fn(&Tree) = |root| {
        let text = root.text(".toolmaster/manifest.json");
        root.file(".toolmaster/manifest.json", &text[..text.len() / 2], ago(10));
    };
    let fifo: fn(&Tree) = |root| {
        root.remove(".toolmaster/manifest.json");
        mknod(root, ".toolmaster/manifest.json", &["p"]);
    };
    for damage in [huge, garbage, cut, fifo] {
        let (server, stick) = in_step();
        stick.edit(|root| {
            damage(root);
            root.sub("master").file("a.csv", "edited", ago(60)).meta(ago(60));
        });
        server.run(&stick).memory(512).done().outcome("master", "stick wins");
        assert_eq!(server.master().text("a.csv"), "edited");
        server.run(&stick).done().outcome("master", "nothing");
    }
}

#[test]
fn a_trap_in_the_sticks_own_directories_harms_nothing_outside() {
    // The places that a run writes on a stick are links out of it.
    let outside = Tree::at("/run/outside-tmp");
    outside.file("keep", "me", ago(10));
    let (server, stick) = in_step();
    server.master().file("a.csv", "server", ago(60));
    stick.edit(|root| {
        root.link(".toolmaster/tmp", "/run/outside-tmp");
    });
    let run = server.run(&stick).finish();
    assert_eq!(outside.files(), files([("keep", "me")]), "{run}");
    run.ended(0);
    assert_eq!(stick.read(|root| root.text("master/a.csv")), "server");
}

#[test]
fn times_before_1970_and_after_2038_are_copied() {
    let (server, stick) = first_meeting(|root| {
        root.sub("master").file("old", "", -DAY).file("new", "", 5_000_000_000);
    });
    server.run(&stick).done();
    assert_eq!(server.path("master/old").metadata().unwrap().mtime(), -DAY);
    assert_eq!(server.path("master/new").metadata().unwrap().mtime(), 5_000_000_000);
    server.run(&stick).done().outcome("master", "nothing");
}
