//! `undo put --to DIR`: copies what is kept to `DIR/master` and `DIR/docviewer`, and changes nothing else.

use std::path::{Path, PathBuf};

use log::info;

use crate::dataset::meta;
use crate::dataset::server::Server;
use crate::dataset::undo::Place;
use crate::error::{Error, Result};
use crate::exchange::put_back_server::still_there;
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;
use crate::tree::copy::{self, Ownership};
use crate::tree::remove;
use crate::tree::replicate::{All, New, replicate};

/// Copies the kept datasets into a new or empty directory.
pub fn run(server: &Server, places: &[Place], to: &Path, dry_run: bool) -> Result<()> {
    let to = std::path::absolute(to).map_err(|error| Error::io("understand", to, error))?;
    let owner = check(server, &to)?;
    for place in places.iter().filter(|_| dry_run) {
        info!("plan: {}: copy what {} replaced to {}", place.dataset().name(), place.when(), to.display());
    }
    if dry_run {
        return Ok(());
    }
    let into = make(&to, owner)?;
    places.iter().try_for_each(|place| one(server, place, &into, owner))
}

/// Whose it is to be. What is there must be empty, and nothing that runs work on.
fn check(server: &Server, to: &Path) -> Result<(u32, u32)> {
    let refused = |why: &str| Error::Refused {
        why: format!("{} {why}", to.display()),
        next: "name a new directory somewhere else".to_owned(),
    };
    let (Some(parent), Some(_)) = (to.parent(), to.file_name()) else {
        return Err(refused("is not a new directory"));
    };
    let parent = parent.canonicalize().map_err(|error| Error::io("open the directory", parent, error))?;
    if server.keeps(&parent, to.file_name().unwrap_or_default()) {
        return Err(refused("belongs to what the server itself keeps"));
    }
    let real = |error: Error| if error.is_no_directory() { refused("is not a real directory") } else { error };
    match Dir::open_if_there(to).map_err(real)? {
        Some(dir) if !dir.names()?.is_empty() => Err(refused("is not empty")),
        Some(dir) => Ok(dir.entry()?.owner),
        None => Ok(Dir::open(&parent)?.entry()?.owner),
    }
}

fn make(to: &Path, owner: (u32, u32)) -> Result<Dir> {
    let parent: PathBuf = to.parent().map(Path::to_owned).unwrap_or_default();
    let name = to.file_name().unwrap_or_default().as_encoded_bytes();
    let parent = Dir::open(&parent.canonicalize().map_err(|error| Error::io("open the directory", &parent, error))?)?;
    if parent.make_new(name, 0o755)? {
        Dir::open(to)?.set_owner_mode(Some(owner), 0o755)?;
        parent.sync()?;
    }
    Dir::open(to)
}

/// Copies one dataset under another name first: what has its own name is whole.
fn one(server: &Server, place: &Place, into: &Dir, owner: (u32, u32)) -> Result<()> {
    let dataset = place.dataset();
    let _lock = server.lock(dataset)?;
    still_there(server, place)?;
    let temp = format!(".{}.unfinished", dataset.name());
    let owned = Ownership { owner: Some(owner), file_mode: 0o644, dir_mode: 0o755 };
    let built = fill(place, &into.make(temp.as_bytes(), owned.dir_mode)?, owned);
    if let Err(error) = built {
        remove::tree(into, temp.as_bytes())?;
        return Err(error);
    }
    into.rename_new(temp.as_bytes(), into, dataset.name().as_bytes())?;
    into.sync()?;
    info!("{}: what {} replaced is copied to {}", dataset.name(), place.when(), into.shown(place.name()));
    Ok(())
}

fn fill(place: &Place, to: &Dir, owned: Ownership) -> Result<()> {
    to.set_owner_mode(owned.owner, owned.dir_mode)?;
    let Some(kept) = place.kept()? else {
        return Ok(());
    };
    let mut progress = Progress::new(format!("{}: from undo/", place.dataset().name()), 0, 0);
    let new = New { root: to, owned, progress: &mut progress };
    replicate((Some(&kept), None), new, meta::NAME, &mut All)?;
    if let Some(Entry { kind: Kind::File, .. }) = kept.look(meta::NAME)? {
        copy::copy((&kept, meta::NAME), (to, meta::NAME), owned, &mut progress)?;
    }
    to.sync_all()
}
