//! SPEC 6: the exchange of a dataset: what undo/ holds afterwards, what no later edit may reach, and what of the old directory the new
//! one keeps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use common::lost::{assert_live_or_told, assert_nothing_lost, exchange};
use common::undo::latest;
use common::{Server, Stick, Tree, ago, files, in_step, tool};

/// What undo/ keeps of the latest run's master.
fn kept_master(server: &Server) -> Tree {
    server.tree().sub("undo").sub(latest(server)).sub("master")
}

fn inodes(root: &Path, found: &mut BTreeSet<u64>) {
    for entry in fs::read_dir(root).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() { inodes(&entry.path(), found) } else { found.extend([metadata.ino()]) }
    }
}

#[test]
fn undo_holds_what_was_replaced_or_deleted_and_says_what_was_added() {
    let (server, stick) = in_step();
    exchange(&server, &stick);
    assert_eq!(kept_master(&server).files(), files([("b.csv", "b1"), ("sub/c.csv", "c1")]));
    let record = server.tree().sub("undo").sub(latest(&server)).text("master.json");
    assert!(record.contains("\"new.csv\"") && !record.contains("\"a.csv\""), "{record}");

    server.master().file("a.csv", "by hand", ago(30)).file("more.csv", "m", ago(30));
    server.run(&stick).done().outcome("master", "server wins");
    assert_eq!(kept_master(&server).files(), files([("a.csv", "a1")]));
    let record = server.tree().sub("undo").sub(latest(&server)).text("master.json");
    assert!(record.contains("\"more.csv\"") && !record.contains("\"new.csv\""), "{record}");
}

#[test]
fn an_edit_in_place_on_the_server_never_reaches_undo() {
    let (server, stick) = in_step();
    exchange(&server, &stick);
    exchange_again(&server, &stick, "once more");
    let before = server.tree().sub("undo").snapshot();
    for name in ["a.csv", "b.csv", "new.csv"] {
        // As a shell's `>` and a share do it: the same inode, another content.
        let mut file =
            fs::OpenOptions::new().write(true).truncate(true).open(server.path("master").join(name)).unwrap();
        file.write_all(b"written in place").unwrap();
    }
    assert_eq!(server.tree().sub("undo").snapshot(), before);
}

/// The stick brings one more `b.csv` and has the deleted file again.
fn exchange_again(server: &Server, stick: &Stick, text: &str) {
    stick.edit(|root| {
        root.sub("master").file("b.csv", text, ago(50)).file("sub/c.csv", "c2", ago(50));
    });
    server.run(stick).done().outcome("master", "stick wins");
}

#[test]
fn no_inode_is_both_live_and_in_undo() {
    let (server, stick) = in_step();
    exchange(&server, &stick);
    exchange_again(&server, &stick, "once more");
    common::undo::undo(&server, &["put", "latest"]).done();
    let (mut live, mut kept) = (BTreeSet::new(), BTreeSet::new());
    inodes(&server.path("master"), &mut live);
    inodes(&server.path("docviewer"), &mut live);
    inodes(&server.path("undo"), &mut kept);
    assert!(live.len() > 3 && kept.len() > 3, "{live:?} {kept:?}");
    assert_eq!(live.intersection(&kept).count(), 0, "{live:?} {kept:?}");
}

#[test]
fn after_the_exchange_the_kept_files_can_be_put_back() {
    let (server, stick) = in_step();
    let before = server.master().files();
    exchange(&server, &stick);
    fs::write(server.path("master/a.csv"), "in place, weeks later").unwrap();
    let when = latest(&server);
    common::undo::undo(&server, &["put", &when]).done();
    let after = server.master().files();
    assert_eq!(after.get("b.csv"), before.get("b.csv"));
    assert_eq!(after.get("sub/c.csv"), before.get("sub/c.csv"));
    assert!(!after.contains_key("new.csv"), "{after:?}");
    // The run had nothing to do with a.csv.
    assert_live_or_told(&server, "master", "a.csv", "in place, weeks later");
}

/// Mode, owner, ACL and extended attributes of a directory.
fn rights(path: &Path) -> String {
    let metadata = path.metadata().unwrap();
    let name = path.to_str().unwrap();
    let acl = tool("getfacl", &["--absolute-names", "--numeric", "--omit-header", name]);
    let attributes = tool("getfattr", &["--absolute-names", "--dump", name]);
    let attributes: Vec<_> = attributes.lines().filter(|line| !line.starts_with('#')).collect();
    format!("{:o} {}:{}\n{acl}{attributes:?}", metadata.permissions().mode(), metadata.uid(), metadata.gid())
}

#[test]
fn a_shares_rights_on_directories_and_its_links_survive_the_exchange() {
    let server = Server::on_disk(64);
    let stick = common::stick_in_step(&server);
    server.master().dir("inbox").link("current.csv", "sub/c.csv");
    for name in ["master", "master/sub"] {
        let path = server.path(name);
        std::os::unix::fs::chown(&path, Some(1234), Some(100)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o2775)).unwrap();
        let path = path.to_str().unwrap();
        tool("setfacl", &["-m", "g:2345:rwx", "-d", "-m", "g:2345:rwx", path]);
        tool("setfattr", &["-n", "user.note", "-v", name, path]);
    }
    server.run(&stick).clock("-900").done();
    let before = ["master", "master/sub"].map(|name| rights(&server.path(name)));
    assert!(before[0].contains("42775") && before[0].contains("default:group:2345:rwx"), "{}", before[0]);
    stick.edit(|root| {
        root.sub("master").file("b.csv", "edited", ago(60)).file("sub/d.csv", "d", ago(60));
    });
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().text("b.csv"), "edited");
    assert_eq!(["master", "master/sub"].map(|name| rights(&server.path(name))), before);
    assert_eq!(fs::read_link(server.path("master/current.csv")).unwrap(), Path::new("sub/c.csv"));
}

#[test]
fn times_far_away_do_not_let_the_runs_go_round() {
    let server = Server::on_disk(64);
    let stick = Stick::ingest();
    let (in_2300, in_1905) = (10_413_792_000, -2_051_222_400);
    stick.edit(|root| {
        root.sub("master").file("a.csv", "1", in_2300).file("b.csv", "2", in_1905).file("c.csv", "3", ago(60));
        common::tree::set_mtime_exactly(&root.path("master/c.csv"), -1, 500_000_000);
    });
    let settled = |what: &str| {
        let plan = server.run(&stick).flag("--dry-run").done();
        assert_eq!(plan.plan(), [""; 0], "{what}\n{plan}");
        let run = server.run(&stick).done();
        run.outcome("master", "nothing");
        assert_nothing_lost(&server, &run);
    };
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.path("master/a.csv").metadata().unwrap().mtime(), in_2300);
    settled("first");
    stick.edit(|root| {
        root.sub("master").file("a.csv", "9", in_2300 + 3_155_760_000).file("b.csv", "8", in_1905 + 1);
    });
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().files(), files([("a.csv", "9"), ("b.csv", "8"), ("c.csv", "3")]));
    settled("after an edit");
}
