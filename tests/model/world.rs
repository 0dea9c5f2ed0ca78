//! The real things: servers, sticks, a terminal, and the runs of the real program on them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Call, DAY, Server, ago};
use crate::media::{File, Files, Kind, Port, View, is_dropping, read_below};
use crate::steps::DATASETS;

/// When histories begin: so long ago that the longest ends before now.
pub fn long_ago() -> i64 {
    ago(90 * DAY)
}

/// All that there is.
pub struct World {
    pub servers: Vec<Server>,
    pub sticks: Vec<Port>,
    pub dist: Port,
    terminal: TempDir,
    pub images: BTreeMap<usize, Port>,
    /// The time that every clock shows that is not wrong.
    pub now: i64,
    /// The latest time that a server has on record: SPEC 8 lets it doubt a clock that is behind.
    pub newest: Vec<i64>,
    /// How long a run takes that nobody disturbs.
    pub pace: Duration,
}

/// What `undo/` keeps of one side's dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub side: String,
    pub lost: bool,
    /// Its run came to its end; else what is live is still to be taken out of it.
    pub done: bool,
    pub files: Files,
}

/// Everything below `undo/` by run and dataset.
pub type Undo = BTreeMap<(String, usize), Kept>;

impl World {
    /// New servers with nothing on them, and labelled, empty sticks.
    pub fn new(servers: usize, kinds: &[Kind]) -> World {
        World {
            servers: (0..servers).map(|_| Server::new()).collect(),
            sticks: kinds.iter().map(|kind| Port::new(*kind, "TM-INGEST", "INGEST")).collect(),
            dist: Port::new(kinds[0], "TM-DIST", "DIST"),
            terminal: tempfile::tempdir().unwrap(),
            images: BTreeMap::new(),
            now: long_ago(),
            newest: vec![0; servers],
            pace: Duration::from_millis(80),
        }
    }

    /// What is on a server.
    pub fn server(&self, number: usize) -> View {
        View::of(&self.servers[number].path(""))
    }

    /// Notes the times that a server has now, before or after a step.
    pub fn note_times(&mut self, server: usize) {
        self.newest[server] = self.newest[server].max(self.server(server).newest);
    }

    /// The terminal's files.
    pub fn terminal(&self) -> View {
        View::of(self.terminal.path())
    }

    /// What a server's `undo/` keeps, by the files; what the list says of them where there are any.
    pub fn undo(&self, server: usize) -> Undo {
        let root = self.servers[server].path("undo");
        let mut kept = Undo::new();
        for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
            for (number, dataset) in DATASETS.iter().enumerate() {
                let directory = entry.path().join(dataset);
                if !directory.is_dir() && !entry.path().join(format!("{dataset}.json")).is_file() {
                    continue;
                }
                let mut files = Files::new();
                read_below(&directory, "", &mut |path, file| drop(files.insert(path[1..].to_owned(), file)));
                files.retain(|path, _| path != "meta.json" && !is_dropping(path));
                let when = entry.file_name().to_string_lossy().into_owned();
                let done = !is_unfinished(&directory);
                kept.insert((when, number), Kept { side: String::new(), lost: false, done, files });
            }
        }
        if !kept.is_empty() {
            let run = self.call(server, &["undo", "list", "--json"]).start().wait();
            let list: Vec<Value> = serde_json::from_str(&run.stdout).unwrap_or_default();
            for said in list {
                let Some(dataset) = DATASETS.iter().position(|name| said["dataset"] == **name) else { continue };
                let when = said["when"].as_str().unwrap_or_default().to_owned();
                if let Some(kept) = kept.get_mut(&(when, dataset)) {
                    kept.side = said["side"].as_str().unwrap_or_default().to_owned();
                    kept.lost = said["lost"] == true;
                }
            }
        }
        kept
    }

    /// Every file's content below `undo/`, whatever its place.
    pub fn anywhere_in_undo(&self, server: usize) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        read_below(&self.servers[server].path("undo"), "", &mut |_, file: File| {
            found.insert(file.content);
        });
        found
    }

    /// Files below `undo/` that live data shares, and droppings there.
    pub fn wrong_in_undo(&self, server: usize) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let root = self.servers[server].path("");
        let live: BTreeSet<u64> =
            DATASETS.iter().flat_map(|dataset| inodes(&root.join(dataset))).map(|(_, inode)| inode).collect();
        let mut kept = inodes(&root.join("undo"));
        // A run that was killed just after its exchange has not taken out yet what is live; the next one does.
        kept.retain(|(path, _)| !is_unfinished(path));
        // Below a directory whose place a file took they belong there.
        let sub = |path: &Path| path.components().any(|name| name.as_os_str() == "sub");
        let droppings = kept.iter().filter(|(path, _)| is_dropping(&path.to_string_lossy()) && !sub(path));
        let droppings = droppings.map(|(path, _)| path.clone()).collect();
        (kept.into_iter().filter(|(_, inode)| live.contains(inode)).map(|(path, _)| path).collect(), droppings)
    }

    /// A command line on a server, at the history's time.
    pub fn call<'a>(&'a self, server: usize, arguments: &[&str]) -> Call<'a> {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        Call::new(&self.servers[server], arguments, None)
            .clock(&format!("{}", self.now - real))
            .var("LOCAL_MASTER_DIR", self.terminal.path().join("master"))
            .var("LOCAL_DOC_DIR", self.terminal.path().join("docviewer"))
    }
}

/// Whether a file below `undo/` is in a dataset whose run did not come to its end.
fn is_unfinished(path: &Path) -> bool {
    let text = |dataset: &Path| fs::read_to_string(dataset.with_extension("json")).unwrap_or_default();
    path.ancestors().any(|above| {
        let is_dataset = DATASETS.iter().any(|name| above.file_name().is_some_and(|last| last == *name));
        is_dataset && text(above).contains("\"done\":false")
    })
}

/// Every regular file below a directory with its inode.
fn inodes(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => found.extend(inodes(&entry.path())),
            Ok(metadata) => found.push((entry.path(), metadata.ino())),
            Err(_) => {}
        }
    }
    found
}
