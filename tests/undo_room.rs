//! SPEC 6: putting back on a disk that is full: it is done or it fails as its dry run said, and costs no run that is kept.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Write;

use common::undo::{list, undo};
use common::{Server, Stick, ago, assert_unchanged, noise};

const MIB: usize = 1 << 20;

/// What the stick brought as the n-th.
fn drawing(number: u64) -> Vec<u8> {
    noise(number, 8 * MIB)
}

/// A server that five drawings of one name came to, on a disk on which that many bytes are free then.
fn nearly_full(free: usize) -> Server {
    let server = Server::on_disk(128);
    let stick = Stick::labelled("TM-INGEST", 64);
    for number in 0..5 {
        stick.edit(|root| {
            root.sub("docviewer").file("drawing.pdf", drawing(number), ago(9000 - number.cast_signed() * 60));
        });
        server.run(&stick).clock(&format!("-{}", 8000 - number * 60)).done();
    }
    let mut pad = std::fs::File::create(server.path("pad")).unwrap();
    while pad.write_all(&[b'x'; 4096]).is_ok() {}
    pad.set_len(pad.metadata().unwrap().len() - free as u64).unwrap();
    server.sync();
    server
}

#[test]
fn on_a_full_disk_putting_back_is_what_its_dry_run_said() {
    for free in [0, MIB, 4 * MIB, 12 * MIB] {
        let server = nearly_full(free);
        let before = list(&server);
        let mut names = before.iter().rev().map(|run| run["when"].as_str().unwrap());
        // The first run of all replaced nothing.
        let holds = |when: &&str| server.path("undo").join(when).join("docviewer/drawing.pdf").exists();
        let oldest = names.find(holds).unwrap();
        let dry = undo(&server, &["put", oldest, "--dry-run"]).finish();
        let data = server.docviewer().snapshot();
        let run = undo(&server, &["put", oldest]).finish();
        assert_eq!(dry.code, run.code, "{free} bytes free\n{dry}\n{run}");
        if run.code == Some(0) {
            assert!(std::fs::read(server.path("docviewer/drawing.pdf")).unwrap() == drawing(0), "{free}\n{run}");
        } else {
            run.ended(1);
            assert_unchanged(&data, &server.docviewer().snapshot());
            assert_eq!(list(&server), before, "{free} bytes free\n{run}");
        }
        // With room again nothing stands in the way.
        server.tree().remove("pad");
        undo(&server, &["put", oldest]).finish().ended(0);
        assert!(std::fs::read(server.path("docviewer/drawing.pdf")).unwrap() == drawing(0), "{free}\n{run}");
    }
}
