//! SPEC 6: what programs save into a dataset's old directory after the exchange, and who is told of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use common::lost::{
    assert_live_or_told, assert_lost, assert_nothing_lost, assert_told_on, exchange, flagged, kept_texts,
    status_of_lost,
};
use common::{Server, Stick, in_step};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

/// Another place where a program sees the dataset's directory of today, such as a container's volume.
struct Share(tempfile::TempDir);

impl Share {
    fn of(directory: &Path) -> Share {
        let place = tempfile::tempdir().unwrap();
        mount_bind(directory, place.path()).unwrap();
        Share(place)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

/// Saves through a directory that was opened before the exchange. A program that can't save is told so by the system, and nothing
/// is lost: the names are those that could be saved.
fn save_late<'a>(directory: &Path, list: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    list.iter().copied().filter(|(name, text)| fs::write(directory.join(name), text).is_ok()).collect()
}

const LATE: [(&str, &str); 3] = [("b.csv", "typed late"), ("a.csv", "typed late too"), ("made late.csv", "new")];

/// The next run of a stick finds what was saved late, keeps it, and everybody is told.
fn assert_found(server: &Server, stick: &Stick, saved: &[(&str, &str)]) {
    let live = server.master().files();
    // What reached the live dataset all the same is where it belongs.
    let late = |(name, text): &(&str, &str)| live.get(*name).is_none_or(|found| found != text);
    let saved: Vec<_> = saved.iter().copied().filter(late).collect();
    let run = server.run(stick).done();
    assert_eq!(server.master().files(), live);
    for (name, text) in &saved {
        let kept = kept_texts(server, &format!("master/{name}"));
        assert!(kept.iter().any(|found| found == text), "{name} is not kept: {kept:?}\n{run}");
    }
    if saved.is_empty() {
        return assert_nothing_lost(server, &run);
    }
    assert_lost(server, &run, "master", &saved);
    assert_told_on(stick, &run, "master", &saved.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    assert_eq!(status_of_lost(server).0, "bad");
    let told = flagged(server);
    server.run(stick).done();
    assert_eq!(flagged(server), told, "told once");
}

#[test]
fn what_is_saved_through_an_open_directory_after_the_exchange_is_found() {
    let (server, stick) = in_step();
    let open = File::open(server.path("master")).unwrap();
    exchange(&server, &stick);
    let saved = save_late(&PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd())), &LATE);
    assert_found(&server, &stick, &saved);
}

#[test]
fn what_is_saved_through_a_bind_mount_after_the_exchange_is_found() {
    let (server, stick) = in_step();
    let share = Share::of(&server.path("master"));
    exchange(&server, &stick);
    let saved = save_late(share.0.path(), &LATE);
    assert_found(&server, &stick, &saved);
}

#[test]
fn what_is_saved_below_the_old_directory_after_the_exchange_is_found() {
    let (server, stick) = in_step();
    let open = File::open(server.path("master/sub")).unwrap();
    exchange(&server, &stick);
    let saved = save_late(&PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd())), &[("late.csv", "below")]);
    let saved: Vec<_> = saved.into_iter().map(|(_, text)| ("sub/late.csv", text)).collect();
    assert_found(&server, &stick, &saved);
}

#[test]
fn what_is_written_to_a_file_that_was_open_at_the_exchange_is_not_lost_untold() {
    for name in ["a.csv", "b.csv"] {
        let (server, stick) = in_step();
        let mut open = fs::OpenOptions::new().append(true).open(server.path("master").join(name)).unwrap();
        exchange(&server, &stick);
        open.write_all(b" and a line more").unwrap();
        drop(open);
        server.run(&stick).done();
        let text = format!("{}1 and a line more", &name[..1]);
        assert_live_or_told(&server, "master", name, &text);
    }
}

#[test]
fn a_late_save_after_an_undo_is_found_too() {
    let (server, stick) = in_step();
    exchange(&server, &stick);
    let open = File::open(server.path("master")).unwrap();
    common::undo::undo(&server, &["put", "latest"]).done();
    let saved = save_late(&PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd())), &LATE);
    server.run(&stick).done();
    for (name, text) in saved {
        assert_live_or_told(&server, "master", name, text);
    }
}
