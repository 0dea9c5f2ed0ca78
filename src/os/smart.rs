//! How worn a disk is, in its own words: `smartctl` of smartmontools asks it. NVMe's health log is had only by an ioctl that has no
//! safe form.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::process::{self, Output, Program};
use crate::error::{Error, Result};

/// A disk that is asleep takes seconds.
const LIMIT: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 1 << 20;

/// What a disk says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// So much of what it was built to write is written, percent; may exceed 100.
    pub worn: Option<u64>,
    /// It expects to work on.
    pub passed: bool,
}

/// Asks a whole disk. None for one that tells nothing: a virtual one, or one behind a USB bridge that lets no question through.
///
/// # Errors
/// `Config` without smartctl, `Failed`, `Interrupted`.
pub fn ask(disk: &Path) -> Result<Option<Health>> {
    let smartctl = process::find("smartctl").ok_or_else(|| Error::Config {
        why: "smartctl is not installed".to_owned(),
        next: "sudo apt install smartmontools",
    })?;
    let shown = disk.to_string_lossy();
    let arguments = ["--json=c", "--info", "--health", "--attributes", "--log=devstat", "--", &shown];
    let program = Program::new(&smartctl, &arguments, LIMIT, "run \"smartctl -a\" on the disk by hand");
    // Its exit status tells of the disk as well as of itself (smartctl(8)); what it could not ask is not in the answer.
    let ended = program.output(Output::Text(MAX_ANSWER)).end()?;
    Ok(serde_json::from_slice(&ended.text).ok().and_then(|answer| health(&answer)))
}

/// smartctl's JSON: `endurance_used` is what it found for any kind of disk (since 7.4), the log is NVMe's own.
fn health(answer: &Value) -> Option<Health> {
    let number = |pointer| answer.pointer(pointer).and_then(Value::as_u64);
    let worn = number("/endurance_used/current_percent")
        .or_else(|| number("/nvme_smart_health_information_log/percentage_used"));
    let passed = answer.pointer("/smart_status/passed").and_then(Value::as_bool);
    if worn.is_none() && passed.is_none() { None } else { Some(Health { worn, passed: passed.unwrap_or(true) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let nvme = r#"{"smart_status":{"passed":true,"nvme":{"value":0}},
            "nvme_smart_health_information_log":{"critical_warning":0,"percentage_used":7}}"#;
        let sata = r#"{"smart_status":{"passed":false},"endurance_used":{"current_percent":101}}"#;
        let old = r#"{"smart_status":{"passed":true}}"#;
        let none = r#"{"smartctl":{"exit_status":2,"messages":[{"string":"/dev/vda: Unable to detect device type"}]}}"#;
        let health = |text: &str| health(&serde_json::from_str(text).unwrap());
        assert_eq!(health(nvme), Some(Health { worn: Some(7), passed: true }));
        assert_eq!(health(sata), Some(Health { worn: Some(101), passed: false }));
        assert_eq!(health(old), Some(Health { worn: None, passed: true }));
        assert_eq!(health(none), None);
    }
}
