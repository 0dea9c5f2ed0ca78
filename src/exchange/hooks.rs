//! `/etc/toolmaster/ingest.d/`: the site's own programs, run after the server's data have changed (SPEC 6). That they are due is on the disk before the
//! change, so that they run also when the stick fails after it or the run is killed: then at the next start. A crash while they run has them run again.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{info, warn};

use crate::dataset::Dataset;
use crate::dataset::server::Server;
use crate::error::Result;
use crate::os::atomic;
use crate::os::dir::Dir;
use crate::os::{process, systemd};

const DIR: &str = "/etc/toolmaster/ingest.d";
/// A hook that hangs must not keep the stick's unit for ever.
const LIMIT: Duration = Duration::from_secs(300);

const NEXT: &str = "look at what it says; the ingest itself is done";

fn name(dataset: Dataset) -> Vec<u8> {
    format!("{}.hooks", dataset.name()).into_bytes()
}

/// Notes that the dataset is about to change.
///
/// # Errors
/// `Io`.
pub fn due(server: &Server, dataset: Dataset) -> Result<()> {
    state(server).map_or(Ok(()), |state| atomic::write(state, &name(dataset), b"", 0o600))
}

/// It did not change after all.
///
/// # Errors
/// `Io`.
pub fn not_due(server: &Server, dataset: Dataset) -> Result<()> {
    state(server).map_or(Ok(()), |state| state.remove(&name(dataset)))
}

fn state(server: &Server) -> Option<&Dir> {
    server.state.as_ref()
}

/// Runs what is due: all executables there in name order, with the names of the datasets that changed. What they do wrong is logged and undoes nothing. The
/// stick's unit is confined to
/// the server's data; a site's program restarts services and writes where it likes, so it gets a unit of its own there.
///
/// # Errors
/// `Io` if what is due can't be told or ticked off.
pub fn run_due(server: &Server) -> Result<()> {
    let Some(state) = state(server) else { return Ok(()) };
    let is_due = |dataset: &Dataset| state.look(&name(*dataset)).is_ok_and(|entry| entry.is_some());
    let changed: Vec<Dataset> = Dataset::ALL.into_iter().filter(is_due).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = changed.iter().map(|dataset| dataset.name()).collect();
    let run = if systemd::is_unit() { systemd::run_outside } else { process::run };
    for program in executables(Path::new(DIR)) {
        match run(&program, &names, LIMIT, NEXT) {
            Ok(()) => info!("{} done", program.display()),
            Err(error) => warn!("{error}"),
        }
    }
    changed.into_iter().try_for_each(|dataset| not_due(server, dataset))
}

/// The executables in a directory of `/etc/toolmaster`, in name order.
pub fn executables(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let executable = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let mut programs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(executable).collect();
    programs.sort();
    programs
}
