//! What a run takes away: what of it has to be called lost, what may be, and where that has to be said and kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::media::{Files, View, contents};
use crate::oracle::{Common, Oracle, lost_in, name};
use crate::steps::Visit;
use crate::visit::Seen;

/// A dataset's contents by path.
pub type Contents = BTreeMap<String, String>;

/// Who replaced the other side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Winner {
    Nobody,
    Stick,
    Server,
}

/// One dataset on both sides, before and after. Where a program saved a file meanwhile, that path is left out.
pub struct Sides {
    pub server: [Files; 2],
    pub stick: [Files; 2],
    pub on_stick: bool,
    pub late: bool,
}

impl Sides {
    pub fn new(seen: &Seen, dataset: usize) -> Sides {
        let late = seen.late.as_ref().filter(|late| late.dataset == dataset);
        let of = |view: &View| {
            let mut files = view.files(dataset);
            if let Some(late) = late {
                files.remove(&late.path);
            }
            files
        };
        let both = |views: &[View; 2]| [of(&views[0]), of(&views[1])];
        let on_stick = seen.stick[0].datasets[dataset].is_some();
        Sides { server: both(&seen.server), stick: both(&seen.stick), on_stick, late: late.is_some() }
    }

    pub fn winner(&self) -> Winner {
        match self {
            Sides { server: [old, new], .. } if contents(old) != contents(new) => Winner::Stick,
            Sides { stick: [old, new], .. } if contents(old) != contents(new) => Winner::Server,
            _ => Winner::Nobody,
        }
    }
}

/// What has to be called lost, by path, and what may be.
#[derive(Default)]
pub struct Lost {
    pub must: BTreeMap<String, String>,
    pub may: BTreeSet<String>,
    /// So many files hold such a content.
    pub may_files: usize,
    /// An older version than the winner's, by path: that is no loss, but it is to be named.
    pub older: BTreeMap<String, String>,
}

impl Oracle {
    /// What the losing side had and the winner never had.
    pub fn lost(&self, visit: &Visit, dataset: usize, sides: &Sides, winner: Winner) -> Lost {
        let mut lost = Lost::default();
        match winner {
            Winner::Nobody => {}
            Winner::Server => self.lost_by(Winner::Stick, visit, dataset, sides, &mut lost),
            Winner::Stick => {
                self.lost_by(Winner::Server, visit, dataset, sides, &mut lost);
                // Where an earlier run was finished first, files of the stick may have gone too.
                self.lost_by(Winner::Stick, visit, dataset, sides, &mut lost);
            }
        }
        lost
    }

    pub fn lost_by(&self, side: Winner, visit: &Visit, dataset: usize, sides: &Sides, lost: &mut Lost) {
        let carried = &self.sticks[visit.stick];
        let (loser, winning, held) = match side {
            Winner::Server => (&sides.server, &sides.stick[0], &carried.held[dataset]),
            _ => (&sides.stick, &sides.server[0], &self.on_server[visit.server][dataset]),
        };
        let has: BTreeSet<String> = contents(winning).into_values().collect();
        let common = &carried.common[dataset];
        let base = match common {
            Common::Known { server, base, .. } if *server == visit.server => Some(base),
            _ => None,
        };
        let written = self.written.get(&(visit.server, carried.uuid, dataset));
        for (path, file) in &loser[0] {
            let content = &file.content;
            let stays = loser[1].get(path).is_some_and(|now| now.content == *content);
            let Some(fate) = self.fates.get(content).filter(|_| !stays && !has.contains(content)) else { continue };
            if base.is_none_or(|base| !base.values().any(|was| was == content)) {
                lost.may.insert(content.clone());
                lost.may_files += 1;
            }
            if held.contains(content) || fate.told {
                continue;
            }
            // FAT knows times by two seconds.
            let older_or_none = winning.get(path).is_none_or(|other| other.mtime + 2 < file.mtime);
            let servers_own = side == Winner::Server
                && !matches!(common, Common::Unclear { .. })
                && written.is_some_and(|written| written.get(path) != Some(content));
            if base.is_some() || older_or_none || servers_own {
                lost.must.insert(path.clone(), content.clone());
            } else {
                lost.older.insert(path.clone(), content.clone());
            }
        }
    }

    /// All of it was told, where people look, and nothing else.
    pub fn what_was_said(&mut self, seen: &Seen, dataset: usize, lost: &Lost, winner: Winner, more: bool) {
        let place = name(dataset);
        let job = &seen.run.job["datasets"][place];
        let count = job["lost"].as_u64();
        self.demand("lost-count", count.is_some() || winner == Winner::Nobody, || {
            format!("{place}: no `lost` in jobs.jsonl: {job}")
        });
        let count = usize::try_from(count.unwrap_or(lost.must.len() as u64)).unwrap();
        let (must, may) = (&lost.must, &lost.may);
        self.demand("untold", count >= must.len(), || format!("{place}: {count} called lost, but {must:?} are"));
        self.demand("false-alarm", more || count <= lost.may_files, || {
            format!("{place}: {count} called lost of {may:?}")
        });
        let flagged = lost_in(&seen.undo[1]);
        for (path, content) in must {
            let told = flagged.contains(content);
            self.demand("untold", told, || format!("{place}/{path}: {content:?} is not marked lost in undo"));
            let receipt = &seen.stick[1].receipt;
            self.demand("receipt", receipt.contains(path), || format!("{path} is lost, RESULT.txt says: {receipt}"));
            let told_where = job["lost_in"].to_string();
            let named = |key: &(String, usize)| told_where.contains(&key.0);
            let kept =
                seen.undo[1].iter().any(|(key, kept)| named(key) && kept.files.values().any(|f| f.content == *content));
            self.demand("lost-in", kept, || format!("{place}/{path}: lost_in says {told_where}"));
        }
        for path in lost.older.keys() {
            let named = ["older_names", "lost_names"].iter().any(|key| job[*key].to_string().contains(path));
            let named = named && seen.stick[1].receipt.contains(path);
            self.demand("older", named, || format!("{place}/{path}: an older version went unnamed: {job}"));
        }
        let new = seen.undo[1].iter().filter(|(key, _)| key.1 == dataset && !seen.undo[0].contains_key(*key));
        let alarm = new.filter(|(_, kept)| kept.lost).count() > 0;
        self.demand("false-alarm", more || !alarm || !may.is_empty(), || {
            format!("{place}: undo says that something was lost, but nothing was")
        });
    }

    /// `undo/` has got exactly what was replaced or deleted.
    pub fn what_was_kept(&mut self, seen: &Seen, dataset: usize, sides: &Sides, winner: Winner, exact: bool) {
        let (side, [old, new]) = match winner {
            Winner::Nobody => return,
            Winner::Stick => ("server", &sides.server),
            Winner::Server => ("stick", &sides.stick),
        };
        let (old, new) = (contents(old), contents(new));
        let replaced: BTreeMap<_, _> =
            old.into_iter().filter(|(path, content)| new.get(path) != Some(content)).collect();
        let fresh = seen.undo[1]
            .iter()
            .filter(|(key, kept)| key.1 == dataset && kept.side == side && !seen.undo[0].contains_key(*key));
        let kept: BTreeMap<_, _> = fresh.flat_map(|(_, kept)| contents(&kept.files)).collect();
        // A run that finishes an earlier one may find that one's entry with the file in it.
        let earlier = |path: &String, content: &String| {
            let files = seen.undo[1].values().filter_map(|kept| kept.files.get(path));
            !exact && files.into_iter().any(|file| file.content == *content)
        };
        let whole = replaced.iter().all(|(path, content)| kept.get(path) == Some(content) || earlier(path, content));
        self.demand("undo-lacks", whole, || format!("{}: replaced {replaced:?}, kept {kept:?}", name(dataset)));
        self.demand("undo-exact", !exact || kept == replaced, || {
            format!("{}: replaced {replaced:?}, kept {kept:?}", name(dataset))
        });
    }
}
