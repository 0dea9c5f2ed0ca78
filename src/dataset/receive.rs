//! A terminal's side of a DIST stick: is the stick whole, what would change, and the new generation built beside the
//! present one (SPEC 6, dist-sync).

use log::warn;

use super::Dataset;
use super::meta;
use super::publish::{Compare, build, server_ownership};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;
use crate::tree::copy;
use crate::tree::manifest::path_order;
use crate::tree::remove;
use crate::tree::stream::Stream;
use crate::tree::walk::{Step, Walk};

/// What a terminal would get.
#[derive(Clone, Copy, Debug, Default)]
pub struct Need {
    /// Files on the stick.
    pub on_stick: u64,
    /// Files on the terminal.
    pub on_terminal: u64,
    /// Files to copy.
    pub files: u64,
    /// Bytes to copy.
    pub bytes: u64,
    /// Files that the terminal loses.
    pub deleted: u64,
    /// Directories.
    pub dirs: u64,
}

/// Looks at both sides. `listed`: the stick's manifest of this dataset, if it has one; every file of it must be there
/// with its size (with `--checksum`: its content).
///
/// # Errors
/// `Refused` if the stick is not what its manifest says; `Unreadable`, `Io`.
pub fn inspect(
    stick: &Dir,
    local: Option<&Dir>,
    mut listed: Option<&mut Stream>,
    compare: &Compare<'_>,
    dataset: Dataset,
) -> Result<Need> {
    let mut need = Need::default();
    let mut walk = Walk::new(Some(stick), local)?.side_by_side();
    while let Some(step) = walk.step()? {
        let (left, right) = match step {
            Step::File { left, right } if walk.path() != meta::NAME => (left, right),
            Step::Enter { left: Some(_), .. } => {
                need.dirs += 1;
                continue;
            }
            Step::Skipped(_, what) => {
                warn!("{}: skipped: {} ({what})", dataset.name(), walk.shown());
                continue;
            }
            _ => continue,
        };
        let file = |entry: Option<Entry>| entry.filter(|entry| entry.kind == Kind::File);
        let (left, right) = (file(left), file(right));
        need.on_terminal += u64::from(right.is_some());
        need.deleted += u64::from(left.is_none() && right.is_some());
        let Some(left) = left else { continue };
        need.on_stick += 1;
        if let Some(listed) = listed.as_deref_mut() {
            check_listed(&walk, &left, listed, compare.checksum, dataset)?;
        }
        let same = match right {
            Some(right) => compare.same(&walk, &left, &right)?,
            None => false,
        };
        if !same {
            need.files += 1;
            need.bytes = need.bytes.saturating_add(left.size);
        }
    }
    match listed.and_then(|listed| listed.head()) {
        Some(missing) => Err(not_whole(dataset, &missing.path, "is missing")),
        None => Ok(need),
    }
}

/// Holds a file of the stick against the manifest, which is passed up to it.
fn check_listed(walk: &Walk, left: &Entry, listed: &mut Stream, checksum: bool, dataset: Dataset) -> Result<()> {
    match listed.head() {
        Some(head) if path_order(&head.path, walk.path()).is_lt() => {
            return Err(not_whole(dataset, &head.path, "is missing"));
        }
        Some(head) if head.path == walk.path() => {}
        _ => {
            warn!("{}: {} is not in the stick's manifest: it could not be checked", dataset.name(), walk.shown());
            return Ok(());
        }
    }
    let Some(head) = listed.take()? else { return Ok(()) };
    if head.size != left.size {
        return Err(not_whole(dataset, &head.path, "has another size than the server wrote"));
    }
    match (head.sha256, walk.left()) {
        (Some(sha256), Some(dir)) if checksum && copy::hash(dir, walk.name())? != sha256 => {
            Err(not_whole(dataset, &head.path, "is not what the server wrote"))
        }
        _ => Ok(()),
    }
}

fn not_whole(dataset: Dataset, path: &[u8], what: &str) -> Error {
    Error::Refused {
        why: format!("the stick is not whole: {}/{} {what}", dataset.name(), crate::text::Shown(path)),
        next: "fill it again at the server; the terminal keeps what it has".to_owned(),
    }
}

/// Where the terminal has a dataset.
pub struct Place<'a> {
    /// The directory that it is in.
    pub parent: &'a Dir,
    /// Its name there.
    pub name: &'a [u8],
    /// A directory on the same file system for what is being built.
    pub aside: &'a Dir,
}

/// Replaces the terminal's dataset by the stick's: built in `aside`, made durable, exchanged. What
/// is copied must have the hash that the manifest says (`listed`, from its start). `check_read` says whether what was read from the stick may be
/// believed.
///
/// A crash leaves the old dataset, or the new one with the old one in `aside`, which the next run removes.
///
/// # Errors
/// `Refused` if a file is not what the server wrote; `Unreadable`, `Io`, `Interrupted`: the old dataset stands.
pub fn replace(
    stick: &Dir,
    place: &Place<'_>,
    compare: Compare<'_>,
    mut listed: Option<Stream>,
    dataset: Dataset,
    progress: &mut Progress,
    check_read: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let &Place { parent, name, aside } = place;
    let live = parent.sub(name)?;
    let owner = live.as_ref().unwrap_or(parent).entry()?.owner;
    let new_name = dataset.name().as_bytes();
    remove::tree(aside, new_name)?;
    let new = aside.make(new_name, 0o755)?;
    let owned = server_ownership(owner);
    let built = build(
        stick,
        live.as_ref(),
        &new,
        owned,
        compare,
        Some(&mut |file| match listed.as_mut().map(|listed| listed.find(&file.path)).transpose()?.flatten() {
            Some(head) if head.sha256.is_some() && head.sha256 != file.sha256 => {
                Err(not_whole(dataset, &file.path, "is not what the server wrote"))
            }
            _ => Ok(()),
        }),
        progress,
    );
    let built = built.and_then(|()| match stick.look(meta::NAME)? {
        Some(Entry { kind: Kind::File, .. }) => {
            copy::copy(stick, meta::NAME, &new, meta::NAME, owned, progress).map(drop)
        }
        _ => Ok(()),
    });
    if let Err(error) = built.and_then(|()| new.sync_all()).and_then(|()| check_read()) {
        remove::tree(aside, new_name)?;
        return Err(error);
    }
    match live {
        Some(_) => aside.exchange(new_name, parent, name)?,
        None => aside.rename_new(new_name, parent, name)?,
    }
    parent.sync()?;
    aside.sync()?;
    remove::tree(aside, new_name)
}
