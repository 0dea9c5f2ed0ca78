//! SPEC 4 and 8: power cuts. What a medium holds after one is a copy of its image: the kernel's caches are lost with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{Run, Server, Stick, ago, stick_in_step};
use rustix::mount::UnmountFlags;
use rustix::process::Signal;

const DISK: u64 = 32;

/// A server on a disk of its own, in step with a stick but for an edit on either side: `master` is to go to the server,
/// `docviewer` to the stick. Whoever edited the stick changed its meta.json, or forgot it.
fn edited_on_both(meta: bool) -> (Server, Stick) {
    let server = Server::on_disk(DISK);
    let stick = stick_in_step(&server);
    stick.edit(|root| {
        let master = root.sub("master");
        master.file("a.csv", "stick", ago(60)).remove("b.csv");
        for number in 0..40 {
            master.file(format!("new/{number}"), format!("stick {number}"), ago(60));
        }
        if meta {
            master.meta(ago(60));
        }
    });
    server.docviewer().file("plan.pdf", "server", ago(60));
    for number in 0..40 {
        server.docviewer().file(format!("new/{number}"), format!("server {number}"), ago(60));
    }
    server.sync();
    (server, stick)
}

fn ingest(server: &Server, stick: &Stick) -> Run {
    let run = server.run(stick).done();
    run.outcome("master", "stick wins").outcome("docviewer", "server wins");
    run
}

#[test]
fn completed_means_that_the_data_is_on_the_media() {
    let (server, stick) = edited_on_both(true);
    ingest(&server, &stick);
    let (server_later, stick_later) = (server.after_power_cut(), stick.copy());
    assert_eq!(server_later.data(), server.data());
    stick_later.read(|root| {
        assert_eq!(root.sub("master").files(), server.master().files());
        assert_eq!(root.sub("docviewer").files(), server.docviewer().files());
        assert_eq!(root.sub("master").updated_at(), server.master().updated_at());
    });
    let plan = server_later.run(&stick_later).flag("--dry-run").done();
    assert_eq!(plan.plan(), [""; 0], "{plan}");
}

/// Cuts the power at twelve moments of the run.
fn cut_the_power(meta: bool) {
    let (server, stick) = edited_on_both(meta);
    let (old, start) = (server.master().files(), Instant::now());
    ingest(&server, &stick);
    let (whole, new, docviewer) = (start.elapsed(), server.master().files(), server.docviewer().files());

    for step in 1..=12 {
        let (server, stick) = edited_on_both(meta);
        let run = server.run(&stick).start();
        // Where this is in the run differs from time to time; what must hold does not.
        std::thread::sleep(if step == 1 { Duration::ZERO } else { whole.mul_f64(f64::from(step) / 12.0) });
        run.signal(Signal::STOP);
        let (server_later, stick_later) = (server.after_power_cut(), stick.copy());
        run.signal(Signal::KILL);
        run.reap();
        while let Some(place) = stick.mountpoint() {
            rustix::mount::unmount(&place, UnmountFlags::DETACH).unwrap();
        }

        let found = server_later.master().files();
        assert!(found == old || found == new, "step {step}: a mixture: {found:?}");
        assert_eq!(server_later.docviewer().files(), docviewer, "step {step}");
        server_later.run(&stick_later).done();
        assert_eq!(server_later.master().files(), new, "step {step}");
        assert_eq!(server_later.docviewer().files(), docviewer, "step {step}");
        stick_later.read(|root| {
            assert_eq!(root.sub("master").files(), new, "step {step}");
            assert_eq!(root.sub("docviewer").files(), docviewer, "step {step}");
        });
    }
}

#[test]
fn a_power_cut_at_any_moment_leaves_old_or_new_and_the_next_run_finishes() {
    cut_the_power(true);
}

#[test]
fn a_power_cut_of_our_own_is_no_reason_to_distrust_an_edit_whose_meta_was_forgotten() {
    cut_the_power(false);
}
