//! Puts files and directories below a directory, which nothing in an archive can lead out of: each component is made and
//! opened by descriptor, never through a link, and a name that is taken is refused.

use std::fs::File;
use std::io::Write;

use crate::error::{Error, Result};
use crate::os::dir::{Dir, set_mtime, set_owner_mode};

/// Set-user-id and its like never come out of an archive.
const MODE: u32 = 0o777;
/// Of directories until they are left, and of those that the archive does not list.
const OPEN_MODE: u32 = 0o700;

/// A place being filled.
pub(super) struct Extract<'a> {
    target: &'a Dir,
    open: Vec<Open>,
}

struct Open {
    name: Vec<u8>,
    dir: Dir,
    /// Mode and time that it gets when it is left.
    last: Option<(u32, i64)>,
}

/// A file being written.
pub(super) struct Put<'a> {
    dir: &'a Dir,
    name: Vec<u8>,
    file: File,
}

impl<'a> Extract<'a> {
    pub(super) fn new(target: &'a Dir) -> Extract<'a> {
        Extract { target, open: Vec::new() }
    }

    /// Makes a directory, and those above it.
    ///
    /// # Errors
    /// `Io`, `Refused`.
    pub(super) fn directory(&mut self, path: &[u8], mode: u32, mtime: i64) -> Result<()> {
        self.go_to(path)?;
        if let Some(open) = self.open.last_mut() {
            open.last = Some((mode, mtime));
        }
        Ok(())
    }

    /// Makes an empty file, and the directories above it.
    ///
    /// # Errors
    /// `Io`, `Refused` if the name is taken.
    pub(super) fn file(&mut self, path: &[u8]) -> Result<Put<'_>> {
        let (above, name) = path.iter().rposition(|byte| *byte == b'/').map_or((&b""[..], path), |at| {
            (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default())
        });
        self.go_to(above)?;
        let dir = self.here();
        if dir.look(name)?.is_some() {
            return Err(taken(dir, name));
        }
        Ok(Put { dir, name: name.to_vec(), file: dir.create(name, 0o600)? })
    }

    /// Leaves all directories.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.leave_to(0)
    }

    fn here(&self) -> &Dir {
        self.open.last().map_or(self.target, |open| &open.dir)
    }

    fn go_to(&mut self, path: &[u8]) -> Result<()> {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let same = self.open.iter().zip(&names).take_while(|(open, name)| open.name == **name).count();
        self.leave_to(same)?;
        for name in names.into_iter().skip(same) {
            let here = self.here();
            here.make_new(name, OPEN_MODE)?;
            let dir = match here.look(name)?.map(|entry| entry.kind) {
                Some(crate::os::dir::Kind::Dir) => here.sub(name)?,
                _ => return Err(taken(here, name)),
            };
            let Some(dir) = dir else { return Err(taken(here, name)) };
            self.open.push(Open { name: name.to_vec(), dir, last: None });
        }
        Ok(())
    }

    fn leave_to(&mut self, depth: usize) -> Result<()> {
        while self.open.len() > depth {
            let Some(Open { dir, last, .. }) = self.open.pop() else { break };
            if let Some((mode, mtime)) = last {
                dir.set_owner_mode(None, mode & MODE)?;
                set_mtime(&dir, mtime).map_err(|error| Error::io("set the time of", dir.path(), error))?;
            }
        }
        Ok(())
    }
}

impl Put<'_> {
    /// # Errors
    /// `Io`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| self.failed(error))
    }

    /// Gives a file that is proved its mode and time.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn keep(self, mode: u32, mtime: i64) -> Result<()> {
        set_owner_mode(&self.file, None, mode & MODE)
            .and_then(|()| set_mtime(&self.file, mtime))
            .map_err(|error| self.failed(error))
    }

    /// Removes a file that is not what it should be.
    pub(super) fn drop_it(self) {
        let _ = self.dir.remove(&self.name);
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::io("write", &self.dir.path_of(&self.name), error)
    }
}

fn taken(dir: &Dir, name: &[u8]) -> Error {
    Error::Refused {
        why: format!("{} is there already, or twice in the archive", dir.shown(name)),
        next: "restore into an empty directory; if it was empty, use another archive".to_owned(),
    }
}
