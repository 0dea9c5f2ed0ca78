//! What a backup is of: the newest snapshot, and what its archive will be.

use std::fs::File;
use std::path::PathBuf;

use log::warn;

use super::Args;
use crate::clock::Clock;
use crate::cmd::Env;
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::snapshot::generation::{self, Generation};
use crate::snapshot::part::Filled;
use crate::snapshot::{archive, unproven};
use crate::tree::manifest::{Header, Reader};

/// What is to be written, and what is to stay on the stick.
pub(super) struct Work {
    pub(super) snapshot: Generation,
    pub(super) dir: Dir,
    /// The server's `.toolmaster`; none in a dry run on a server that has none yet.
    pub(super) state: Option<Dir>,
    /// The manifest that the archive gets.
    pub(super) manifest: File,
    /// Its SHA-256.
    pub(super) digest: [u8; 32],
    /// Its first line.
    pub(super) header: Header,
    /// The parts of the snapshot that hold anything.
    pub(super) filled: Filled,
    /// The archive's name on the stick.
    pub(super) name: String,
    /// Its largest possible size, bytes.
    pub(super) estimate: u64,
    pub(super) retention: u32,
    /// When the snapshot was taken, as the log writes times.
    pub(super) taken: String,
}

impl Work {
    /// Whether the original system made the snapshot.
    pub(super) fn is_unproven(&self) -> bool {
        self.snapshot.header.is_none()
    }
}

/// The directory that backups are made from.
pub(super) fn snapshot_dir(args: &Args, env: &Env) -> PathBuf {
    args.snapshot_dir.clone().unwrap_or_else(|| env.settings.snapshot_dir.clone())
}

/// The newest snapshot, if there is anything in it.
///
/// # Errors
/// `NoSource`; `Io`, `Unreadable`.
pub(super) fn newest(args: &Args, env: &Env, server: &Server) -> Result<Work> {
    let path = snapshot_dir(args, env);
    let none = || Error::NoSource {
        why: format!("there is no snapshot in {}", path.display()),
        next: "take one first: sudo tool-snapshot.sh",
    };
    let root = server.snapshots(&path)?.ok_or_else(none)?;
    let snapshot = generation::list(&root)?.pop().ok_or_else(none)?;
    let dir = snapshot.dir(&root)?;
    let filled = snapshot.filled(&root)?;
    // Its archive must not push out a good one.
    if filled.is_empty() {
        return Err(Error::NoSource {
            why: "the newest snapshot holds neither files nor tables".to_owned(),
            next: "take the data in first; the stick is as it was",
        });
    }
    if snapshot.header.is_none() {
        warn!(
            "snapshot {} has no manifest (the original system made it): it is backed up as it is, unproven",
            snapshot.name
        );
    }
    let manifest = unproven::manifest_of(&dir, &server.id)?;
    let unreadable = |source| Error::Unreadable { path: dir.shown(generation::MANIFEST), source };
    let digest = archive::digest(&manifest).map_err(unreadable)?;
    let size = manifest.metadata().map_err(unreadable)?.len();
    let header = first_line(&manifest).map_err(unreadable)?;
    let name = format!("{}_full.tar.zst", snapshot.name.get(..10).unwrap_or_default());
    let estimate = archive::estimate(&dir)?.saturating_add(size);
    let retention = args.retention.unwrap_or(env.settings.backup_retention);
    let taken = taken(&snapshot, env.clock);
    let state = server.state.as_ref().map(Dir::again).transpose()?;
    Ok(Work { snapshot, dir, state, manifest, digest, header, filled, name, estimate, retention, taken })
}

fn first_line(manifest: &File) -> std::io::Result<Header> {
    let mut file = manifest.try_clone()?;
    std::io::Seek::rewind(&mut file)?;
    Ok(Reader::new(file)?.header().clone())
}

fn taken(snapshot: &Generation, clock: Clock) -> String {
    let time = snapshot.taken(clock).map(|taken| clock.log_time(taken));
    time.unwrap_or_else(|| snapshot.name.clone())
}
