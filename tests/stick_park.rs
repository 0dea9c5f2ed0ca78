//! `toolmaster stick park`, `unpark` and `guard` on real sticks. No systemd runs here: `systemctl` is a stand-in that says
//! what it is told to; tests/vm has the real one, and real USB.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock};

use common::{Call, Run, Server, Stick, Tree, in_step, path_with, program};
use rustix::mount::{MountFlags, UnmountFlags};
use toolmaster::os::mount::Mount;

/// This binary's own /mnt, for one test at a time.
fn mnt() -> MutexGuard<'static, ()> {
    static MNT: OnceLock<Mutex<()>> = OnceLock::new();
    let lock = MNT.get_or_init(|| {
        rustix::mount::mount("tmpfs", "/mnt", "tmpfs", MountFlags::empty(), None).unwrap();
        Mutex::new(())
    });
    lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A `systemctl` that answers `is-active` with a state, and writes down what it is asked to start.
struct Systemctl(tempfile::TempDir);

impl Systemctl {
    fn new(state: &str) -> Systemctl {
        let script = format!(
            "case $1 in is-active) echo {state}; [ {state} = active ] ;; *) echo \"$@\" >> \"${{0%/*}}/asked\" ;; esac"
        );
        Systemctl(program("systemctl", &script))
    }

    /// As at the end of the first job after plugging it in.
    fn park<'a>(&self, server: &'a Server, device: &str) -> Call<'a> {
        let _ = fs::remove_file(note(device));
        begin_job(server, device);
        self.park_alone(server, device)
    }

    fn park_alone<'a>(&self, server: &'a Server, device: &str) -> Call<'a> {
        server.call(&["stick", "park", device]).var("PATH", path_with(self.0.path()))
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.0.path().join("asked")).unwrap_or_default()
    }
}

fn done(call: Call<'_>) -> Run {
    let run = call.finish();
    run.ended(0);
    run
}

fn unpark(server: &Server, device: &str) -> Run {
    done(server.call(&["stick", "unpark", device]))
}

/// As a job of the stick begins.
fn begin_job(server: &Server, device: &str) -> Run {
    done(server.call(&["stick", "unpark", "--for-job", device]))
}

fn note(device: &str) -> String {
    format!("/run/toolmaster/{}.seen", device.strip_prefix("/dev/").unwrap())
}

/// Whether it is mounted anywhere.
fn is_shown(stick: &Stick) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| line.starts_with(&format!("{} ", stick.device())))
}

fn backup_stick(mib: u64) -> Stick {
    let stick = Stick::blank("TM-BACKUP", mib);
    stick.edit(|root| {
        root.file(".toolmaster/role", "BACKUP\n", 1_700_000_000);
    });
    stick
}

#[test]
fn a_proven_stick_is_shown_read_only_until_its_next_job() {
    let (_mnt, systemctl) = (mnt(), Systemctl::new("inactive"));
    let (server, stick) = in_step();
    let before = stick.bytes();
    done(systemctl.park(&server, stick.device())).says("can be seen at /mnt/physusb");
    assert_eq!(Tree::at("/mnt/physusb/master").text("a.csv"), "a1");
    let written = fs::write("/mnt/physusb/x", "x").unwrap_err();
    assert_eq!(written.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    // Again: it makes way for itself.
    done(systemctl.park(&server, stick.device()));
    unpark(&server, stick.device()).says("no longer shown at /mnt/physusb");
    assert!(!Tree::at("/mnt/physusb").has("master"));
    assert!(stick.bytes() == before, "showing it changed it");
    unpark(&server, stick.device()).never_says("no longer");
    // Without a job in between it stays so.
    done(systemctl.park_alone(&server, stick.device())).never_says("can be seen");
    assert!(!is_shown(&stick));
}

#[test]
fn the_latest_stick_takes_the_place_and_each_kind_has_its_own() {
    let (_mnt, systemctl) = (mnt(), Systemctl::new("inactive"));
    let (server, first) = in_step();
    let second = first.copy();
    let backup = backup_stick(16);
    for device in [first.device(), backup.device(), second.device()] {
        done(systemctl.park(&server, device));
    }
    assert!(!is_shown(&first) && is_shown(&second) && is_shown(&backup));
    assert!(Tree::at("/mnt/backup").has(".toolmaster/role"));
    unpark(&server, second.device());
    unpark(&server, backup.device());
    assert!(!is_shown(&second) && !is_shown(&backup));
}

/// Sticks that were plugged in together end their jobs together.
#[test]
fn sticks_that_are_parked_at_once_never_lie_upon_each_other() {
    let (_mnt, systemctl) = (mnt(), Systemctl::new("inactive"));
    let (server, first) = in_step();
    let sticks = [first.copy(), first.copy(), first];
    for _ in 0..5 {
        let runs: Vec<_> = sticks.iter().map(|stick| systemctl.park(&server, stick.device()).start()).collect();
        for run in runs {
            run.wait().ended(0).says("can be seen at /mnt/physusb");
        }
        assert_eq!(sticks.iter().filter(|stick| is_shown(stick)).count(), 1);
        for stick in &sticks {
            unpark(&server, stick.device());
            assert!(!is_shown(stick));
        }
    }
}

/// Its mount may have been ended by another stick's run, which took it for that of a pulled one.
#[test]
fn what_is_shown_is_the_stick_whatever_its_mountpoint_is_by_then() {
    let _mnt = mnt();
    let stick = backup_stick(16);
    let mount = Mount::new(Path::new(stick.device()), "ext4", false, "noload", 1).unwrap();
    let root = mount.root().unwrap();
    rustix::mount::unmount(root.path(), UnmountFlags::DETACH).unwrap();
    let place = Path::new("/mnt/backup");
    match mount.show_at(root, place) {
        Ok(()) => {
            assert!(is_shown(&stick));
            rustix::mount::unmount(place, UnmountFlags::DETACH).unwrap();
        }
        // Before Linux 6.15 there is no copy of a mount that is nowhere (open_tree(2)).
        Err(error) => assert!(error.to_string().contains("mount a stick at /mnt/backup"), "{error}"),
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(" /mnt/backup "), "{mounts}");
}

#[test]
fn what_is_not_proven_is_not_shown() {
    let (_mnt, systemctl) = (mnt(), Systemctl::new("inactive"));
    let server = Server::new();
    let no_role = Stick::blank("TM-BACKUP", 16);
    let wrong_role = Stick::blank("TM-BACKUP", 16);
    wrong_role.edit(|root| {
        root.file(".toolmaster/role", "INGEST\n", 1_700_000_000);
    });
    let foreign = Stick::blank("HOLIDAY", 16);
    for stick in [&no_role, &wrong_role, &foreign] {
        done(systemctl.park(&server, stick.device())).never_says("can be seen");
        assert!(!is_shown(stick));
    }
    done(systemctl.park(&server, "/dev/no-such-stick"));
    unpark(&server, "/dev/no-such-stick");
}

#[test]
fn a_stick_whose_job_is_about_to_run_is_left_to_it() {
    let _mnt = mnt();
    let (server, stick) = in_step();
    for state in ["activating", "active"] {
        done(Systemctl::new(state).park(&server, stick.device())).never_says("can be seen");
        assert!(!is_shown(&stick));
    }
}

#[test]
fn a_stick_that_came_back_under_its_old_name_gets_its_job() {
    let (_mnt, systemctl) = (mnt(), Systemctl::new("inactive"));
    let (server, stick) = in_step();
    done(systemctl.park(&server, stick.device())).says("can be seen at");
    unpark(&server, stick.device());
    let name = stick.device().strip_prefix("/dev/").unwrap();
    let noted = fs::read_to_string(note(stick.device())).unwrap();
    noted.split(' ').next().unwrap().parse::<u64>().expect("the kernel's number of the disk");
    // What the job of the stick before it had noted.
    fs::write(note(stick.device()), "0 \njob\n").unwrap();
    done(systemctl.park_alone(&server, stick.device())).says("plugged in again");
    assert_eq!(systemctl.asked(), format!("start --no-block usb-ingest@{name}.service\n"));
    assert!(!is_shown(&stick));
}

#[test]
fn a_job_runs_once_for_each_time_that_a_stick_is_plugged_in() {
    let _mnt = mnt();
    let (server, stick) = in_step();
    let _ = fs::remove_file(note(stick.device()));
    begin_job(&server, stick.device());
    let again = ["stick", "unpark", "--for-job", stick.device()];
    server.call(&again).fails(3).says("has run already").says("toolmaster stick rescan");
    // Made anew in place, it is another stick.
    common::stick::mkfs(stick.device(), "TM-INGEST");
    begin_job(&server, stick.device());
    server.call(&again).fails(3);
    let systemctl = Systemctl::new("inactive");
    done(server.call(&["stick", "rescan"]).var("PATH", path_with(systemctl.0.path())));
    begin_job(&server, stick.device());
}

#[test]
fn what_an_operator_mounted_there_stays() {
    let (_mnt, systemctl) = (mnt(), Systemctl::new("inactive"));
    let (server, stick) = in_step();
    let other = Stick::blank("HOLIDAY", 16);
    fs::create_dir_all("/mnt/physusb").unwrap();
    rustix::mount::mount(other.device(), "/mnt/physusb", "ext4", MountFlags::empty(), None).unwrap();
    systemctl.park(&server, stick.device()).fails(75).says("something else is mounted at /mnt/physusb");
    assert!(is_shown(&other) && !is_shown(&stick));
    rustix::mount::unmount("/mnt/physusb", rustix::mount::UnmountFlags::empty()).unwrap();
}

#[test]
fn foreign_storage_is_told_of_and_left_alone() {
    let _mnt = mnt();
    let server = Server::new();
    let foreign = Stick::blank("HOLIDAY\u{1b}[2J", 16);
    let empty = Stick::bare(16);
    let before = foreign.bytes();
    for stick in [&foreign, &empty] {
        let _ = fs::remove_file(note(stick.device()));
    }
    done(server.call(&["stick", "guard", foreign.device()])).says("is no stick of ours");
    done(server.call(&["stick", "guard", empty.device()])).says("is no stick of ours");
    done(server.call(&["stick", "guard", "/dev/no-such-stick"]));
    // Told once.
    done(server.call(&["stick", "guard", foreign.device()])).never_says("no stick of ours");
    let log = fs::read_to_string(server.path("logs/usb_guard.log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].contains(foreign.device()) && lines[0].contains("HOLIDAY"), "{log}");
    assert!(!log.contains('\u{1b}'), "a label wrote to the log as it liked");
    assert!(lines[1].contains(empty.device()), "{log}");
    let job = server.last_job();
    assert_eq!((&job["job"], &job["result"]), (&"guard".into(), &"refused".into()));
    assert!(foreign.bytes() == before);
}

#[test]
fn the_systems_own_disk_is_neither_told_of_nor_taken() {
    let server = Server::on_disk(64);
    let device = server.disk().device().to_owned();
    done(server.call(&["stick", "guard", &device])).never_says("no stick of ours");
    server.call(&["ingest", "--device", &device]).fails(2).says("the disk that this system runs from");
}
