//! What people do, as the oracle takes it.

use std::collections::BTreeSet;

use crate::media::View;
use crate::oracle::{Carried, Common, Fate, Oracle, lost_in, values};
use crate::steps::At;
use crate::world::Undo;

impl Oracle {
    /// Contents that the person saw and took away are settled, new ones are to be looked after.
    fn person(&mut self, by: &str, before: &BTreeSet<String>, after: &BTreeSet<String>) {
        for gone in before.difference(after) {
            if let Some(fate) = self.fates.get_mut(gone) {
                fate.superseded = true;
            }
        }
        for new in after.difference(before) {
            self.fates.entry(new.clone()).or_insert_with(|| Fate { by: by.to_owned(), ..Fate::default() });
        }
    }

    /// A person changed a medium.
    pub fn edited(&mut self, at: At, dataset: usize, by: &str, before: &View, after: &View) {
        let (old, new) = (values(before, dataset), values(after, dataset));
        self.person(by, &old, &new);
        match at {
            At::Server(server) => self.on_server[server][dataset].extend(new),
            At::Stick(stick) => {
                self.sticks[stick].held[dataset].extend(new);
                self.sticks[stick].edited[dataset] = true;
            }
        }
    }

    /// A program saved a file while a run was on; the server has it, or it is to be told of.
    pub fn saved_late(&mut self, replaced: Option<&String>, content: &str) {
        let of = |content: &str| BTreeSet::from([content.to_owned()]);
        self.person("a late program", &replaced.map_or_else(BTreeSet::new, |old| of(old)), &of(content));
    }

    /// A stick got a copy, which is the last one now.
    pub fn cloned(&mut self, stick: usize) {
        self.sticks.push(self.sticks[stick].clone());
    }

    /// An image was taken of a stick.
    pub fn image_taken(&mut self, stick: usize) {
        self.images.insert(stick, self.sticks[stick].clone());
    }

    /// It was written back: a person wiped what was on the stick since.
    pub fn written_back(&mut self, stick: usize, before: &View, after: &View) {
        for dataset in 0..2 {
            self.person("the image", &values(before, dataset), &values(after, dataset));
        }
        self.sticks[stick] = self.images[&stick].clone();
    }

    /// A person formatted a stick.
    pub fn reformatted(&mut self, stick: usize, before: &View) {
        for dataset in 0..2 {
            self.person("formatting", &values(before, dataset), &BTreeSet::new());
        }
        let uuid = self.new_uuid();
        self.sticks[stick] = Carried { uuid, ..Carried::default() };
    }

    /// A stick's manifest was spoilt.
    pub fn manifest_spoilt(&mut self, stick: usize) {
        for common in &mut self.sticks[stick].common {
            // The directory of a run that was cut off tells of it all the same.
            *common = match common {
                Common::Unclear { .. } => Common::Unclear { server: None },
                _ => Common::None,
            };
        }
        self.sticks[stick].half_written = [None, None];
    }

    /// An operator put an old state back and was shown what it replaces.
    pub fn put_back(&mut self, server: usize, before: &View, after: &View) {
        for dataset in 0..2 {
            self.person("undo", &values(before, dataset), &values(after, dataset));
            self.on_server[server][dataset].extend(values(after, dataset));
        }
    }

    /// An operator has seen all that is called lost on a server.
    pub fn acknowledged(&mut self, undo: &Undo) {
        for content in lost_in(undo) {
            if let Some(fate) = self.fates.get_mut(&content) {
                fate.acknowledged = true;
            }
        }
    }
}
