//! Whether what is to be written fits, before the first byte (SPEC 6, 8).

use log::warn;

use super::Dataset;
use super::history;
use super::server::Server;
use super::survey::{Change, Survey};
use super::writeback::{BATCH_BYTES, Order};
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

/// Finds an order in which the server's files fit on the stick.
///
/// # Errors
/// `Failed` with the needed and the free bytes.
pub fn on_stick(stick: &Dir, dataset: Dataset, change: &Change, limits: Limits) -> Result<Order> {
    let unit = stick.room()?.f_frsize.max(1);
    let free = free(stick)?;
    let mut needed = 0;
    for (delete_first, batch) in [(limits.windows_names, BATCH_BYTES), (true, BATCH_BYTES), (true, 0)] {
        needed = stick_need(change, unit, batch);
        let usable = if delete_first { free.saturating_add(change.freed) } else { free };
        if needed <= usable {
            return Ok(Order { delete_first, batch });
        }
    }
    Err(too_little("the stick", dataset, needed, free.saturating_add(change.freed)))
}

/// *Pure.* What is taken at the fullest moment: the files' growth, a cluster for each that is begun, the manifest, and
/// what of a batch lies beside the files that it replaces. All in bytes.
fn stick_need(change: &Change, unit: u64, batch: u64) -> u64 {
    let clusters = change.files.saturating_add(change.dirs).saturating_mul(unit);
    let beside = change.bytes.saturating_sub(change.growth).min(batch.saturating_add(change.largest));
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
    fn a_full_stick_needs_only_the_growth_and_one_file_beside() {
        let change = Change { files: 2, replaced: 2, bytes: 3000, growth: 10, largest: 2000, ..Change::default() };
        assert_eq!(stick_need(&change, 0, 0), 10 + 2000 + 2 * LIST_BYTES);
        assert_eq!(stick_need(&change, 0, BATCH_BYTES), 10 + 2990 + 2 * LIST_BYTES);
        assert!(stick_need(&Change { bytes: u64::MAX, growth: u64::MAX, ..change }, 512, BATCH_BYTES) == u64::MAX);
    }
}
