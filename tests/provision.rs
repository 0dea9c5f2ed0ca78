//! `toolmaster provision` on a directory as a server's root. `/etc` is this binary's own. The package's samples and Docker
//! are not here: tests/vm has them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use common::{Run, Server, path_with, program};

const PASSWORD: &str = "/etc/toolmaster/postgres-password";

fn provision(server: &Server) -> Run {
    let run = server.call(&["provision"]).finish();
    run.ended(0);
    run
}

fn mode(path: impl AsRef<std::path::Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_machine_becomes_a_server_once() {
    let server = Server::new();
    let run = provision(&server);
    run.says("this machine is a server now");
    for dir in ["master", "docviewer", "snapshots", "logs"] {
        assert!(server.path(dir).is_dir(), "{dir}");
    }
    assert_eq!(mode(server.path("snapshots")), 0o700);
    // Whoever is in adm reads the logs.
    let adm = fs::read_to_string("/etc/group").unwrap();
    let adm = adm.lines().find_map(|line| line.strip_prefix("adm:x:")?.split(':').next()?.parse().ok()).unwrap();
    assert_eq!((mode(server.path("logs")), fs::metadata(server.path("logs")).unwrap().gid()), (0o2755, adm));
    assert!(server.path(".toolmaster/provisioned").is_file() && server.path(".toolmaster/server-id").is_file());
    let password = fs::read_to_string(PASSWORD).unwrap();
    assert_eq!((password.trim().len(), mode(PASSWORD)), (32, 0o600));
    run.never_says(password.trim());
    // Again: nothing is left to do, and nothing that is there changes.
    fs::remove_dir(server.path("docviewer")).unwrap();
    let id = fs::read(server.path(".toolmaster/server-id")).unwrap();
    let run = provision(&server);
    run.says("docviewer").never_says("a server now").never_says("postgres-password");
    assert_eq!(fs::read_to_string(PASSWORD).unwrap(), password);
    assert_eq!(fs::read(server.path(".toolmaster/server-id")).unwrap(), id);
    provision(&server).never_says("made");
}

#[test]
fn a_data_disk_that_is_missing_is_no_server() {
    let server = Server::new();
    // The test's server lies below /tmp; as if that were on a disk of its own that is not there.
    let root = server.path("data");
    fs::create_dir(&root).unwrap();
    let old = fs::read_to_string("/etc/fstab").unwrap_or_default();
    fs::write("/etc/fstab", format!("{old}\nPARTUUID=0 {} ext4 nofail 0 2\n", root.display())).unwrap();
    let call = server.call(&["provision"]).var("SERVER_ROOT", root.join("rpi-server"));
    call.fails(78).says("the data disk is missing");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    fs::write("/etc/fstab", old).unwrap();
}

/// A stand-in for `docker`, named so: no container runs where these tests do.
#[test]
fn docker_s_words_are_told() {
    let server = Server::new();
    let absent = program("docker", "echo 'Error response from daemon: No such image: postgres:17' >&2; exit 1");
    let call = server.call(&["provision", "--container"]).var("PATH", path_with(absent.path()));
    call.fails(3).says("postgres:17 is neither in Docker's store");
    let down = program("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1");
    let call = server.call(&["provision", "--container"]).var("PATH", path_with(down.path()));
    call.fails(1).says("Cannot connect to the Docker daemon");
    let there = program("docker", "echo sha256:5e1f");
    let call = server.call(&["provision", "--container"]).var("PATH", path_with(there.path()));
    call.finish().ended(0).says("postgres:17 is sha256:5e1f");
}

#[test]
fn two_disks_of_one_image_are_no_server() {
    let server = Server::on_disk(16);
    provision(&server);
    server.sync();
    let twin = server.disk().copy();
    let run = server.call(&["provision"]).fails(78);
    run.says("two disks of one image are connected").says(server.disk().device()).says(twin.device());
    run.says("take one of them out");
    drop(twin);
    provision(&server);
}
