//! `mirror-compare`: the primary's and the mirror's `part_locations`, row by row (SPEC 9).

use std::io::{BufReader, Write};
use std::path::PathBuf;

use argh::FromArgs;
use log::{error, info};
use serde_json::json;

use super::{Env, Report, mirror_config};
use crate::error::{Error, Result};
use crate::mirror::compare::{Counts, Difference, Side, Trouble, compare};
use crate::mirror::db;
use crate::mirror::record::{Differences, Records};
use crate::settings::pg_uri::PgUri;

/// Compare the primary and the mirror database and record the result.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "mirror-compare")]
pub struct Args {
    /// the mirror's configuration file
    #[argh(option)]
    config: Option<PathBuf>,
    /// print the result as JSON and change nothing
    #[argh(switch)]
    pub dry_run: bool,
    /// differences and errors end with 78
    #[argh(switch)]
    strict: bool,
}

/// Differences that a dry run shows.
const SHOWN: usize = 20;

/// Carries it out.
///
/// # Errors
/// `Different` (2) for differences, `Failed` (1) where nothing can be said, `Config`; with `--strict` all are `Config`.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let config = mirror_config::read(args.config.as_deref().unwrap_or(&env.settings.mirror_config))?;
    let records = Records::new(&config, &env.settings.log_dir);
    let databases = config.databases()?;
    let mut report = Report::new("mirror-compare");
    let result = if args.dry_run {
        dry_run(&databases, env, &records)
    } else {
        let result = recorded(&databases, env, &records, &mut report);
        report.end(env, result.as_ref().err());
        result
    };
    result.map_err(|error| match error {
        Error::Different { why, next } | Error::Failed { why, next } if args.strict => Error::Config { why, next },
        error => error,
    })
}

/// A line of `mirror_status.log`.
struct Line<'a> {
    timestamp: &'a str,
    status: &'static str,
    counts: Option<Counts>,
    ok_streak: u64,
    error: Option<String>,
}

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Line { timestamp, status, counts, ok_streak, error } = self;
        write!(f, "{{\"timestamp\":\"{timestamp}\",\"status\":\"{status}\"")?;
        let [primary, mirror, different] = match counts {
            Some(counts) => [counts.primary, counts.mirror, counts.different].map(|count| count.to_string()),
            None => ["null"; 3].map(str::to_owned),
        };
        write!(f, ",\"primary_count\":{primary},\"mirror_count\":{mirror},\"diff_count\":{different}")?;
        write!(f, ",\"ok_streak\":{ok_streak}")?;
        if let Some(error) = error {
            write!(f, ",\"error\":{}", serde_json::to_string(error).unwrap_or_default())?;
        }
        f.write_str("}")
    }
}

/// What a comparison says, as a line and as the result of the run. An error leaves the counter alone.
fn verdict(compared: Result<Counts>, streak: u64, timestamp: &str) -> (Line<'_>, Result<()>) {
    let counts = compared.as_ref().ok().copied();
    let (status, ok_streak) = match counts {
        None => ("ERROR", streak),
        Some(Counts { different: 0, .. }) => ("OK", streak.saturating_add(1)),
        Some(_) => ("DIFF", 0),
    };
    let line = Line { timestamp, status, counts, ok_streak, error: compared.as_ref().err().map(Error::to_string) };
    let result = match compared {
        Ok(Counts { different: 0, .. }) => Ok(()),
        Ok(Counts { primary, mirror, different }) => Err(Error::Different {
            why: format!("差分 {different} 件(primary {primary} 行、mirror {mirror} 行)"),
            next: "mirror_diff.log で差分を確認する",
        }),
        Err(error) => Err(error),
    };
    (line, result)
}

fn dry_run(databases: &[PgUri; 2], env: &Env, records: &Records) -> Result<()> {
    let mut shown = 0;
    let mut show = |difference: &Difference<'_>| {
        let mut json = Vec::new();
        if shown < SHOWN && difference.write(&mut json).is_ok() {
            info!("{}", String::from_utf8_lossy(&json));
        }
        shown += 1;
    };
    let compared = read_both(databases, &mut show);
    let timestamp = env.clock.utc_time(env.clock.now());
    let (line, result) = verdict(compared, records.streak(), &timestamp);
    let _ = writeln!(std::io::stdout(), "{line}");
    result
}

fn recorded(databases: &[PgUri; 2], env: &Env, records: &Records, report: &mut Report) -> Result<()> {
    let _one_at_a_time = records.lock("compare.lock")?;
    let timestamp = env.clock.utc_time(env.clock.now());
    let mut differences = Differences::begin(records, &timestamp)?;
    let compared = read_both(databases, &mut |difference| differences.add(difference));
    let _records = records.lock_records()?;
    let (line, result) = verdict(compared, records.streak(), &timestamp);
    let json = line.to_string();
    report.datasets.insert(
        "part_locations".to_owned(),
        json!({"outcome": line.status, "diff_count": line.counts.map(|counts| counts.different), "ok_streak": line.ok_streak}),
    );
    // A crash between two of these steps leaves a streak that is too short, never one that is too long.
    match line.status {
        "OK" => {
            records.append_status(&json)?;
            records.set_streak(line.ok_streak)?;
        }
        "DIFF" => {
            records.set_streak(0)?;
            let kept = records.append_differences(differences);
            records.append_status(&json)?;
            if let (Err(lost), Err(Error::Different { why, .. })) = (kept, &result) {
                info!("{json}");
                let lost = match lost {
                    Error::Io { path, source, .. } => format!("{path}: {source}"),
                    other => other.to_string(),
                };
                let why = format!("{why}。内容は記録できません: {lost}");
                return Err(Error::Different {
                    why, next: "空き容量とログディレクトリを確認して、もう一度実行する"
                });
            }
        }
        // The error itself says more than that it could not be recorded.
        _ => records.append_status(&json).unwrap_or_else(|error| error!("{error}")),
    }
    info!("{json}");
    result
}

/// Reads both tables at the same time. Only two streams that both programs call whole are a result.
fn read_both([primary, mirror]: &[PgUri; 2], differs: &mut dyn FnMut(&Difference<'_>)) -> Result<Counts> {
    const BUFFER: usize = 64 * 1024;
    let mut primary_rows = BufReader::with_capacity(BUFFER, db::read(primary)?);
    let mut mirror_rows = BufReader::with_capacity(BUFFER, db::read(mirror)?);
    let compared = compare(&mut primary_rows, &mut mirror_rows, differs);
    let end_primary = || db::end(primary_rows.into_inner(), Side::Primary, primary);
    let end_mirror = || db::end(mirror_rows.into_inner(), Side::Mirror, mirror);
    let next = "もう一度実行し、続くならネットワークとデータベースのログを確認する";
    match compared {
        Ok(counts) => end_primary().and(end_mirror()).map(|()| counts),
        Err(Trouble::Wrong(why)) => Err(Error::Failed { why, next }),
        Err(Trouble::Cut(side)) => {
            match side {
                Side::Primary => end_primary()?,
                Side::Mirror => end_mirror()?,
            }
            Err(Error::Failed { why: format!("{side} の読み取りが途中で切れました"), next })
        }
    }
}
