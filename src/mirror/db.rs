//! Streams `part_locations` in key order from one consistent snapshot, through `psql`: it resolves host names as the rest of
//! the system does (`.local` too), and its exit status says whether the stream was whole.

use std::time::Duration;

use super::compare::{END, Side};
use super::row::COLUMNS;
use crate::database::client::Client;
use crate::error::{Error, Result};
use crate::os::process::running::Running;
use crate::settings::pg_uri::PgUri;

/// A comparison that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(3600);
/// A connection whose other end is gone is noticed after a minute, not after the two hours that the system takes.
const KEEPALIVE: &str = "--dbname=keepalives_idle=30 keepalives_interval=10 keepalives_count=3";

/// What a session needs, whatever the database's own settings are.
pub const SESSION: [(&str, &str); 4] =
    [("PGCLIENTENCODING", "UTF8"), ("PGTZ", "UTC"), ("PGDATESTYLE", "ISO"), ("PGAPPNAME", "mirror_compare")];

/// The statement that reads the table.
pub fn copy() -> String {
    let [key, location, device, scan, scanned, updated] = COLUMNS;
    // A time without a zone counts as UTC; the session's zone makes all of them UTC.
    format!(
        "COPY (SELECT {key}::text, {location}, {device}, {scan}, {scanned}::timestamptz, {updated}::timestamptz \
         FROM part_locations ORDER BY {key}::text COLLATE \"C\") TO STDOUT"
    )
}

/// Starts to read a database's table; [`END`] follows the last row.
///
/// # Errors
/// `Config` without `psql`, `Failed` if it can't be started.
pub fn read(uri: &PgUri) -> Result<Running<'_>> {
    let copy = copy();
    let end = format!("\\echo {END}");
    let arguments = [
        "--no-psqlrc",
        "--no-password",
        "--quiet",
        "--variable=ON_ERROR_STOP=1",
        KEEPALIVE,
        "--command=BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "--command",
        &copy,
        "--command=COMMIT",
        "--command",
        &end,
    ];
    let program = Client::psql(uri)?.program(&arguments, LIMIT);
    SESSION.iter().fold(program, |program, (name, value)| program.variable(name, value)).start()
}

/// An error if the stream was not whole, with psql's own words.
///
/// # Errors
/// `Failed`, `Interrupted`.
pub fn end(running: Running<'_>, side: Side, uri: &PgUri) -> Result<()> {
    let ended = running.end()?;
    if ended.status.success() {
        return Ok(());
    }
    let next = "primary_db_uri / mirror_db_uri とネットワークを確認して、もう一度";
    Err(Error::Failed {
        why: format!("{side} のデータベース({uri})を読めません: {}", ended.reason()), next
    })
}
