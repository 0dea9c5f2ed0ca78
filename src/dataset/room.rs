//! Whether what is to be written fits, before the first byte (SPEC 6, 8).

use super::Dataset;
use super::receive::Need;
use super::server::Server;
use super::survey::{Change, Survey};
use super::undo::{self, Needed, Pruning};
use super::writeback::{ALL, BATCH_BYTES, Order};
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::tree::same::Limits;

/// What a manifest needs for a file, with a path of usual length.
const LIST_BYTES: u64 = 300;
/// Files that a run makes beside data: lists, records, the run's directory.
const SPARE_INODES: u64 = 32;
/// Left over for logs, records and directories.
const MARGIN: u64 = 1024 * 1024;
/// The same in inodes.
const MARGIN_INODES: u64 = 8;

/// What a run is about to put on the server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Files that are made.
    pub files: u64,
    /// Directories that are made.
    pub dirs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are listed.
    pub listed: u64,
}

impl Load {
    /// A new generation of the server's dataset, from the stick.
    pub fn taking_in(found: &Survey) -> Load {
        let change = &found.to_server;
        let listed = found.stick_files.saturating_add(found.server_files).saturating_mul(4);
        Load { files: change.files, dirs: change.dirs, bytes: change.bytes.saturating_add(change.shared), listed }
    }

    /// The lists alone.
    pub fn listing(found: &Survey) -> Load {
        Load { files: 0, dirs: 0, bytes: 0, ..Load::taking_in(found) }
    }

    /// What the stick has otherwise, to be kept in `undo/`.
    pub fn keeping(found: &Survey) -> Load {
        Load { files: found.to_server.files, dirs: found.to_server.dirs, ..Load::taking_in(found) }
    }
}

/// Makes sure that the server has room, removing old undo runs if only these are in the way (not in a dry run), but never the run `spare`.
///
/// # Errors
/// `Failed` with the needed and the free bytes or inodes; then nothing was removed.
pub fn on_server(server: &Server, dataset: Dataset, load: Load, pruning: Pruning<'_>) -> Result<()> {
    let (parent, _) = server.place(dataset);
    let room = parent.room()?;
    let blocks = load.files.saturating_add(load.dirs).saturating_mul(room.f_frsize.max(1));
    let lists = load.listed.saturating_mul(LIST_BYTES);
    let bytes = load.bytes.saturating_add(blocks).saturating_add(lists).saturating_add(MARGIN);
    let inodes = load.files.saturating_add(load.dirs).saturating_add(SPARE_INODES);
    let free = free(parent)?;
    // A filesystem that makes them as it goes has no number of them.
    let free_inodes = if room.f_files == 0 { u64::MAX } else { room.f_favail };
    let missing = Needed { bytes: bytes.saturating_sub(free), inodes: inodes.saturating_sub(free_inodes) };
    if missing.bytes == 0 && missing.inodes == 0 {
        return Ok(());
    }
    if let Some(undo) = server.undo_if_there()?
        && undo::prune_for(&undo, dataset, missing, pruning)?
    {
        return Ok(());
    }
    if missing.bytes > 0 {
        Err(too_little("the server", dataset, bytes, free))
    } else {
        Err(too_few("the server", dataset, inodes, free_inodes))
    }
}

/// Makes sure that a terminal has room for new generations of its datasets beside the present ones, all of them at once.
///
/// # Errors
/// `Failed` with what is needed and what is free, bytes or inodes.
pub fn on_terminal(dir: &Dir, needs: &[Need]) -> Result<()> {
    let room = dir.room()?;
    let sum = |of: fn(&Need) -> u64| needs.iter().map(of).fold(0, u64::saturating_add);
    let inodes = sum(|need| need.files.saturating_add(need.dirs)).saturating_add(MARGIN_INODES);
    let needed =
        inodes.saturating_mul(room.f_frsize.max(1)).saturating_add(sum(|need| need.bytes)).saturating_add(MARGIN);
    let free = free(dir)?;
    // Btrfs makes inodes as they are needed and says 0.
    let (what, needed, free) = match (needed > free, room.f_files > 0 && inodes > room.f_favail) {
        (true, _) => ("bytes", needed, free),
        (_, true) => ("inodes", inodes, room.f_favail),
        _ => return Ok(()),
    };
    Err(Error::Failed {
        why: format!("not enough room on the terminal: {needed} {what} needed, {free} {what} free"),
        next: "make room there and run it again; nothing was changed",
    })
}

/// Finds an order in which the server's files fit on the stick. `reserved`: bytes that the other dataset will take.
///
/// # Errors
/// `Failed` with the needed and the free bytes.
pub fn on_stick(stick: &Dir, dataset: Dataset, change: &Change, limits: Limits, reserved: u64) -> Result<Order> {
    let room = stick.room()?;
    let unit = room.f_frsize.max(1);
    let all_free = free(stick)?;
    let free = all_free.saturating_sub(reserved);
    let mut needed = 0;
    let fold = limits.windows_names;
    let inodes = change.files.saturating_sub(change.replaced).saturating_add(change.dirs);
    // FAT has no number of them.
    if room.f_files > 0 && inodes > room.f_favail.saturating_add(change.deleted) {
        return Err(too_few("the stick", dataset, inodes, room.f_favail));
    }
    for (delete_first, batch, clear) in
        [(fold, ALL, false), (fold, BATCH_BYTES, false), (true, BATCH_BYTES, false), (true, 0, false), (true, 0, true)]
    {
        let order = Order { delete_first, batch, clear };
        needed = stick_need(change, unit, order);
        // What is written aside lies there beside what is deleted, whenever that is.
        let usable = if delete_first && batch != ALL { free.saturating_add(change.freed) } else { free };
        if needed <= usable {
            return Ok(order);
        }
    }
    Err(too_little("the stick", dataset, needed.saturating_add(reserved), all_free.saturating_add(change.freed)))
}

/// What a dataset takes on the stick beyond what it has there, bytes.
///
/// # Errors
/// `Io`.
pub fn growth_on_stick(stick: &Dir, change: &Change) -> Result<u64> {
    let unit = stick.room()?.f_frsize.max(1);
    Ok(stick_need(change, unit, Order { delete_first: true, batch: 0, clear: true }).saturating_sub(change.freed))
}

/// *Pure.* What is taken at the fullest moment: the files' growth, a cluster for each that is begun, the manifest, and
/// what of a batch lies beside the files that it replaces. All in bytes.
fn stick_need(change: &Change, unit: u64, order: Order) -> u64 {
    let clusters = change.files.saturating_add(change.dirs).saturating_mul(unit);
    let replaced = change.bytes.saturating_sub(change.growth);
    let beside = if order.clear { 0 } else { replaced.min(order.batch.saturating_add(change.largest)) };
    let lists = change.files.saturating_mul(LIST_BYTES).saturating_add(4 * unit);
    change.growth.saturating_add(clusters).saturating_add(beside).saturating_add(lists)
}

fn too_few(place: &str, dataset: Dataset, needed: u64, free: u64) -> Error {
    Error::Failed {
        why: format!("{}: not enough room on {place}: {needed} inodes needed, {free} free", dataset.name()),
        next: "remove small files there and run it again; nothing was changed",
    }
}

fn free(dir: &Dir) -> Result<u64> {
    let room = dir.room()?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

fn too_little(place: &str, dataset: Dataset, needed: u64, free: u64) -> Error {
    Error::Failed {
        why: format!("{}: not enough room on {place}: {needed} bytes needed, {free} bytes free", dataset.name()),
        next: "make room there and run it again; nothing was changed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuller_the_stick_the_less_lies_beside() {
        let change = Change { files: 2, replaced: 2, bytes: 3000, growth: 10, largest: 2000, ..Change::default() };
        let need = |batch, clear| stick_need(&change, 0, Order { delete_first: true, batch, clear });
        let lists = 2 * LIST_BYTES;
        assert_eq!(need(ALL, false), 10 + 2990 + lists);
        assert_eq!(need(BATCH_BYTES, false), 10 + 2990 + lists);
        assert_eq!(need(0, false), 10 + 2000 + lists);
        assert_eq!(need(0, true), 10 + lists);
        let huge = Change { bytes: u64::MAX, growth: u64::MAX, ..change };
        assert_eq!(stick_need(&huge, 512, Order { delete_first: false, batch: ALL, clear: false }), u64::MAX);
    }
}
