//! What the site's system gives to an ingest: hooks in /etc, a synchronised clock in /run. Both are seen by every run of
//! this test binary, so its tests go one after the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{DAY, Server, Stick, Tree, ago, data_on, in_step, sample, sample_master};

/// The site as it is when nothing has been set up, and as it is again afterwards.
struct Site {
    hooks: Tree,
    _alone: MutexGuard<'static, ()>,
}

impl Site {
    fn new() -> Site {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let hooks = Tree::at("/etc/toolmaster/ingest.d");
        hooks.dir("");
        Site { hooks, _alone: alone }
    }

    /// A program in ingest.d that adds its name and arguments to the file `called`.
    fn hook(&self, name: &str, mode: u32, more: &str) {
        let called = self.hooks.path("called");
        let script = format!("#!/bin/sh\necho \"${{0##*/}} $*\" >> {}\n{more}\n", called.display());
        self.hooks.file(name, script, ago(10));
        fs::set_permissions(self.hooks.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What hooks have been called since the last time.
    fn called(&self) -> String {
        let called = if self.hooks.has("called") { self.hooks.text("called") } else { return String::new() };
        self.hooks.remove("called");
        called
    }

    /// The clock becomes synchronised, as systemd-timesyncd says it.
    fn synchronise(&self) {
        Tree::at("/run/systemd/timesync").file("synchronized", "", ago(0));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.hooks.path(""));
        let _ = fs::remove_dir_all("/run/systemd");
    }
}

fn edit(stick: &Stick, text: &str) {
    stick.edit(|root| {
        root.sub("master").file("a.csv", text, ago(60));
    });
}

#[test]
fn hooks_run_in_name_order_with_the_datasets_that_changed() {
    let site = Site::new();
    let (server, stick) = in_step();
    site.hook("20-second", 0o755, "");
    site.hook("10-first", 0o700, "");
    site.hook("30-not-executable", 0o644, "");
    edit(&stick, "edited");
    server.run(&stick).done();
    assert_eq!(site.called(), "10-first master\n20-second master\n");

    edit(&stick, "once more");
    stick.edit(|root| {
        root.sub("docviewer").file("plan.pdf", "edited", ago(50));
    });
    server.run(&stick).done();
    assert_eq!(site.called(), "10-first master docviewer\n20-second master docviewer\n");
}

#[test]
fn hooks_do_not_run_when_the_server_did_not_change() {
    let site = Site::new();
    let (server, stick) = in_step();
    site.hook("hook", 0o755, "");
    server.run(&stick).done().outcome("master", "nothing");
    server.master().file("a.csv", "server", ago(60));
    server.run(&stick).done().outcome("master", "server wins");
    edit(&stick, "edited");
    server.run(&stick).flag("--dry-run").done();
    assert_eq!(site.called(), "");
}

#[test]
fn a_failing_hook_is_logged_and_undoes_nothing() {
    let site = Site::new();
    let (server, stick) = in_step();
    site.hook("10-fails", 0o755, "echo it broke >&2; exit 7");
    site.hook("20-next", 0o755, "");
    site.hooks.file("15-no-program", "\x7fELF garbage", ago(10));
    fs::set_permissions(site.hooks.path("15-no-program"), fs::Permissions::from_mode(0o755)).unwrap();
    edit(&stick, "edited");
    server.run(&stick).done().says("10-fails").says("15-no-program");
    assert_eq!(site.called(), "10-fails master\n20-next master\n");
    assert_eq!(server.master().text("a.csv"), "edited");
}

#[test]
fn hooks_run_although_the_other_dataset_was_refused() {
    let site = Site::new();
    let (server, stick) = in_step();
    site.hook("hook", 0o755, "");
    edit(&stick, "edited");
    stick.edit(|root| {
        root.remove("docviewer").dir("docviewer");
    });
    server.run(&stick).fails(2);
    assert_eq!(site.called(), "hook master\n");
}

#[test]
fn a_hook_sees_the_new_data() {
    let site = Site::new();
    let (server, stick) = in_step();
    let seen = site.hooks.path("called");
    site.hook("look", 0o755, &format!("cat {}/a.csv >> {}", server.path("master").display(), seen.display()));
    edit(&stick, "edited");
    server.run(&stick).done();
    assert_eq!(site.called(), "look master\nedited");
}

#[test]
fn a_run_leaves_no_directory_below_run() {
    let _site = Site::new();
    let (server, stick) = in_step();
    edit(&stick, "edited");
    server.run(&stick).done();
    server.run(&stick).flag("--dry-run").done();
    server.run(&Stick::blank("TM-INGEST", 16)).fails(2);
    let left: Vec<_> = fs::read_dir("/run/toolmaster").unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!left.iter().any(|path| path.is_dir()), "mountpoints are left: {left:?}");
}

#[test]
fn a_synchronised_clock_is_believed_years_later() {
    let site = Site::new();
    let (server, _other) = in_step();
    let stick = Stick::ingest();
    stick.edit(|root| {
        sample(root, ago(100));
        root.sub("master").file("a.csv", "stick", ago(100)).meta(ago(-1000 * DAY));
    });
    let before = (server.data(), data_on(&stick));
    server.run(&stick).clock("+1200d").fails(75);
    assert_eq!((server.data(), data_on(&stick)), before);
    site.synchronise();
    server.run(&stick).clock("+1200d").done().outcome("master", "stick wins");
}

#[test]
fn records_later_than_a_synchronised_clock_do_not_count() {
    let site = Site::new();
    let (server, stick) = (Server::new(), Stick::ingest());
    // Everything on record, metas included, is from a day in 2099 that a wrong time server made up.
    stick.edit(|root| sample(root, ago(500)));
    site.synchronise();
    server.run(&stick).clock("@2099-01-01 00:00:00").done();
    assert!(server.master().updated_at() >= 4_070_908_800);
    drop(site);

    let site = Site::new();
    let other = Stick::ingest();
    other.edit(|root| {
        sample(root, ago(100));
        root.sub("master").file("a.csv", "stick", ago(100)).meta(ago(-3600));
    });
    let before = (server.data(), data_on(&other));
    server.run(&other).fails(75);
    assert_eq!((server.data(), data_on(&other)), before);
    // The server's false time is unreadable now; its meta.json was written just now, before the stick's.
    site.synchronise();
    server.run(&other).done().outcome("master", "stick wins");
    assert!(server.master().updated_at() < ago(-DAY));
    assert_ne!(server.master().files(), sample_master());
}
