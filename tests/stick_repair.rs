//! A FAT file system that was pulled while it was written to, and fsck.fat on it. What the kernel makes of such a stick needs a kernel with
//! FAT: tests/vm has that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "common/fat.rs"]
mod fat;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use common::{Stick, tool};
use toolmaster::stick::probe::{FsType, probe};
use toolmaster::stick::repair::repair;

fn fsck(image: &Path) -> Option<i32> {
    Command::new("fsck.fat").arg("-n").arg(image).output().unwrap().status.code()
}

#[test]
fn a_name_that_leads_to_free_space_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("stick.img");
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let at = image.to_str().unwrap();
    tool("mkfs.fat", &["-F", "32", "-s", "1", "-n", "TM-BACKUP", at]);
    for name in ["whole.txt", "half.zst"] {
        let file = dir.path().join(name);
        fs::write(&file, vec![b'x'; 5000]).unwrap();
        tool("mcopy", &["-i", at, file.to_str().unwrap(), "::/"]);
    }
    assert_eq!(fsck(&image), Some(0));
    fat::cut_off(&image, b"ZST").unwrap();
    assert_eq!(fsck(&image), Some(1));
    assert!(probe(&mut &File::open(&image).unwrap()).unwrap().dirty);

    let stick = Stick::made(64, |place| assert_eq!(fs::copy(&image, place).unwrap(), 64 << 20));
    repair(Path::new(stick.device()), FsType::Fat32).unwrap();
    let after = dir.path().join("after.img");
    std::io::copy(&mut File::open(stick.device()).unwrap(), &mut File::create(&after).unwrap()).unwrap();
    assert_eq!(fsck(&after), Some(0));
    assert!(!probe(&mut &File::open(&after).unwrap()).unwrap().dirty);
    assert_eq!(tool("mtype", &["-i", after.to_str().unwrap(), "::/whole.txt"]).len(), 5000);
    assert_eq!(tool("mtype", &["-i", after.to_str().unwrap(), "::/half.zst"]).len(), 0);
    // Again, there is nothing to do.
    repair(Path::new(stick.device()), FsType::Fat32).unwrap();
}

#[test]
fn what_is_no_file_system_is_not_taken_for_a_repaired_one() {
    let stick = Stick::bare(16);
    let error = repair(Path::new(stick.device()), FsType::Fat32).unwrap_err().to_string();
    assert!(error.contains("its file system can't be repaired: ") && error.ends_with("or format it anew"), "{error}");
}
