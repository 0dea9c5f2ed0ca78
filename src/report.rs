//! What a run tells: its record in `jobs.jsonl`, and the receipt on the stick.

pub mod receipt;

use std::path::{Path, PathBuf};
use std::time::Instant;

use log::{error, info};
use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::jobs::Room;
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

impl Env {
    /// Room on the disk that holds the server's data.
    ///
    /// # Errors
    /// `Io` if there is no such disk.
    pub fn room(&self) -> Result<Room> {
        let room = Dir::open(&self.settings.server_root)?.room()?;
        let bytes = |blocks: u64| blocks.saturating_mul(room.f_frsize);
        Ok(Room { free: bytes(room.f_bavail), total: bytes(room.f_blocks) })
    }
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
    /// The runs whose lost content this record names.
    pub told: Vec<(Dataset, Vec<String>)>,
    /// Bytes copied in all.
    pub bytes: u64,
}

impl Report {
    /// Starts the clock of a run.
    pub fn new(job: &'static str) -> Report {
        Report {
            job,
            start: Instant::now(),
            device: None,
            stick: None,
            datasets: Map::new(),
            told: Vec::new(),
            bytes: 0,
        }
    }

    /// The stick is there for another job than the one that it came for.
    pub fn becomes(&mut self, job: &'static str) {
        self.job = job;
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
        // What is refused without a stick in hand (a destination, a database) is no stick's fault.
        if let (Some(error @ Error::Refused { .. }), Some(_)) = (error, &self.device) {
            let line = format!("{}: {error}", self.job);
            journal::also(env.clock, &log_dir.join("usb_guard.log"), env.settings.log_max_bytes, &line);
        }
        let (label, uuid) = self.stick.unzip();
        let record = jobs::Record {
            time: env.clock.log_time(env.clock.now()),
            job: self.job,
            invocation: std::env::var("INVOCATION_ID").ok(),
            device: self.device.map(|device| device.display().to_string()),
            label,
            uuid,
            result: error.map_or("done", Error::result_word),
            datasets: self.datasets,
            bytes: self.bytes,
            duration_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            disk: env.room().ok(),
            error: error.map(Error::to_string),
        };
        jobs::append(log_dir, env.settings.log_max_bytes, &record);
    }
}

/// So many files are named in a run's record, with so many characters each: a record has its bounds.
const NAMED: usize = 40;
const NAME_LENGTH: usize = 150;

/// Adds files of a dataset that are kept to its part of the record: `lost` or `older`, how many, where, and the first names.
pub fn note_kept(value: &mut Value, key: &str, files: u64, place: &str, names: &[String]) {
    let short = |name: &String| name.chars().take(NAME_LENGTH).collect::<String>();
    value[key] = files.into();
    value[format!("{key}_in")] = place.into();
    value[format!("{key}_names")] = names.iter().take(NAMED).map(short).collect::<Vec<_>>().into();
}

/// A job for people.
pub fn job_name(job: &str) -> &str {
    match job {
        "ingest" => "取り込み",
        "dist-export" => "端末用の書き出し",
        "dist-sync" => "端末への読み込み",
        "backup" => "バックアップ",
        "snapshot" => "スナップショット",
        "restore" => "バックアップから戻す",
        "restore-drill" => "戻す試験",
        "recover" => "サーバー交換",
        "recover-apply" => "サーバー交換(反映)",
        "undo" => "前のデータに戻す",
        "mirror-compare" => "ミラー比較",
        "mirror-enable" => "ミラー有効化",
        "mirror-disable" => "ミラー停止",
        "mirror-rotate" => "ミラーのログ整理",
        "stick-init" => "USB メモリを作る",
        "stick-verify" => "USB メモリを調べる",
        "stick-enroll" => "USB メモリの登録",
        "stick-adopt" => "USB メモリの引き継ぎ",
        "guard" => "知らない USB 記憶装置",
        "park" => "USB メモリを見せる",
        "wear" => "SSD の点検",
        other => other,
    }
}

/// Some datasets one after the other; the next is done even if one is refused. `work` says whether there was anything
/// to work from; so many had it.
///
/// # Errors
/// The first dataset's.
pub fn each_of(datasets: &[Dataset], mut work: impl FnMut(Dataset) -> Result<bool>) -> Result<usize> {
    let mut first_error = None;
    let mut there = 0;
    for dataset in datasets {
        match (work(*dataset), &first_error) {
            (Ok(had), _) => there += usize::from(had),
            (Err(Error::Interrupted), _) => return Err(Error::Interrupted),
            (Err(error), None) => first_error = Some(error),
            (Err(error), Some(_)) => error!("{error}"),
        }
    }
    first_error.map_or(Ok(there), Err)
}
