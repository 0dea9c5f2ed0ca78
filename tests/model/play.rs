//! Plays a history: each step is done to the real things and told to the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::common::{Run, Tree};
use crate::history::{History, MOST_STICKS};
use crate::media::{Kind, Port, contents};
use crate::oracle::{Broken, Oracle};
use crate::person::act;
use crate::steps::{At, DATASETS, DROPPINGS, Edit, Step, Timed, Visit};
use crate::world::{World, long_ago};

/// A history on its way.
pub struct Play {
    pub world: World,
    pub oracle: Oracle,
    /// Writes so far: each one's content is unlike any other.
    pub writes: usize,
    /// Whole generations that the DIST stick was given, by dataset.
    pub exported: [BTreeSet<BTreeMap<String, String>>; 2],
    /// What a person wrote on the DIST stick, and no export has met yet.
    pub on_dist: BTreeSet<String>,
    pub last_run: String,
    ignored: Vec<String>,
}

/// How a history ended.
pub struct Outcome {
    pub steps: usize,
    /// The first promise broken, at which step (counted from 1), and the last run's words.
    pub broken: Option<(Broken, usize, String)>,
}

/// Plays a history from the beginning, and brings everything in step at its end.
pub fn play(history: &History, ignored: &[String]) -> Outcome {
    let kinds: Vec<Kind> = history.kinds.clone();
    let mut play = Play {
        world: World::new(history.servers, &kinds),
        oracle: Oracle::new(history.servers, kinds.len()),
        writes: 0,
        exported: Default::default(),
        on_dist: BTreeSet::new(),
        last_run: String::new(),
        ignored: ignored.to_vec(),
    };
    for (number, timed) in history.steps.iter().enumerate() {
        play.step(timed);
        if let Some(broken) = play.first_broken() {
            return Outcome { steps: number + 1, broken: Some((broken, number + 1, play.last_run)) };
        }
    }
    play.come_together();
    let broken = play.first_broken().map(|broken| (broken, history.steps.len() + 1, play.last_run.clone()));
    Outcome { steps: history.steps.len(), broken }
}

impl Play {
    pub fn first_broken(&self) -> Option<Broken> {
        self.oracle.broken.iter().find(|broken| !self.ignored.iter().any(|name| name == broken.check)).cloned()
    }

    fn stick(&self, number: usize) -> usize {
        number % self.world.sticks.len()
    }

    fn server(&self, number: usize) -> usize {
        number % self.world.servers.len()
    }

    fn step(&mut self, timed: &Timed) {
        self.world.now += timed.after;
        match &timed.step {
            Step::Edit(edit) => self.edit(edit),
            Step::Ingest(visit) => self.ingest(visit),
            Step::Clone { stick } => {
                if self.world.sticks.len() < MOST_STICKS {
                    let stick = self.stick(*stick);
                    self.world.sticks.push(self.world.sticks[stick].copy());
                    self.oracle.cloned(stick);
                }
            }
            Step::TakeImage { stick } => {
                let stick = self.stick(*stick);
                self.world.images.insert(stick, self.world.sticks[stick].copy());
                self.oracle.image_taken(stick);
            }
            Step::WriteBack { stick } => self.write_back(self.stick(*stick)),
            Step::Manifest { stick, torn } => self.spoil_manifest(self.stick(*stick), *torn),
            Step::WipeRole { stick } => {
                let stick = self.stick(*stick);
                self.world.sticks[stick].edit(|root| drop(fs::remove_file(root.path(".toolmaster/role"))));
            }
            Step::MakeRole { stick } => self.make_role(self.stick(*stick)),
            Step::Reformat { stick } => {
                let stick = self.stick(*stick);
                let (kind, before) = (self.world.sticks[stick].kind, self.world.sticks[stick].look());
                self.world.sticks[stick] = Port::new(kind, "TM-INGEST", "INGEST");
                self.oracle.reformatted(stick, &before);
            }
            Step::Dropping { at, dataset, which } => self.drop_something(*at, *dataset, *which),
            Step::UndoPut { server } => self.put_back(self.server(*server)),
            Step::Acknowledge { server } => {
                let server = self.server(*server);
                let undo = self.world.undo(server);
                let run = self.world.call(server, &["undo", "acknowledge", "all"]).start().wait();
                self.ran(&run, &[0]);
                self.oracle.acknowledged(&undo);
            }
            Step::Export { server, renamed } => self.export(self.server(*server), *renamed),
            Step::RotDist { dataset, path: number } => self.spoil_dist(*dataset, *number, true),
            Step::EditDist { dataset, path: number } => self.spoil_dist(*dataset, *number, false),
            Step::Sync { checksum } => self.sync(*checksum),
        }
        self.oracle.look_around(&self.world);
    }

    /// A run of another command than ingest ended well.
    pub fn ran(&mut self, run: &Run, codes: &[i32]) {
        self.last_run = run.to_string();
        let proper = run.code.is_some_and(|code| codes.contains(&code));
        self.oracle.demand("code", proper, || format!("{} ended with {:?}", run.command, run.code));
    }

    fn edit(&mut self, edit: &Edit) {
        let dataset = edit.dataset;
        match edit.at {
            At::Server(number) => {
                let server = self.server(number);
                let kept = self.world.anywhere_in_undo(server);
                let before = self.world.server(server);
                let tree = self.world.servers[server].tree();
                let by = format!("server {server}");
                self.writes += act(&tree.sub(DATASETS[dataset]), edit, self.world.now, self.writes, &by);
                let after = self.world.server(server);
                self.oracle.edited(At::Server(server), dataset, &by, &before, &after);
                let same = self.world.anywhere_in_undo(server) == kept;
                self.oracle.demand("undo-touched", same, || "an edit of live data changed what undo keeps".to_owned());
            }
            At::Stick(number) => {
                let stick = self.stick(number);
                let (now, writes) = (self.world.now, self.writes);
                let by = format!("PC-{}", crate::steps::letter(stick));
                let port = &mut self.world.sticks[stick];
                let before = port.look();
                let work = |root: &Tree| act(&root.sub(DATASETS[dataset]), edit, now, writes, &by);
                self.writes += if edit.pulled { port.edit_and_pull(work) } else { port.edit(work) };
                self.oracle.edited(At::Stick(stick), dataset, &by, &before, &port.look());
            }
        }
    }

    pub fn ingest(&mut self, visit: &Visit) {
        let visit = Visit { stick: self.stick(visit.stick), server: self.server(visit.server), ..visit.clone() };
        self.writes += 1;
        let late = format!("w{:03} by a late program", self.writes);
        let seen = self.world.ingest(&visit, &late);
        self.last_run = seen.run.to_string();
        self.oracle.ingested(&visit, &seen);
    }

    fn write_back(&mut self, stick: usize) {
        if self.world.images.contains_key(&stick) {
            let before = self.world.sticks[stick].look();
            self.world.sticks[stick] = self.world.images[&stick].copy();
            self.oracle.written_back(stick, &before, &self.world.sticks[stick].look());
        }
    }

    fn spoil_manifest(&mut self, stick: usize, torn: bool) {
        let spoilt = self.world.sticks[stick].edit(|root| {
            let path = root.path(".toolmaster/manifest.json");
            let Ok(text) = fs::read(&path) else { return false };
            if torn {
                fs::write(path, &text[..text.len() / 2]).unwrap()
            } else {
                fs::remove_file(path).unwrap()
            }
            true
        });
        if spoilt {
            self.oracle.manifest_spoilt(stick);
        }
    }

    pub fn make_role(&mut self, stick: usize) {
        self.world.sticks[stick].edit(|root| {
            root.file(".toolmaster/role", "INGEST\n", long_ago());
        });
    }

    fn drop_something(&mut self, at: At, dataset: usize, which: usize) {
        let name = DROPPINGS[which % DROPPINGS.len()];
        let (now, text) = (self.world.now, format!("{name}, {at}"));
        let leave = |root: &Tree| {
            let place = DATASETS.get(dataset).map_or_else(|| root.clone(), |dataset| root.sub(dataset));
            // No program makes a dataset in order to leave something there.
            if place.path("").is_dir() && !place.path(name).parent().unwrap().is_file() {
                place.file(name, &text, now);
            }
        };
        match at {
            At::Server(number) => leave(&self.world.servers[self.server(number)].tree()),
            At::Stick(number) => {
                let stick = self.stick(number);
                self.world.sticks[stick].edit(leave);
            }
        }
    }

    /// What an operator does who sees that a run took something away from the server.
    fn put_back(&mut self, server: usize) {
        let undo = self.world.undo(server);
        let latest = undo.iter().rev().find(|(_, kept)| kept.side == "server");
        let Some(((when, dataset), old)) = latest.map(|(key, kept)| (key.clone(), kept.clone())) else { return };
        let before = self.world.server(server);
        let arguments = ["undo", "put", &when, "--dataset", DATASETS[dataset]];
        let run = self.world.call(server, &arguments).start().wait();
        self.ran(&run, &[0, 2, 3]);
        let after = self.world.server(server);
        let kept = self.world.anywhere_in_undo(server);
        let (was, now) = (contents(&before.files(dataset)), contents(&after.files(dataset)));
        let back = contents(&old.files).iter().all(|(path, content)| now.get(path) == Some(content));
        self.oracle.demand("put-back", run.code != Some(0) || back, || format!("{when}: now {now:?}, kept {old:?}"));
        let gone: Vec<_> = was.values().filter(|c| !now.values().any(|n| n == *c) && !kept.contains(*c)).collect();
        self.oracle.demand("put-back", gone.is_empty(), || format!("{gone:?} went and can't be put back"));
        self.world.note_times(server);
        self.oracle.put_back(server, &before, &after);
    }
}
