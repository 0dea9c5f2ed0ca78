//! What a state of the server is, where it can be read from, and which states a retention may give up.

use std::collections::{BTreeMap, BTreeSet};

use super::common::site::Site;
use super::common::{Stick, Tree};
use serde_json::Value;
use toolmaster::os::dir::Dir;
use toolmaster::snapshot::shelf;

/// A snapshot: its number and when it was taken. After a server was replaced two may have one number, never both.
pub type Key = (u64, i64);

/// All that is to come back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub master: BTreeMap<String, String>,
    pub docviewer: BTreeMap<String, String>,
    /// The rows of the table; none if there is no table.
    pub rows: Option<Vec<String>>,
}

impl State {
    /// The server's own, now.
    pub fn live(site: &Site) -> State {
        let there = site.database.psql("SELECT to_regclass('t') IS NOT NULL") == "t\n";
        let rows = there.then(|| sorted(&site.database.psql("SELECT a FROM t")));
        State { rows, ..State::files(&site.server.tree()) }
    }

    /// Of a snapshot, or of what came out of an archive.
    pub fn of(tree: &Tree) -> State {
        let dump = tree.text("db/pg_dump.sql");
        let block = dump.split_once("COPY public.t (a) FROM stdin;\n").and_then(|(_, rest)| rest.split_once("\\.\n"));
        let rows = dump.contains("CREATE TABLE public.t (").then(|| sorted(block.expect("its rows").0));
        State { rows, ..State::files(tree) }
    }

    fn files(tree: &Tree) -> State {
        let files = |name: &str| if tree.has(name) { tree.sub(name).files() } else { BTreeMap::new() };
        State { master: files("master"), docviewer: files("docviewer"), rows: None }
    }

    /// Whether each of the parts holds anything: SPEC 7's *filled*.
    pub fn filled(&self) -> [bool; 4] {
        let has_rows = self.rows.as_ref().is_some_and(|rows| !rows.is_empty());
        [!self.master.is_empty(), !self.docviewer.is_empty(), self.rows.is_some(), has_rows]
    }
}

fn sorted(text: &str) -> Vec<String> {
    let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
    rows.sort();
    rows
}

/// The snapshots on the server's disk, by key.
pub fn on_disk(site: &Site) -> BTreeMap<Key, Tree> {
    let root = site.server.tree().sub("snapshots");
    site.snapshots()
        .into_iter()
        .filter(|name| root.has(format!("{name}/manifest.json")))
        .map(|name| {
            let tree = root.sub(name);
            let manifest: Value = serde_json::from_str(&tree.text("manifest.json")).unwrap();
            ((manifest["seq"].as_u64().unwrap(), manifest["taken"].as_i64().unwrap()), tree)
        })
        .collect()
}

/// The archives on a stick, by key.
pub fn on_stick(stick: &Stick) -> BTreeMap<Key, String> {
    stick.read(|root| {
        let archives = shelf::archives(&Dir::open(&root.path("")).unwrap()).unwrap();
        // Of one that rotted there may be no beginning to read.
        let key = |archive: &shelf::Archive| Some((archive.number(), archive.header.as_ref()?.taken?));
        archives.iter().filter_map(|archive| Some((key(archive)?, archive.name.clone()))).collect()
    })
}

/// What must still be there of `before` once `new` is there too: the newest of them, and the last that holds each part.
pub fn promised(states: &BTreeMap<Key, State>, before: &BTreeSet<Key>, new: Key, newest: usize) -> BTreeSet<Key> {
    let all: Vec<Key> = before.iter().copied().chain([new]).collect::<BTreeSet<Key>>().into_iter().collect();
    let mut stay: BTreeSet<Key> = all.iter().rev().take(newest).copied().collect();
    for part in 0..4 {
        stay.extend(all.iter().rev().find(|key| states[key].filled()[part]));
    }
    stay
}
