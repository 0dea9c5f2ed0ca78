//! The stick's side of a recovery: what is told on the stick, and that it happens once.

use std::path::Path;
use std::time::Duration;

use log::{info, warn};
use serde_json::json;

use super::{Phase, Place, Record, apply, consent, held, stage};
use crate::cmd::{Env, Report, open_stick};
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::systemd;
use crate::report::receipt::{self, Facts};
use crate::snapshot::shelf;
use crate::stick::chain::{Probed, Stick};
use crate::stick::role::Role;
use crate::text::Shown;

/// What puts it in place: it reaches the database and /etc, which a stick's job does not.
const UNIT: &str = "tool-recover.service";
/// The unit's own limit, and a little.
const LIMIT: Duration = Duration::from_secs(5 * 3600 + 60);

/// What a TM-BACKUP stick is there for.
pub enum Visit {
    /// A backup.
    Backup(Stick),
    /// The server was recovered from it; in a dry run it would be. The stick is released.
    Recovery(Record),
}

/// Opens the stick, and recovers the server from it if the operator consents to that.
///
/// # Errors
/// Those of [`open_stick`]. Else the server is as it was, or the next visit goes on.
pub fn visit(device: Option<&Path>, env: &Env, server: &Server, dry_run: bool, report: &mut Report) -> Result<Visit> {
    if let Some(stick) = unsigned(device, env, server, report)? {
        return recover(env, server, stick, dry_run, report).map(Visit::Recovery);
    }
    let stick = open_stick(device, Role::Backup, env, report)?;
    if is_consented(env, server, &stick)? || is_to_be_ended(server, &stick)? {
        return recover(env, server, stick, dry_run, report).map(Visit::Recovery);
    }
    if let Some(record) = super::half_done(server)?.filter(Record::has_files_in_place) {
        stick.release()?;
        return Err(Error::Refused {
            why: format!(
                "the recovery from {} is half done, and a backup would be of half a server",
                Shown(record.archive.as_bytes())
            ),
            next: "finish it first: sudo toolmaster recover".to_owned(),
        });
    }
    if !dry_run {
        tidy(server)?;
    }
    Ok(Visit::Backup(stick))
}

/// Recovers the server from the stick on a device: the operator consents to it on the command line.
///
/// # Errors
/// As [`visit`].
pub fn by_hand(device: &Path, env: &Env, report: &mut Report) -> Result<Record> {
    let server = Server::open(&env.settings, false)?;
    let stick = prove_unsigned(device, env, report)?;
    recover(env, &server, stick, false, report)
}

fn prove_unsigned(device: &Path, env: &Env, report: &mut Report) -> Result<Stick> {
    report.device = Some(device.to_owned());
    let probed = Probed::open(device, &env.settings, env.clock)?;
    report.probed(device, probed.superblock());
    probed.not_enrolled_yet().mount(Role::Backup, &env.settings)?.prove()
}

/// A stick with a consent, where only enrolled ones are taken. A new server has signed none yet, so no signature is asked for as
/// long as it holds nothing, or when this very stick's recovery is under way.
fn unsigned(device: Option<&Path>, env: &Env, server: &Server, report: &mut Report) -> Result<Option<Stick>> {
    let Some(device) = device.filter(|_| env.settings.require_enrolled) else { return Ok(None) };
    let begun = super::under_way(server)?.map(|(_, record)| record.uuid);
    let empty = held::check(server, env).is_ok();
    if begun.is_none() && !empty {
        return Ok(None);
    }
    let stick = prove_unsigned(device, env, report)?;
    let is_its = begun.is_some_and(|uuid| *uuid == *stick.superblock().uuid);
    let consented = consent::is_on_boot() || !consent::on(stick.root())?.is_empty();
    if !consented || !(empty || is_its) {
        stick.release()?;
        return Ok(None);
    }
    Ok(Some(stick))
}

/// Whether the operator wants the server recovered from this stick. A file on the boot partition, which nobody sees, is followed only on
/// a server that holds nothing: left there by chance it keeps no backup back.
fn is_consented(env: &Env, server: &Server, stick: &Stick) -> Result<bool> {
    if !consent::on(stick.root())?.is_empty() {
        return Ok(true);
    }
    if !consent::is_on_boot() {
        return Ok(false);
    }
    if super::under_way(server)?.is_some_and(|(_, record)| *record.uuid == *stick.superblock().uuid) {
        return Ok(true);
    }
    match held::check(server, env) {
        Ok(()) => Ok(true),
        Err(Error::Refused { why, .. }) => {
            warn!("the file RESTORE on the boot partition is not followed: {why}");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether a run was cut off between taking the consent back and the end.
fn is_to_be_ended(server: &Server, stick: &Stick) -> Result<bool> {
    let record = super::under_way(server)?.map(|(_, record)| record);
    Ok(record.is_some_and(|record| record.phase == Phase::Applied && *record.uuid == *stick.superblock().uuid))
}

/// Removes what a run left that was cut off while it staged: it may be large.
fn tidy(server: &Server) -> Result<()> {
    let Some(place) = Place::find(server)?.filter(|place| place.has_rubbish()) else { return Ok(()) };
    // Somebody may be at work there.
    let _lock = super::lock(server)?;
    if place.record()?.is_none() { place.clear() } else { Ok(()) }
}

fn recover(env: &Env, server: &Server, stick: Stick, dry_run: bool, report: &mut Report) -> Result<Record> {
    report.becomes("recover");
    if dry_run {
        let planned = plan(env, server, &stick);
        return planned.and_then(|record| stick.release().map(|()| record));
    }
    // Once means that the consent can be taken back.
    if let Err(error) = stick.check_writable() {
        stick.release()?;
        return Err(error);
    }
    let done = bring(env, server, &stick);
    tell(report, &done, server, &stick);
    end(env, server, stick, report, done)
}

fn plan(env: &Env, server: &Server, stick: &Stick) -> Result<Record> {
    held::check(server, env)?;
    let archive = shelf::newest(stick.root())?.ok_or_else(stage::none)?;
    info!("plan: verify {archive} and make this server the one that wrote it");
    Ok(Record { archive, ..Record::default() })
}

/// Stages the archive, unless an earlier visit came further, and has it put in its place.
fn bring(env: &Env, server: &Server, stick: &Stick) -> Result<Record> {
    let uuid = stick.superblock().uuid.as_str();
    let lock = super::lock(server)?;
    match super::under_way(server)? {
        Some((_, record)) if record.phase != Phase::Staged && record.uuid == uuid => {
            info!("going on with the recovery from {}", Shown(record.archive.as_bytes()));
        }
        Some((_, record)) if record.has_files_in_place() => {
            return Err(Error::Refused {
                why: format!(
                    "a recovery from another stick ({}, {}) is half done",
                    Shown(record.uuid.as_bytes()),
                    Shown(record.archive.as_bytes())
                ),
                next: "plug that one in again, or finish it without: sudo toolmaster recover".to_owned(),
            });
        }
        _ => {
            held::check(server, env)?;
            stage::stage(&Place::make(server)?, stick)?;
        }
    }
    drop(lock);
    let record = if systemd::is_unit() { apply_in_unit(server)? } else { apply(env, false)? };
    if record.uuid == uuid {
        return Ok(record);
    }
    // Two sticks with a consent at once: the other came first.
    Err(held::holds(&format!(
        "{} of another stick ({})",
        Shown(record.archive.as_bytes()),
        Shown(record.uuid.as_bytes())
    )))
}

/// Has it put in its place where the database and /etc are within reach. A stick that is pulled meanwhile does not stop that.
fn apply_in_unit(server: &Server) -> Result<Record> {
    info!("putting it in its place: {UNIT}");
    let started = systemd::start_and_wait(UNIT, LIMIT, "journalctl -t tool-recover says why");
    let record = super::under_way(server)?.map(|(_, record)| record);
    match (record, started) {
        (Some(record), _) if record.phase == Phase::Applied => Ok(record),
        (_, Err(Error::Interrupted)) => Err(Error::Interrupted),
        (Some(Record { failed: Some(failure), .. }), _) => Err(failure.error()),
        (_, Err(error)) => Err(error),
        _ => Err(Error::Failed {
            why: format!("{UNIT} ended before all was in its place"),
            next: "plug the stick in again, or run: sudo toolmaster recover",
        }),
    }
}

/// For the run's record and the stick's receipt.
fn tell(report: &mut Report, done: &Result<Record>, server: &Server, stick: &Stick) {
    match done {
        Ok(record) => {
            report.bytes = record.bytes;
            let told = json!({
                "outcome": "restored", "name": record.archive, "files": record.files, "bytes": record.bytes, "tables": record.tables,
            });
            report.datasets.insert("archive".to_owned(), told);
            for name in &record.damaged {
                let told = json!({"outcome": "damaged", "name": name});
                report.datasets.insert(format!("damaged {name}"), told);
            }
        }
        Err(error @ Error::Refused { .. }) => {
            let told = json!({"outcome": "not restored", "reason": error.to_string()});
            report.datasets.insert("archive".to_owned(), told);
        }
        Err(_) => {
            let half = super::half_done(server).ok().flatten();
            let is_its = |record: &Record| record.phase == Phase::Placed && *record.uuid == *stick.superblock().uuid;
            if let Some(record) = half.filter(is_its) {
                let told = json!({"outcome": "files restored", "name": record.archive, "files": record.files, "bytes": record.bytes});
                report.datasets.insert("archive".to_owned(), told);
            }
        }
    }
}

/// Takes the consent back if all is done, leaves the receipt, unmounts.
fn end(env: &Env, server: &Server, stick: Stick, report: &Report, done: Result<Record>) -> Result<Record> {
    // A stick that was pulled: the next visit goes on.
    if let Err(gone) = stick.check_present() {
        return Err(done.err().unwrap_or(gone));
    }
    // What is on it is nowhere else until all of it is here, so nothing of it is repaired before.
    let stick = match stick.writable(done.is_ok()) {
        Ok(stick) => stick,
        Err(error) => return Err(done.err().unwrap_or(error)),
    };
    let taken_back = match &done {
        Ok(_) => consent::take_back(stick.stick().root()),
        Err(_) => Ok(()),
    };
    // It has another id now.
    let after = Server::open(&env.settings, false)?;
    let error = done.as_ref().err().or(taken_back.as_ref().err());
    let facts = Facts { server: &after.id, believed: after.belief(env.clock)?.believed, error };
    match stick.temp() {
        Ok(temp) => receipt::leave(&stick, &temp, env, report, facts),
        Err(more) => warn!("{more}"),
    }
    let ended = stick.end_temp().and(stick.release());
    let record = match done {
        Ok(record) => record,
        Err(error) => {
            if let Err(more) = ended {
                warn!("{more}");
            }
            return Err(error);
        }
    };
    taken_back.and(ended)?;
    consent::take_back_on_boot();
    let _lock = super::lock(server)?;
    if let Some(place) = Place::find(server)? {
        place.end()?;
    }
    Ok(record)
}
