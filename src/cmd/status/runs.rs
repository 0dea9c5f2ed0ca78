//! The runs of each job, from `jobs.jsonl` (SPEC 4).

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock::parse_rfc3339;
use crate::os::jobs::{self, Room};

/// No record is longer; what is, is none of ours.
const LONGEST: u64 = 64 * 1024;
/// So many of the newest are kept for people to look back: for 90 days of 55 runs.
const KEPT: usize = 5_000;

/// One run, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub struct Run {
    /// When it ended, as in log lines.
    pub time: String,
    /// The command, such as `ingest`.
    pub job: String,
    /// `done`, `refused`, `nothing`, `busy`, `different` or `failed`.
    pub result: String,
    /// The stick's label.
    pub label: Option<String>,
    /// What happened to each dataset.
    #[serde(default)]
    pub datasets: Map<String, Value>,
    /// Bytes copied in all.
    #[serde(default)]
    pub bytes: u64,
    /// How long it took.
    #[serde(default)]
    pub duration_ms: u64,
    /// Room on the server's disk; runs before it was recorded have none.
    pub disk: Option<Room>,
    /// The error's text.
    pub error: Option<String>,
}

impl Run {
    /// When it ended, unix seconds.
    pub fn ended(&self) -> Option<i64> {
        parse_rfc3339(&self.time)
    }

    /// Whether it did its work.
    pub fn is_done(&self) -> bool {
        self.result == "done"
    }

    /// How it ended, for the operator.
    pub fn word(&self) -> &'static str {
        match self.result.as_str() {
            "done" => "完了",
            "refused" => "断った",
            "nothing" => "元が無い",
            "busy" => "使用中",
            "different" => "差分あり",
            _ => "失敗",
        }
    }
}

/// The runs that are on record.
#[derive(Debug, Default)]
pub struct Runs {
    last: HashMap<String, Run>,
    done: HashMap<String, Run>,
    kept: VecDeque<Run>,
}

impl Runs {
    /// Reads the records. A torn or foreign line counts as none; where there is no file nothing has run yet.
    pub fn read(log_dir: &Path) -> Runs {
        Runs::parse(BufReader::new(jobs::read(log_dir)))
    }

    /// The same from any input.
    pub fn parse(mut input: impl BufRead) -> Runs {
        let mut runs = Runs::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut input).take(LONGEST).read_until(b'\n', &mut line) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return runs,
            }
            let Ok(run) = serde_json::from_slice::<Run>(&line) else { continue };
            if run.is_done() {
                runs.done.insert(run.job.clone(), run.clone());
            }
            runs.last.insert(run.job.clone(), run.clone());
            if runs.kept.len() == KEPT {
                runs.kept.pop_front();
            }
            runs.kept.push_back(run);
        }
    }

    /// A job's last run.
    pub fn last(&self, job: &str) -> Option<&Run> {
        self.last.get(job)
    }

    /// A job's last run that did its work.
    pub fn last_done(&self, job: &str) -> Option<&Run> {
        self.done.get(job)
    }

    /// The newest runs, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Run> {
        self.kept.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_each_job() {
        let text = "{\"time\":\"2026-01-31T02:30:00+09:00\",\"job\":\"backup\",\"result\":\"done\",\"label\":\"TM-BACKUP\",\"bytes\":1}\n\
            torn {\n\
            {\"time\":\"2026-02-01T02:30:00+09:00\",\"job\":\"backup\",\"result\":\"failed\",\"error\":\"full\"}\n\
            {\"time\":\"2026-02-01T02:30:00+09:00\",\"job\":\"ing";
        let runs = Runs::parse(text.as_bytes());
        assert_eq!(runs.last("backup").unwrap().result, "failed");
        assert_eq!(runs.last_done("backup").unwrap().ended(), Some(1_769_794_200));
        assert!(runs.last("ingest").is_none());
        assert_eq!(runs.newest_first().map(|run| run.bytes).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn only_the_newest_are_kept() {
        let line =
            |bytes: usize| format!("{{\"time\":\"\",\"job\":\"ingest\",\"result\":\"done\",\"bytes\":{bytes}}}\n");
        let runs = Runs::parse((0..KEPT + 3).map(line).collect::<String>().as_bytes());
        assert_eq!(runs.newest_first().count(), KEPT);
        assert_eq!(runs.newest_first().last().unwrap().bytes, 3);
    }
}
