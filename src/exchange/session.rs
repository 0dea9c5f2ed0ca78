//! The one session with a stick: probe, prove, make writable, work, seal, receipt, release. Every run that writes datasets to a stick ends here.

use std::cell::RefCell;
use std::path::Path;

use log::{info, warn};

use super::assess::Asked;
use crate::dataset::Dataset;
use crate::dataset::server::Server;
use crate::dataset::stick_state::known::Known;
use crate::dataset::stick_state::{OnStick, StickState};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::random;
use crate::report::receipt::{self, Facts};
use crate::report::{Env, Report};
use crate::stick::chain::{Probed, Stick, WritableStick, look_again};
use crate::stick::control::{CONTROL, MANIFEST};
use crate::stick::find::find;
use crate::stick::repair;
use crate::stick::role::Role;
use crate::text::Shown;
use crate::tree::copy;

/// The temporary file that names the run which is writing to the stick.
const RUN: &[u8] = b"run";
/// Blocks for a manifest, a receipt, two times and their directories.
const SPARE_BLOCKS: u64 = 8;

/// What the work on a stick needs.
pub struct Session<'a> {
    /// The command.
    pub name: &'static str,
    /// Settings and clock.
    pub env: &'a Env,
    /// The server.
    pub server: &'a Server,
    /// The stick.
    pub stick: &'a WritableStick,
    /// `/.toolmaster/tmp` on the stick.
    pub temp: &'a Dir,
    /// What the server knows of the stick.
    pub state: &'a StickState,
    /// The name of the run's directory below `undo/`, once there is one.
    pub undo_name: RefCell<Option<String>>,
    /// What the operator asked for.
    pub asked: Asked<'a>,
}

/// The stick that a command works on: the named device, or else the one stick with the role's label; probed, mounted
/// read-only and proven.
///
/// # Errors
/// `Refused` if it is not such a stick, `NoSource` or `Usage` if there is none or there are several, `Busy`, `Io`.
pub fn open_stick(device: Option<&Path>, role: Role, env: &Env, report: &mut Report) -> Result<Stick> {
    let device = match device {
        Some(device) => device.to_owned(),
        None => find(role, &env.settings)?,
    };
    prove(&device, Some(role), env, report)
}

/// A stick on a device: probed, its label and role proven, mounted read-only. Without a role, of any of the three kinds.
///
/// # Errors
/// As [`open_stick`].
pub fn prove(device: &Path, role: Option<Role>, env: &Env, report: &mut Report) -> Result<Stick> {
    report.device = Some(device.to_owned());
    let probed = Probed::open(device, &env.settings, env.clock)?;
    report.probed(device, probed.superblock());
    let role = match role {
        Some(role) => role,
        None => probed.role(&env.settings)?,
    };
    probed.mount(role, &env.settings)?.prove()
}

/// What `/.toolmaster` on a stick says of its state. It keeps a descriptor there.
///
/// # Errors
/// `Io`.
pub fn on_stick(stick: &Stick) -> Result<OnStick<'_>> {
    let control = stick.root().sub(CONTROL)?;
    let temp = control.as_ref().map(|control| control.sub(b"tmp")).transpose().unwrap_or(None).flatten();
    let run = match temp.map(|temp| temp.read_if_there(RUN)).transpose()?.flatten() {
        Some((file, _)) => std::io::read_to_string(std::io::Read::take(file, 64)).ok(),
        None => None,
    };
    let run = run.map(|run| run.trim().to_owned());
    Ok(OnStick { root: stick.root(), control, manifest: MANIFEST, run, limits: stick.limits() })
}

/// What is known of a stick that is only looked at.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn looked_at(server: &Server, stick: &Stick) -> Result<StickState> {
    let uuid = &stick.superblock().uuid;
    StickState::open(server, uuid, "", Some(&on_stick(stick)?), true)
}

/// The names of the files in a stick's root by which a person says that the stick's data shall replace the server's.
///
/// # Errors
/// `Io`.
pub fn consents(stick: &Stick) -> Result<Vec<Vec<u8>>> {
    let root = stick.root();
    let mut found = Vec::new();
    for name in root.names()?.iter() {
        let is_word = [&b"REPLACE"[..], b"REPLACE.txt"].iter().any(|word| name.eq_ignore_ascii_case(word));
        if is_word && matches!(root.look(name)?, Some(Entry { kind: Kind::File, immutable: false, .. })) {
            found.push(name.to_vec());
        } else if is_word || name.eq_ignore_ascii_case(b"REPLACE.txt.txt") {
            warn!("{} is no consent: the file has to be called REPLACE.txt", root.shown(name));
        }
    }
    Ok(found)
}

/// A command's visit to a stick.
#[derive(Clone, Copy)]
pub struct Visit<'a> {
    /// The command.
    pub name: &'static str,
    /// Settings and clock.
    pub env: &'a Env,
    /// The server.
    pub server: &'a Server,
    /// What the operator asked for.
    pub asked: Asked<'a>,
    /// What is done besides the work.
    pub manner: Manner,
}

/// What a session does besides the work.
#[derive(Clone, Copy)]
pub struct Manner {
    /// A receipt is left on the stick.
    pub receipt: bool,
    /// If all is well, nothing about the stick is doubtful any more.
    pub settles: bool,
    /// The stick is made anew from the server's data: nothing on it needs to be kept.
    pub is_ours: bool,
}

/// Makes a stick writable, works on it, and ends that in order: its manifest, its receipt, its temporary directory, its
/// mount.
///
/// # Errors
/// Of the work; else of its end.
pub fn with_stick<T>(
    visit: Visit<'_>,
    stick: Stick,
    report: &mut Report,
    work: impl FnOnce(&Session<'_>, &mut Report) -> Result<T>,
) -> Result<T> {
    let Visit { name, env, server, asked, manner } = visit;
    check_spare(&stick)?;
    let device = report.device.clone().unwrap_or_default();
    stick.check_writable()?;
    let run = random::id()?;
    let dirty = match note_mounted(server, &stick, &run) {
        Err(error) if error.is_full() && manner.receipt => return Err(tell_alone((env, server), stick, report, error)),
        dirty => dirty?,
    };
    let asked = Asked { dirty, ..asked };
    let stick = stick.writable(!dirty || manner.is_ours)?;
    // Only now does the stick say what it holds: until its journal is replayed, or the repair is done, it shows a state of before it was pulled.
    let uuid = stick.stick().superblock().uuid.clone();
    let state = StickState::open(server, &uuid, &run, Some(&on_stick(stick.stick())?), false)?;
    let temp = stick.temp()?;
    let session =
        Session { name, env, server, stick: &stick, temp: &temp, state: &state, undo_name: RefCell::new(None), asked };
    let worked = work(&session, report);
    // The receipt says what is on the medium, so that comes first. A stick pulled in between has the one of before.
    let sealed = session.seal().and_then(|()| stick.stick().root().sync_all());
    let error = worked.as_ref().err().or(sealed.as_ref().err());
    if manner.receipt {
        let facts = Facts { server: &server.id, believed: asked.belief.believed, error };
        receipt::leave(&stick, &temp, env, report, facts);
    }
    drop(temp);
    let ended = stick.end_temp();
    let released = stick.release();
    let settled = manner.settles && worked.is_ok() && sealed.is_ok() && released.is_ok();
    let noted = if released.is_ok() { end_doubt(&state, &device, dirty, settled) } else { Ok(()) };
    let worked = worked?;
    sealed.and(ended).and(released).and(noted).map(|()| worked)
}

/// Whether the stick is to be doubted; noted before it is mounted for writing.
fn note_mounted(server: &Server, stick: &Stick, run: &str) -> Result<bool> {
    let superblock = stick.superblock();
    let state = StickState::open(server, &superblock.uuid, run, None, false)?;
    state.note_mounted(superblock.dirty, superblock.use_count)
}

/// Leaves nothing but the receipt on a stick: whoever carries it away is to read why nothing was done, not what the visit before left there. Gives the
/// reason back.
pub fn tell_alone((env, server): (&Env, &Server), stick: Stick, report: &Report, reason: Error) -> Error {
    let told = stick.writable(false).and_then(|stick| {
        let temp = stick.temp()?;
        let facts = Facts { server: &server.id, believed: true, error: Some(&reason) };
        receipt::leave(&stick, &temp, env, report, facts);
        drop(temp);
        let ended = stick.end_temp();
        stick.release().and(ended)
    });
    told.unwrap_or_else(|error| warn!("{error}"));
    reason
}

/// Every run writes a few small files; on a stick without any room it would take the data and could not say so.
///
/// # Errors
/// `Failed` with the needed and the free bytes.
pub fn check_spare(stick: &Stick) -> Result<()> {
    let room = stick.root().room()?;
    let (free, needed) = (room.f_bavail.saturating_mul(room.f_frsize), SPARE_BLOCKS * room.f_frsize.max(1));
    if free >= needed {
        return Ok(());
    }
    Err(Error::Failed {
        why: format!("the stick is full: {needed} bytes needed, {free} bytes free"),
        next: "remove on a PC what does not belong on it, and plug it in again; nothing was changed",
    })
}

/// Writes a temporary file of the stick anew, durably.
fn write_temp(temp: &Dir, name: &[u8], content: &[u8]) -> Result<()> {
    temp.remove(name)?;
    let mut file = temp.create(name, 0o644)?;
    std::io::Write::write_all(&mut file, content)
        .and_then(|()| file.sync_all())
        .map_err(|error| Error::io("write", &temp.path_of(name), error))
}

/// What is left of a doubt once the stick is unmounted. FAT and exFAT keep a PC's mark; where both sides hold the same, it is taken away.
fn end_doubt(state: &StickState, device: &Path, dirty: bool, settled: bool) -> Result<()> {
    let now = match look_again(device) {
        Ok(now) => now,
        // It was pulled: what was noted before it was mounted stands.
        Err(_) => return Ok(()),
    };
    if dirty && settled && now.dirty {
        repair::repair(device, now.fstype)?;
    }
    state.note_unmounted(dirty, settled, now.use_count)
}

impl Session<'_> {
    /// What is known of a dataset on the stick.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn known(&self, dataset: Dataset) -> Result<Known> {
        self.state.known(dataset, &on_stick(self.stick.stick())?)
    }

    /// Marks the stick as half-done, durably.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn mark(&self) -> Result<()> {
        let name = b"manifest";
        // On FAT a manifest can be lost while it is renamed; this says the same.
        write_temp(self.temp, RUN, self.state.run().as_bytes())?;
        let mark = self.state.make_mark(&on_stick(self.stick.stick())?)?;
        write_temp(self.temp, name, &mark)?;
        self.stick.set_manifest(self.temp, name)
    }

    /// If nothing on the stick is half-done, its manifest says what both sides hold.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    fn seal(&self) -> Result<()> {
        for dataset in Dataset::ALL {
            if self.state.is_half_done(dataset)? {
                return Ok(());
            }
        }
        if !self.state.is_to_be_sealed()? {
            return Ok(());
        }
        let name = b"manifest";
        let (dir, whole) = self.state.seal(&on_stick(self.stick.stick())?)?;
        self.temp.remove(name)?;
        copy::copy_plainly(dir, whole, self.temp, name)?;
        self.stick.set_manifest(self.temp, name)?;
        self.state.forget()
    }

    /// Takes a person's consent: its files get another name before anything is done by it, so that nobody's later visit is taken for one. What can't be
    /// renamed is no consent.
    ///
    /// # Errors
    /// `Refused` if it can't be renamed; then nothing was done by it.
    pub fn take_consent(&self, names: &[Vec<u8>]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut taken = Vec::new();
        let root = self.stick.stick().root();
        for name in names {
            let mut done = (1..100).map(|number| match number {
                1 => b"REPLACE-done.txt".to_vec(),
                number => format!("REPLACE-done-{number}.txt").into_bytes(),
            });
            let free = done.find(|done| matches!(root.look(done), Ok(None)));
            if let Some(free) = &free {
                self.state.note_consent(&Shown(free).to_string())?;
            }
            let renamed = free.as_ref().map(|free| root.rename(name, root, free).and_then(|()| root.sync()));
            let reason = match renamed {
                Some(Ok(())) => None,
                Some(Err(error)) => Some(format!(" ({error})")),
                None => Some(String::new()),
            };
            if let Some(reason) = reason {
                return Err(Error::Refused {
                    why: format!("{} can't be renamed, so nothing is replaced by it{reason}", root.shown(name)),
                    next: "remove it and the files REPLACE-done on a PC, and make it anew".to_owned(),
                });
            }
            let free = free.unwrap_or_default();
            info!("{} is taken as consent and is called {} now", root.shown(name), Shown(&free));
            taken.push((name.clone(), free));
        }
        Ok(taken)
    }

    /// Says that a consent is followed which an earlier run took, if this one took none.
    ///
    /// # Errors
    /// `Io`.
    pub fn tell_of_consent(&self, taken: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        for dataset in Dataset::ALL.into_iter().filter(|_| taken.is_empty()) {
            if self.state.consents_still(dataset, self.stick.stick().root())? {
                let name = dataset.name();
                info!("{name}: a run that was told to replace the server's data was cut off: that is followed now");
            }
        }
        Ok(())
    }

    /// Nothing was done by a person's consent: it stays one.
    ///
    /// # Errors
    /// `Io`.
    pub fn give_consent_back(&self, taken: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let root = self.stick.stick().root();
        for (name, done) in taken {
            match root.rename_new(done, root, name).and_then(|()| root.sync()) {
                Ok(()) => info!("nothing was replaced by {}: it has its name again", root.shown(name)),
                Err(error) => {
                    warn!("{error}");
                    return Ok(());
                }
            }
        }
        if taken.is_empty() { Ok(()) } else { self.state.forget_consent() }
    }
}
