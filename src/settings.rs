//! Settings: flags over environment over defaults (SPEC 2). *Pure*: the environment comes in as a function.

pub mod env_file;
pub mod json;
pub mod mirror;
pub mod pg_uri;
pub mod secrets;
pub mod site;

use std::path::{Path, PathBuf};

use pg_uri::PgUri;

use crate::error::{Error, Result};

/// The directory in [`Settings::server_root`] that is for the program alone.
pub const STATE_DIR: &str = ".toolmaster";
/// Held while one of the small files in it is replaced: two sticks at once are nothing unusual.
pub const STATE_LOCK: &str = "state.lock";

/// What the commands need to know of this server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `SERVER_ROOT`: everything the server keeps.
    pub server_root: PathBuf,
    /// `SERVER_MASTER_DIR`: the tool master's dataset.
    pub master_dir: PathBuf,
    /// `SERVER_DOC_DIR`: the drawings' dataset.
    pub doc_dir: PathBuf,
    /// `LOCAL_MASTER_DIR`: a terminal's copy of the tool master.
    pub local_master_dir: PathBuf,
    /// `LOCAL_DOC_DIR`: a terminal's copy of the drawings.
    pub local_doc_dir: PathBuf,
    /// `USB_LOG_DIR`: the jobs' log files and `jobs.jsonl`.
    pub log_dir: PathBuf,
    /// `LOG_MAX_BYTES`: from that size on a log is begun anew.
    pub log_max_bytes: u64,
    /// `LOG_RETENTION_DAYS`: so long a log's lines are kept at least.
    pub log_retention_days: u32,
    /// `USB_INGEST_LABEL`, `USB_DIST_LABEL`, `USB_BACKUP_LABEL`.
    pub labels: Labels,
    /// `USB_MAX_RETRY`: attempts to unmount a stick.
    pub max_retry: u32,
    /// `SNAPSHOT_ROOT`: where snapshots are made.
    pub snapshot_root: PathBuf,
    /// `SNAPSHOT_DIR`: the snapshots that are backed up.
    pub snapshot_dir: PathBuf,
    /// `SNAPSHOT_RETENTION_DAYS`: how long a snapshot is kept.
    pub snapshot_retention_days: u32,
    /// `BACKUP_RETENTION`: how many archives a stick keeps, 0 for all.
    pub backup_retention: u32,
    /// `REQUIRE_ENROLLED`: only sticks that this server has signed are taken.
    pub require_enrolled: bool,
    /// `PG_URI`: the database, where it is not the one of `.env`.
    pub pg_uri: Option<PgUri>,
    /// `MIRRORCTL_CONFIG`: the mirror's configuration.
    pub mirror_config: PathBuf,
    /// `LED_DIR`: the kernel's lights.
    pub led_dir: PathBuf,
    /// `LED_NAMES`: the names of those that show how the sticks fare.
    pub leds: Vec<String>,
    /// `LED_BUZZER`: the name of one that is heard.
    pub led_buzzer: Option<String>,
    /// `STATUS_…`: from where on `status` calls something bad.
    pub thresholds: Thresholds,
}

/// From where on `status` calls something bad.
#[derive(Clone, Debug)]
pub struct Thresholds {
    /// `STATUS_SNAPSHOT_HOURS`: the newest snapshot's age.
    pub snapshot_hours: u32,
    /// `STATUS_BACKUP_DAYS`: the last backup's age.
    pub backup_days: u32,
    /// `STATUS_DRILL_DAYS`: the last restore drill's age.
    pub drill_days: u32,
    /// `STATUS_FREE_PERCENT`: room on the data disk.
    pub free_percent: u32,
    /// `STATUS_MIRROR_NIGHTS`: so many nights without a difference are wanted.
    pub mirror_nights: u32,
    /// `STATUS_WEAR_PERCENT`: how worn the data disk is.
    pub wear_percent: u32,
}

/// The label that each kind of stick carries.
#[derive(Clone, Debug)]
pub struct Labels {
    /// Sticks that bring data in.
    pub ingest: String,
    /// Sticks that carry data to terminals.
    pub dist: String,
    /// Sticks that hold backups.
    pub backup: String,
}

impl Settings {
    /// Reads the settings through `var` (an unset and an empty variable are the same).
    ///
    /// # Errors
    /// `Config` for a path that is not absolute, a number that is none, a label that no stick can carry.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Result<Settings> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let path = |name: &'static str, default: PathBuf| match var(name) {
            Some(value) => absolute(name, value),
            None => Ok(default),
        };
        let server_root = path("SERVER_ROOT", PathBuf::from("/srv/rpi-server"))?;
        Ok(Settings {
            master_dir: path("SERVER_MASTER_DIR", server_root.join("master"))?,
            doc_dir: path("SERVER_DOC_DIR", server_root.join("docviewer"))?,
            local_master_dir: path("LOCAL_MASTER_DIR", PathBuf::from("/opt/toolmaster/master"))?,
            local_doc_dir: path("LOCAL_DOC_DIR", PathBuf::from("/opt/toolmaster/docviewer"))?,
            log_dir: path("USB_LOG_DIR", server_root.join("logs"))?,
            log_max_bytes: number("LOG_MAX_BYTES", var("LOG_MAX_BYTES"), 5_000_000, 100_000, 1_000_000_000)?.into(),
            log_retention_days: number("LOG_RETENTION_DAYS", var("LOG_RETENTION_DAYS"), 90, 1, 3650)?,
            labels: Labels {
                ingest: label("USB_INGEST_LABEL", var("USB_INGEST_LABEL"), "TM-INGEST")?,
                dist: label("USB_DIST_LABEL", var("USB_DIST_LABEL"), "TM-DIST")?,
                backup: label("USB_BACKUP_LABEL", var("USB_BACKUP_LABEL"), "TM-BACKUP")?,
            },
            max_retry: number("USB_MAX_RETRY", var("USB_MAX_RETRY"), 3, 1, 100)?,
            snapshot_root: path("SNAPSHOT_ROOT", server_root.join("snapshots"))?,
            snapshot_dir: path("SNAPSHOT_DIR", server_root.join("snapshots"))?,
            snapshot_retention_days: retention_days("SNAPSHOT_RETENTION_DAYS", var("SNAPSHOT_RETENTION_DAYS"))?,
            backup_retention: backup_retention("BACKUP_RETENTION", var("BACKUP_RETENTION"))?,
            require_enrolled: number("REQUIRE_ENROLLED", var("REQUIRE_ENROLLED"), 0, 0, 1)? == 1,
            pg_uri: var("PG_URI").map(|uri| database("PG_URI", &uri)).transpose()?,
            mirror_config: path("MIRRORCTL_CONFIG", PathBuf::from("/etc/mirrorctl/config.json"))?,
            led_dir: path("LED_DIR", PathBuf::from("/sys/class/leds"))?,
            leds: lights("LED_NAMES", &var("LED_NAMES").unwrap_or_else(|| "ACT PWR".to_owned()))?,
            led_buzzer: lights("LED_BUZZER", &var("LED_BUZZER").unwrap_or_default())?.pop(),
            thresholds: Thresholds {
                snapshot_hours: number("STATUS_SNAPSHOT_HOURS", var("STATUS_SNAPSHOT_HOURS"), 26, 1, 8760)?,
                backup_days: number("STATUS_BACKUP_DAYS", var("STATUS_BACKUP_DAYS"), 35, 1, 3650)?,
                drill_days: number("STATUS_DRILL_DAYS", var("STATUS_DRILL_DAYS"), 15, 1, 3650)?,
                free_percent: number("STATUS_FREE_PERCENT", var("STATUS_FREE_PERCENT"), 10, 0, 99)?,
                mirror_nights: number("STATUS_MIRROR_NIGHTS", var("STATUS_MIRROR_NIGHTS"), 14, 1, 365)?,
                wear_percent: number("STATUS_WEAR_PERCENT", var("STATUS_WEAR_PERCENT"), 80, 1, 255)?,
            },
            server_root,
        })
    }
}

/// The value of `SNAPSHOT_RETENTION_DAYS` or `--retention-days`, 7 where there is none.
///
/// # Errors
/// `Config` if it is no number from 1 to 36500.
pub fn retention_days(name: &str, value: Option<String>) -> Result<u32> {
    number(name, value, 7, 1, 36_500)
}

/// The value of `BACKUP_RETENTION` or `--retention`, 4 where there is none.
///
/// # Errors
/// `Config` if it is no number from 0 to 10000.
pub fn backup_retention(name: &str, value: Option<String>) -> Result<u32> {
    number(name, value, 4, 0, 10_000)
}

/// The value of `PG_URI` or `--pg-uri`.
///
/// # Errors
/// `Config`, without the value: it may hold a password.
pub fn database(name: &str, value: &str) -> Result<PgUri> {
    let next = "write it as postgresql://user:password@host:5432/database";
    PgUri::parse(value).map_err(|why| Error::Config { why: format!("{name} is no database's address: {why}"), next })
}

const NEXT: &str = "correct it in /etc/default/toolmaster or on the command line";

fn absolute(name: &str, value: String) -> Result<PathBuf> {
    let path = PathBuf::from(value);
    let plain = path.is_absolute()
        && path != Path::new("/")
        && !path.as_os_str().as_encoded_bytes().contains(&0)
        && !path.components().any(|part| part.as_os_str() == "..");
    if plain {
        Ok(path)
    } else {
        Err(Error::Config { why: format!("{name} must be an absolute path without \"..\", below /"), next: NEXT })
    }
}

/// A label fits ext's 16 bytes, the longest of the filesystems that a stick may have.
fn label(name: &str, value: Option<String>, default: &str) -> Result<String> {
    let value = value.unwrap_or_else(|| default.to_owned());
    if value.len() <= 16 && value.chars().all(|c| !c.is_control()) {
        Ok(value)
    } else {
        Err(Error::Config { why: format!("{name} must be a label of at most 16 bytes"), next: NEXT })
    }
}

/// Names of lights, with blanks between them: each is that of a directory in `LED_DIR`.
fn lights(name: &str, value: &str) -> Result<Vec<String>> {
    let names: Vec<String> = value.split_whitespace().map(str::to_owned).collect();
    if names.iter().any(|name| name.starts_with('.') || name.contains('/')) {
        return Err(Error::Config { why: format!("{name} must be names of lights, such as ACT"), next: NEXT });
    }
    Ok(names)
}

fn number(name: &str, value: Option<String>, default: u32, min: u32, max: u32) -> Result<u32> {
    let Some(value) = value else {
        return Ok(default);
    };
    match value.trim().parse::<u32>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(Error::Config { why: format!("{name} must be a number from {min} to {max}"), next: NEXT }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Settings> {
        Settings::read(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn defaults_hang_on_the_root() {
        let settings = read(&[("SERVER_ROOT", "/data"), ("USB_LOG_DIR", "")]).unwrap();
        assert_eq!(settings.master_dir, Path::new("/data/master"));
        assert_eq!(settings.log_dir, Path::new("/data/logs"));
        assert_eq!(settings.labels.ingest, "TM-INGEST");
        assert_eq!(settings.max_retry, 3);
        assert_eq!(settings.snapshot_root, Path::new("/data/snapshots"));
        assert_eq!((settings.snapshot_retention_days, settings.backup_retention), (7, 4));
        assert_eq!((settings.pg_uri, settings.require_enrolled), (None, false));
        assert!(read(&[("REQUIRE_ENROLLED", "1")]).unwrap().require_enrolled);
    }

    #[test]
    fn nonsense_is_a_configuration_error() {
        for bad in [
            ("SERVER_ROOT", "data"),
            ("SERVER_ROOT", "/"),
            ("SERVER_DOC_DIR", "/srv/../etc"),
            ("USB_MAX_RETRY", "many"),
            ("USB_MAX_RETRY", "0"),
            ("REQUIRE_ENROLLED", "yes"),
            ("USB_INGEST_LABEL", "THIS-LABEL-IS-TOO-LONG"),
            ("USB_INGEST_LABEL", "A\nB"),
            ("SNAPSHOT_ROOT", "snapshots"),
            ("SNAPSHOT_RETENTION_DAYS", "0"),
            ("BACKUP_RETENTION", "-1"),
            ("PG_URI", "app:secret@h/db"),
            ("LED_NAMES", "ACT ../../x"),
        ] {
            assert_eq!(read(&[bad]).unwrap_err().exit_code(), 78, "{bad:?}");
        }
    }
}
