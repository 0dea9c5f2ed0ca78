//! The end of a history: nobody edits any more, and all come together.

use crate::media::contents;
use crate::play::Play;
use crate::steps::{Consent, DATASETS, Visit};

impl Play {
    /// Edits have stopped: every stick visits the first server twice, and then they are all equal.
    pub fn come_together(&mut self) {
        for round in 0..2 {
            for stick in 0..self.world.sticks.len() {
                self.pass_an_hour();
                self.world.sticks[stick].edit(|_| {});
                self.make_role(stick);
                let mut visit = Visit::plain(stick);
                let mut seen = self.world.ingest(&visit, "");
                if seen.run.code == Some(75) && round == 0 {
                    // A clock that was not believed yet: the operator plugs it in again.
                    self.oracle.ingested(&visit, &seen);
                    self.pass_an_hour();
                    seen = self.world.ingest(&visit, "");
                }
                self.last_run = seen.run.to_string();
                let refused = seen.run.code == Some(2);
                self.oracle.ingested(&visit, &seen);
                // An empty stick is refused whenever it meets a server that is not (SPEC 6, rule 1).
                let empty = seen.stick[0].datasets.iter().flatten().any(|files| files.is_empty());
                let settled = round == 0 || !refused || empty;
                self.oracle.demand("converge", settled, || format!("stick {stick} is refused again"));
                if refused && round == 0 {
                    self.pass_an_hour();
                    visit.consent = Consent::File;
                    self.ingest(&visit);
                }
                self.oracle.look_around(&self.world);
                if self.first_broken().is_some() {
                    return;
                }
            }
        }
        let server = self.world.server(0);
        for stick in 0..self.world.sticks.len() {
            let view = self.world.sticks[stick].look();
            for (dataset, name) in DATASETS.iter().enumerate() {
                let [here, there] = [&server, &view].map(|view| contents(&view.files(dataset)));
                let never = there.is_empty();
                self.oracle.demand("converge", never || here == there, || {
                    format!("{name}: server {here:?}, stick {stick} {there:?}")
                });
            }
        }
    }

    /// Until every server believes its clock again.
    pub fn pass_an_hour(&mut self) {
        let latest = self.world.newest.iter().copied().max().unwrap_or(0);
        self.world.now = self.world.now.max(latest) + 3600;
    }
}
