//! SPEC 6: what a person put on a DIST stick is kept before the stick is filled again, and told, whatever the stick's record is worth.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::lost::{assert_lost, assert_nothing_lost, on_stick, status_of_lost};
use common::{Call, Run, Server, Stick, ago, data_on, noise, sample};

fn export<'a>(server: &'a Server, stick: &'a Stick, more: &[&'a str]) -> Call<'a> {
    Call::new(server, &[&["dist-export", "--device", stick.device()], more].concat(), Some(stick))
}

fn exported(call: Call<'_>) -> Run {
    let run = call.finish();
    run.ended(0);
    run
}

fn server() -> Server {
    let server = Server::new();
    sample(&server.tree(), ago(3600));
    server
}

fn dist_stick() -> Stick {
    let stick = Stick::blank("TM-DIST", 32);
    stick.edit(|root| {
        root.file(".toolmaster/role", "DIST\n", ago(60));
    });
    stick
}

/// A file of the person's own, and one of the server's that was worked on.
fn work_on(stick: &Stick) {
    stick.edit(|root| {
        root.dir("master/own");
        root.sub("master").file("own/notes.csv", "a person's", ago(60)).file("a.csv", "edited", ago(60));
    });
}

const WORK: [(&str, &str); 2] = [("own/notes.csv", "a person's"), ("a.csv", "edited")];

fn assert_kept(server: &Server, stick: &Stick, run: &Run) {
    assert_lost(server, run, "master", &WORK);
    run.says("own/notes.csv").says("a.csv");
    assert_eq!(status_of_lost(server).0, "bad");
    assert_eq!(on_stick(stick, "master"), server.master().files());
}

#[test]
fn a_stick_without_a_record_of_ours_keeps_its_work_in_undo() {
    for what in ["new", "torn", "of another server", "of the other dataset"] {
        let (server, stick) = (server(), dist_stick());
        match what {
            "torn" => {
                exported(export(&server, &stick, &[]));
                stick.edit(|root| {
                    let text = root.text(".toolmaster/manifest.json");
                    root.file(".toolmaster/manifest.json", &text[..text.len() - 9], ago(60));
                });
            }
            "of another server" => drop(exported(export(&self::server(), &stick, &[]))),
            "of the other dataset" => drop(exported(export(&server, &stick, &["--skip-master"]))),
            _ => {}
        }
        work_on(&stick);
        let run = exported(export(&server, &stick, &[]));
        assert_kept(&server, &stick, &run);
    }
}

#[test]
fn what_the_server_wrote_is_no_work_of_a_person() {
    let (server, stick) = (server(), dist_stick());
    exported(export(&server, &stick, &[]));
    server.master().file("a.csv", "newer", ago(30)).remove("b.csv");
    stick.edit(|root| {
        root.remove(".toolmaster/manifest.json");
    });
    let run = exported(export(&server, &stick, &[]));
    assert_nothing_lost(&server, &run);
    assert!(server.tree().sub("undo").files().is_empty(), "{run}");
}

#[test]
fn an_older_file_on_it_is_kept_and_named() {
    let (server, stick) = (server(), dist_stick());
    stick.edit(|root| {
        root.dir("master");
        root.sub("master").file("a.csv", "from a slow clock", ago(9999));
    });
    let run = exported(export(&server, &stick, &[]));
    assert_nothing_lost(&server, &run);
    let said = &run.job["datasets"]["master"];
    assert_eq!((&said["older"], &said["older_names"][0]), (&1.into(), &"a.csv".into()), "{run}");
    let kept = server.tree().sub(said["older_in"].as_str().unwrap()).files();
    assert_eq!(kept["a.csv"], "from a slow clock", "{run}");
}

#[test]
fn notes_in_its_meta_json_are_kept() {
    let (server, stick) = (server(), dist_stick());
    exported(export(&server, &stick, &[]));
    server.master().meta(ago(30));
    let run = exported(export(&server, &stick, &[]));
    assert!(server.tree().sub("undo").files().is_empty(), "another time alone is nobody's note\n{run}");
    stick.edit(|root| {
        root.sub("master").meta_text("{\"updated_at\": 5, \"note\": \"ask Mr Sato\"}\n", ago(20));
    });
    let run = exported(export(&server, &stick, &[]));
    run.says("meta.json");
    let kept = server.tree().sub("undo").files();
    let found = kept.iter().find(|(path, _)| path.ends_with("/master/meta.json")).map(|(_, text)| text.as_str());
    assert!(found.is_some_and(|text| text.contains("Mr Sato")), "{kept:?}\n{run}");
    assert_nothing_lost(&server, &run);
}

/// More than is looked for by name.
#[test]
fn any_number_of_edits_is_kept() {
    const MANY: usize = 10_050;
    let (server, stick) = (server(), Stick::blank("TM-DIST", 128));
    stick.edit(|root| {
        root.file(".toolmaster/role", "DIST\n", ago(60));
    });
    exported(export(&server, &stick, &[]));
    stick.edit(|root| {
        for number in 0..MANY {
            root.sub("master").file(format!("n{number}"), format!("{number}"), ago(60));
        }
    });
    let run = exported(export(&server, &stick, &[]));
    let said = &run.job["datasets"]["master"];
    assert_eq!(said["lost"], MANY, "{run}");
    let kept = server.tree().sub(said["lost_in"].as_str().unwrap()).files();
    assert!((0..MANY).all(|number| kept[&format!("n{number}")] == number.to_string()));
    assert_eq!(on_stick(&stick, "master"), server.master().files());
}

/// A server without room for it says so in the dry run too, with the numbers, and touches nothing.
#[test]
fn room_for_what_is_kept_is_checked_first() {
    let server = Server::on_disk(24);
    sample(&server.tree(), ago(3600));
    let stick = dist_stick();
    exported(export(&server, &stick, &[]));
    server.docviewer().file("plan.pdf", "newer", ago(30));
    stick.edit(|root| {
        root.sub("master").file("person.bin", noise(1, 12 << 20), ago(60));
    });
    server.tree().file("filler", vec![1; 6 << 20], ago(60));
    let before = data_on(&stick);
    for more in [&["--dry-run"][..], &[]] {
        let run = export(&server, &stick, more).finish();
        run.ended(1);
        assert!(run.stderr.contains("bytes needed") && run.stderr.contains("bytes free"), "{run}");
        assert_eq!(data_on(&stick), before, "{run}");
    }
}

/// Somebody renames a file on the server while the stick is made equal to it: the stick's list is what the stick holds.
#[test]
fn a_stick_is_whole_also_if_the_server_is_edited_meanwhile() {
    let (server, stick) = (server(), dist_stick());
    exported(export(&server, &stick, &[]));
    server.master().file("a.csv", "newer", ago(30));
    // The stick is flushed with what is new on it; then comes what is to go.
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=syncfs", "-e"];
    let slow = "inject=syncfs:delay_enter=700000";
    let mut running = export(&server, &stick, &[]).through(&[&strace[..], &[slow]].concat()).start();
    let aside = || stick.mountpoint().is_some_and(|place| place.join(".toolmaster/tmp/next").exists());
    running.until("something lies aside on the stick", aside);
    let master = server.path("master");
    std::fs::rename(master.join("b.csv"), master.join("b2.csv")).unwrap();
    std::fs::remove_file(master.join("sub/c.csv")).unwrap();
    let run = running.wait();
    run.ended(0);
    let manifest = stick.read(|root| root.text(".toolmaster/manifest.json"));
    let listed: Vec<String> = on_stick(&stick, "master").keys().map(|name| format!("\"master/{name}\"")).collect();
    assert!(listed.iter().all(|name| manifest.contains(name)), "{listed:?}\n{manifest}\n{run}");
    assert_eq!(manifest.matches("\"master/").count(), listed.len(), "{manifest}\n{run}");
    assert_eq!(on_stick(&stick, "master"), server.master().files(), "{run}");
}
