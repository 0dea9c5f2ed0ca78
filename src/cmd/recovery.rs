//! A dead server replaced by a backup stick: with the operator's consent, a file `RESTORE` on the stick or on the boot partition, a
//! server that holds nothing becomes the one that wrote the newest sound archive (SPEC 7, RUNBOOK "サーバー交換").
//!
//! The stick's job reads the stick and writes the server's own disk alone; what reaches the database and /etc is a unit of its
//! own, which never sees the stick:
//!
//! 1. *Staged*: the archive, proved, lies in `.toolmaster/recovery/archive`, durably. A cut before that leaves rubbish there, which
//!    the next visit of a stick removes: nothing was changed.
//! 2. *Placing*: the server was found empty once more, its database too if it answers, and the datasets are being put in their places.
//!    A cut leaves each of them there or still staged; its inode tells which.
//! 3. *Placed*: the datasets and the clock's record are in their places: a database that will not load keeps no drawing back. Now
//!    settings and the database are, whatever becomes of the other. Each can be done again until it succeeds: by the stick's next visit,
//!    or by `toolmaster recover` without it. Until then `status` is red, and no stick takes a backup of what is half there.
//! 4. *Applied*: all is there, last the server's id.
//! 5. The consent gets another name, durably, and what is in `.toolmaster/recovery` goes. A cut before that leaves a
//!    server that is whole; the stick's next visit takes the consent back, if it still has it, without restoring anything.
//!
//! Until the id is the old server's, no backup of the half-made one can go to the old one's sticks.

mod apply;
mod consent;
mod held;
mod settings;
mod stage;
mod stick;

pub use apply::{accept_left_out, apply};
pub use held::{check as refuse_held, holds_anything};
pub use stage::is_id;
pub use stick::{Visit, by_hand, visit};

use std::collections::BTreeMap;
use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::dir::Dir;
use crate::os::lock::Lock;
use crate::tree::remove;

/// In the server's `.toolmaster`.
const PLACE: &[u8] = b"recovery";
/// In it: how far the recovery has come.
const RECORD: &[u8] = b"record.json";
/// In it: what came out of the archive.
const STAGED: &[u8] = b"archive";
/// Held in `.toolmaster` by whoever stages or applies.
const LOCK: &str = "recovery.lock";
/// No record is longer, bytes.
const MAX_RECORD: u64 = 64 * 1024;

/// What the operator does once the cause of a failure is gone.
const AGAIN: &str = "remove the cause, then plug the stick in again, or run: sudo toolmaster recover";

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// All that is needed is on the server; nothing is in its place yet.
    #[default]
    Staged,
    /// Datasets are being put in their places. (The program's first version loaded the database before that, and called it *loaded*.)
    #[serde(alias = "loaded")]
    Placing,
    /// The datasets are in their places, what else there is perhaps.
    Placed,
    /// All is in its place.
    Applied,
}

/// A recovery that is under way. It is there from *staged* on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// How far it has come.
    pub phase: Phase,
    /// The stick's filesystem UUID.
    pub uuid: String,
    /// The archive's name on the stick.
    pub archive: String,
    /// Newer ones that are damaged.
    pub damaged: Vec<String>,
    /// The id of the server that wrote it; none if the original system did.
    pub server: Option<String>,
    /// When its snapshot was taken, unix seconds.
    pub taken: Option<i64>,
    /// Files in it.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Tables in the database, once it is loaded.
    pub tables: u64,
    /// Each dataset's directory, by which it is known wherever it lies.
    pub inodes: BTreeMap<String, u64>,
    /// Why the last attempt to put it in place failed.
    pub failed: Option<Failure>,
}

/// An error, to be told by another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    refused: bool,
    why: String,
    next: String,
}

impl Failure {
    fn of(error: &Error) -> Failure {
        let text = error.to_string();
        let (why, next) = text.split_once(" -> ").unwrap_or((&text, ""));
        Failure { refused: matches!(error, Error::Refused { .. }), why: why.to_owned(), next: next.to_owned() }
    }

    fn error(self) -> Error {
        let Failure { refused, why, next } = self;
        if next == AGAIN {
            return Error::Failed { why, next: AGAIN };
        }
        if refused {
            return Error::Refused { why, next };
        }
        let why = if next.is_empty() { why } else { format!("{why} ({next})") };
        Error::Failed { why, next: "then plug the stick in again, or run: sudo toolmaster recover" }
    }
}

/// `.toolmaster/recovery`. Once made it stays, empty.
struct Place {
    dir: Dir,
}

impl Place {
    /// Where one is under way, or was.
    fn find(server: &Server) -> Result<Option<Place>> {
        let Some(state) = &server.state else { return Ok(None) };
        Ok(state.sub(PLACE)?.map(|dir| Place { dir }))
    }

    fn make(server: &Server) -> Result<Place> {
        if let Some(state) = &server.state {
            state.make_new(PLACE, 0o700)?;
        }
        Place::find(server)?.ok_or_else(|| Error::Failed {
            why: "the server has no .toolmaster".to_owned(),
            next: "sudo toolmaster provision",
        })
    }

    /// How far it has come; none before all is staged. A damaged one counts as none: what is staged is brought anew.
    fn record(&self) -> Result<Option<Record>> {
        let Some((file, _)) = self.dir.read_if_there(RECORD)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = file.take(MAX_RECORD).read_to_end(&mut bytes);
        read.map_err(|error| Error::io("read", &self.dir.path_of(RECORD), error))?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    fn save(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record).map_err(|error| Error::io("write", &self.dir.path_of(RECORD), error))?;
        atomic::write(&self.dir, RECORD, &text, 0o600)
    }

    /// Whether something is staged that no record vouches for.
    fn has_rubbish(&self) -> bool {
        let there = |name: &[u8]| self.dir.look(name).is_ok_and(|entry| entry.is_some());
        there(STAGED) && !there(RECORD)
    }

    fn staged(&self) -> Result<Dir> {
        self.dir.sub(STAGED)?.ok_or_else(|| Error::io("open", &self.dir.path_of(STAGED), std::io::ErrorKind::NotFound))
    }

    /// Removes what is staged; the record first, which vouches for it.
    fn clear(&self) -> Result<()> {
        atomic::remove(&self.dir, RECORD)?;
        self.dir.sync()?;
        remove::tree(&self.dir, STAGED)
    }

    /// It is over. The record goes last: as long as it is there, the stick's next visit comes back to this.
    fn end(&self) -> Result<()> {
        remove::tree(&self.dir, STAGED)?;
        atomic::remove(&self.dir, RECORD)?;
        self.dir.sync()
    }
}

/// Held by whoever stages or applies.
fn lock(server: &Server) -> Result<Option<Lock>> {
    server.state.as_ref().map(|state| Lock::file(state, LOCK)).transpose()
}

/// The recovery that is under way, and how far it has come; none before all is staged.
fn under_way(server: &Server) -> Result<Option<(Place, Record)>> {
    let Some(place) = Place::find(server)? else { return Ok(None) };
    Ok(place.record()?.map(|record| (place, record)))
}

/// The recovery that is half done, for `status` and for who must not take what is there for a whole server.
///
/// # Errors
/// `Io`.
pub fn half_done(server: &Server) -> Result<Option<Record>> {
    Ok(under_way(server)?.map(|(_, record)| record).filter(|record| record.phase != Phase::Applied))
}

impl Record {
    /// Whether its files are in their places, or on their way there.
    pub fn has_files_in_place(&self) -> bool {
        matches!(self.phase, Phase::Placing | Phase::Placed)
    }
}
