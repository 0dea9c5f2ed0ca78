//! SPEC 6: the site's hooks run once for every change of the server, also when the stick failed after it or the run was killed. They
//! are in /etc, which all tests of a binary share, so these go one after the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, PoisonError};

use common::lost::files_alone;
use common::{Server, Stick, Tree, ago, in_step};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

/// Plays with a hook in ingest.d, and a function that says how often it was called.
fn hooked(play: impl FnOnce(&dyn Fn() -> usize)) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let hooks = Tree::at("/etc/toolmaster/ingest.d");
    hooks.file("10-count", "#!/bin/sh\necho called >> /run/called\n", ago(10));
    fs::set_permissions(hooks.path("10-count"), fs::Permissions::from_mode(0o755)).unwrap();
    let _ = fs::remove_file("/run/called");
    play(&|| fs::read_to_string("/run/called").map_or(0, |text| text.lines().count()));
    fs::remove_dir_all(hooks.path("")).unwrap();
}

#[test]
fn hooks_run_once_for_every_change_though_the_stick_is_full() {
    hooked(|called| {
        let server = Server::new();
        let stick = Stick::labelled("TM-INGEST", 16);
        stick.edit(|root| common::sample(root, ago(7200)));
        server.run(&stick).clock("-3600").done();
        stick.edit(|root| {
            root.sub("master").file("a.csv", "edited", ago(60));
            let mut file = fs::File::create(root.path("fill")).unwrap();
            while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
        });
        let mut before = (files_alone(&server.master()), called());
        assert_eq!(before.1, 1);
        for free in [0, 1, 2, 8, 4096] {
            stick.edit(|root| {
                let file = fs::OpenOptions::new().write(true).open(root.path("fill")).unwrap();
                let size = file.metadata().unwrap().len();
                file.set_len(size.saturating_sub(free * 4096)).unwrap();
            });
            let run = server.run(&stick).finish();
            let after = (files_alone(&server.master()), called());
            assert_eq!(after.1 - before.1, usize::from(after.0 != before.0), "{free} blocks free\n{run}");
            before = after;
        }
        assert_eq!((server.master().text("a.csv").as_str(), called()), ("edited", 2));
    });
}

#[test]
fn hooks_run_at_the_next_start_when_the_run_was_killed_after_the_change() {
    hooked(|called| {
        let (server, stick) = in_step();
        let before = called();
        stick.edit(|root| {
            root.sub("master").file("a.csv", "edited", ago(60));
        });
        let mut run = server.run(&stick).start();
        run.until("the server has changed", || {
            fs::read_to_string(server.path("master/a.csv")).is_ok_and(|text| text == "edited")
        });
        run.signal(Signal::KILL);
        run.reap();
        if let Some(place) = stick.mountpoint() {
            unmount(&place, UnmountFlags::DETACH).unwrap();
        }
        server.run(&stick).done();
        assert_eq!(called() - before, 1);
        server.run(&stick).done();
        assert_eq!(called() - before, 1);
    });
}
