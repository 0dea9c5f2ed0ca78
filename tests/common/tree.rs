//! Trees of files: written with times of one's choice, read as a map, compared as snapshots.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Timespec, Timestamps};
use sha2::{Digest, Sha256};

/// A directory that a test fills and looks at.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The tree at a path, which need not exist yet.
    pub fn at(root: impl Into<PathBuf>) -> Tree {
        Tree { root: root.into() }
    }

    /// A path below it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// A tree below it.
    pub fn sub(&self, name: impl AsRef<Path>) -> Tree {
        Tree::at(self.path(name))
    }

    /// Whether there is anything of that name, a dangling link included.
    pub fn has(&self, name: impl AsRef<Path>) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    /// Writes a file; its atime is a day before its mtime, so that a read would show.
    pub fn file(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>, mtime: i64) -> &Tree {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        set_mtime(&path, mtime);
        self
    }

    /// Writes meta.json with that `updated_at`, as its mtime too.
    pub fn meta(&self, updated_at: i64) -> &Tree {
        self.meta_text(&format!("{{\"updated_at\": {updated_at}}}\n"), updated_at)
    }

    /// Writes any text as meta.json.
    pub fn meta_text(&self, text: &str, mtime: i64) -> &Tree {
        self.file("meta.json", text, mtime)
    }

    /// Makes a directory and its parents.
    pub fn dir(&self, name: impl AsRef<Path>) -> &Tree {
        fs::create_dir_all(self.path(name)).unwrap();
        self
    }

    /// Removes a file or a whole directory.
    pub fn remove(&self, name: impl AsRef<Path>) -> &Tree {
        let path = self.path(name);
        if path.symlink_metadata().unwrap().is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        self
    }

    /// Makes a symbolic link.
    pub fn link(&self, name: impl AsRef<Path>, to: impl AsRef<Path>) -> &Tree {
        std::os::unix::fs::symlink(to, self.path(name)).unwrap();
        self
    }

    /// A file's text.
    pub fn text(&self, name: impl AsRef<Path>) -> String {
        let path = self.path(name);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// `updated_at` of meta.json, which must be an integer.
    pub fn updated_at(&self) -> i64 {
        let text = self.text("meta.json");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        value["updated_at"].as_i64().unwrap_or_else(|| panic!("no integer: {text}"))
    }

    /// Every regular file but meta.json: path and content. Nothing if the directory is missing.
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        walk(&self.root, Path::new(""), &mut |here, path, metadata| {
            if metadata.is_file() && path != Path::new("meta.json") {
                let bytes = read_quietly(here);
                found.insert(path.to_string_lossy().into_owned(), String::from_utf8_lossy(&bytes).into_owned());
            }
        });
        found
    }

    /// One line for every entry below: path, type and mode, size, mtime, content's hash.
    pub fn snapshot(&self) -> String {
        self.describe(|line, m| write!(line, " {}.{:09}", m.mtime(), m.mtime_nsec()).unwrap())
    }

    /// The same without a stick's receipt and the times of the directories that its writing leaves a mark on.
    pub fn snapshot_but_the_receipt(&self) -> String {
        let touched = [" ", ".toolmaster ", "RESULT.txt "];
        let others = |line: &&str| !touched.iter().any(|name| line.starts_with(name));
        self.snapshot().lines().filter(others).map(|line| format!("{line}\n")).collect()
    }

    /// The same with inode number, owner and all three times; looking changes none of them.
    pub fn snapshot_of_inodes(&self) -> String {
        self.describe(|line, m| {
            write!(
                line,
                " {} {}:{} m{}.{:09} a{}.{:09} c{}.{:09}",
                m.ino(),
                m.uid(),
                m.gid(),
                m.mtime(),
                m.mtime_nsec(),
                m.atime(),
                m.atime_nsec(),
                m.ctime(),
                m.ctime_nsec()
            )
            .unwrap();
        })
    }

    fn describe(&self, more: impl Fn(&mut String, &fs::Metadata)) -> String {
        let mut lines = String::new();
        walk(&self.root, Path::new(""), &mut |here, path, m| {
            let name = path.as_os_str().as_bytes().escape_ascii();
            write!(lines, "{name} {:o}", m.mode()).unwrap();
            more(&mut lines, m);
            if m.is_file() {
                let hash = Sha256::digest(read_quietly(here));
                write!(lines, " {} {:02x?}", m.size(), &hash[..8]).unwrap();
            }
            lines.push('\n');
        });
        lines
    }
}

/// Two snapshots are the same; shows the lines that are not.
pub fn assert_unchanged(before: &str, after: &str) {
    let only = |one: &str, other: &str| {
        let other: std::collections::BTreeSet<&str> = other.lines().collect();
        one.lines().filter(|line| !other.contains(line)).map(|line| format!("  {line}\n")).collect::<String>()
    };
    assert!(before == after, "before:\n{}after:\n{}", only(before, after), only(after, before));
}

/// Sets a file's mtime, and its atime a day before.
pub fn set_mtime(path: &Path, mtime: i64) {
    set_mtime_exactly(path, mtime, 0);
}

/// The same with nanoseconds.
pub fn set_mtime_exactly(path: &Path, mtime: i64, nanoseconds: i64) {
    let stamp = |seconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: stamp(mtime - super::DAY), last_modification: stamp(mtime) };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Calls `see` for every entry below `root` in name order, the root itself first, with the path, the path below `root` and
/// what it is. Changes no atime.
fn walk(root: &Path, below: &Path, see: &mut impl FnMut(&Path, &Path, &fs::Metadata)) {
    let here = if below == Path::new("") { root.to_owned() } else { root.join(below) };
    let Ok(metadata) = here.symlink_metadata() else {
        return;
    };
    see(&here, below, &metadata);
    if !metadata.is_dir() {
        return;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOATIME | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&here, flags, Mode::empty()).unwrap();
    let mut names: Vec<Vec<u8>> =
        Dir::new(opened).unwrap().map(|entry| entry.unwrap().file_name().to_bytes().to_vec()).collect();
    names.retain(|name| name != b"." && name != b"..");
    names.sort();
    for name in names {
        walk(root, &below.join(OsStr::from_bytes(&name)), see);
    }
}

/// Reads a file and leaves its atime alone.
pub fn read_quietly(path: &Path) -> Vec<u8> {
    let noatime = OFlags::NOATIME.bits().cast_signed();
    let mut file = fs::OpenOptions::new().read(true).custom_flags(noatime).open(path).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}
