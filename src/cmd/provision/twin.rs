//! Two disks of one image at once, such as the old SSD beside its copy: partitions and file systems have the same UUIDs on
//! both, and chance says which disk is mounted where. Then nothing of the server may start.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::os::block::{self, Block};
use crate::os::disk;
use crate::stick::probe::probe;

const NEXT: &str = "shut down, take one of them out and start again";

/// Looks whether the file system of the root, or of the server's data, is on a second disk too.
///
/// # Errors
/// `Config`, naming both disks.
pub fn check(server_root: &Path) -> Result<()> {
    let places = [Path::new("/"), server_root];
    let ours: BTreeSet<PathBuf> = places.into_iter().filter_map(device_of).collect();
    let ids: BTreeSet<String> = ours.iter().filter_map(|node| Some(identity(&Block::open(node).ok()?)?.0)).collect();
    for node in block::list() {
        // A disk that can't be read is none to start from either.
        let Ok(block) = Block::open(&node) else { continue };
        // What carries the system is no second disk; of a mirror, both halves do.
        if disk::is_the_system_s(&block, server_root) {
            continue;
        }
        if let Some((id, label)) = identity(&block).filter(|(id, _)| ids.contains(id)) {
            let own: Vec<String> = ours.iter().map(|node| node.display().to_string()).collect();
            return Err(Error::Config {
                why: format!(
                    "two disks of one image are connected: this system uses {}; {} has the same file system ({label}, {id})",
                    own.join(" and "),
                    node.display()
                ),
                next: NEXT,
            });
        }
    }
    Ok(())
}

fn device_of(place: &Path) -> Option<PathBuf> {
    block::node(std::fs::metadata(place).ok()?.dev())
}

/// A file system's UUID and label.
fn identity(block: &Block) -> Option<(String, String)> {
    let superblock = probe(&mut block.file()).ok()?;
    (!superblock.uuid.is_empty()).then(|| (superblock.uuid.to_string(), superblock.label.to_string()))
}
