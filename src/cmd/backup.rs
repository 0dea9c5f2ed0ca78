//! `backup`: the newest snapshot as an archive on a TM-BACKUP stick, read back and verified before it counts (SPEC 7). A stick on
//! which the operator consents to it recovers the server instead: `cmd/recovery.rs`.

mod fresh;
mod proof;
mod stay;
mod work;

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use argh::FromArgs;
use log::{info, warn};
use serde_json::json;

use self::work::Work;
use super::recovery::{self, Record};
use super::{Env, Report};
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::flow::Flow;
use crate::os::progress::Progress;
use crate::report::receipt::{self, Facts};
use crate::snapshot::archive::{self, Checked, Written};
use crate::snapshot::rot;
use crate::snapshot::shelf::{self, Archive};
use crate::stick::chain::{Stick, WritableStick};
use crate::text::{Bytes, Shown, hex};

/// Write the newest snapshot to a TM-BACKUP stick.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "backup")]
pub struct Args {
    /// the stick's device, such as /dev/sda1; without it the one stick with the label is taken
    #[argh(option)]
    device: Option<PathBuf>,
    /// the directory of the snapshots
    #[argh(option)]
    snapshot_dir: Option<PathBuf>,
    /// archives that stay on the stick; 0 keeps all
    #[argh(option)]
    retention: Option<u32>,
    /// take a snapshot first if the newest is older than this, such as 24h
    #[argh(option, from_str_fn(hours))]
    fresh: Option<i64>,
    /// log what would be done and change nothing
    #[argh(switch)]
    pub dry_run: bool,
}

/// `24h`, in seconds.
fn hours(text: &str) -> std::result::Result<i64, String> {
    let number = text.strip_suffix('h').and_then(|number| number.parse::<i64>().ok());
    number
        .filter(|hours| (1..=10_000).contains(hours))
        .map(|hours| hours * 3600)
        .ok_or_else(|| "a number of hours, such as 24h".to_owned())
}

/// Carries it out.
///
/// # Errors
/// SPEC 3; then the stick's archives are as they were.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let mut report = Report::new("backup");
    let result = backup(args, env, &mut report);
    if !args.dry_run {
        report.end(env, result.as_ref().err());
    }
    let dry_run = u8::from(args.dry_run);
    match result? {
        Done::Backup(name, size) => info!("backup export completed archive={name} size={size} dry_run={dry_run}"),
        Done::Recovery(Record { archive, .. }) => info!("recovery completed archive={archive} dry_run={dry_run}"),
    }
    Ok(())
}

/// What a visit of a stick came to.
enum Done {
    /// The archive's name and bytes.
    Backup(String, u64),
    Recovery(Record),
}

fn backup(args: &Args, env: &Env, report: &mut Report) -> Result<Done> {
    let server = Server::open(&env.settings, args.dry_run)?;
    let stick = match recovery::visit(args.device.as_deref(), env, &server, args.dry_run, report)? {
        recovery::Visit::Backup(stick) => stick,
        recovery::Visit::Recovery(record) => return Ok(Done::Recovery(record)),
    };
    check_owner(&stick, &server)?;
    let archives = shelf::archives(stick.root())?;
    // A list that is short would make an old archive the newest.
    stick.check_read()?;
    fresh::freshen(args, env, &server, &archives)?;
    let work = work::newest(args, env, &server)?;
    let mut visit = Visit { env, server: &server, believed: server.belief(env.clock)?.believed, archives };
    if args.dry_run {
        let planned = stick.check_writable().and_then(|()| visit.plan(&work, &stick));
        return planned.and(stick.release()).map(|()| Done::Backup(work.name, work.estimate));
    }
    let was_pulled = stick.superblock().dirty;
    let stick = stick.writable(true)?;
    if was_pulled {
        // The repair may have cut off what could not be read before.
        visit.archives = shelf::archives(stick.stick().root())?;
        stick.check_read()?;
    }
    let bytes = visit.export(&work, stick, report)?;
    Ok(Done::Backup(work.name, bytes))
}

/// A stick that another server wrote stays as it is until it is restored from or adopted.
fn check_owner(stick: &Stick, server: &Server) -> Result<()> {
    match stick.server()? {
        Some(id) if id != server.id && !server.was_restored(&stick.superblock().uuid)? => Err(Error::Refused {
            why: format!("the stick holds backups of another server ({})", Shown(id.as_bytes())),
            next: "restore all of it here first, or make it this server's with \"toolmaster stick adopt\"".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// An archive that is on the medium and sound.
struct Sound {
    bytes: u64,
    sha256: [u8; 32],
    /// It was there before.
    old: bool,
}

/// What is the same for all steps on a stick.
struct Visit<'a> {
    env: &'a Env,
    server: &'a Server,
    believed: bool,
    /// What is on the stick.
    archives: Vec<Archive>,
}

impl Visit<'_> {
    fn plan(&self, work: &Work, stick: &Stick) -> Result<()> {
        let (root, name) = (stick.root(), &work.name);
        if self.same_archive(work, stick)?.is_some() {
            info!("plan: leave {name} as it is: it is of the newest snapshot, and sound");
        } else {
            proof::examine(work, true)?;
            for name in stay::first_to_go(work, stick, &self.archives, self.believed)? {
                info!("plan: remove {name} from the stick to make room");
            }
            if let Some(kept) = stay::kept_name(work, root, &self.archives, self.env.clock)? {
                info!("plan: keep {name} as {kept}");
            }
            info!("plan: write snapshot {} as {name} (at most {})", work.snapshot.name, Bytes(work.estimate));
        }
        for name in stay::surplus(work, root, &self.archives, self.believed)? {
            info!("plan: remove {name} from the stick: more than {} archives", work.retention);
        }
        Ok(())
    }

    /// Makes the archive be on the stick, and tells the stick's carrier so; the archive's bytes.
    fn export(&mut self, work: &Work, stick: WritableStick, report: &mut Report) -> Result<u64> {
        let (stick, sound) = match self.same_archive(work, stick.stick()) {
            Ok(Some(sound)) => {
                info!("{} is on the stick already, and sound", work.name);
                (stick, sound)
            }
            Ok(None) => self.write_anew(work, stick, report)?,
            Err(error) => return Err(self.give_up(stick, report, error)),
        };
        let Sound { bytes, old, .. } = sound;
        report.bytes = if old { 0 } else { bytes };
        let outcome = if old { "there and verified" } else { "written and verified" };
        let mut told = json!({"outcome": outcome, "name": work.name, "bytes": bytes, "snapshot": work.snapshot.name, "taken": work.taken});
        if work.is_unproven() {
            told["unproven"] = true.into();
        }
        report.datasets.insert("archive".to_owned(), told);
        match self.finish(work, &stick, &sound) {
            Ok(()) => self.end(stick, report, None).map(|()| bytes),
            Err(error) => Err(self.give_up(stick, report, error)),
        }
    }

    fn write_anew(&mut self, work: &Work, stick: WritableStick, report: &Report) -> Result<(WritableStick, Sound)> {
        let begun = stay::make_room(work, &stick, &mut self.archives, self.believed).and_then(|()| write(work, &stick));
        if let Err(error) = begun {
            return Err(self.give_up(stick, report, error));
        }
        // What counts is what the medium holds, not what memory holds.
        let stick = stick.afresh()?;
        let proved = stick.written_temp().and_then(|temp| {
            let Checked { bytes, sha256, .. } = proof::read_back(&temp, ARCHIVE, work)?;
            // Whose the stick is stands there before the first archive: no crash leaves one that is nobody's.
            stick.set_server(&temp, &self.server.id)?;
            self.name_it(work, &stick, &temp)?;
            Ok(Sound { bytes, sha256, old: false })
        });
        match proved {
            Ok(sound) => Ok((stick, sound)),
            Err(error) => Err(self.give_up(stick, report, error)),
        }
    }

    /// What follows once the archive is there and sound, also if the run that wrote it was cut off before.
    fn finish(&self, work: &Work, stick: &WritableStick, sound: &Sound) -> Result<()> {
        let root = stick.stick().root();
        let surplus = stay::surplus(work, root, &self.archives, self.believed)?;
        let is_named = shelf::checksum(root, &work.name)? == Some(sound.sha256);
        let is_ours = stick.stick().server()?.as_ref() == Some(&self.server.id);
        if !is_named || !is_ours {
            let temp = stick.temp()?;
            stick.set_server(&temp, &self.server.id)?;
            let checksum = format!("{}  {}\n", hex(&sound.sha256), work.name);
            stick.set_file(&temp, root, shelf::checksum_name(&work.name).as_bytes(), checksum.as_bytes())?;
        }
        for name in surplus {
            shelf::remove(root, &name)?;
            info!("{name} removed from the stick: more than {} archives", work.retention);
        }
        root.sync_all()
    }

    /// Gives the verified archive its name. An older archive's checksum goes first, so that no crash leaves one that belies
    /// the archive beside it; one without a checksum gets it from the next run.
    fn name_it(&mut self, work: &Work, stick: &WritableStick, temp: &Dir) -> Result<()> {
        let root = stick.stick().root();
        if let Some(kept) = stay::kept_name(work, root, &self.archives, self.env.clock)? {
            stay::keep(stick, temp, &work.name, &kept)?;
            self.archives
                .iter_mut()
                .filter(|archive| archive.name == work.name)
                .for_each(|archive| archive.name.clone_from(&kept));
        }
        root.remove(shelf::checksum_name(&work.name).as_bytes())?;
        temp.rename(ARCHIVE, root, work.name.as_bytes())?;
        root.sync()
    }

    /// The archive of that name if it is of this very snapshot and sound.
    fn same_archive(&self, work: &Work, stick: &Stick) -> Result<Option<Sound>> {
        let (root, name) = (stick.root(), work.name.as_bytes());
        match root.look(name)? {
            None => return Ok(None),
            Some(Entry { kind: Kind::File, .. }) => {}
            Some(_) => {
                let next = "remove it on a PC, or use another stick; nothing on this one was changed".to_owned();
                return Err(Error::Refused { why: format!("{} on the stick is not a file", work.name), next });
            }
        }
        // Its first line tells most others apart, before gigabytes are read.
        let there = self.archives.iter().find(|archive| archive.name == work.name);
        if there.and_then(|archive| archive.header.as_ref()).is_some_and(|header| *header != work.header) {
            info!("{} on the stick is written anew: it is of another snapshot", work.name);
            return Ok(None);
        }
        match proof::verify(root, name, work, shelf::checksum(root, &work.name)?) {
            Ok(Checked { bytes, sha256, .. }) => Ok(Some(Sound { bytes, sha256, old: true })),
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(error) => {
                info!("{} on the stick is written anew: {error}", work.name);
                Ok(None)
            }
        }
    }

    /// Leaves the receipt, takes away what is only for the way, unmounts.
    fn end(&self, stick: WritableStick, report: &Report, error: Option<&Error>) -> Result<()> {
        let facts = Facts { server: &self.server.id, believed: self.believed, error };
        match stick.temp() {
            Ok(temp) => receipt::leave(&stick, &temp, self.env, report, facts),
            // A stick that is full to the brim: the archive counts, not the receipt.
            Err(more) => warn!("{more}"),
        }
        stick.end_temp().and(stick.release())
    }

    /// Ends a run that failed: what was begun goes away, and the archives that were there are as they were. A stick that is
    /// refused is not written to.
    fn give_up(&self, stick: WritableStick, report: &Report, error: Error) -> Error {
        let ended = match error {
            Error::Refused { .. } => stick.end_temp().and(stick.release()),
            _ => self.end(stick, report, Some(&error)),
        };
        if let Err(more) = ended {
            warn!("{more}");
        }
        error
    }
}

const ARCHIVE: &[u8] = b"archive";

fn write(work: &Work, stick: &WritableStick) -> Result<()> {
    let temp = stick.temp()?;
    let file = temp.create(ARCHIVE, 0o644)?;
    let fail = |error| Error::io("write", &temp.path_of(ARCHIVE), error);
    let mut out = BufWriter::with_capacity(1 << 20, Flow::to_medium(file).map_err(fail)?);
    let mut progress = progress(work, "writing it");
    write_to(work, &mut out, &mut progress)?;
    progress.flush();
    let flow = out.into_inner().map_err(std::io::IntoInnerError::into_error);
    flow.and_then(Flow::finish).map_err(fail)
}

fn progress(work: &Work, what: &str) -> Progress {
    Progress::new(format!("{}: {what}", work.name), work.estimate, 0)
}

/// The archive, written anywhere. The server's own snapshot is not refused, as a stick is: it has failed, and what is rotten in it is noted.
fn write_to(work: &Work, out: &mut dyn Write, progress: &mut Progress) -> Result<Written> {
    let written = archive::write_listed(&work.dir, &work.manifest, &work.snapshot.name, out, progress);
    written.map_err(|error| {
        let is_snapshots = matches!(error, Error::Refused { .. } | Error::Unreadable { .. });
        match (if is_snapshots { proof::examine(work, false) } else { Ok(()) }, error) {
            (Err(Error::Interrupted), _) => Error::Interrupted,
            (_, Error::Refused { why, .. }) => Error::Failed { why, next: rot::NEXT },
            (_, error) => error,
        }
    })
}
