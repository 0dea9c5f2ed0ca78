//! SPEC 8: full, failing, pulled and write-protected media, killed runs; afterwards the next run finishes the work.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{Server, Stick, add_many, ago, assert_unchanged, data_on, entries, in_step, kept, stop_in_write_back};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::Signal;

#[test]
fn too_little_room_on_the_stick_changes_nothing_and_says_how_much_is_needed() {
    let (server, stick) = in_step();
    let size = 40 << 20;
    server.master().file("large.pdf", vec![b'x'; size], ago(60));
    let before = (server.data(), data_on(&stick));
    let run = server.run(&stick).fails(1);
    assert_eq!((server.data(), data_on(&stick)), before);
    let numbers = run.stderr.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok());
    assert!(numbers.clone().any(|n| n >= size as u64), "needed bytes\n{run}");
    assert!(numbers.clone().any(|n| n > 1 << 20 && n < 32 << 20), "free bytes\n{run}");
    server.master().remove("large.pdf");
    server.run(&stick).done();
}

#[test]
fn too_little_room_on_the_server_changes_nothing_and_says_how_much_is_needed() {
    let (server, stick) = (Server::on_disk(24), Stick::labelled("TM-INGEST", 64));
    server.master().file("a.csv", "server", ago(500)).meta(ago(500));
    let size = 30 << 20;
    stick.edit(|root| {
        root.sub("master").file("a.csv", "server", ago(500)).file("large.pdf", vec![b'x'; size], ago(60)).meta(ago(60));
    });
    let before = (server.data(), data_on(&stick));
    let run = server.run(&stick).fails(1);
    assert_eq!((server.data(), data_on(&stick)), before);
    assert!(
        run.stderr.split(|c: char| !c.is_ascii_digit()).any(|n| n.parse().is_ok_and(|n: usize| n >= size)),
        "{run}"
    );
    stick.edit(|root| {
        root.sub("master").remove("large.pdf").file("small.pdf", "x", ago(60));
    });
    server.run(&stick).done().outcome("master", "stick wins");
}

#[test]
fn a_write_protected_stick_is_refused_before_the_server_changes() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(60));
    });
    let locked = stick.write_protected();
    let before = server.data();
    server.run(&locked).fails(2);
    assert_unchanged(&before, &server.data());
    server.run(&stick).done().outcome("master", "stick wins");
}

#[test]
fn a_run_killed_at_any_moment_leaves_old_or_new_and_the_next_one_finishes() {
    let prepared = || {
        let (server, stick) = in_step();
        stick.edit(|root| add_many(&root.sub("master"), 40));
        add_many(&server.docviewer(), 40);
        (server, stick)
    };
    let (server, stick) = prepared();
    let (old, start) = (server.master().files(), Instant::now());
    server.run(&stick).done().outcome("master", "stick wins").outcome("docviewer", "server wins");
    let (whole, new) = (start.elapsed(), server.master().files());
    let docviewer = server.docviewer().files();

    for step in 1..=12 {
        let (server, stick) = prepared();
        let run = server.run(&stick).start();
        // Where this is in the run differs from time to time; what must hold does not.
        std::thread::sleep(whole.mul_f64(f64::from(step) / 12.0));
        run.signal(Signal::KILL);
        run.reap();
        let left = server.master().files();
        assert!(left == old || left == new, "a mixture: {:?}", left.keys());
        assert_eq!(server.docviewer().files(), docviewer);

        server.run(&stick).done();
        assert_eq!(server.master().files(), new);
        assert_eq!(server.docviewer().files(), docviewer);
        assert_eq!(
            stick.read(|root| (root.sub("master").files(), root.sub("docviewer").files())),
            (new.clone(), docviewer.clone())
        );
        let again = server.run(&stick).flag("--dry-run").done();
        assert_eq!(again.plan(), [""; 0], "{again}");
    }
}

/// How it fails: the image is on a small tmpfs, so that writes past its end are I/O errors of the device.
#[test]
fn a_stick_with_write_errors_fails_the_run_and_a_sound_one_finishes_it() {
    let small = tempfile::tempdir().unwrap();
    let mount = |flags: MountFlags, size| {
        rustix::mount::mount("tmpfs", small.path(), "tmpfs", flags, size).unwrap();
    };
    mount(MountFlags::empty(), c"size=12m");
    let stick = Stick::made_in(tempfile::tempdir_in(small.path()).unwrap(), 32, |image| {
        common::stick::mkfs(image, "TM-INGEST");
    });
    stick.edit(|root| {
        root.file(".toolmaster/role", "INGEST", ago(9000));
        common::sample(root, ago(7200));
    });
    let server = Server::new();
    server.run(&stick).clock("-3600").done();
    server.master().file("large.pdf", vec![b'x'; 14 << 20], ago(60));
    let expected = server.master().files();

    let run = server.run(&stick).start().wait();
    run.ended(1).never_says("completed");
    assert!(!stick.is_mounted(), "{run}");
    assert_eq!(server.master().files(), expected);

    rustix::mount::mount_remount(small.path(), MountFlags::empty(), c"size=64m").unwrap();
    server.run(&stick).done();
    assert_eq!(server.master().files(), expected);
    assert_eq!(stick.read(|root| root.sub("master").files()), expected);
    drop(stick);
    rustix::mount::unmount(small.path(), UnmountFlags::DETACH).unwrap();
}

#[test]
fn an_unreadable_record_of_the_common_state_never_makes_an_edit_lose() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited on the PC", ago(60));
    });
    // Nobody has touched meta.json: only the common state says on which side the edit was made.
    let old = server.master().files();
    let records = std::fs::read_dir(server.path(".toolmaster/sticks")).unwrap().next().unwrap().unwrap().path();
    let record = records.join("manifests");
    let path = record.to_str().unwrap();
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", "inject=read:error=EIO"];
    let run = server.run(&stick).through(&strace).start().wait();
    run.ended(1);
    assert!(run.stderr.contains("manifests: Input/output error"), "{run}");
    assert_eq!(server.master().files(), old, "{run}");
    assert!(stick.read(|root| root.sub("master").files())["a.csv"].contains("edited on the PC"), "{run}");

    server.run(&stick).done();
    assert!(server.master().files()["a.csv"].contains("edited on the PC"));
}

#[test]
fn a_signal_ends_the_run_with_1_and_unmounts_the_stick() {
    for signal in [Signal::TERM, Signal::INT] {
        let (server, stick) = in_step();
        add_many(&server.master(), 600);
        let expected = server.master().files();
        let mut run = server.run(&stick).start();
        stop_in_write_back(&mut run, &stick);
        run.signal(signal);
        run.signal(Signal::CONT);
        let run = run.wait();
        run.ended(1).never_says("completed");
        assert!(!stick.is_mounted(), "{run}");
        assert_eq!(run.job["result"], "failed", "{run}");
        server.run(&stick).done();
        assert_eq!(stick.read(|root| root.sub("master").files()), expected);
    }
}

#[test]
fn a_server_edited_while_its_new_dataset_is_built_keeps_the_edit() {
    let (server, stick) = in_step();
    stick.edit(|root| add_many(&root.sub("master"), 600));
    let undo_before = entries(&server.path("undo"));
    let mut run = server.run(&stick).start();
    run.until("it builds the new dataset", || entries(&server.path("undo")) > undo_before + 20);
    run.signal(Signal::STOP);
    assert!(!server.master().has("many"), "stopped too late to show anything");
    server.master().file("b.csv", "live edit", ago(5));
    run.signal(Signal::CONT);
    run.wait().ended(0);
    // Both had changed, neither meta.json says which is newer: the server's stays, the stick's is kept.
    assert_eq!(server.master().text("b.csv"), "live edit");
    let (old, lost) = kept(&server, "stick", "master").expect("the stick's new files are kept");
    assert_eq!(old.sub("many").files().len(), 600);
    assert!(lost);
}

#[test]
fn a_run_by_hand_waits_10_seconds_for_another_and_then_says_busy() {
    let (server, stick) = in_step();
    stick.edit(|root| add_many(&root.sub("master"), 500));
    let mut first = server.run(&stick).start();
    first.until_it_holds_a_lock();
    first.signal(Signal::STOP);
    let start = Instant::now();
    let second = server.run(&stick).start().wait();
    second.ended(75);
    assert!(second.stderr.contains(" -> "), "{second}");
    // It has waited; how long it takes beyond that is the machine's.
    assert!(start.elapsed() >= Duration::from_secs(9), "{second}");
    first.signal(Signal::CONT);
    first.wait().ended(0);
    assert_eq!(server.master().files().len(), 503);
    assert!(!stick.is_mounted());
}

#[test]
fn a_units_run_waits_for_another_and_says_so() {
    let (server, stick) = in_step();
    stick.edit(|root| add_many(&root.sub("master"), 500));
    let mut first = server.run(&stick).start();
    first.until_it_holds_a_lock();
    first.signal(Signal::STOP);
    let mut second = server.run(&stick).var("INVOCATION_ID", "0123456789abcdef0123456789abcdef").start();
    let said = second.said();
    second.until("it says that it waits", || said().contains("wait"));
    first.signal(Signal::CONT);
    first.wait().ended(0);
    second.wait().ended(0);
    assert_eq!(server.master().files().len(), 503);
    assert!(!stick.is_mounted());
}

#[test]
fn two_sticks_at_once_are_both_done() {
    let (server, one) = in_step();
    let two = Stick::ingest();
    two.edit(|root| common::sample(root, ago(7000)));
    server.run(&two).clock("-3500").done();
    one.edit(|root| {
        root.sub("master").file("a.csv", "from one", ago(60));
    });
    two.edit(|root| {
        root.sub("docviewer").file("plan.pdf", "from two", ago(60));
    });
    let runs = [server.run(&one).start(), server.run(&two).start()];
    for run in runs {
        run.wait().ended(0);
    }
    assert_eq!(server.master().text("a.csv"), "from one");
    assert_eq!(server.docviewer().text("plan.pdf"), "from two");
}
