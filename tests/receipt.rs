//! `RESULT.txt`: what the carrier of a stick reads on a PC, and that it is in nobody's way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use rustix::fs::{CWD, FileType, Mode};

use common::site::{Site, backup_stick, done};
use common::{Run, Server, Stick, Tree, ago, in_step, noise, sample_master, tool};

const NAME: &str = "RESULT.txt";

/// The receipt's lines. It is UTF-8 with the mark and the line ends by which Notepad shows it, and says where it is from.
fn receipt(server: &Server, stick: &Stick) -> Vec<String> {
    let bytes = stick.read(|root| fs::read(root.path(NAME)).unwrap());
    assert_eq!(bytes.get(..3), Some(&b"\xef\xbb\xbf"[..]), "a byte order mark");
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(text.ends_with("\r\n") && !text.replace("\r\n", "").contains(['\r', '\n']), "CRLF alone: {text:?}");
    let lines: Vec<String> = text.trim_start_matches('\u{feff}').lines().map(str::to_owned).collect();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let id = server.tree().text(".toolmaster/server-id");
    assert!(lines.contains(&format!("サーバ: {} ({})", host.trim(), id.trim())), "{text}");
    let time = server.last_job()["time"].as_str().unwrap()[..16].replace('T', " ");
    assert!(lines.iter().any(|line| line.starts_with(&format!("日時: {time}"))), "{time}: {text}");
    lines
}

/// The receipt has that heading, those lines, and the advice that belongs to it.
fn assert_says(server: &Server, stick: &Stick, heading: &str, says: &[&str]) {
    let lines = receipt(server, stick);
    assert_eq!(lines[0], format!("RaspberryPiServer の結果: {heading}"));
    for words in says {
        assert!(lines.iter().any(|line| line.starts_with(words)), "no line {words:?}: {lines:#?}");
    }
    let good = lines.iter().any(|line| line == "このまま抜いて使えます。");
    assert_eq!(good, heading == "完了", "{lines:#?}");
    assert_eq!(lines.iter().any(|line| line.contains("もう一度挿してください")), !good, "{lines:#?}");
}

/// Ends a chain that fills a tree.
fn made(_: &Tree) {}

/// The completion line comes after it: it is the last one.
fn last_line(run: &Run) -> &str {
    run.stderr.lines().last().unwrap_or_default()
}

#[test]
fn ingest_from_the_stick_to_it_and_without_a_change() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "four", ago(60)).remove("b.csv");
    });
    let run = server.run(&stick).done();
    assert!(last_line(&run).starts_with("ingest completed"), "{run}");
    let taken = "master: USB メモリの内容をサーバに取り込みました。コピー 1 件 (4 B)、削除 1 件";
    assert_says(&server, &stick, "完了", &["作業: 取り込み", taken, "docviewer: 変わりはありません"]);

    server.master().file("a.csv", "server", ago(30));
    server.run(&stick).done().outcome("master", "server wins");
    let written = "master: サーバの内容を USB メモリに書きました。コピー 1 件 (6 B)、削除 0 件";
    assert_says(&server, &stick, "完了", &[written]);

    server.run(&stick).done().outcome("master", "nothing");
    assert_says(&server, &stick, "完了", &["master: 変わりはありません", "docviewer: 変わりはありません"]);
    // The receipt is no data, and no reason to do anything.
    assert!(!server.tree().has(NAME) && !server.master().has(NAME));
    assert_eq!(server.run(&stick).flag("--dry-run").done().plan(), [""; 0]);
}

#[test]
fn ingest_that_refuses_one_dataset_or_both() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").remove("a.csv").remove("b.csv").remove("sub");
        root.sub("docviewer").file("plan.pdf", "p2", ago(60));
    });
    let run = server.run(&stick).fails(2);
    run.outcome("docviewer", "stick wins");
    let refused = "master: 断りました: master: refused: the stick's dataset is empty and the server's is not -> ";
    let taken = "docviewer: USB メモリの内容をサーバに取り込みました。";
    assert_says(&server, &stick, "一部未完了", &[refused, taken]);
    assert_eq!(receipt(&server, &stick).iter().filter(|line| line.contains("断りました")).count(), 1, "told once");
    assert_eq!(server.master().files(), sample_master());

    stick.edit(|root| made(root.sub("docviewer").remove("plan.pdf")));
    server.run(&stick).fails(2);
    assert_says(&server, &stick, "失敗", &[refused, "docviewer: 断りました: "]);

    stick.edit(|root| made(root.remove("master").remove("docviewer")));
    server.run(&stick).fails(3);
    assert_says(
        &server,
        &stick,
        "失敗",
        &["master: USB メモリに master フォルダがありません", "元になるものがありません: the stick has neither"],
    );
}

#[test]
fn a_clock_that_is_not_believed_is_told_of() {
    let (server, stick) = in_step();
    server.run(&stick).clock("-400d").finish();
    let text = stick.read(|root| root.text(NAME));
    assert!(text.contains("(サーバの時計が合っていないかもしれません)\r\n"), "{text}");
}

#[test]
fn backup_written_and_there_already() {
    let site = Site::new();
    let run = done(site.backup(), "backup export completed archive=");
    let (_, name) = site.archive();
    assert!(last_line(&run).starts_with("backup export completed"), "{run}");
    let written = format!("{name} を書き、読み直して確かめました (");
    assert_says(&site.server, &site.stick, "完了", &["作業: バックアップ", &written]);

    let before = site.archive();
    done(site.backup(), "backup export completed archive=");
    assert_says(&site.server, &site.stick, "完了", &[&format!("{name} は前の回に書いてあり、確かめました (")]);
    assert!(site.archive() == before, "the archive stays as it is");
}

#[test]
fn a_backup_without_room_says_so_beside_the_older_one() {
    let site = Site { stick: backup_stick(16), ..Site::new() };
    done(site.backup().clock("-1d"), "backup export completed archive=");
    let before = site.archive();
    site.server.docviewer().file("large.pdf", noise(1, 20 << 20), ago(50));
    site.snapshot();
    site.backup().fails(1);
    assert_says(&site.server, &site.stick, "失敗", &["失敗しました: not enough room on the stick: "]);
    assert!(site.archive() == before, "the older archive is as it was");
}

#[test]
fn what_is_put_back_on_a_stick_is_told_too() {
    let (server, stick) = in_step();
    server.master().file("a.csv", "server", ago(60));
    server.run(&stick).done().outcome("master", "server wins");
    server.call(&["undo", "put", "latest", "--device", stick.device()]).finish().ended(0);
    assert_says(&server, &stick, "完了", &["作業: 前のデータに戻す", "master: 前のデータを USB メモリに戻しました。"]);
}

#[test]
fn a_refused_stick_and_a_dry_run_leave_nothing() {
    let server = Server::new();
    common::sample(&server.tree(), ago(3600));
    let wrong = Stick::labelled("TM-INGEST", 16);
    wrong.edit(|root| made(root.file(".toolmaster/role", "DIST", ago(60))));
    server.run(&wrong).fails(2);
    let (site, other) = (Site::new(), Site::new());
    done(site.backup(), "backup export completed");
    let ours = site.stick.read(|root| root.text(NAME));
    other.call(&["backup", "--device", site.stick.device()]).fails(2).says("another server");
    assert_eq!(site.stick.read(|root| root.text(NAME)), ours, "another server's receipt");
    let stick = Stick::ingest();
    stick.edit(|root| common::sample(root, ago(60)));
    server.run(&stick).flag("--dry-run").done();
    for untouched in [&wrong, &stick] {
        assert!(!untouched.read(|root| root.has(NAME)));
    }
}

/// Whatever stands in the receipt's place stays there, and the run does its work.
#[test]
fn what_is_no_receipt_is_left_as_it_is() {
    let outside = Tree::at(tempfile::tempdir().unwrap().keep());
    outside.file("target", "kept", ago(60));
    let target = outside.path("target");
    type Make<'a> = Box<dyn Fn(&Tree) + 'a>;
    let cases: [(&str, Make); 6] = [
        ("a directory", Box::new(|root| made(root.dir("RESULT.txt/sub").file("RESULT.txt/own.txt", "own", ago(60))))),
        ("a link", Box::new(|root| made(root.link(NAME, &target)))),
        ("a dangling link", Box::new(|root| made(root.link(NAME, outside.path("none"))))),
        (
            "a FIFO",
            Box::new(|root| {
                rustix::fs::mknodat(CWD, root.path(NAME), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
            }),
        ),
        ("a file of 1 TB", Box::new(|root| fs::File::create(root.path(NAME)).unwrap().set_len(1 << 40).unwrap())),
        ("somebody's notes", Box::new(|root| made(root.file(NAME, "RaspberryPiServer の結果: 完了", ago(60))))),
    ];
    for (case, make) in cases {
        let (server, stick) = in_step();
        stick.edit(|root| {
            root.remove(NAME);
            make(root);
            root.sub("master").file("a.csv", "edited", ago(60));
        });
        let entry = |stick: &Stick| {
            stick.read(|root| {
                root.snapshot().lines().filter(|line| line.starts_with(NAME)).collect::<Vec<_>>().join("\n")
            })
        };
        // The content of the hole is not read: its line is its size.
        let look = |stick: &Stick| if case.contains("1 TB") { String::new() } else { entry(stick) };
        let before = look(&stick);
        let run = server.run(&stick).done();
        run.outcome("master", "stick wins").warns_of("something else is called RESULT.txt on the stick");
        assert_eq!(look(&stick), before, "{case}");
        assert_eq!(outside.text("target"), "kept", "{case}");
        assert!(!outside.has("none"), "{case}");
        assert_eq!(server.master().text("a.csv"), "edited", "{case}");
    }
    fs::remove_dir_all(outside.path("")).unwrap();
}

#[test]
fn a_receipt_that_cannot_be_written_is_a_warning() {
    let (server, stick) = in_step();
    let old = stick.read(|root| root.text(NAME));
    let chattr =
        |flag: &'static str| stick.edit(|root| drop(tool("chattr", &[flag, root.path(NAME).to_str().unwrap()])));
    chattr("+i");
    server.run(&stick).done().warns_of("Operation not permitted");
    assert_eq!(stick.read(|root| root.text(NAME)), old);
    chattr("-i");
    // A file whose name differs in case is another one.
    stick.edit(|root| made(root.file("result.TXT", "own", ago(60))));
    let run = server.run(&stick).done();
    run.never_says("[warn]");
    assert_eq!(stick.read(|root| root.text("result.TXT")), "own");
    assert_says(&server, &stick, "完了", &["master: 変わりはありません"]);
    // An empty one is what a PC's repair leaves.
    stick.edit(|root| made(root.file(NAME, "", ago(60))));
    server.run(&stick).done().never_says("[warn]");
    assert_says(&server, &stick, "完了", &["master: 変わりはありません"]);
}

#[test]
fn a_stick_that_is_full_to_the_brim_keeps_its_backup() {
    let site = Site::new();
    done(site.backup(), "backup export completed");
    site.stick.edit(|root| {
        let mut file = fs::File::create(root.path("own.bin")).unwrap();
        while std::io::Write::write_all(&mut file, &[7; 4096]).is_ok() {}
    });
    let run = done(site.backup(), "backup export completed archive=");
    assert!(run.stderr.contains("No space left on device"), "{run}");
    assert!(run.stderr.contains("[warn]") && !run.stderr.contains("[error]"), "{run}");
}
