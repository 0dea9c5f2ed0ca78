//! Every way in which a command can end badly: one enum, one wording, one exit code each (SPEC 3).

use std::fmt;
use std::io;
use std::path::Path;

use crate::text::Shown;

/// A result of this program.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a command did not do what it was asked to. Each variant says what the operator does next.
#[derive(Debug)]
pub enum Error {
    /// The system refused an operation on a path (exit 1).
    Io {
        /// What was tried, as "cannot …" goes on.
        what: &'static str,
        /// On which path, already made safe to print.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file that was to be copied or compared can't be read (exit 1; a reason to distrust a stick).
    Unreadable {
        /// The file, already made safe to print.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something else went wrong (exit 1).
    Failed {
        /// What failed.
        why: String,
        /// What the operator does next.
        next: &'static str,
    },
    /// A signal asked the program to end (exit 1).
    Interrupted,
    /// The input is not to be trusted, or would destroy data (exit 2).
    Refused {
        /// What is refused, and why.
        why: String,
        /// What the operator does next.
        next: String,
    },
    /// Two things that should be equal are not (exit 2).
    Different {
        /// What differs.
        why: String,
        /// What the operator does next.
        next: &'static str,
    },
    /// There is nothing to work from (exit 3).
    NoSource {
        /// What is missing.
        why: String,
        /// What the operator does next.
        next: &'static str,
    },
    /// The command line can't be understood (exit 64).
    Usage(String),
    /// Something else has it in use, or can't be decided now (exit 75).
    Busy {
        /// What is busy.
        why: String,
        /// What the operator does next.
        next: &'static str,
    },
    /// The machine or its settings are not as they must be (exit 78).
    Config {
        /// What is wrong.
        why: String,
        /// What the operator does next.
        next: &'static str,
    },
}

/// Shown by `--help` of every command.
pub const EXIT_CODES: &str =
    "Exit codes: 0 done; 1 failed; 2 refused; 3 nothing to work from; 64 usage; 75 busy, try again; 78 configuration.";

impl Error {
    /// An operation on a path that the system refused.
    pub fn io(what: &'static str, path: &Path, source: impl Into<io::Error>) -> Error {
        use std::os::unix::ffi::OsStrExt;
        let path = Shown(path.as_os_str().as_bytes()).to_string();
        Error::Io { what, path, source: source.into() }
    }

    /// The same, where what failed was reading somebody's files.
    #[must_use]
    pub fn unreadable(self) -> Error {
        match self {
            Error::Io { path, source, .. } => Error::Unreadable { path, source },
            error => error,
        }
    }

    /// Whether a disk has no room left.
    pub fn is_full(&self) -> bool {
        let (Error::Io { source, .. } | Error::Unreadable { source, .. }) = self else { return false };
        matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
    }

    /// Whether something else stands where a directory was expected: a file, a link. A directory that can't be read is
    /// another trouble.
    pub fn is_no_directory(&self) -> bool {
        let (Error::Io { source, .. } | Error::Unreadable { source, .. }) = self else { return false };
        let errno = source.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
        matches!(errno, Some(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP))
    }

    /// The exit code of SPEC 3.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Io { .. } | Error::Unreadable { .. } | Error::Failed { .. } | Error::Interrupted => 1,
            Error::Refused { .. } | Error::Different { .. } => 2,
            Error::NoSource { .. } => 3,
            Error::Usage(_) => 64,
            Error::Busy { .. } => 75,
            Error::Config { .. } => 78,
        }
    }

    /// One word for `jobs.jsonl`.
    pub fn result_word(&self) -> &'static str {
        match self {
            Error::Refused { .. } => "refused",
            Error::NoSource { .. } => "nothing",
            Error::Busy { .. } => "busy",
            Error::Different { .. } => "different",
            _ => "failed",
        }
    }

    fn io_advice(source: &io::Error) -> &'static str {
        match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::NOSPC) => "make room there and run it again",
            Some(rustix::io::Errno::IO) => {
                "the medium has a read or write error: copy what can be read, use another one"
            }
            Some(rustix::io::Errno::ROFS) => "it is write-protected: unlock it, or check it on a PC",
            Some(rustix::io::Errno::NODEV | rustix::io::Errno::NXIO) => "the stick is gone: plug it in again",
            Some(rustix::io::Errno::ACCESS) => "run it with sudo",
            Some(rustix::io::Errno::PERM) => "run it with sudo; if it was, something there is write-protected (lsattr)",
            Some(rustix::io::Errno::NOENT) => "check the path",
            Some(rustix::io::Errno::XDEV) => "something is mounted there: unmount it and run it again",
            _ => "try again; if it stays, keep the log and call the system's keeper",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { what, path, source } => {
                write!(f, "cannot {what} {path}: {source} -> {}", Error::io_advice(source))
            }
            Error::Unreadable { path, source } => {
                write!(f, "cannot read {path}: {source} -> {}", Error::io_advice(source))
            }
            Error::Failed { why, next } => write!(f, "{why} -> {next}"),
            Error::Interrupted => write!(f, "ended by a signal before it was done -> run it again"),
            Error::Refused { why, next } => write!(f, "{why} -> {next}"),
            Error::Different { why, next } => write!(f, "{why} -> {next}"),
            Error::NoSource { why, next } => write!(f, "{why} -> {next}"),
            Error::Usage(why) => write!(f, "{why} -> see --help"),
            Error::Busy { why, next } => write!(f, "{why} -> {next}"),
            Error::Config { why, next } => write!(f, "{why} -> {next}"),
        }
    }
}

impl std::error::Error for Error {}
