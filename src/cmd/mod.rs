//! The commands: the order of steps, `--dry-run`, the completion line. Nothing else knows these.

pub mod clock;
pub mod dist_export;
pub mod dist_sync;
pub mod hooks;
pub mod ingest;
pub mod log;
pub mod plan;
pub mod replace;
pub mod restore_drill;
pub mod stick;
pub mod undo;
pub mod verdict;

use std::path::{Path, PathBuf};
use std::time::Instant;

use ::log::info;
use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::error::Error;
use crate::os::{jobs, journal};
use crate::settings::Settings;
use crate::stick::probe::Superblock;

/// What every command is given.
pub struct Env {
    /// The settings of SPEC 2.
    pub settings: Settings,
    /// The clock.
    pub clock: Clock,
}

/// A run's entry in `jobs.jsonl`, filled in as the run goes on.
pub struct Report {
    job: &'static str,
    start: Instant,
    /// The device it works on.
    pub device: Option<PathBuf>,
    /// The stick's label and UUID, once probed.
    pub stick: Option<(String, String)>,
    /// What happened to each dataset.
    pub datasets: Map<String, Value>,
    /// Bytes copied in all.
    pub bytes: u64,
}

impl Report {
    /// Starts the clock of a run.
    pub fn new(job: &'static str) -> Report {
        Report { job, start: Instant::now(), device: None, stick: None, datasets: Map::new(), bytes: 0 }
    }

    /// Notes the stick that was probed, and says what it is.
    pub fn probed(&mut self, device: &Path, superblock: &Superblock) {
        let Superblock { fstype, label, uuid, .. } = superblock;
        info!("{}: {fstype} {label} {uuid}", device.display());
        self.stick = Some((label.to_string(), uuid.to_string()));
    }

    /// Writes the record. A refused stick is told to `usb_guard.log` too.
    pub fn end(self, env: &Env, error: Option<&Error>) {
        let log_dir = &env.settings.log_dir;
        if let Some(error @ Error::Refused { .. }) = error {
            journal::also(env.clock, &log_dir.join("usb_guard.log"), &format!("{}: {error}", self.job));
        }
        let (label, uuid) = self.stick.unzip();
        let record = jobs::Record {
            time: env.clock.log_time(env.clock.now()),
            job: self.job,
            device: self.device.map(|device| device.display().to_string()),
            label,
            uuid,
            result: error.map_or("done", Error::result_word),
            datasets: self.datasets,
            bytes: self.bytes,
            duration_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            error: error.map(Error::to_string),
        };
        jobs::append(log_dir, &record);
    }
}
