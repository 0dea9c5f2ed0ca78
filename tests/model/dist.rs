//! DIST sticks and the terminal: what was exported arrives whole, or not at all.

use std::fs;

use crate::common::tree::set_mtime;
use crate::media::contents;
use crate::play::Play;
use crate::steps::{DATASETS, path};

impl Play {
    pub fn export(&mut self, server: usize) {
        let device = self.world.dist.stick.device().to_owned();
        let run = self.world.call(server, &["dist-export", "--device", &device]).start().wait();
        self.ran(&run, &[0, 3]);
        let (on_stick, here) = (self.world.dist.look(), self.world.server(server));
        for dataset in 0..2 {
            let (given, own) = (contents(&on_stick.files(dataset)), contents(&here.files(dataset)));
            let equal = run.code != Some(0) || given == own;
            self.oracle.demand("dist", equal, || format!("exported {given:?}, the server has {own:?}"));
            self.exported[dataset].insert(own);
        }
    }

    /// Something on the DIST stick changes: by rot, size and time stay; by hand, they do not.
    pub fn spoil_dist(&mut self, dataset: usize, number: usize, rot: bool) {
        let now = self.world.now;
        self.world.dist.edit(|root| {
            let file = root.path(DATASETS[dataset]).join(path(number));
            let Ok(metadata) = fs::metadata(&file) else { return };
            let length = usize::try_from(metadata.len()).unwrap();
            fs::write(&file, "?".repeat(if rot { length } else { length + 3 })).unwrap();
            let time = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            set_mtime(&file, if rot { time.cast_signed() } else { now });
        });
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
