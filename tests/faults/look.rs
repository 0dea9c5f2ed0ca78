//! What the subjects look for: datasets, manifests, names, what is kept in `undo/`.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::common::Tree;
use crate::world::State;

/// A dataset's files as one text, nothing if there is no such directory. A meta.json that is there must be whole.
pub fn dataset(tree: &Tree, state: &mut State) -> String {
    if tree.has("meta.json") && serde_json::from_str::<Value>(&tree.text("meta.json")).is_err() {
        state.broken.push(format!("{} is torn", tree.path("meta.json").display()));
    }
    if tree.has("") { contents(tree) } else { "none".to_owned() }
}

/// Every file but meta.json with its content, of a long one its hash.
fn contents(tree: &Tree) -> String {
    let mut files = tree.files();
    for text in files.values_mut().filter(|text| text.len() > 100) {
        *text = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    }
    format!("{files:?}")
}

/// Both datasets of a server under two names.
pub fn datasets(root: &Tree, names: [&'static str; 2], state: &mut State) {
    for (name, dir) in names.into_iter().zip(["master", "docviewer"]) {
        let text = dataset(&root.sub(dir), state);
        state.atomic.insert(name, text);
    }
}

/// Every name below a tree. What is named by the time becomes `<time>`; logs and records of times are left out.
pub fn names(root: &Tree, side: &str, state: &mut State) {
    for line in root.snapshot().lines() {
        let name = line.split(' ').next().unwrap_or_default();
        // A receipt that can't be written is none of the run's failures; one that is there is whole.
        if side == "stick" && name == "RESULT.txt" {
            let text = root.text(name);
            if !(text.starts_with("\u{feff}RaspberryPiServer ") && text.ends_with("\r\n")) {
                state.broken.push(format!("{name} is torn: {text:?}"));
            }
            continue;
        }
        state.names.insert(format!("{side}/{}", without_times(name)));
    }
}

/// `2026-01-31_023000` and `2026-01-31_023000-2` as `<time>`, `2026-01-31` as `<day>`.
fn without_times(path: &str) -> String {
    let part = |part: &str| {
        // An archive that a test says is old keeps its name.
        if part.starts_with("2020-") && part.contains("_full.") {
            return part.to_owned();
        }
        let shape: String = part.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        match shape.strip_prefix("0000-00-00_000000") {
            Some(rest) if rest.chars().all(|c| c == '-' || c == '0') => "<time>".to_owned(),
            _ => shape.strip_prefix("0000-00-00").map_or(part.to_owned(), |rest| format!("<day>{rest}")),
        }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// A manifest that says that it is complete must be true of the datasets that it is of: each file is there with its size
/// and SHA-256, and no other one. What is wrong, or nothing.
pub fn manifest(root: &Tree, path: &str) -> Option<String> {
    if !root.has(path) {
        return None;
    }
    let Ok(manifest) = serde_json::from_str::<Value>(&root.text(path)) else {
        return Some(format!("{path} is torn"));
    };
    if manifest["state"] != "complete" {
        return None;
    }
    let mut listed = BTreeMap::new();
    for file in manifest["files"].as_array().into_iter().flatten().filter(|file| file["path"].is_string()) {
        let about = format!("{} {}", file["size"], file["sha256"].as_str().unwrap_or_default());
        listed.insert(file["path"].as_str().unwrap().to_owned(), about);
    }
    let mut there = BTreeMap::new();
    // A snapshot's is of everything beside it.
    let snapshot = ["db", "docviewer", "master", "settings"].map(str::to_owned).to_vec();
    let dirs = match manifest["seq"].is_u64() {
        true => snapshot,
        false => manifest["runs"].as_object()?.keys().cloned().collect(),
    };
    for dir in dirs {
        let tree = root.sub(&dir);
        let names = tree.files().into_keys().chain(tree.has("meta.json").then(|| "meta.json".to_owned()));
        // A stick's manifest leaves out meta.json, which changes with every run.
        for name in names.filter(|name| name != "meta.json" || listed.contains_key(&format!("{dir}/meta.json"))) {
            let bytes = std::fs::read(tree.path(&name)).unwrap();
            let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            there.insert(format!("{dir}/{name}"), format!("{} {sha256}", bytes.len()));
        }
    }
    (listed != there).then(|| format!("{path} is not true: it lists {listed:?}, there is {there:?}"))
}

/// What `undo/` keeps: each whole one is one of `known`, under the words for them; the words of those that are there.
pub fn kept(root: &Tree, dataset: &str, known: &[(&'static str, String)], state: &mut State) -> Vec<&'static str> {
    let mut found = Vec::new();
    let runs = std::fs::read_dir(root.path("undo")).map(|list| list.flatten().collect()).unwrap_or(vec![]);
    for run in runs {
        let run = Tree::at(run.path());
        let json = format!("{dataset}.json");
        if !run.has(&json) {
            continue;
        }
        let Ok(part) = serde_json::from_str::<Value>(&run.text(&json)) else {
            state.broken.push(format!("{} is torn", run.path(&json).display()));
            continue;
        };
        if part["done"] != true {
            continue;
        }
        let content = contents(&run.sub(dataset));
        match known.iter().find(|(_, files)| *files == content) {
            Some((word, _)) => found.push(*word),
            None => state.broken.push(format!("undo/ keeps a mixture of {dataset}: {content}")),
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}
