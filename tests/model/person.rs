//! What a person does to a dataset's files.

use std::fs;

use crate::common::Tree;
use crate::steps::{Act, Edit, Meta, path};

/// Removes what stands where a file is to be: a directory of its name, a file where its directory is to be.
fn make_way(tree: &Tree, path: &str) {
    for above in path.match_indices('/').map(|(end, _)| tree.path(&path[..end])) {
        if above.is_file() {
            fs::remove_file(above).unwrap();
        }
    }
    if tree.path(path).is_dir() {
        fs::remove_dir_all(tree.path(path)).unwrap();
    }
}

/// Does to a dataset what the person does, and says how many contents were written.
pub fn act(tree: &Tree, edit: &Edit, now: i64, writes: usize, by: &str) -> usize {
    let mut written = 0;
    for act in &edit.acts {
        match *act {
            Act::Write { path: number, longer } => {
                written += 1;
                let serial = writes + written;
                let time = edit.kept.map_or(now + edit.clock, |age| now - age);
                let more = if longer { ", and some more" } else { "" };
                // Steps are whole minutes apart: no two files have one time, also where times have two seconds.
                let time = time / 60 * 60 + 2 * (i64::try_from(serial).unwrap() % 29);
                make_way(tree, path(number));
                tree.file(path(number), format!("w{serial:03} by {by}{more}"), time);
            }
            Act::Delete { path: number } => drop(fs::remove_file(tree.path(path(number)))),
            Act::Rename { from, to } => {
                if tree.path(path(from)).is_file() && !path(to).starts_with(&format!("{}/", path(from))) {
                    make_way(tree, path(to));
                    let to = tree.path(path(to));
                    fs::create_dir_all(to.parent().unwrap()).unwrap();
                    // What was to be renamed may have been in the way.
                    let _ = fs::rename(tree.path(path(from)), to);
                }
            }
            // FAT has no second names.
            Act::Link { from, to } => {
                let (from, to) = (tree.path(path(from)), tree.path(path(to)));
                if from.is_file() && !to.exists() && to.parent().unwrap().is_dir() {
                    let _ = fs::hard_link(from, to);
                }
            }
            Act::Empty => crate::steps::PATHS.iter().for_each(|path| drop(fs::remove_file(tree.path(path)))),
            Act::RemoveDataset => drop(fs::remove_dir_all(tree.path(""))),
        }
    }
    let time = now + edit.clock;
    if tree.path("").is_dir() {
        match edit.meta {
            Meta::Untouched => {}
            Meta::Set => drop(tree.meta(time)),
            Meta::Garbage => drop(tree.meta_text("{\"updated_at\": \"yesterday", time)),
            Meta::Removed => drop(fs::remove_file(tree.path("meta.json"))),
        }
    }
    written
}
