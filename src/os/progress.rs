//! Long work shows that it goes on: a bar on a terminal; under systemd `STATUS=` to `$NOTIFY_SOCKET` and a log line
//! about every 30 seconds.

use std::io::{IsTerminal, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use log::info;

use crate::text::Bytes;

const BAR_EVERY: Duration = Duration::from_millis(200);
const STATUS_EVERY: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(30);
/// What a line ends with while the medium is waited for.
pub const FLUSHING: &str = "waiting for the medium";

/// How far a piece of work is.
pub struct Progress {
    title: String,
    total_bytes: u64,
    total_files: u64,
    bytes: u64,
    files: u64,
    start: Instant,
    /// When it was last told; not yet at all.
    shown: Option<Instant>,
    logged: Instant,
    flushing: bool,
    terminal: bool,
    status: Option<(UnixDatagram, SocketAddr)>,
}

impl Progress {
    /// Work with that many bytes and files before it.
    pub fn new(title: String, total_bytes: u64, total_files: u64) -> Progress {
        let start = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        let status = notify_socket();
        Progress {
            title,
            total_bytes,
            total_files,
            bytes: 0,
            files: 0,
            start,
            shown: None,
            logged: start,
            flushing: false,
            terminal,
            status,
        }
    }

    /// Some bytes more are done.
    pub fn add_bytes(&mut self, count: u64) {
        self.bytes = self.bytes.saturating_add(count);
        self.show();
    }

    /// One file more is done.
    pub fn add_file(&mut self) {
        self.files = self.files.saturating_add(1);
        self.show();
    }

    /// All is handed to the system: what is still waited for is the medium, which on a slow stick takes the most time.
    pub fn flush(&mut self) {
        self.flushing = true;
        self.shown = None;
        self.show();
    }

    fn show(&mut self) {
        let every = if self.terminal { BAR_EVERY } else { STATUS_EVERY };
        if self.shown.is_some_and(|shown| shown.elapsed() < every) {
            return;
        }
        self.shown = Some(Instant::now());
        let line = self.line();
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        }
        if let Some((socket, address)) = &self.status {
            let _ = socket.send_to_addr(format!("STATUS={line}").as_bytes(), address);
        }
        if !self.terminal && self.logged.elapsed() >= LINE_EVERY {
            self.logged = Instant::now();
            info!("{line}");
        }
    }

    fn line(&self) -> String {
        let seconds = self.start.elapsed().as_secs_f64().max(0.001);
        let rate = self.bytes as f64 / seconds;
        let percent = (self.bytes.saturating_mul(100)).checked_div(self.total_bytes).unwrap_or(0).min(100);
        if self.flushing {
            let (done, all, files) = (Bytes(self.bytes), Bytes(self.total_bytes), self.total_files);
            return format!("{}: {percent} %  {done} / {all}  {} / {files} files  {FLUSHING}", self.title, self.files);
        }
        let rest = self.total_bytes.saturating_sub(self.bytes) as f64 / rate.max(1.0);
        format!(
            "{}: {percent} %  {} / {}  {} / {} files  {}/s  {:.0} s left",
            self.title,
            Bytes(self.bytes),
            Bytes(self.total_bytes),
            self.files,
            self.total_files,
            Bytes(rate as u64),
            rest
        )
    }
}

impl Drop for Progress {
    /// Clears the bar, so that the next line starts at the margin.
    fn drop(&mut self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// sd_notify(3): a path, or an abstract name after `@`.
fn notify_socket() -> Option<(UnixDatagram, SocketAddr)> {
    let name = std::env::var("NOTIFY_SOCKET").ok()?;
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok()?,
        None => SocketAddr::from_pathname(&name).ok()?,
    };
    Some((UnixDatagram::unbound().ok()?, address))
}
