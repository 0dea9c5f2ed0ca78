//! `recover`: puts in its place what a TM-BACKUP stick's job has brought onto the server to replace a dead one (SPEC 7). Run by
//! a unit; by hand it finishes what a power cut or a pulled stick cut off.

use argh::FromArgs;
use log::info;
use serde_json::json;

use super::{Env, Report, recovery};
use crate::error::Result;
use crate::text::Bytes;

/// Finish replacing a dead server by what was brought from its backup stick.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "recover")]
pub struct Args {}

/// Carries it out.
///
/// # Errors
/// SPEC 3; then it can be run again.
pub fn run(_: &Args, env: &Env) -> Result<()> {
    let mut report = Report::new("recover-apply");
    let result = recovery::apply(env);
    if let Ok(record) = &result {
        report.bytes = record.bytes;
        let told = json!({"outcome": "restored", "name": record.archive, "files": record.files, "bytes": record.bytes});
        report.datasets.insert("archive".to_owned(), told);
    }
    report.end(env, result.as_ref().err());
    let record = result?;
    info!("all of {} is in its place: {} file(s) ({})", record.archive, record.files, Bytes(record.bytes));
    Ok(())
}
