//! Nothing that looks, walks or removes leads into what is mounted (SPEC 2): a second filesystem, a directory of the same
//! disk (bind mount), a file over a file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Server, Stick, ago, assert_unchanged, sample};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use toolmaster::os::dir::{Dir, Kind};
use toolmaster::tree::remove;
use toolmaster::tree::walk::{Step, Walk};

/// A mount that ends with the test.
struct Mounted(PathBuf);

impl Mounted {
    fn bind(from: &Path, at: &Path) -> Mounted {
        mount_bind(from, at).unwrap();
        Mounted(at.to_owned())
    }

    fn tmpfs(at: &Path) -> Mounted {
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), None).unwrap();
        Mounted(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

/// A dataset with a directory of the same disk, another filesystem and a single file mounted in it.
struct Place {
    _mounts: [Mounted; 3],
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["share/deep", "data/own", "data/bound", "data/other"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["share/precious.dwg", "share/deep/x", "data/own/a.csv", "data/file", "data/._dropping"] {
            fs::write(at(name), name).unwrap();
        }
        let mounts = [
            Mounted::bind(&at("share"), &at("data/bound")),
            Mounted::tmpfs(&at("data/other")),
            Mounted::bind(&at("share/precious.dwg"), &at("data/file")),
        ];
        fs::write(at("data/other/y"), "y").unwrap();
        Place { _mounts: mounts, dir }
    }

    fn open(&self, name: &str) -> Dir {
        Dir::open(&self.dir.path().join(name)).unwrap()
    }

    fn is_whole(&self) -> bool {
        ["share/precious.dwg", "share/deep/x", "data/other/y"].iter().all(|name| self.dir.path().join(name).exists())
    }
}

#[test]
fn a_mount_is_known_and_not_entered() {
    let place = Place::new();
    let data = place.open("data");
    for (name, kind) in [("bound", Kind::Dir), ("other", Kind::Dir), ("file", Kind::File)] {
        let entry = data.look(name.as_bytes()).unwrap().unwrap();
        assert_eq!((entry.kind, entry.mount_root), (kind, true), "{name}");
    }
    for name in ["bound", "other"] {
        let error = data.sub(name.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("unmount it"), "{error}");
        assert!(data.make(name.as_bytes(), 0o755).is_err());
    }
    let own = data.look(b"own").unwrap().unwrap();
    assert!(!own.mount_root && !own.immutable);
    // From inside, a mount is entered like any directory: a stick is one.
    assert!(place.open("data/bound").sub(b"deep").unwrap().is_some());
}

#[test]
fn a_walk_names_it_and_goes_by() {
    let place = Place::new();
    let data = place.open("data");
    let mut walk = Walk::new(Some(&data), None).unwrap();
    let (mut files, mut skipped) = (Vec::new(), Vec::new());
    while let Some(step) = walk.step().unwrap() {
        match step {
            Step::File { .. } => files.push(walk.shown()),
            Step::Skipped(_, "mount point") => skipped.push(walk.shown()),
            Step::Skipped(_, what) => panic!("{} is no {what}", walk.shown()),
            Step::Enter { .. } | Step::Leave => {}
        }
    }
    assert_eq!((files, skipped), (vec!["own/a.csv".to_owned()], ["bound", "file", "other"].map(str::to_owned).into()));
}

#[test]
fn nothing_below_it_is_removed() {
    let place = Place::new();
    let (root, data) = (Dir::open(place.dir.path()).unwrap(), place.open("data"));
    for (error, name) in [
        (remove::tree(&root, b"data").unwrap_err(), "data/bound"),
        (remove::tree(&data, b"file").unwrap_err(), "data/file"),
        (remove::tree(&data, b"other").unwrap_err(), "data/other"),
    ] {
        let text = error.to_string();
        assert!(text.contains(&format!("{name} is a mount point")) && text.contains("unmount it"), "{text}");
    }
    assert!(place.is_whole());
}

#[test]
fn what_can_not_be_changed_is_known() {
    let place = Place::new();
    let file = place.dir.path().join("data/own/a.csv");
    for flag in ["i", "a"] {
        let chattr = |sign: &str| {
            let status = std::process::Command::new("chattr").arg(format!("{sign}{flag}")).arg(&file).status();
            assert!(status.unwrap().success());
        };
        chattr("+");
        let entry = place.open("data/own").look(b"a.csv").unwrap().unwrap();
        chattr("-");
        assert!(entry.immutable, "+{flag}");
    }
}

/// A server that holds data and has logged something, and a stick with other data.
fn server_and_stick() -> (Server, Stick) {
    let (server, stick) = (Server::new(), Stick::ingest());
    sample(&server.tree(), ago(5000));
    server.tree().dir("logs");
    stick.edit(|root| sample(root, ago(100)));
    (server, stick)
}

/// All that the server has, but for what a run logs.
fn all_but_logs(server: &Server) -> String {
    let tree = server.tree().snapshot_of_inodes();
    tree.lines().filter(|line| !line.trim_start().starts_with("logs")).map(|line| line.to_owned() + "\n").collect()
}

#[test]
fn a_server_with_a_mount_in_its_data_is_refused_before_a_byte_is_changed() {
    for at in ["master", "docviewer/share", "undo", "snapshots/x", ".toolmaster"] {
        let (server, stick) = server_and_stick();
        let share = tempfile::tempdir().unwrap();
        fs::create_dir_all(server.path(at)).unwrap();
        let _mounted = Mounted::bind(share.path(), &server.path(at));
        let before = all_but_logs(&server);
        for flags in [&["ingest"][..], &["ingest", "--dry-run"]] {
            let device = stick.device().to_owned();
            let run = server.call(&[flags, &["--device", &device]].concat()).fails(78);
            run.says("something is mounted at").says("unmount it");
        }
        server.call(&["snapshot", "--pg-uri", "postgresql://u@127.0.0.1/db"]).fails(78);
        assert_unchanged(&before, &all_but_logs(&server));
        assert!(fs::read_dir(share.path()).unwrap().next().is_none());
    }
}

#[test]
fn datasets_in_one_another_are_refused_before_a_byte_is_changed() {
    for (name, place) in [
        ("SERVER_DOC_DIR", "master"),
        ("SERVER_DOC_DIR", "master/docs"),
        ("SERVER_MASTER_DIR", ""),
        ("SERVER_MASTER_DIR", "undo/x"),
        ("SERVER_MASTER_DIR", ".toolmaster/x"),
        ("SNAPSHOT_ROOT", "docviewer/snapshots"),
    ] {
        let (server, stick) = server_and_stick();
        let before = all_but_logs(&server);
        for flag in ["--force", "--dry-run"] {
            server.run(&stick).flag(flag).var(name, server.path(place)).fails(78);
        }
        assert_unchanged(&before, &all_but_logs(&server));
    }
}

#[test]
fn status_shows_a_mount_as_its_line() {
    let (server, _) = server_and_stick();
    let share = tempfile::tempdir().unwrap();
    let _mounted = Mounted::bind(share.path(), &server.path("master"));
    let run = server.call(&["status"]).finish();
    assert!(run.stdout.contains("something is mounted at"), "{run}");
}
