//! `/etc/toolmaster/ingest.d/`: the site's own programs, run after an ingest that changed the server (SPEC 6).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{info, warn};

use crate::os::{process, systemd};

const DIR: &str = "/etc/toolmaster/ingest.d";
/// A hook that hangs must not keep the stick's unit for ever.
const LIMIT: Duration = Duration::from_secs(300);

const NEXT: &str = "look at what it says; the ingest itself is done";

/// Runs all executables there in name order. What they do wrong is logged and undoes nothing. The stick's unit is confined to
/// the server's data; a site's program restarts services and writes where it likes, so it gets a unit of its own there.
pub fn run(changed: &[&str]) {
    let run = if systemd::is_unit() { systemd::run_outside } else { process::run };
    for program in executables(Path::new(DIR)) {
        match run(&program, changed, LIMIT, NEXT) {
            Ok(()) => info!("{} done", program.display()),
            Err(error) => warn!("{error}"),
        }
    }
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
