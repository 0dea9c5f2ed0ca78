//! DIST sticks and the terminal: what was exported arrives whole, or not at all.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::common::tree::set_mtime;
use crate::media::contents;
use crate::play::Play;
use crate::steps::{DATASETS, path};

impl Play {
    /// `renamed`: somebody gives a file of the server another name while it is exported.
    pub fn export(&mut self, server: usize, renamed: Option<usize>) {
        let device = self.world.dist.stick.device().to_owned();
        let running = self.world.call(server, &["dist-export", "--device", &device]).start();
        if let Some(number) = renamed {
            std::thread::sleep(std::time::Duration::from_millis(self.writes as u64 * 7 % 40));
            let file = self.world.servers[server].path("master").join(path(number));
            if file.is_file() {
                let _ = fs::rename(&file, file.with_extension("renamed"));
            }
        }
        let run = running.wait();
        self.ran(&run, if renamed.is_some() { &[0, 1, 3, 75] } else { &[0, 3] });
        let (on_stick, here) = (self.world.dist.look(), self.world.server(server));
        let done = run.code == Some(0);
        for dataset in 0..2 {
            let (given, own) = (contents(&on_stick.files(dataset)), contents(&here.files(dataset)));
            let equal = !done || given == own || renamed.is_some();
            self.oracle.demand("dist", equal, || format!("exported {given:?}, the server has {own:?}"));
            self.exported[dataset].insert(given);
        }
        if done {
            self.is_as_listed();
            self.are_kept(server, &run.job.to_string());
        }
    }

    /// The stick holds just what its manifest names.
    fn is_as_listed(&mut self) {
        let (mut listed, mut there) = (BTreeSet::new(), BTreeSet::new());
        self.world.dist.edit(|root| {
            let manifest: Value = serde_json::from_str(&root.text(".toolmaster/manifest.json")).unwrap();
            let files = manifest["files"].as_array().unwrap();
            listed.extend(files.iter().filter_map(|file| Some(file["path"].as_str()?.to_owned())));
        });
        let view = self.world.dist.look();
        for (number, name) in DATASETS.iter().enumerate() {
            there.extend(view.files(number).keys().map(|path| format!("{name}/{path}")));
        }
        self.oracle.demand("dist", listed == there, || format!("the manifest names {listed:?}, there are {there:?}"));
    }

    /// What a person wrote on the stick is there, or it is kept and the run's record tells of it.
    fn are_kept(&mut self, server: usize, job: &str) {
        let view = self.world.dist.look();
        let kept = self.world.anywhere_in_undo(server);
        for content in std::mem::take(&mut self.on_dist) {
            let there = (0..2).any(|dataset| contents(&view.files(dataset)).values().any(|held| *held == content));
            let told = kept.contains(&content) && (job.contains("lost_in") || job.contains("older_in"));
            self.oracle.demand("dist", there || told, || format!("{content:?} of the DIST stick is gone: {job}"));
        }
    }

    /// Something on the DIST stick changes: by rot, size and time stay; by hand, they do not.
    pub fn spoil_dist(&mut self, dataset: usize, number: usize, rot: bool) {
        let now = self.world.now;
        self.writes += 1;
        let writes = self.writes;
        let mut written = None;
        self.world.dist.edit(|root| {
            let file = root.path(DATASETS[dataset]).join(path(number));
            let Some(metadata) = fs::metadata(&file).ok().filter(fs::Metadata::is_file) else { return };
            let length = usize::try_from(metadata.len()).unwrap();
            let text = if rot { "?".repeat(length) } else { format!("d{writes:03} by a person on the DIST stick") };
            fs::write(&file, &text).unwrap();
            if !rot {
                written = Some(text);
            }
            let time = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            set_mtime(&file, if rot { time.cast_signed() } else { now });
        });
        self.on_dist.extend(written);
    }

    pub fn sync(&mut self, checksum: bool) {
        let before = self.world.terminal();
        let device = self.world.dist.stick.device().to_owned();
        let call = self.world.call(0, &["dist-sync", "--device", &device]);
        let run = if checksum { call.flag("--checksum") } else { call }.start().wait();
        self.ran(&run, &[0, 2, 3]);
        let (after, given) = (self.world.terminal(), self.world.dist.look());
        for dataset in 0..2 {
            let [was, now, given] = [&before, &after, &given].map(|view| contents(&view.files(dataset)));
            let whole = now == was || self.exported[dataset].contains(&now);
            self.oracle.demand("dist", whole, || format!("the terminal has {now:?}, which no server ever exported"));
            let equal = run.code != Some(0) || now == given || given.is_empty();
            self.oracle.demand("dist", equal || !checksum, || format!("synced {now:?} from a stick with {given:?}"));
        }
    }
}
