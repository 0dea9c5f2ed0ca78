//! Snapshots that tests make, and what is known of a tree.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use toolmaster::error::Result;
use toolmaster::os::dir::{Dir, set_mtime};
use toolmaster::os::progress::Progress;
use toolmaster::snapshot::archive::{Written, write};
use toolmaster::tree::copy::hash;
use toolmaster::tree::manifest::{Listed, Writer};
use toolmaster::tree::walk::{Step, Walk};

/// Work that nobody watches.
pub fn progress() -> Progress {
    Progress::new(String::new(), 0, 0)
}

/// A snapshot directory.
pub struct Snapshot {
    _place: tempfile::TempDir,
    path: PathBuf,
}

impl Snapshot {
    pub const NAME: &str = "2026-01-31_023000";

    pub fn empty() -> Snapshot {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(Snapshot::NAME);
        fs::create_dir(&path).unwrap();
        Snapshot { _place: place, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file with that time, nanoseconds since 1970.
    pub fn file(&self, name: impl AsRef<OsStr>, content: &[u8], mtime: i64) -> &Snapshot {
        let path = self.path.join(name.as_ref());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        set_mtime(fs::File::open(&path).unwrap(), mtime).unwrap();
        self
    }

    /// Writes the manifest, and gives each directory a time of its own.
    pub fn seal(&self) {
        let header = serde_json::json!({"version": 1, "state": "complete", "server": "server-1", "runs": BTreeMap::<String, String>::new()});
        let header = serde_json::from_value(header).unwrap();
        let mut writer = Writer::new(Vec::new(), &header).unwrap();
        let mut walk = Walk::new(Some(&Dir::open(&self.path).unwrap()), None).unwrap();
        let mut dirs = vec![self.path.clone()];
        while let Some(step) = walk.step().unwrap() {
            match step {
                Step::File { left: Some(entry), .. } => {
                    let sha256 = Some(hash(walk.left().unwrap(), walk.name()).unwrap());
                    let path = walk.path().to_vec();
                    writer.push(&Listed { path, size: entry.size, mtime: entry.mtime, sha256 }).unwrap();
                }
                Step::Enter { .. } => dirs.push(self.path.join(OsStr::from_bytes(walk.path()))),
                _ => {}
            }
        }
        self.file("manifest.json", &writer.finish().unwrap(), 1_769_794_200_000_000_001);
        for (number, dir) in dirs.iter().enumerate().rev() {
            set_mtime(fs::File::open(dir).unwrap(), 1_600_000_000_000_000_000 + number as i64 * 1_000_000_007).unwrap();
        }
    }

    /// Names, modes, sizes and times of many kinds.
    pub fn rich() -> Snapshot {
        let snapshot = Snapshot::empty();
        let line = "図面番号\t部品名\t数量\n".repeat(20_000);
        snapshot
            .file("db/pg_dump.sql", line.as_bytes(), 1_769_794_200_123_456_789)
            .file("master/a.csv", b"1\n", 0)
            .file("master/a/b.csv", b"2\n", 999_999_999)
            .file("master/new\nline and = sign", b"", 1)
            .file("master/before 1970", b"x", -1_500_000_000)
            .file(format!("master/{}", "n".repeat(255)), b"255 bytes", 4_102_444_800_000_000_000)
            .file(format!("docviewer/{}", "図".repeat(85)), &random(1, 511), 7)
            .file("docviewer/図面/組立/部品.pdf", &random(2, 70_000), 8)
            .file(format!("docviewer/{}deep.txt", "directory/".repeat(60)), &random(3, 512), 9)
            .file(OsStr::from_bytes(b"docviewer/\xff\xfe not UTF-8"), &random(4, 513), 10)
            .file("settings/.env", b"PASSWORD=x\n", 1_700_000_000_000_000_000);
        fs::create_dir(snapshot.path.join("settings/empty")).unwrap();
        for (name, mode) in
            [("settings/.env", 0o600), ("settings/empty", 0o711), ("master/a.csv", 0o444), ("db", 0o700)]
        {
            fs::set_permissions(snapshot.path.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(&snapshot.path, fs::Permissions::from_mode(0o700)).unwrap();
        snapshot.seal();
        snapshot
    }

    /// So many megabytes that half compress, in files of 300 kB.
    pub fn of_megabytes(count: u64) -> Snapshot {
        let snapshot = Snapshot::empty();
        for number in 0..count * 1_000_000 / 300_000 {
            let mut content = random(number, 150_000);
            content.extend("a line of text that comes again\n".repeat(4_688).as_bytes());
            snapshot.file(format!("master/{number:04}.bin"), &content, number as i64);
        }
        snapshot.seal();
        snapshot
    }

    pub fn try_archive(&self) -> Result<(Vec<u8>, Written)> {
        let mut out = Vec::new();
        let written = write(&Dir::open(&self.path).unwrap(), Snapshot::NAME, &mut out, &mut progress())?;
        Ok((out, written))
    }

    pub fn archive(&self) -> (Vec<u8>, Written) {
        self.try_archive().unwrap()
    }
}

/// What is known of a name below a tree.
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    pub mode: u32,
    pub mtime: i64,
    /// Of a file, its size and a number that depends on each byte.
    pub content: Option<(usize, u64)>,
}

/// Everything below a directory.
pub fn listing(root: &Path) -> Vec<(Vec<u8>, Facts)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            assert!(meta.is_file() || meta.is_dir(), "{}", path.display());
            let content = meta.is_file().then(|| sum(&fs::read(&path).unwrap()));
            let mtime = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            found.push((name, Facts { mode: meta.mode(), mtime, content }));
            if meta.is_dir() {
                open.push(path);
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn sum(content: &[u8]) -> (usize, u64) {
    let fnv = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    (content.len(), content.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
}

/// Bytes that nothing compresses (splitmix64).
pub fn random(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x1234_5678_9abc_def1);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    };
    (0..count.div_ceil(8)).flat_map(|_| next()).take(count).collect()
}
