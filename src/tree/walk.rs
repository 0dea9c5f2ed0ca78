//! Two trees walked together by directory descriptor, merged in name order, a directory at a time. No list of a whole
//! tree is ever held: what is in memory are the names of the directories from the root down to where the walk is.

use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::signal;
use crate::text::Shown;
use crate::tree::droppings::is_dropping;
use crate::tree::listing::Listing;

/// Deeper than any dataset that people make; a bound for the descriptors held open (two a level).
const MAX_DEPTH: usize = 100;

/// What a tolerant walk says of a name or directory of the left tree that the system can't read.
pub const UNREADABLE: &str = "can't be read";

/// One of the two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Left,
    /// The second.
    Right,
}

/// What the walk met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A file on one side or both. Where the other side has a directory of that name, it is entered next.
    File {
        /// What the left tree has of that name: a file, a directory or nothing.
        left: Option<Entry>,
        /// What the right tree has of that name.
        right: Option<Entry>,
    },
    /// A directory on one side or both; its contents follow, then `Leave`.
    Enter {
        /// The left tree's directory of that name.
        left: Option<Entry>,
        /// The right tree's directory of that name.
        right: Option<Entry>,
    },
    /// All of the directory that was entered last has been met.
    Leave,
    /// Something that is neither file nor directory, or lies on another filesystem: never followed, never copied. In
    /// a tolerant walk also what can't be looked at ([`UNREADABLE`]).
    Skipped(Side, &'static str),
}

/// A walk in progress.
pub struct Walk {
    levels: Vec<Level>,
    path: Vec<u8>,
    next: Next,
    tolerant: bool,
}

/// What the next step begins with.
enum Next {
    /// The next name.
    Name,
    /// Giving out the directory that a file on the other side came before.
    Give(Option<Entry>, Option<Entry>),
    /// Opening the directory that was given out.
    Open(Option<Entry>, Option<Entry>),
}

struct Level {
    left: Option<Listing>,
    right: Option<Listing>,
    /// Length of the path of this directory.
    path_len: usize,
}

impl Walk {
    /// Starts at the roots of one tree or two.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(left: Option<&Dir>, right: Option<&Dir>) -> Result<Walk> {
        let list = |dir: Option<&Dir>| dir.map(|dir| dir.again().and_then(Listing::new)).transpose();
        let root = Level { left: list(left)?, right: list(right)?, path_len: 0 };
        Ok(Walk { levels: vec![root], path: Vec::new(), next: Next::Name, tolerant: false })
    }

    /// Goes on where the left tree can't be read, and says so by a step. Without this it is an error, so that nothing
    /// is ever deleted or replaced because it was overlooked.
    pub fn tolerant(mut self) -> Walk {
        self.tolerant = true;
        self
    }

    /// The path of the last step, below the roots; of `Leave` that of the directory left.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The last component of [`Walk::path`].
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// The path of the last step, safe to print.
    pub fn shown(&self) -> String {
        Shown(&self.path).to_string()
    }

    /// The left tree's directory that the last step's name is in.
    pub fn left(&self) -> Option<&Dir> {
        self.levels.last().and_then(|level| level.left.as_ref()).map(Listing::dir)
    }

    /// The right tree's directory that the last step's name is in.
    pub fn right(&self) -> Option<&Dir> {
        self.levels.last().and_then(|level| level.right.as_ref()).map(Listing::dir)
    }

    /// The next step; `None` at the end.
    ///
    /// # Errors
    /// `Io`, `Interrupted`, `Refused` beyond a hundred levels.
    pub fn step(&mut self) -> Result<Option<Step>> {
        signal::check()?;
        match std::mem::replace(&mut self.next, Next::Name) {
            Next::Name => {}
            Next::Give(left, right) => {
                self.next = Next::Open(left, right);
                return Ok(Some(Step::Enter { left, right }));
            }
            Next::Open(left, right) => {
                if self.enter(left, right)? {
                    return Ok(Some(Step::Skipped(Side::Left, UNREADABLE)));
                }
            }
        }
        loop {
            let Some(level) = self.levels.last_mut() else {
                return Ok(None);
            };
            self.path.truncate(level.path_len);
            let Some((on_left, on_right)) = level.next_name(&mut self.path) else {
                self.levels.pop();
                return Ok(if self.levels.is_empty() { None } else { Some(Step::Leave) });
            };
            if is_dropping(self.name()) {
                continue;
            }
            let left = self.look(Side::Left, on_left)?;
            let right = self.look(Side::Right, on_right)?;
            if let Some(skipped) = skipped(left, right) {
                // Both sides' odd ones are told one after the other: step back to the other side's name.
                self.step_back_other(skipped.0, on_left && on_right);
                return Ok(Some(Step::Skipped(skipped.0, skipped.1)));
            }
            let only_dir = |entry: Option<Entry>| entry.filter(|entry| entry.kind == Kind::Dir);
            let is_file = |entry: Option<Entry>| entry.is_some_and(|entry| entry.kind == Kind::File);
            let dirs = (only_dir(left), only_dir(right));
            let has_dir = dirs.0.is_some() || dirs.1.is_some();
            if is_file(left) || is_file(right) {
                if has_dir {
                    self.next = Next::Give(dirs.0, dirs.1);
                }
                return Ok(Some(Step::File { left, right }));
            }
            if has_dir {
                self.next = Next::Open(left, right);
                return Ok(Some(Step::Enter { left, right }));
            }
            // It vanished between listing and looking.
        }
    }

    fn look(&self, side: Side, there: bool) -> Result<Option<Entry>> {
        let level = self.levels.last();
        let listed = level.and_then(|level| if side == Side::Left { &level.left } else { &level.right }.as_ref());
        let Some(listed) = listed.filter(|_| there) else { return Ok(None) };
        match listed.look(self.name()) {
            Ok(Some(entry)) if entry.mount_root || entry.dev != listed.dev() => {
                Ok(Some(Entry { kind: Kind::Other("mount point"), ..entry }))
            }
            Err(_) if self.tolerant && side == Side::Left => {
                let kind = Kind::Other(UNREADABLE);
                Ok(Some(Entry { kind, ..Entry::unknown(listed.dev()) }))
            }
            Err(error) => Err(error.unreadable()),
            entry => entry,
        }
    }

    /// After a skipped name the same name on the other side is still to be met.
    fn step_back_other(&mut self, skipped: Side, both: bool) {
        let Some(level) = self.levels.last_mut().filter(|_| both) else {
            return;
        };
        let other = if skipped == Side::Left { &mut level.right } else { &mut level.left };
        if let Some(listed) = other {
            listed.step_back();
        }
    }

    /// Opens what was given out. `true`: the left directory can't be read, and the walk goes on without it.
    fn enter(&mut self, left: Option<Entry>, right: Option<Entry>) -> Result<bool> {
        if self.levels.len() >= MAX_DEPTH {
            return Err(Error::Refused {
                why: format!("{} lies deeper than {MAX_DEPTH} directories", self.shown()),
                next: "move it up".to_owned(),
            });
        }
        let open = |entry: Option<Entry>, dir: Option<&Dir>| match (entry, dir) {
            (Some(Entry { kind: Kind::Dir, .. }), Some(dir)) => dir.sub(self.name())?.map(Listing::new).transpose(),
            _ => Ok(None),
        };
        let (left, unreadable) = match open(left, self.left()) {
            Err(_) if self.tolerant => (None, true),
            left => (left.map_err(Error::unreadable)?, false),
        };
        let right = open(right, self.right())?;
        self.levels.push(Level { left, right, path_len: self.path.len() });
        Ok(unreadable)
    }
}

impl Level {
    /// Appends the smaller of the two next names to the path; says which sides have it.
    fn next_name(&mut self, path: &mut Vec<u8>) -> Option<(bool, bool)> {
        let left = self.left.as_ref().and_then(Listing::head);
        let right = self.right.as_ref().and_then(Listing::head);
        let name = match (left, right) {
            (Some(left), Some(right)) => left.min(right),
            (Some(name), None) | (None, Some(name)) => name,
            (None, None) => return None,
        };
        let sides = (left == Some(name), right == Some(name));
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        for (there, listed) in [(sides.0, &mut self.left), (sides.1, &mut self.right)] {
            if let Some(listed) = listed.as_mut().filter(|_| there) {
                listed.pass();
            }
        }
        Some(sides)
    }
}

fn skipped(left: Option<Entry>, right: Option<Entry>) -> Option<(Side, &'static str)> {
    match (left.map(|entry| entry.kind), right.map(|entry| entry.kind)) {
        (Some(Kind::Other(what)), _) => Some((Side::Left, what)),
        (_, Some(Kind::Other(what))) => Some((Side::Right, what)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lays out a tree: `a/b` a file, `a/` a directory, `a@` a link.
    fn lay(root: &std::path::Path, paths: &[&str]) -> Dir {
        for path in paths {
            let full = root.join(path.trim_end_matches('@'));
            std::fs::create_dir_all(if path.ends_with('/') { &full } else { full.parent().unwrap() }).unwrap();
            if path.ends_with('@') {
                std::os::unix::fs::symlink("/etc/passwd", &full).unwrap();
            } else if !path.ends_with('/') {
                std::fs::write(&full, "x").unwrap();
            }
        }
        Dir::open(root).unwrap()
    }

    fn steps(left: &[&str], right: &[&str]) -> Vec<String> {
        let dirs = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (left, right) = (lay(dirs.0.path(), left), lay(dirs.1.path(), right));
        let mut walk = Walk::new(Some(&left), Some(&right)).unwrap();
        let mut steps = Vec::new();
        let letter = |entry: Option<Entry>| entry.map_or("-", |entry| if entry.kind == Kind::Dir { "d" } else { "f" });
        while let Some(step) = walk.step().unwrap() {
            let path = walk.shown();
            steps.push(match step {
                Step::File { left, right } => format!("file {path} {}{}", letter(left), letter(right)),
                Step::Enter { left, right } => format!("enter {path} {}{}", letter(left), letter(right)),
                Step::Leave => format!("leave {path}"),
                Step::Skipped(side, what) => format!("skipped {path} {side:?} {what}"),
            });
        }
        steps
    }

    #[test]
    fn merges_in_name_order() {
        assert_eq!(
            steps(&["a.b", "a/x", "c"], &["a/w", "a/x", "b/"]),
            [
                "enter a dd",
                "file a/w -f",
                "file a/x ff",
                "leave a",
                "file a.b f-",
                "enter b -d",
                "leave b",
                "file c f-"
            ]
        );
    }

    #[test]
    fn a_file_against_a_directory_is_met_as_both() {
        assert_eq!(steps(&["a"], &["a/x"]), ["file a fd", "enter a -d", "file a/x -f", "leave a"]);
        assert_eq!(steps(&["a/x"], &["a"]), ["file a df", "enter a d-", "file a/x f-", "leave a"]);
    }

    #[test]
    fn links_are_skipped_and_what_is_opposite_is_not() {
        assert_eq!(
            steps(&["a@", "b@", "c"], &["a", "b@", "c@"]),
            [
                "skipped a Left symbolic link",
                "file a -f",
                "skipped b Left symbolic link",
                "skipped b Right symbolic link",
                "skipped c Right symbolic link",
                "file c f-"
            ]
        );
    }

    #[test]
    fn droppings_are_not_met_and_depth_is_bounded() {
        assert_eq!(steps(&["Thumbs.db", "System Volume Information/x", "a"], &[]), ["file a f-"]);
        let dir = tempfile::tempdir().unwrap();
        let root = lay(dir.path(), &[&"d/".repeat(MAX_DEPTH + 1)]);
        let mut walk = Walk::new(Some(&root), None).unwrap();
        let refused = loop {
            match walk.step() {
                Ok(step) => assert!(step.is_some(), "the walk came to an end"),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.exit_code(), 2);
    }
}
