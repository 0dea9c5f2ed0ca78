//! What is copied or archived is flushed while more is written (`os/flow.rs`). The system tells of a write error once: if it was the flush
//! on the way that met it, the run must fail all the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::{self, File};

use common::call::Call;
use common::site::{Site, backup_stick};
use common::stick::Mounted;
use common::{Server, Stick, Tree, ago, noise};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use toolmaster::os::flow::EarlyFlush;

/// More than is written between two flushes.
const BYTES: usize = 40 << 20;

/// Files of a MiB each.
fn drawings(root: &Tree) {
    for number in 0..BYTES >> 20 {
        root.sub("docviewer").file(format!("{number}.pdf"), noise(number as u64, 1 << 20), ago(60));
    }
    common::sample(root, ago(60));
}

/// Each thread's first flush of this kind fails; the other thread's is told of, which came first.
fn fails(call: Call<'_>, flush: &str, what: &str) {
    let (trace, error) = (format!("trace={flush}"), format!("inject={flush}:error=EIO:when=1"));
    let run = call.through(&["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &error]).finish();
    run.ended(1).never_says("completed");
    assert!(run.stderr.lines().any(|line| line.contains(what) && line.contains("Input/output error")), "{what}: {run}");
}

#[test]
fn a_copy_whose_flush_on_the_way_failed_fails_and_the_next_run_makes_it() {
    let (server, stick) = (Server::new(), Stick::labelled("TM-INGEST", 128));
    stick.edit(|root| {
        root.file(".toolmaster/role", "INGEST\n", ago(60));
        drawings(root);
    });
    fails(server.run(&stick), "syncfs", "/docviewer");
    assert!(!server.docviewer().has("1.pdf"));
    server.run(&stick).done();
    let expected = server.docviewer().files();
    assert_eq!(stick.read(|root| root.sub("docviewer").files()), expected);

    let out = Stick::labelled("TM-DIST", 128);
    out.edit(|root| {
        root.file(".toolmaster/role", "DIST\n", ago(60));
    });
    let export = || Call::new(&server, &["dist-export", "--device", out.device()], Some(&out));
    fails(export(), "syncfs", "/next");
    assert!(!out.read(|root| root.has("docviewer/1.pdf")));
    export().finish().ended(0);
    assert_eq!(out.read(|root| root.sub("docviewer").files()), expected);
}

#[test]
fn a_snapshot_or_archive_whose_flush_on_the_way_failed_is_none() {
    let site = Site { stick: backup_stick(256), ..Site::without_tables(Server::new()) };
    drawings(&site.server.tree());
    fails(site.call(&["snapshot"]), "syncfs", "/docviewer");
    assert_eq!(site.snapshots(), [""; 0]);
    site.snapshot();
    fails(site.backup(), "fdatasync", "the archive of ");
    assert_eq!(site.stick.read(common::site::archives), [""; 0]);
    site.backup().finish().ended(0);
    assert_eq!(site.stick.read(common::site::archives).len(), 1);
}

/// How it fails: the image is on a small tmpfs, so that writes past its end are I/O errors of the device.
#[test]
fn it_knows_of_an_error_of_the_medium() {
    let small = tempfile::tempdir().unwrap();
    rustix::mount::mount("tmpfs", small.path(), "tmpfs", MountFlags::empty(), c"size=12m").unwrap();
    let stick = Stick::made_in(tempfile::tempdir_in(small.path()).unwrap(), 128, |image| {
        common::stick::mkfs(image, "TM-DIST");
    });
    let place = Mounted::new(stick.device(), MountFlags::empty(), "");
    let mut early = EarlyFlush::new(File::open(place.0.path()).unwrap()).unwrap();
    fs::write(place.0.path().join("drawing.pdf"), noise(1, BYTES)).unwrap();
    early.wrote(1).unwrap();
    early.end().unwrap();
    early.wrote(BYTES as u64).unwrap();
    // Newer kernels hand on what the tmpfs itself says.
    let told = [Errno::IO, Errno::NOSPC].map(|error| Some(error.raw_os_error()));
    assert!(told.contains(&early.end().unwrap_err().raw_os_error()));
    early.end().unwrap();
    drop((early, place, stick));
    rustix::mount::unmount(small.path(), UnmountFlags::DETACH).unwrap();
}
