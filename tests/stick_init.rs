//! `toolmaster stick init` on loop devices: what it makes, as our own prober and `blkid` see it, and each refusal.
//!
//! Where this machine's kernel lacks exFAT or FAT, their role file can't be written: then exactly that is expected, and
//! everything before it is looked at all the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::mount::{MountFlags, UnmountFlags};

use common::stick::{blkid, mkfs};
use common::{Call, Run, Server, Stick, Tree, ago, path_with, program, sample, tool};

/// `stick init` on a loop device, which is on no USB.
fn init<'a>(server: &'a Server, stick: &Stick, arguments: &[&str]) -> Call<'a> {
    let words = [&["stick", "init", "--not-usb", "--device", stick.device()], arguments].concat();
    server.call(&words)
}

fn done(call: Call<'_>) -> Run {
    let run = call.finish();
    run.ended(0);
    run
}

/// Our own prober's answer.
fn probe(server: &Server, node: &str) -> serde_json::Value {
    let run = server.call(&["stick", "probe", "--json", node]).finish();
    serde_json::from_str(&run.stdout).unwrap()
}

fn kernel_has(fs: &str) -> bool {
    fs::read_to_string("/proc/filesystems").unwrap().lines().any(|line| line.trim_start() == fs)
}

/// Refused, and not one byte changed.
fn assert_refused(server: &Server, stick: &Stick, arguments: &[&str], code: i32, says: &str) {
    let before = stick.bytes();
    for yes in [&["--yes"][..], &[]] {
        let run = init(server, stick, &[arguments, yes].concat()).fails(code);
        run.says(says);
        assert!(stick.bytes() == before, "the refused disk changed\n{run}");
    }
}

/// Everything about a partition that was made: the table, the filesystem, the label, by ours and by `blkid`.
fn assert_made(server: &Server, stick: &Stick, fs: &str, label: &str, kind: &str) {
    let partition = stick.partition(1);
    let table = tool("sfdisk", &["--dump", stick.device()]);
    let line = table.lines().find(|line| line.starts_with(&partition)).unwrap_or_else(|| panic!("{table}"));
    assert!(line.contains("start=        2048,") && line.ends_with(&format!("type={kind}")), "{table}");
    assert_eq!(table.lines().filter(|line| line.starts_with("/dev/")).count(), 1, "{table}");
    assert_eq!(blkid(stick.device(), "PTTYPE"), "dos");
    assert_eq!(blkid(stick.device(), "TYPE"), "", "no filesystem beside the table");
    assert_eq!(blkid(&partition, "TYPE"), fs);
    assert_eq!(blkid(&partition, "LABEL"), label);
    let ours = probe(server, &partition);
    assert_eq!(ours["label"], label, "{ours}");
    assert_eq!(ours["dirty"], false, "{ours}");
    assert_eq!(ours["uuid"].as_str().unwrap(), blkid(&partition, "UUID"));
}

#[test]
fn an_ext4_stick_is_made_whole() {
    let (server, stick) = (Server::new(), Stick::bare(64));
    let run = done(init(&server, &stick, &["--role", "INGEST", "--fs", "ext4", "--yes"]));
    run.says("stick init completed device=").says("master/ and docviewer/");
    assert_made(&server, &stick, "ext4", "TM-INGEST", "83");
    let partition = stick.partition(1);
    tool("e2fsck", &["-fn", &partition]);
    assert_eq!(common::stick::mountpoint_of(&partition), None, "it is unmounted");
    stick.read_partition(|root| {
        assert_eq!(root.text(".toolmaster/role"), "INGEST\n");
        assert!(!root.has("master") && !root.has("docviewer"), "an empty dataset would be refused");
    });
    let job = server.last_job();
    assert_eq!((&job["job"], &job["result"]), (&"stick-init".into(), &"done".into()));
    assert_eq!((&job["device"], &job["label"]), (&partition.clone().into(), &"TM-INGEST".into()));
    // The whole disk is free again.
    flock(File::open(stick.device()).unwrap(), FlockOperation::NonBlockingLockExclusive).unwrap();
}

#[test]
fn a_new_dist_stick_is_filled_adopted_and_verified() {
    let (server, stick) = (Server::new(), Stick::bare(32));
    sample(&server.tree(), ago(100));
    done(init(&server, &stick, &["--role", "dist", "--fs", "ext4", "--yes"]));
    let partition = stick.partition(1);
    server.call(&["ingest", "--device", &partition]).fails(2).says("validation failed for");
    done(server.call(&["stick", "verify", "--device", &partition])).says("no manifest");
    done(server.call(&["dist-export", "--device", &partition]));
    done(server.call(&["stick", "adopt", "--device", &partition]));
    let run = done(server.call(&["stick", "verify", "--device", &partition]));
    run.says("6 file(s)").says("all in order").never_says("no manifest");
    stick.read_partition(|root| assert_eq!(root.sub("docviewer").text("plan.pdf"), "p1"));
}

#[test]
fn an_exfat_stick_is_made() {
    a_pc_stick_is_made("exfat", "exfat", "7", &["--role", "DIST", "--yes"], ("DIST", "TM-DIST"));
}

#[test]
fn a_fat32_stick_is_made() {
    let arguments = ["--role", "INGEST", "--fs", "vfat", "--yes"];
    let (server, stick) = a_pc_stick_is_made("vfat", "vfat", "c", &arguments, ("INGEST", "TM-INGEST"));
    assert_eq!(probe(&server, &stick.partition(1))["type"], "fat32");
}

fn a_pc_stick_is_made(fs: &str, kernel: &str, kind: &str, arguments: &[&str], is: (&str, &str)) -> (Server, Stick) {
    let (server, stick) = (Server::new(), Stick::bare(600));
    let (role, label) = is;
    let run = init(&server, &stick, arguments).finish();
    if kernel_has(kernel) {
        run.ended(0).says("stick init completed device=");
    } else {
        run.ended(78)
            .says(&format!("kernel has no {kernel}"))
            .says("not the file .toolmaster/role")
            .never_says("completed");
    }
    assert_made(&server, &stick, fs, label, kind);
    let partition = stick.partition(1);
    tool(&format!("fsck.{fs}"), &["-n", &partition]);
    // A small file on a new filesystem lies near its beginning.
    let mut beginning = vec![0; 16 << 20];
    File::open(stick.image()).unwrap().read_exact_at(&mut beginning, 0).unwrap();
    let written = beginning.split(|byte| *byte == b'\n').any(|line| line.ends_with(role.as_bytes()));
    assert_eq!(written, kernel_has(kernel), "the role file");
    (server, stick)
}

/// A PC reads each of them: on a BACKUP stick it writes RESTORE, and takes archives off it.
#[test]
fn every_stick_is_exfat_unless_another_is_asked_for() {
    let (server, stick) = (Server::new(), Stick::bare(16));
    for role in ["BACKUP", "INGEST", "DIST"] {
        let plan = |more: &[&str], fs: &str| {
            done(init(&server, &stick, &[&["--role", role][..], more].concat()))
                .says(&format!("make a filesystem on it: {fs} with the label TM-{role} (mkfs.{fs})"));
        };
        plan(&[], "exfat");
        plan(&["--fs", "ext4"], "ext4");
        plan(&["--fs", "vfat"], "vfat");
    }
    done(init(&server, &stick, &["--role", "BACKUP", "--fs", "ext4", "--yes"]));
    assert_made(&server, &stick, "ext4", "TM-BACKUP", "83");
    a_pc_stick_is_made("exfat", "exfat", "7", &["--role", "BACKUP", "--yes"], ("BACKUP", "TM-BACKUP"));
}

#[test]
fn without_yes_it_says_all_and_changes_nothing() {
    let (server, stick) = (Server::new(), Stick::bare(64));
    let run = done(init(&server, &stick, &["--role", "BACKUP"]));
    let plan = run.plan();
    assert_eq!(plan.len(), 4, "{run}");
    let image = stick.image();
    for word in [stick.device(), "64.0 MiB", image.to_str().unwrap()] {
        assert!(plan[0].contains(word), "{word}: {run}");
    }
    assert!(plan[1].contains("MBR") && plan[1].contains("sfdisk"), "{run}");
    assert!(plan[2].contains("TM-BACKUP") && plan[2].contains("mkfs.exfat"), "{run}");
    assert!(plan[3].contains("/.toolmaster/role (BACKUP)"), "{run}");
    run.says("nothing was changed").never_says("completed");
    assert!(stick.bytes().iter().all(|byte| *byte == 0));
    assert_eq!(server.tree().snapshot().lines().count(), 1, "nor on the server");
}

#[test]
fn beyond_two_tib_the_table_is_gpt_and_fat_is_refused() {
    let (server, stick) = (Server::new(), Stick::bare(3 << 20));
    init(&server, &stick, &["--role", "DIST", "--fs", "vfat", "--yes"]).fails(2).says("larger than FAT can fill");
    done(init(&server, &stick, &["--role", "BACKUP", "--fs", "ext4", "--yes"])).says("write a partition table (GPT)");
    let partition = stick.partition(1);
    assert_eq!(blkid(stick.device(), "PTTYPE"), "gpt");
    assert_eq!((blkid(&partition, "TYPE"), blkid(&partition, "LABEL")), ("ext4".to_owned(), "TM-BACKUP".to_owned()));
    assert!(probe(&server, &partition)["size"].as_u64().unwrap() > 2 << 40);
    stick.read_partition(|root| assert_eq!(root.text(".toolmaster/role"), "BACKUP\n"));
}

#[test]
fn what_was_there_before_leaves_no_trace() {
    let (server, stick) = (Server::new(), Stick::bare(64));
    // GPT with a copy at the end, a filesystem of its own in the first partition, a second partition.
    tool(
        "sh",
        &["-c", "printf 'label: gpt\\nsize=20MiB\\n,\\n' | sfdisk -q \"$1\"; partx -u \"$1\"", "sh", stick.device()],
    );
    tool("mkfs.ext4", &["-q", "-L", "TM-DIST", &stick.partition(1)]);
    tool("mkfs.vfat", &["-n", "OLD", &stick.partition(2)]);
    let found = format!("{}: ext4 \"TM-DIST\"", stick.partition(1));
    let arguments = ["--role", "INGEST", "--fs", "ext4"];
    init(&server, &stick, &arguments).fails(2).says("partition table (GPT)").says(&found);
    done(init(&server, &stick, &[&arguments[..], &["--erase", "--yes"]].concat()));
    assert_made(&server, &stick, "ext4", "TM-INGEST", "83");
    assert!(!Path::new(&stick.partition(2)).exists(), "the kernel forgot it too");
    // Once more over its own work, into another kind of stick.
    init(&server, &stick, &["--role", "BACKUP", "--yes"]).fails(2).says("partition table (MBR)").says("TM-INGEST");
    done(init(&server, &stick, &["--role", "BACKUP", "--fs", "ext4", "--yes", "--erase"]));
    assert_made(&server, &stick, "ext4", "TM-BACKUP", "83");
}

#[test]
fn what_is_no_whole_disk_is_a_mistake_on_the_command_line() {
    let (server, stick) = (Server::new(), Stick::bare(16));
    let image = stick.image();
    for device in ["/dev/no-such-disk", "/dev/null", image.to_str().unwrap()] {
        server.call(&["stick", "init", "--role", "INGEST", "--yes", "--device", device]).fails(64);
    }
    for wrong in [["--role", "MASTER"], ["--fs", "ntfs"]] {
        let words = ["stick", "init", "--device", stick.device(), "--role", "INGEST"];
        server.call(&words).flag(wrong[0]).flag(wrong[1]).fails(64);
    }
    done(init(&server, &stick, &["--role", "BACKUP", "--fs", "ext4", "--yes"]));
    let before = stick.bytes();
    let partition = stick.partition(1);
    let run =
        server.call(&["stick", "init", "--role", "BACKUP", "--yes", "--erase", "--not-usb", "--device", &partition]);
    run.fails(64).says(&format!("is a partition; the whole disk is made anew: name {} ", stick.device()));
    assert!(stick.bytes() == before);
}

#[test]
fn what_is_not_on_usb_is_refused() {
    let (server, stick) = (Server::new(), Stick::bare(16));
    let words = ["stick", "init", "--role", "BACKUP", "--yes", "--erase", "--device", stick.device()];
    server.call(&words).fails(2).says("is not on USB").says("--not-usb");
    assert!(stick.bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn the_disk_that_the_system_or_its_data_are_on_is_refused() {
    let system = Stick::blank("system", 32);
    // This binary's own mount namespace: nobody else sees it.
    rustix::mount::mount(system.device(), "/boot", "ext4", MountFlags::RDONLY, None).unwrap();
    assert_refused(&Server::new(), &system, &["--role", "BACKUP", "--erase"], 2, "the disk that this system");
    rustix::mount::unmount("/boot", UnmountFlags::empty()).unwrap();
    let server = Server::on_disk(32);
    let (disk, before) = (server.disk().device(), server.disk().bytes());
    server.call(&["stick", "init", "--role", "BACKUP", "--not-usb", "--erase", "--device", disk]).fails(2);
    assert!(server.disk().bytes() == before);
}

#[test]
fn a_disk_in_use_is_busy() {
    let (server, stick) = (Server::new(), Stick::bare(32));
    done(init(&server, &stick, &["--role", "BACKUP", "--fs", "ext4", "--yes"]));
    let arguments = ["--role", "BACKUP", "--erase"];
    let place = tempfile::tempdir().unwrap();
    let partition = stick.partition(1);
    rustix::mount::mount(&*partition, place.path(), "ext4", MountFlags::RDONLY, None).unwrap();
    let says = format!("{partition} is mounted at {}", place.path().display());
    assert_refused(&server, &stick, &arguments, 75, &says);
    rustix::mount::unmount(place.path(), UnmountFlags::empty()).unwrap();
    // In another mount namespace, as a unit's worker has one.
    let mut child = mounted_elsewhere(&partition);
    assert_refused(&server, &stick, &arguments, 75, "in use by something else");
    drop(child.stdin.take());
    child.wait().unwrap();
    // Swap, dm and md claim a disk like this.
    let exclusive = OFlags::EXCL.bits().cast_signed();
    let claim = fs::OpenOptions::new().read(true).custom_flags(exclusive).open(&partition).unwrap();
    assert_refused(&server, &stick, &arguments, 75, "in use by something else");
    drop(claim);
    done(init(&server, &stick, &["--role", "BACKUP", "--fs", "ext4", "--erase", "--yes"]));
}

/// A process that has the device mounted where we don't see it, until its input ends.
fn mounted_elsewhere(device: &str) -> Child {
    let script = "mount -t tmpfs tmpfs /media && mount -o ro \"$1\" /media && echo mounted && read -r _";
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh", device])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line).unwrap();
    assert_eq!(line, "mounted\n");
    child
}

#[test]
fn a_mount_that_a_script_made_is_left_alone() {
    let (server, stick) = (Server::new(), Stick::bare(32));
    done(init(&server, &stick, &["--role", "BACKUP", "--fs", "ext4", "--yes"]));
    let run = done(server.call(&["stick", "mount", &stick.partition(1)]));
    let place = run.stdout.trim();
    init(&server, &stick, &["--role", "BACKUP", "--erase", "--yes"]).fails(75).says(place);
    done(server.call(&["stick", "unmount", place]));
}

#[test]
fn parking_is_ended() {
    let (server, stick) = (Server::new(), Stick::bare(32));
    done(init(&server, &stick, &["--role", "BACKUP", "--fs", "ext4", "--yes"]));
    // This binary's own /mnt.
    rustix::mount::mount("tmpfs", "/mnt", "tmpfs", MountFlags::empty(), None).unwrap();
    fs::create_dir("/mnt/backup").unwrap();
    rustix::mount::mount(&*stick.partition(1), "/mnt/backup", "ext4", MountFlags::RDONLY, None).unwrap();
    done(init(&server, &stick, &["--role", "BACKUP", "--erase"]));
    assert!(Tree::at("/mnt/backup").has(".toolmaster/role"), "planning ends nothing");
    done(init(&server, &stick, &["--role", "DIST", "--fs", "ext4", "--erase", "--yes"]));
    assert!(!Tree::at("/mnt/backup").has(".toolmaster"), "it is still parked");
    assert_made(&server, &stick, "ext4", "TM-DIST", "83");
}

#[test]
fn another_run_on_the_disk_is_waited_for() {
    let (server, stick) = (Server::new(), Stick::bare(16));
    let held = File::open(stick.device()).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    init(&server, &stick, &["--role", "BACKUP", "--yes"]).fails(75).says("another run has");
    assert!(stick.bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn a_disk_with_anything_on_it_is_refused() {
    let server = Server::new();
    let arguments = ["--role", "BACKUP", "--fs", "ext4"];
    for (says, stick) in [
        ("ext4 \"HOLIDAY\"", Stick::blank("HOLIDAY", 16)),
        ("NTFS", Stick::made(16, |image| write_at(image, 3, b"NTFS    "))),
        ("LUKS2", Stick::made(16, |image| write_at(image, 0, b"LUKS\xba\xbe\x00\x02"))),
        (
            "Linux RAID member",
            Stick::made(16, |image| write_at(image, (16 << 20) - 8192, b"\xfc\x4e\x2b\xa9\x01\0\0\0")),
        ),
        (
            "partition table (MBR)",
            Stick::made(16, |image| drop(tool("sh", &["-c", "echo , | sfdisk -q $1", "", image]))),
        ),
        ("unknown data", Stick::made(16, |image| write_at(image, (1 << 20) - 1, b"x"))),
        (
            "ext4, XFS",
            Stick::made(16, |image| {
                mkfs(image, "x");
                write_at(image, 0, b"XFSB");
            }),
        ),
    ] {
        assert_refused(&server, &stick, &arguments, 2, &format!("is not empty: {says}"));
        let partitioned = stick.partitionable();
        done(init(&server, &partitioned, &[&arguments[..], &["--yes", "--erase"]].concat()));
        assert_made(&server, &partitioned, "ext4", "TM-BACKUP", "83");
    }
}

fn write_at(image: &str, at: u64, bytes: &[u8]) {
    File::options().write(true).open(image).unwrap().write_all_at(bytes, at).unwrap();
}

#[test]
fn a_write_protected_or_tiny_disk_is_refused() {
    let server = Server::new();
    assert_refused(&server, &Stick::bare(16).write_protected(), &["--role", "BACKUP"], 2, "is write-protected");
    assert_refused(&server, &Stick::bare(15), &["--role", "BACKUP"], 2, "which is too small");
}

#[test]
fn a_label_that_the_filesystem_cannot_have_is_a_setting_to_correct() {
    let (server, stick) = (Server::new(), Stick::bare(32));
    for fs in ["exfat", "vfat"] {
        let call = init(&server, &stick, &["--role", "BACKUP", "--fs", fs, "--yes"]);
        call.var("USB_BACKUP_LABEL", "WERK-7-BACKUP").fails(78).says("can't have the label");
    }
    assert!(stick.bytes().iter().all(|byte| *byte == 0));
    done(
        init(&server, &stick, &["--role", "BACKUP", "--fs", "ext4", "--yes"]).var("USB_BACKUP_LABEL", "WERK-7-BACKUP"),
    );
    assert_made(&server, &stick, "ext4", "WERK-7-BACKUP", "83");
}

#[test]
fn the_disk_is_locked_until_the_role_is_there() {
    let (server, stick) = (Server::new(), Stick::bare(32));
    let script = format!("flock --nonblock {} true && exit 9\nexec /usr/sbin/mkfs.ext4 \"$@\"", stick.device());
    let dir = program("mkfs.ext4", &script);
    done(init(&server, &stick, &["--role", "BACKUP", "--fs", "ext4", "--yes"]).var("PATH", path_with(dir.path())));
    assert_made(&server, &stick, "ext4", "TM-BACKUP", "83");
}

#[test]
fn a_program_that_fails_is_quoted_and_the_next_run_works() {
    let (server, stick) = (Server::new(), Stick::bare(32));
    let dir = program("mkfs.ext4", "echo 'no such luck' >&2; exit 1");
    let run = init(&server, &stick, &["--role", "BACKUP", "--fs", "ext4", "--yes"])
        .var("PATH", path_with(dir.path()))
        .fails(1);
    run.says("mkfs.ext4 failed").says("no such luck").says("--erase");
    let refused = server.call(&["stick", "verify", "--device", &stick.partition(1)]);
    refused.fails(2).says("validation failed for");
    done(init(&server, &stick, &["--role", "BACKUP", "--fs", "ext4", "--yes", "--erase"]));
}

#[test]
fn a_partition_that_does_not_appear_is_a_clear_error() {
    let (server, stick) = (Server::new(), Stick::bare(32));
    let dir = program("partx", "exit 0");
    let run = init(&server, &stick, &["--role", "BACKUP", "--yes"]).var("PATH", path_with(dir.path())).fails(1);
    run.says("the new partition of").says("does not appear").says("--partscan");
}
