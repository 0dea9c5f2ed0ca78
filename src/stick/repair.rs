//! Repairs the file system of a stick that was pulled while it was written to. On FAT and exFAT the table and the names reach the medium in any
//! order, so that a name may lead to space that is free; the kernel then shuts the stick to writing at the first such name that it
//! meets, at this visit and at each one after it. The programs that come with each file system know how to mend that.

use std::path::Path;
use std::time::Duration;

use log::{info, warn};

use super::probe::FsType;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::process::{self, Program};

/// A large stick is read for some minutes.
const LIMIT: Duration = Duration::from_secs(3600);
const NEXT: &str = "check it on a PC (chkdsk), or format it anew";

/// Repairs the file system on a device that is not mounted. Without the program for it, nothing is done.
///
/// # Errors
/// `Failed` if it can't be repaired, `Interrupted`.
pub fn repair(device: &Path, fstype: FsType) -> Result<()> {
    // e2fsprogs 1.47, dosfstools 4.2, exfatprogs 1.2: what can be mended without a question. A journal needs none of them.
    let (name, mend) = match fstype {
        FsType::Ext3 | FsType::Ext4 => return Ok(()),
        FsType::Ext2 => ("e2fsck", "-p"),
        FsType::Fat12 | FsType::Fat16 | FsType::Fat32 => ("fsck.fat", "-a"),
        FsType::Exfat => ("fsck.exfat", "-p"),
    };
    let Some(program) = process::find(name) else {
        warn!("{}: it was pulled while it was written to, and {name} is not there to look at it", device.display());
        return Ok(());
    };
    let device_name = device.to_string_lossy();
    let run = |how: &str| Program::new(&program, &[how, &device_name], LIMIT, NEXT).end();
    info!("{}: it was pulled while it was written to; its file system is being checked", device.display());
    if run(mend)?.status.success() {
        return Ok(());
    }
    // Each of them ends with 1 if it mended something; that all is well now is only seen by looking again.
    let ended = run("-n")?;
    if ended.status.success() {
        info!("{}: its file system is repaired", device.display());
        return Ok(());
    }
    Err(Error::Failed {
        why: format!("{}: its file system can't be repaired: {}", device.display(), ended.reason()),
        next: NEXT,
    })
}

/// What fsck.fat makes files of, since nothing leads to it any more: halves of what was being written.
///
/// # Errors
/// `Io`.
pub fn remnants(root: &Dir) -> Result<Vec<Vec<u8>>> {
    Ok(root.names()?.iter().filter(|name| is_remnant(name)).map(<[u8]>::to_vec).collect())
}

fn is_remnant(name: &[u8]) -> bool {
    name.strip_prefix(b"FSCK")
        .and_then(|rest| rest.strip_suffix(b".REC"))
        .is_some_and(|number| number.len() == 4 && number.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remnants() {
        assert!(is_remnant(b"FSCK0000.REC") && is_remnant(b"FSCK0123.REC"));
        for name in [&b"FSCK000.REC"[..], b"FSCK0000.TXT", b"FSCKabcd.REC", b"xFSCK0000.REC", b"fsck0000.rec"] {
            assert!(!is_remnant(name));
        }
    }
}
