//! Where log lines go (SPEC 4). Under systemd stderr with `<N>` prefixes is the journal; by hand the terminal is, and
//! the syslog socket (so that `journalctl -t NAME` shows the run). Each job's file in `$USB_LOG_DIR` gets the same
//! lines. A log that can't be written never stops the job.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use log::{Level, LevelFilter, Log, Metadata, Record, warn};

use super::bound;
use crate::clock::Clock;
use crate::text::Shown;

/// syslog(3) facility "daemon".
const FACILITY: u8 = 3;
/// Of the files in the log directory.
const MODE: u32 = 0o640;

struct Journal {
    name: &'static str,
    clock: Clock,
    under_systemd: bool,
    /// What clears a progress bar before a line.
    clear: &'static str,
    syslog: Option<UnixDatagram>,
    file: Option<Mutex<LogFile>>,
}

/// A job's log, bounded in size.
struct LogFile {
    path: PathBuf,
    most: u64,
    file: File,
}

impl LogFile {
    fn open(path: &Path, most: u64) -> Result<LogFile, String> {
        let mut log = LogFile { path: path.to_owned(), most, file: open_log(path)? };
        log.turn();
        Ok(log)
    }

    /// Goes on in a new file when this one is full, or when another run has begun a new one.
    fn turn(&mut self) {
        if self.file.metadata().is_ok_and(|metadata| metadata.len() >= self.most) {
            let _ = bound::by_size(&self.path, self.most);
        }
        if !bound::is_still(&self.path, &self.file)
            && let Ok(file) = append_to(&self.path)
        {
            self.file = file;
        }
    }

    fn write(&mut self, line: &str) {
        self.turn();
        let _ = self.file.write_all(line.as_bytes());
    }
}

/// Starts logging under the command's name; `file` is the job's log file and the most bytes that it is to have, none in a
/// dry run (which changes nothing).
pub fn start(name: &'static str, clock: Clock, file: Option<(&Path, u64)>) {
    let under_systemd = stderr_is_journal();
    let opened = file.map(|(path, most)| LogFile::open(path, most));
    let (file, trouble) = match opened {
        Some(Ok(file)) => (Some(Mutex::new(file)), None),
        Some(Err(trouble)) => (None, Some(trouble)),
        None => (None, None),
    };
    let clear = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    let syslog = if under_systemd { None } else { connect_syslog() };
    if log::set_boxed_logger(Box::new(Journal { name, clock, under_systemd, clear, syslog, file })).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    if let Some(trouble) = trouble {
        warn!("{trouble}; the run goes on without its log file");
    }
}

/// Adds a line to another log file in the same form, such as `usb_guard.log` for refused sticks.
pub fn also(clock: Clock, path: &Path, most: u64, message: &str) {
    match LogFile::open(path, most) {
        Ok(mut log) => log.write(&file_line(clock, Level::Warn, message)),
        Err(trouble) => warn!("{trouble}"),
    }
}

fn open_log(path: &Path) -> Result<File, String> {
    append_to(path).map_err(|error| format!("cannot write the log {}: {error}", path.display()))
}

/// Opens a file of the log directory for appending, and for reading what is there. A link in its place is not followed:
/// the directory may be less protected than root.
///
/// # Errors
/// What the system says.
pub fn append_to(path: &Path) -> std::io::Result<File> {
    if let Some(dir) = path.parent() {
        // The server's root itself is never made here: a missing data disk must not be papered over.
        let _ = std::fs::create_dir(dir);
    }
    let file = OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(MODE)
        .custom_flags(i32::try_from((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits()).unwrap_or(0))
        .open(path)?;
    if file.metadata()?.len() == 0 {
        // It may be new, and the unit's umask stricter.
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

/// systemd.exec(5): `$JOURNAL_STREAM` is the device and inode of the journal's stream; it counts only while stderr is
/// still that stream.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr().as_fd()) else {
        return false;
    };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

fn connect_syslog() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect("/dev/log").ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    }
}

fn file_line(clock: Clock, level: Level, message: &str) -> String {
    format!("{} [{}] {message}\n", clock.log_time(clock.now()), word(level))
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LevelFilter::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Whatever a name on a stick holds, one message is one line.
        let message = Shown(record.args().to_string().as_bytes()).to_string();
        let level = record.level();
        let mut stderr = std::io::stderr().lock();
        if self.under_systemd {
            let _ = stderr.write_all(format!("<{}>{message}\n", severity(level)).as_bytes());
        } else if level == Level::Info {
            let _ = stderr.write_all(format!("{}{message}\n", self.clear).as_bytes());
        } else {
            let _ = stderr.write_all(format!("{}[{}] {message}\n", self.clear, word(level)).as_bytes());
        }
        if let Some(syslog) = &self.syslog {
            let priority = FACILITY * 8 + severity(level);
            let _ = syslog.send(format!("<{priority}>{}[{}]: {message}", self.name, std::process::id()).as_bytes());
        }
        if let Some(mut file) = self.file.as_ref().and_then(|file| file.lock().ok()) {
            file.write(&file_line(self.clock, level, &message));
        }
    }

    fn flush(&self) {}
}
