//! Reads every file of a tree and holds it against a manifest, or, without one, only finds what can't be read.

use super::copy;
use super::manifest::{Listed, path_order};
use super::stream::Stream;
use super::walk::{Side, Step, Walk};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is in the manifest, not in the tree.
    Missing,
    /// It is in the tree, not in the manifest.
    Extra,
    /// It has another size.
    Size {
        /// By the manifest.
        expected: u64,
        /// In the tree.
        found: u64,
    },
    /// Another content and another time: edited since, or damaged.
    Changed,
    /// Another content under the same size and time: nobody edits like that.
    Damaged,
    /// It can't be read.
    Unreadable(String),
    /// Neither a file nor a directory, or no directory where one must be.
    Odd(&'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Missing => write!(f, "missing"),
            Fault::Extra => write!(f, "not in the manifest"),
            Fault::Size { expected, found } => write!(f, "{found} bytes instead of {expected}"),
            Fault::Changed => write!(f, "edited or damaged: another content and time than in the manifest"),
            Fault::Damaged => write!(f, "damaged: another content under the same size and time"),
            Fault::Unreadable(why) => write!(f, "can't be read: {why}"),
            Fault::Odd(what) => write!(f, "{what}"),
        }
    }
}

/// Walks the trees `names` below `root` (in walk order) in step with the manifest, and tells `bad` of each file that is not
/// as it should be; an error of `bad` ends it. `unlisted`: the name directly below a tree's root that a manifest need not
/// list.
///
/// # Errors
/// `Io`, `Interrupted`, `Refused` (too deep), `Unreadable` for the manifest.
pub fn verify(
    root: &Dir,
    names: &[&str],
    unlisted: &[u8],
    manifest: Option<Stream>,
    progress: &mut Progress,
    mut bad: impl FnMut(&[u8], Fault) -> Result<()>,
) -> Result<()> {
    let mut list = List(manifest);
    for name in names {
        let dir = match root.look(name.as_bytes())? {
            None => continue,
            Some(Entry { kind: Kind::Dir, .. }) => root.sub(name.as_bytes())?,
            Some(_) => {
                bad(name.as_bytes(), Fault::Odd("not a directory"))?;
                continue;
            }
        };
        let mut walk = Walk::new(dir.as_ref(), None)?;
        while let Some(step) = walk.step()? {
            let path = [name.as_bytes(), b"/", walk.path()].concat();
            match step {
                Step::File { left: Some(entry), .. } => {
                    list.missing_before(Some(&path), &mut bad)?;
                    let need_not = list.0.is_none() || walk.path() == unlisted;
                    if let Some(fault) = look(&walk, &entry, list.take(&path)?, need_not) {
                        interrupted(&fault)?;
                        bad(&path, fault)?;
                    }
                    progress.add_bytes(entry.size);
                    progress.add_file();
                }
                Step::Skipped(Side::Left, what) => bad(&path, Fault::Odd(what))?,
                _ => {}
            }
        }
    }
    list.missing_before(None, &mut bad)
}

/// Files and bytes in the trees `names` below `root`.
///
/// # Errors
/// `Io`, `Interrupted`, `Refused` (too deep).
pub fn measure(root: &Dir, names: &[&str]) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0_u64, 0_u64);
    for name in names {
        let dir = root.sub(name.as_bytes()).unwrap_or(None);
        let mut walk = Walk::new(dir.as_ref(), None)?;
        while let Some(step) = walk.step()? {
            if let Step::File { left: Some(entry), .. } = step {
                files += 1;
                bytes = bytes.saturating_add(entry.size);
            }
        }
    }
    Ok((files, bytes))
}

/// A signal while a file is read is not the file's fault.
fn interrupted(fault: &Fault) -> Result<()> {
    if matches!(fault, Fault::Unreadable(_)) { crate::os::signal::check() } else { Ok(()) }
}

fn look(walk: &Walk, entry: &Entry, listed: Option<Listed>, need_not: bool) -> Option<Fault> {
    if listed.is_none() && !need_not {
        return Some(Fault::Extra);
    }
    if let Some(listed) = &listed
        && listed.size != entry.size
    {
        return Some(Fault::Size { expected: listed.size, found: entry.size });
    }
    let sha256 = match copy::hash(walk.left()?, walk.name()) {
        Ok(sha256) => sha256,
        Err(Error::Unreadable { source, .. }) => return Some(Fault::Unreadable(source.to_string())),
        Err(error) => return Some(Fault::Unreadable(error.to_string())),
    };
    let listed = listed?;
    if listed.sha256.is_none_or(|expected| expected == sha256) {
        return None;
    }
    Some(if listed.mtime == entry.mtime { Fault::Damaged } else { Fault::Changed })
}

/// The manifest, if there is one.
struct List(Option<Stream>);

impl List {
    /// Tells of everything listed before `path` (without one: of the rest).
    fn missing_before(&mut self, path: Option<&[u8]>, bad: &mut impl FnMut(&[u8], Fault) -> Result<()>) -> Result<()> {
        let Some(stream) = &mut self.0 else {
            return Ok(());
        };
        while let Some(head) = stream.head().filter(|head| path.is_none_or(|path| path_order(&head.path, path).is_lt()))
        {
            bad(&head.path, Fault::Missing)?;
            stream.take()?;
        }
        Ok(())
    }

    /// What is listed of `path`.
    fn take(&mut self, path: &[u8]) -> Result<Option<Listed>> {
        match &mut self.0 {
            Some(stream) if stream.head().is_some_and(|head| head.path == path) => stream.take(),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::text::Shown;
    use crate::tree::manifest::{Header, Writer};

    /// Of a tree `t` with `a` "1", `b/c` "22", `meta.json` and a link, against that manifest.
    fn faults(listed: &[(&str, &str)]) -> Vec<String> {
        let place = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        file("t/a", "1");
        file("t/b/c", "22");
        file("t/meta.json", "{}");
        let root = Dir::open(place.path()).unwrap();
        let header = Header::complete("");
        let before = tempfile::tempdir().unwrap();
        let manifest = before.path().join("manifest");
        let mut writer = Writer::new(File::create(&manifest).unwrap(), &header).unwrap();
        for (path, text) in listed {
            std::fs::write(before.path().join("x"), text).unwrap();
            let dir = Dir::open(before.path()).unwrap();
            let sha256 = copy::hash(&dir, b"x").unwrap();
            let path = path.as_bytes().to_vec();
            writer.push(&Listed { path, size: text.len() as u64, mtime: 0, sha256: Some(sha256) }).unwrap();
        }
        writer.finish().unwrap();
        let stream = Stream::new(File::open(&manifest).unwrap(), String::new(), b"").unwrap();
        let mut said = Vec::new();
        let mut progress = Progress::new(String::new(), 0, 0);
        verify(&root, &["t"], b"meta.json", Some(stream), &mut progress, |path, fault| {
            said.push(format!("{} {fault}", Shown(path)));
            Ok(())
        })
        .unwrap();
        said
    }

    #[test]
    fn each_fault_is_named() {
        assert_eq!(faults(&[("t/a", "1"), ("t/b/c", "22")]), Vec::<String>::new());
        assert_eq!(faults(&[("t/a", "1")]), ["t/b/c not in the manifest"]);
        assert_eq!(
            faults(&[("s/x", ""), ("t/a", "1"), ("t/b/c", "2"), ("t/b/d", ""), ("u", "")]),
            ["s/x missing", "t/b/c 2 bytes instead of 1", "t/b/d missing", "u missing"]
        );
        assert_eq!(
            faults(&[("t/a", "x"), ("t/b/c", "22"), ("t/meta.json", "[]")]),
            [
                "t/a edited or damaged: another content and time than in the manifest",
                "t/meta.json edited or damaged: another content and time than in the manifest"
            ]
        );
    }
}
