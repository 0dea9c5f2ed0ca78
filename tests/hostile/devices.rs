//! Devices that change, that come twice, that are none.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use rustix::fs::FileType;

use crate::common::call::BINARY;
use crate::common::{Server, Stick, Tree, ago, assert_unchanged, files, sample, sample_master, tool};
use crate::{Outside, edited, mknod};

type Make = fn(&Tree);

/// Holds a run as it is about to mount, and meanwhile puts another medium under the device.
fn swapped(server: &Server, stick: &Stick, other: &Stick) -> crate::Run {
    let hold = "inject=mount:delay_enter=1500000:when=1";
    let strace = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=mount", "-e", hold];
    let mut run = server.run(stick).through(&strace).start();
    run.until("it is about to mount", || is_mounting(stick.device()));
    let image = OpenOptions::new().write(true).open(stick.image()).unwrap();
    image.write_all_at(&other.bytes(), 0).unwrap();
    tool("blockdev", &["--flushbufs", stick.device()]);
    run.wait()
}

/// Whether a run of ours on a device is in mount(2).
fn is_mounting(device: &str) -> bool {
    let number = if cfg!(target_arch = "x86_64") { "165 " } else { "40 " };
    let list = std::fs::read_dir("/proc").unwrap().flatten();
    list.map(|entry| entry.path()).any(|process| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let call = std::fs::read_to_string(process.join("syscall")).unwrap_or_default();
        line.starts_with(BINARY.as_bytes())
            && line.ends_with(format!("{device}\0").as_bytes())
            && call.starts_with(number)
    })
}

#[test]
fn a_stick_that_changes_between_probe_and_mount() {
    let cases: [(&str, &str, &str, Make); 3] = [
        ("changes into another INGEST stick", "TM-INGEST", "INGEST\n", |root| sample(root, ago(10))),
        ("changes into a DIST stick", "TM-DIST", "DIST\n", |root| sample(root, ago(10))),
        ("changes into one without a label, with the role", "", "INGEST\n", |root| sample(root, ago(10))),
    ];
    for (case, label, role, fill) in cases {
        let (outside, (server, stick), other) = (Outside::fresh(), edited(|_| {}), Stick::blank(label, 32));
        other.edit(|root| {
            fill(root.file(".toolmaster/role", role, ago(60)));
        });
        let before = (server.data(), outside.0.snapshot_of_inodes());
        let run = swapped(&server, &stick, &other);
        run.ended(2).says("what was mounted is not what was probed").check(false);
        assert_unchanged(&before.0, &server.data());
        assert_unchanged(&before.1, &outside.0.snapshot_of_inodes());
        assert!(!stick.is_mounted() && stick.bytes() == other.bytes(), "{case}: nothing was written");
        // strace's memory would be measured with it.
        crate::row(case, &run, "what was mounted", 0);
    }
}

#[test]
fn two_sticks_of_one_role_at_once() {
    let (outside, server) = (Outside::fresh(), Server::new());
    let sticks = ["one", "two"].map(|text| {
        let stick = Stick::ingest();
        stick.edit(|root| {
            sample(root, ago(100));
            root.sub("master").file("a.csv", text, ago(50));
        });
        stick
    });
    // Without a device nobody guesses.
    let call = server.call(&["ingest"]).var("USB_INGEST_LABEL", "TM-TWICE");
    sticks.iter().for_each(|stick| drop(tool("e2label", &[stick.device(), "TM-TWICE"])));
    outside.watch("two sticks of one role, none named", call, 64, "several sticks with the label");
    sticks.iter().for_each(|stick| drop(tool("e2label", &[stick.device(), "TM-INGEST"])));
    let runs = sticks.each_ref().map(|stick| server.run(stick).start());
    let ended = runs.map(|run| run.wait());
    ended.iter().for_each(|run| assert_eq!(run.code, Some(0), "{run}"));
    let mut masters: Vec<_> = sticks.iter().map(|stick| stick.read(|root| root.sub("master").files())).collect();
    masters.push(server.master().files());
    let one = |text: &str| {
        let mut expected = sample_master();
        expected.extend(files([("a.csv", text)]));
        expected
    };
    assert!(masters.iter().all(|master| *master == one("one") || *master == one("two")), "a mixture: {masters:?}");
    crate::row("two sticks of one role at once", &ended[1], "ingest completed", 0);
}

#[test]
fn the_servers_own_disk_dressed_up_as_a_stick() {
    let (outside, server) = (Outside::fresh(), Server::on_disk(64));
    sample(&server.tree(), ago(100));
    server.tree().file("../.toolmaster/role", "INGEST\n", ago(60));
    tool("e2label", &[server.disk().device(), "TM-INGEST"]);
    let before = server.data();
    let call = server.call(&["ingest", "--device", server.disk().device()]);
    outside.watch("the server's own disk, with label and role", call, 2, "the disk that this system runs from");
    assert_unchanged(&before, &server.data());
}

#[test]
fn devices_that_are_none() {
    let server = Server::new();
    let place = server.tree().dir("devices").sub("devices");
    place.file("file", "x", ago(60)).dir("directory").link("dangling", "nowhere");
    mknod(place.path("fifo"), FileType::Fifo, (0, 0));
    // A number that the kernel keeps for local use.
    mknod(place.path("gone"), FileType::BlockDevice, (240, 77));
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let none = "is not a block device";
    let cases = [
        ("device: /dev/zero", "/dev/zero".to_owned(), 64, none),
        ("device: a FIFO", path("fifo"), 64, none),
        ("device: a file", path("file"), 64, none),
        ("device: a directory", path("directory"), 64, none),
        ("device: not there", path("nothing"), 64, "there is no device"),
        ("device: a node without a disk", path("gone"), 1, "-> "),
    ];
    for (case, device, code, says) in cases {
        let outside = Outside::fresh();
        outside.watch(case, server.call(&["ingest", "--device", &device]), code, says);
    }
}
