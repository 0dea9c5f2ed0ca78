//! The harness of the tests on real sticks: loop devices with ext4 on them (`stick`), a server's directories and the runs
//! on it (`server`), trees of files and their snapshots (`tree`).

#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

pub mod call;
pub mod factory;
pub mod lost;
pub mod pi_zero;
pub mod postgres;
pub mod recovery;
pub mod server;
pub mod site;
pub mod stick;
pub mod tree;
pub mod undo;

pub use call::Call;
pub use server::{Run, Server};
pub use stick::Stick;
pub use tree::{Tree, assert_unchanged};

/// A day in seconds.
pub const DAY: i64 = 86_400;

/// Seconds before the start of this test binary: the same answer however late it is asked.
pub fn ago(seconds: i64) -> i64 {
    static START: OnceLock<i64> = OnceLock::new();
    let start = START.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed());
    start - seconds
}

/// What [`Tree::files`] is compared with.
pub fn files<const N: usize>(list: [(&str, &str); N]) -> BTreeMap<String, String> {
    list.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

/// Says where a program that can't be run is to be had.
pub fn missing(program: &str, error: &std::io::Error) -> String {
    let package = match program {
        "mkfs.ext4" | "debugfs" | "dumpe2fs" => "e2fsprogs",
        "mkswap" | "losetup" | "unshare" | "prlimit" | "blkid" | "partx" => "util-linux",
        "sfdisk" => "fdisk",
        "mkfs.vfat" => "dosfstools",
        "mkfs.btrfs" => "btrfs-progs",
        "mkfs.xfs" => "xfsprogs",
        "/usr/bin/time" => "time",
        other => other,
    };
    format!("{program}: {error} (apt-get install {package})")
}

/// Runs a program of the system and returns its output; a missing one is a failure that says what to install.
pub fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{}", missing(program, &error)));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A directory with a program of that name in it, a shell script that stands in for the system's.
pub fn program(name: &str, script: &str) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// `$PATH` with a directory before it.
pub fn path_with(dir: &Path) -> String {
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

/// A server and a stick with the same data, as an ingest an hour ago left them: the common base of most rules.
/// `master`: `a.csv` "a1", `b.csv` "b1", `sub/c.csv` "c1"; `docviewer`: `plan.pdf` "p1".
pub fn in_step() -> (Server, Stick) {
    let server = Server::new();
    let stick = stick_in_step(&server);
    (server, stick)
}

/// Fills a new server from a new stick, as an ingest an hour ago did it.
pub fn stick_in_step(server: &Server) -> Stick {
    let stick = Stick::ingest();
    stick.edit(|root| sample(root, ago(2 * 3600)));
    server.run(&stick).clock("-3600").done();
    stick
}

/// Writes the two datasets of [`in_step`] below `root`, with meta.json and files of one time.
pub fn sample(root: &Tree, time: i64) {
    root.sub("master").file("a.csv", "a1", time).file("b.csv", "b1", time).file("sub/c.csv", "c1", time).meta(time);
    root.sub("docviewer").file("plan.pdf", "p1", time).meta(time);
}

/// Both datasets on a stick as a snapshot, as [`Server::data`] gives the server's.
pub fn data_on(stick: &Stick) -> String {
    stick.read(|root| root.sub("master").snapshot() + &root.sub("docviewer").snapshot())
}

/// The files of the sample's master.
pub fn sample_master() -> BTreeMap<String, String> {
    files([("a.csv", "a1"), ("b.csv", "b1"), ("sub/c.csv", "c1")])
}

/// Where `undo/` keeps the dataset that a side lost last, and whether it is marked as a change that was lost: such a mark
/// turns `status` red.
pub fn kept(server: &Server, side: &str, dataset: &str) -> Option<(Tree, bool)> {
    let mut runs: Vec<_> = std::fs::read_dir(server.path("undo")).ok()?.map(|entry| entry.unwrap().path()).collect();
    runs.sort();
    runs.into_iter().rev().map(Tree::at).find_map(|run| {
        let record = run.has(format!("{dataset}.json")).then(|| run.text(format!("{dataset}.json")))?;
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        assert_eq!(record["acknowledged"], false, "nobody has seen it yet");
        (record["side"] == side).then(|| (run.sub(dataset), record["lost"].as_bool().unwrap()))
    })
}

/// How many entries there are below a directory that may vanish meanwhile.
pub fn entries(directory: &Path) -> usize {
    let Ok(list) = std::fs::read_dir(directory) else {
        return 0;
    };
    list.flatten().map(|entry| 1 + if entry.path().is_dir() { entries(&entry.path()) } else { 0 }).sum()
}

/// Waits until the run has written many entries to the stick, and stops it there.
pub fn stop_in_write_back(run: &mut call::Running, stick: &Stick) -> PathBuf {
    let mut before = None;
    run.until("it writes to the stick", || {
        let Some(place) = stick.mountpoint() else {
            return false;
        };
        let now = entries(&place);
        now > *before.get_or_insert(now) + 50
    });
    run.signal(rustix::process::Signal::STOP);
    stick.mountpoint().expect("stopped while the stick is mounted")
}

/// Bytes that nothing compresses, others for each seed (splitmix64).
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x1234_5678_9abc_def1);
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// Adds many small files.
pub fn add_many(tree: &Tree, count: usize) {
    for number in 0..count {
        tree.file(format!("many/{number}.csv"), format!("{number}").repeat(50), ago(60));
    }
}
