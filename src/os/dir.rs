//! A directory held by its descriptor. Everything below it is reached one name at a time, never following a link,
//! so nothing that a hostile stick (or a concurrent rename) does can lead out of it: with single names
//! `RESOLVE_BENEATH` would add nothing to `O_NOFOLLOW`. Nor does a name ever lead into what is mounted there (SPEC 2).
//! Reading leaves no access time behind.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RawDir, RenameFlags, StatVfs, StatxFlags, Timespec, Timestamps, Uid, statx,
};
use rustix::io::Errno;

pub use super::entry::{Entry, Kind, Names};
use crate::error::{Error, Result};
use crate::text::Shown;

/// An open directory and the path by which messages call it.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

const OPEN_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// `NONBLOCK`: a FIFO put in a file's place between listing and opening must not hold us.
const OPEN_FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// `NOATIME` is the owner's and root's right alone; others read with it off.
fn open_quietly(at: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::openat(at, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(at, name, flags, Mode::empty()),
        other => other,
    }
}

impl Dir {
    /// Opens a directory of the server by its path. The last component must not be a link.
    ///
    /// # Errors
    /// `Io`; a link or a file in its place gives `ENOTDIR` (`ELOOP`).
    pub fn open(path: &Path) -> Result<Dir> {
        match Dir::open_if_there(path)? {
            Some(dir) => Ok(dir),
            None => Err(Error::io("open the directory", path, Errno::NOENT)),
        }
    }

    /// As [`Dir::open`]; it is made if only its own name is missing.
    ///
    /// # Errors
    /// `Io`.
    pub fn made(path: &Path) -> Result<Dir> {
        if let Some(dir) = Dir::open_if_there(path)? {
            return Ok(dir);
        }
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Dir::open(parent)?.make(name.as_encoded_bytes(), 0o755),
            _ => Dir::open(path),
        }
    }

    /// As [`Dir::open`], `None` where nothing has that name.
    ///
    /// # Errors
    /// `Io`.
    pub fn open_if_there(path: &Path) -> Result<Option<Dir>> {
        match open_quietly(rustix::fs::CWD, path.as_os_str(), OPEN_DIR) {
            Ok(fd) => Ok(Some(Dir { fd, path: path.to_owned() })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io("open the directory", path, error)),
        }
    }

    /// The path by which messages call this directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a name below it, for messages.
    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(name))
    }

    /// The path of a name below it, safe to print.
    pub fn shown(&self, name: &[u8]) -> String {
        Shown(self.path_of(name).as_os_str().as_bytes()).to_string()
    }

    fn err(&self, what: &'static str, name: &[u8], error: impl Into<io::Error>) -> Error {
        Error::io(what, &self.path_of(name), error)
    }

    /// Another handle on the same directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn again(&self) -> Result<Dir> {
        let fd = self.fd.try_clone().map_err(|error| Error::io("open", &self.path, error))?;
        Ok(Dir { fd, path: self.path.clone() })
    }

    /// What the system knows of the directory itself.
    ///
    /// # Errors
    /// `Io`.
    pub fn entry(&self) -> Result<Entry> {
        Entry::of_file(&self.fd).map_err(|error| Error::io("look at", &self.path, error))
    }

    /// What the system knows of a name in it, `None` if there is none.
    ///
    /// # Errors
    /// `Io`.
    pub fn look(&self, name: &[u8]) -> Result<Option<Entry>> {
        match Entry::at(&self.fd, name) {
            Ok(entry) => Ok(Some(entry)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.err("look at", name, error)),
        }
    }

    /// The directory of that name, `None` if there is none.
    ///
    /// # Errors
    /// `Io`; a link or a file in its place gives `ENOTDIR` (`ELOOP`), a mount `EXDEV`.
    pub fn sub(&self, name: &[u8]) -> Result<Option<Dir>> {
        let fd = match open_quietly(self.fd.as_fd(), OsStr::from_bytes(name), OPEN_DIR) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.err("open the directory", name, error)),
        };
        // Not openat2, which could say the same at once: a unit with RestrictSUIDSGID= has none, nor has the emulator that the tests use.
        match Entry::of_file(&fd) {
            Ok(entry) if entry.mount_root => Err(self.err("open the directory", name, Errno::XDEV)),
            Ok(_) => Ok(Some(Dir { fd, path: self.path_of(name) })),
            Err(error) => Err(self.err("look at", name, error)),
        }
    }

    /// The directory that a path below this one leads to, and its last name; `None` if there is no such directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn below<'a>(&self, path: &'a [u8]) -> Result<Option<(Dir, &'a [u8])>> {
        let mut dir = self.again()?;
        let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let name = parts.pop().unwrap_or_default();
        for part in parts {
            let Some(sub) = dir.sub(part)? else { return Ok(None) };
            dir = sub;
        }
        Ok(Some((dir, name)))
    }

    /// The directory that the last name of a path below this one is in, made down to it.
    ///
    /// # Errors
    /// `Io`.
    pub fn made_below(&self, path: &[u8], mode: u32) -> Result<Dir> {
        let mut dir = self.again()?;
        let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        parts.pop();
        for part in parts {
            dir = dir.make(part, mode)?;
        }
        Ok(dir)
    }

    /// The directory of that name, made if it is not there.
    ///
    /// # Errors
    /// `Io`.
    pub fn make(&self, name: &[u8], mode: u32) -> Result<Dir> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(self.err("make the directory", name, error)),
        }
        self.sub(name)?.ok_or_else(|| self.err("open the directory", name, Errno::NOENT))
    }

    /// Makes a directory. `false`: something has that name already.
    ///
    /// # Errors
    /// `Io`.
    pub fn make_new(&self, name: &[u8], mode: u32) -> Result<bool> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(self.err("make the directory", name, error)),
        }
    }

    /// The names in it, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// `Io`.
    pub fn names(&self) -> Result<Names> {
        let fail = |error: io::Error| Error::io("list", &self.path, error);
        rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Start(0)).map_err(|error| fail(error.into()))?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 32 * 1024];
        let mut raw = RawDir::new(&self.fd, &mut buffer);
        let mut names = Names::default();
        while let Some(entry) = raw.next() {
            let entry = entry.map_err(|error| fail(error.into()))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name).map_err(fail)?;
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens a regular file for reading, and what the system knows of it once it is open.
    ///
    /// # Errors
    /// `Unreadable`, also where the name stands for anything but a regular file.
    pub fn read(&self, name: &[u8]) -> Result<(File, Entry)> {
        let unreadable = |source: io::Error| Error::Unreadable { path: self.shown(name), source };
        let fd = open_quietly(self.fd.as_fd(), OsStr::from_bytes(name), OPEN_FILE)
            .map_err(|error| unreadable(error.into()))?;
        let entry = Entry::of_file(&fd).map_err(unreadable)?;
        if entry.kind == Kind::File {
            Ok((File::from(fd), entry))
        } else {
            Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")))
        }
    }

    /// Opens a regular file of that name if there is one; what is no regular file counts as none.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn read_if_there(&self, name: &[u8]) -> Result<Option<(File, Entry)>> {
        match self.look(name)? {
            Some(Entry { kind: Kind::File, .. }) => self.read(name).map(Some),
            _ => Ok(None),
        }
    }

    /// Makes a new file for writing; the name must be free.
    ///
    /// # Errors
    /// `Io`.
    pub fn create(&self, name: &[u8], mode: u32) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(mode))
            .map(File::from)
            .map_err(|error| self.err("create", name, error))
    }

    /// A new file without a name: it goes with its last descriptor, whatever happens.
    ///
    /// # Errors
    /// `Io`.
    pub fn unnamed(&self) -> Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, ".", flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => Ok(File::from(fd)),
            Err(error) => Err(Error::io("make a file in", &self.path, error)),
        }
    }

    /// Removes a name that is no directory; nothing to do if it is not there.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove(&self, name: &[u8]) -> Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.err("remove", name, error)),
        }
    }

    /// Removes an empty directory. `false`: something is still in it.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove_dir(&self, name: &[u8]) -> Result<bool> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(self.err("remove the directory", name, error)),
        }
    }

    /// Renames `name` to `to_name` in `to`, replacing a file that has that name.
    ///
    /// # Errors
    /// `Io`.
    pub fn rename(&self, name: &[u8], to: &Dir, to_name: &[u8]) -> Result<()> {
        rustix::fs::renameat(&self.fd, name, &to.fd, to_name).map_err(|error| to.err("rename to", to_name, error))
    }

    /// Renames `name` to `to_name` in `to`, where nothing may have that name yet.
    ///
    /// # Errors
    /// `Io`.
    pub fn rename_new(&self, name: &[u8], to: &Dir, to_name: &[u8]) -> Result<()> {
        rustix::fs::renameat_with(&self.fd, name, &to.fd, to_name, RenameFlags::NOREPLACE)
            .map_err(|error| to.err("rename to", to_name, error))
    }

    /// Exchanges two names in one step; nobody ever sees one of them missing.
    ///
    /// # Errors
    /// `Io`.
    pub fn exchange(&self, name: &[u8], with: &Dir, with_name: &[u8]) -> Result<()> {
        rustix::fs::renameat_with(&self.fd, name, &with.fd, with_name, RenameFlags::EXCHANGE)
            .map_err(|error| with.err("exchange", with_name, error))
    }

    /// Gives the file `name` a second name. `false`: the filesystem allows no further link to it.
    ///
    /// # Errors
    /// `Io`.
    pub fn link(&self, name: &[u8], to: &Dir, to_name: &[u8]) -> Result<bool> {
        match rustix::fs::linkat(&self.fd, name, &to.fd, to_name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::MLINK) => Ok(false),
            Err(error) => Err(to.err("link", to_name, error)),
        }
    }

    /// Makes `name` a symbolic link to `to` in one step, whatever it was before.
    ///
    /// # Errors
    /// `Io`.
    pub fn replace_link(&self, name: &[u8], to: &str) -> Result<()> {
        let temp = temp_name(name);
        self.remove(&temp)?;
        rustix::fs::symlinkat(to, &self.fd, &temp[..]).map_err(|error| self.err("link", &temp, error))?;
        self.rename(&temp, self, name)
    }

    /// Makes the names in this directory durable.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.fd).map_err(|error| Error::io("flush", &self.path, error))
    }

    /// Makes everything on this directory's filesystem durable. A write error since the directory was opened is
    /// reported here, so open it before the first write.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync_all(&self) -> Result<()> {
        rustix::fs::syncfs(&self.fd).map_err(|error| self.not_flushed(error.into()))
    }

    /// The error of a flush of this directory's filesystem.
    pub fn not_flushed(&self, error: io::Error) -> Error {
        Error::io("flush the filesystem of", &self.path, error)
    }

    /// Room and limits of the filesystem that it is on.
    ///
    /// # Errors
    /// `Io`.
    pub fn room(&self) -> Result<StatVfs> {
        rustix::fs::fstatvfs(&self.fd).map_err(|error| Error::io("ask for the room of", &self.path, error))
    }

    /// Sets owner and permission bits of the directory itself.
    ///
    /// # Errors
    /// `Io`.
    pub fn set_owner_mode(&self, owner: Option<(u32, u32)>, mode: u32) -> Result<()> {
        set_owner_mode(&self.fd, owner, mode).map_err(|error| Error::io("set the owner of", &self.path, error))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes an empty file share the storage of another one, as it is at this instant (`FICLONE`). `false`: the filesystem
/// can't, or they lie on two of them (ioctl_ficlone(2)).
///
/// # Errors
/// What the system says of the disk.
pub fn clone_into(source: &File, target: &File) -> io::Result<bool> {
    match rustix::fs::ioctl_ficlone(target, source) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The directory that a path's last name is in, and that name; none for a path that ends in `..` or in nothing.
pub fn split(path: &Path) -> Option<(&Path, &[u8])> {
    let name = path.file_name()?.as_encoded_bytes();
    let parent = path.parent()?;
    Some((if parent.as_os_str().is_empty() { Path::new(".") } else { parent }, name))
}

/// What a file is called beside its place until all of it is there.
pub fn temp_name(name: &[u8]) -> Vec<u8> {
    [b".", name, b".tmp"].concat()
}

/// Sets owner and permission bits of an open file or directory, where they are others: to look costs a tenth of what it
/// costs a journal to be told.
///
/// # Errors
/// What the system says.
pub fn set_owner_mode(fd: impl AsFd, owner: Option<(u32, u32)>, mode: u32) -> io::Result<()> {
    let mut is = Entry::of_file(&fd)?;
    if let Some((user, group)) = owner.filter(|owner| *owner != is.owner) {
        rustix::fs::fchown(&fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        // Another owner may have cost bits (chown(2)).
        is = Entry::of_file(&fd)?;
    }
    if is.mode != mode {
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

/// Sets the time of the last change of an open file, nanoseconds since 1970.
///
/// # Errors
/// What the system says.
pub fn set_mtime(fd: impl AsFd, mtime: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: mtime.div_euclid(1_000_000_000), tv_nsec: mtime.rem_euclid(1_000_000_000) };
    rustix::fs::futimens(fd, &Timestamps { last_access: time, last_modification: time })?;
    Ok(())
}

/// Gives an open file the time of the last change of another one, however far it is.
///
/// # Errors
/// What the system says.
pub fn set_time_of(source: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let stat = statx(&source, c"", AtFlags::EMPTY_PATH, StatxFlags::MTIME)?;
    let time = Timespec { tv_sec: stat.stx_mtime.tv_sec, tv_nsec: stat.stx_mtime.tv_nsec.into() };
    rustix::fs::futimens(target, &Timestamps { last_access: time, last_modification: time })?;
    Ok(())
}
