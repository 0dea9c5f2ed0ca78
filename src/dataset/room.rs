//! Whether what is to be written fits, before the first byte (SPEC 6, 8).

use log::warn;

use super::Dataset;
use super::history;
use super::receive::Need;
use super::server::Server;
use super::survey::{Change, Survey};
use super::writeback::{ALL, BATCH_BYTES, Order};
use crate::clock::Belief;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::tree::same::Limits;

/// What a manifest needs for a file, with a path of usual length.
const LIST_BYTES: u64 = 300;
/// Left over for logs, records and directories.
const MARGIN: u64 = 1024 * 1024;

/// Makes sure that the server has room for the stick's files, removing old undo runs if only these are in the way
/// (not in a dry run), but never the run `spare`.
///
/// # Errors
/// `Failed` with the needed and the free bytes.
pub fn on_server(
    server: &Server,
    dataset: Dataset,
    found: &Survey,
    belief: &Belief,
    dry_run: bool,
    spare: Option<u64>,
) -> Result<()> {
    let (parent, _) = server.place(dataset);
    let unit = parent.room()?.f_frsize.max(1);
    let change = &found.to_server;
    let blocks = change.files.saturating_add(change.dirs).saturating_mul(unit);
    let lists = found.stick_files.saturating_add(found.server_files).saturating_mul(LIST_BYTES);
    let needed = change.bytes.saturating_add(blocks).saturating_add(lists).saturating_add(MARGIN);
    if needed > free(parent)? && !dry_run {
        warn!("{}: not enough room: old undo runs are removed", dataset.name());
        history::prune(&server.undo()?, dataset, belief, true, spare)?;
    }
    let free = free(parent)?;
    if needed > free { Err(too_little("the server", dataset, needed, free)) } else { Ok(()) }
}

/// Makes sure that a terminal has room for a new generation beside its present one.
///
/// # Errors
/// `Failed` with the needed and the free bytes.
pub fn on_terminal(dir: &Dir, dataset: Dataset, need: &Need) -> Result<()> {
    let unit = dir.room()?.f_frsize.max(1);
    let blocks = need.files.saturating_add(need.dirs).saturating_mul(unit);
    let needed = need.bytes.saturating_add(blocks).saturating_add(MARGIN);
    let free = free(dir)?;
    if needed > free { Err(too_little("the terminal", dataset, needed, free)) } else { Ok(()) }
}

/// Finds an order in which the server's files fit on the stick.
///
/// # Errors
/// `Failed` with the needed and the free bytes.
pub fn on_stick(stick: &Dir, dataset: Dataset, change: &Change, limits: Limits) -> Result<Order> {
    let unit = stick.room()?.f_frsize.max(1);
    let free = free(stick)?;
    let mut needed = 0;
    let fold = limits.windows_names;
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
    Err(too_little("the stick", dataset, needed, free.saturating_add(change.freed)))
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
