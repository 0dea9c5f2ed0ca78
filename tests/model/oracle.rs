//! The oracle. It knows nothing of how the program decides: it knows which content each person wrote, and what had been
//! seen on that medium by then. SPEC 6 is the law, and its sentence the test: *no content that a person wrote leaves
//! server, stick and undo without a person having been told*. The idea is from Hughes, Pierce, Arts and Norell,
//! "Mysteries of Dropbox" (2016).
//!
//! Every write is a content that is nowhere else, so that a content stands for the act of writing it. For each medium
//! and dataset the oracle keeps
//!
//! - `held`: every content that the medium ever held, or that what it holds descends from. Whoever writes on a medium has
//!   seen what it holds; so a content is *known* to a side if it is in `held`. A clone begins with what its original held, an
//!   image gives back what was held when it was taken, and where one side replaced the other, the loser inherits.
//! - `common`: what server and stick both held when they were last in step, as far as the stick carries a whole manifest
//!   of that instant. It goes with clones and images. `Unclear` after a run that was cut off: the manifest may be any of two.
//!
//! and for each content its `Fate`. A person who overwrites or deletes a content on a medium that holds it has settled
//! it (`superseded`). When a run takes a content from the losing side and the winner never held it, the run **must** call it lost;
//! without a common state only where the winner lacks the file or has an older one. The rest is `older`: it is to be named, and is `waived` then. What a run
//! **may** call lost are contents that the winner does not hold and that the loser has not had since they were in step. From
//! then on it is `told`, and has to stay in undo until it is acknowledged.
//!
//! After each step every content that somebody wrote is looked for on all servers, sticks and below `undo/`. One that is
//! nowhere, and neither superseded, waived nor told and acknowledged, breaks the sentence. `judge.rs` has the rules for one run.
//! `owed` are contents that a cut-off run or a late save left behind; they are to be told by the next run that comes to its end.

use std::collections::{BTreeMap, BTreeSet};

use crate::media::{View, contents};
use crate::steps::DATASETS;
use crate::world::{Undo, World};

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The check's name, by which it can be turned off and by which histories are compared.
    pub check: &'static str,
    pub what: String,
}

/// What became of a content.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    pub by: String,
    pub superseded: bool,
    pub waived: bool,
    pub told: bool,
    pub acknowledged: bool,
}

/// What stick and server had in common when they were last in step.
#[derive(Clone, Debug, Default)]
pub enum Common {
    #[default]
    None,
    /// The last run was cut off, or met edits. That server had been in step with the stick until then.
    Unclear { server: Option<usize> },
    Known {
        server: usize,
        base: BTreeMap<String, String>,
        /// The server's meta.json then.
        meta: String,
    },
}

/// What is known of a stick. The clone has a copy.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    pub held: [BTreeSet<String>; 2],
    pub common: [Common; 2],
    /// A person changed it since it was last in step.
    pub edited: [bool; 2],
    /// Sticks with the same UUID have the same number.
    pub uuid: usize,
    /// A run that took a person's consent was cut off: the next one may follow it.
    pub consented: bool,
    /// A run was cut off while it wrote to it.
    pub half_written: [Option<HalfWritten>; 2],
}

/// A stick that a server was writing to when it was pulled. That server's next run finishes it first.
#[derive(Clone, Debug)]
pub struct HalfWritten {
    pub by: usize,
    /// What both had alike by then.
    pub alike: BTreeMap<String, String>,
}

/// A content that is still to be told of.
#[derive(Clone, Debug)]
pub struct Owed {
    pub content: String,
    pub server: usize,
    /// By that stick's next run, or by any.
    pub stick: Option<usize>,
    /// The run that was cut off had marked it in undo already: nobody need find it there, and the next run names it.
    pub marked: bool,
}

/// What the oracle knows.
#[derive(Default)]
pub struct Oracle {
    pub fates: BTreeMap<String, Fate>,
    pub on_server: Vec<[BTreeSet<String>; 2]>,
    pub sticks: Vec<Carried>,
    pub images: BTreeMap<usize, Carried>,
    pub owed: Vec<Owed>,
    /// What a server last wrote to a UUID, or found there: its own changes since then are known to it.
    pub written: BTreeMap<(usize, usize, usize), BTreeMap<String, String>>,
    next_uuid: usize,
    pub broken: Vec<Broken>,
}

impl Common {
    /// The server that the stick was in step with, as far as a manifest says so.
    pub fn server(&self) -> Option<usize> {
        match self {
            Common::None => None,
            Common::Unclear { server } => *server,
            Common::Known { server, .. } => Some(*server),
        }
    }

    /// After a run at that server of which nobody knows what the manifest says.
    pub fn blurred(&self, server: usize) -> Common {
        Common::Unclear { server: self.server().filter(|with| *with == server) }
    }
}

impl Oracle {
    /// For so many servers and sticks, all of them empty.
    pub fn new(servers: usize, sticks: usize) -> Oracle {
        let mut oracle = Oracle { on_server: vec![Default::default(); servers], ..Oracle::default() };
        for _ in 0..sticks {
            let uuid = oracle.new_uuid();
            oracle.sticks.push(Carried { uuid, ..Carried::default() });
        }
        oracle
    }

    pub fn new_uuid(&mut self) -> usize {
        self.next_uuid += 1;
        self.next_uuid
    }

    /// Notes a broken promise.
    pub fn breaks(&mut self, check: &'static str, what: impl Into<String>) {
        self.broken.push(Broken { check, what: what.into() });
    }

    /// Checks one.
    pub fn demand(&mut self, check: &'static str, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.breaks(check, what());
        }
    }

    /// SPEC 6's sentence, and what holds of `undo/` at any time.
    pub fn look_around(&mut self, world: &World) {
        let mut live = BTreeSet::new();
        let mut kept = BTreeSet::new();
        for server in 0..world.servers.len() {
            let view = world.server(server);
            live.extend((0..2).flat_map(|dataset| values(&view, dataset)));
            kept.extend(world.anywhere_in_undo(server));
            let (shared, droppings) = world.wrong_in_undo(server);
            self.demand("undo-shared", shared.is_empty(), || format!("shared with live data: {shared:?}"));
            self.demand("droppings", droppings.is_empty(), || format!("in undo: {droppings:?}"));
        }
        for port in &world.sticks {
            let view = port.look();
            live.extend((0..2).flat_map(|dataset| values(&view, dataset)));
        }
        let owed: BTreeSet<String> =
            self.owed.iter().filter(|owed| !owed.marked).map(|owed| owed.content.clone()).collect();
        let mut broken = Vec::new();
        for (content, fate) in &mut self.fates {
            if kept.contains(content) || live.contains(content) || owed.contains(content) {
                continue;
            }
            if fate.told && !fate.acknowledged {
                broken.push(("kept", format!("{content:?} was called lost and is no longer in undo")));
            } else if !(fate.superseded || fate.waived || fate.told) {
                broken.push((
                    "gone",
                    format!("{content:?}, written by {}, is on no server, no stick, not in undo", fate.by),
                ));
            }
            // It is complained of once.
            fate.waived = true;
            fate.acknowledged = true;
        }
        broken.into_iter().for_each(|(check, what)| self.breaks(check, what));
    }
}

/// A dataset's contents.
pub fn values(view: &View, dataset: usize) -> BTreeSet<String> {
    contents(&view.files(dataset)).into_values().collect()
}

/// Every content that the list calls lost.
pub fn lost_in(undo: &Undo) -> BTreeSet<String> {
    let lost = undo.values().filter(|kept| kept.lost);
    lost.flat_map(|kept| contents(&kept.files).into_values()).collect()
}

/// A dataset of a history, for a message.
pub fn name(dataset: usize) -> &'static str {
    DATASETS[dataset]
}
