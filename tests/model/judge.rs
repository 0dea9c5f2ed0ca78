//! What one ingest has to keep to, dataset by dataset, and what the oracle knows after it.

use std::collections::BTreeSet;

use crate::lost::{Contents, Lost, Sides, Winner};
use crate::media::{View, contents};
use crate::oracle::{Common, HalfWritten, Oracle, Owed, lost_in, name, values};
use crate::steps::{Consent, DATASETS, Visit};
use crate::visit::{Late, Seen};

impl Oracle {
    /// A stick visited a server.
    pub fn ingested(&mut self, visit: &Visit, seen: &Seen) {
        let (server, stick) = (visit.server, visit.stick);
        let run = &seen.run;
        if let Some(late) = &seen.late {
            self.saved_late(late.replaced.as_ref(), &late.content);
        }
        if let Some(wrong) = &seen.rehearsal {
            self.breaks("dry-run", wrong);
        }
        let proper = match run.code {
            None => true,
            Some(code) if !seen.stick[0].has_role => code == 2,
            Some(3) => seen.stick[0].datasets == [None, None],
            Some(code) => [0, 2].contains(&code) || (code == 75 && (seen.ahead || seen.late.is_some())),
        };
        self.demand("code", proper, || format!("ended with {:?}", run.code));
        // What lay in a directory whose place a file has taken goes to undo with it.
        let swallowed = |path: &str, view: &View| {
            let (dataset, below) = path.split_once('/').unwrap_or((path, ""));
            let files = |at: usize| view.files(at).keys().any(|file| below.starts_with(&format!("{file}/")));
            DATASETS.iter().position(|name| *name == dataset).is_some_and(files)
        };
        let keeps = |views: &[View; 2]| {
            let [mut before, after] = views.each_ref().map(|view| view.droppings.clone());
            before.retain(|path, _| !swallowed(path, &views[1]));
            before == after
        };
        self.demand("droppings", keeps(&seen.server), || droppings("server", &seen.server));
        self.demand("droppings", seen.torn || keeps(&seen.stick), || droppings("stick", &seen.stick));
        for (key, kept) in seen.undo[0].iter().filter(|(_, kept)| kept.done) {
            // What is found later may be added.
            let now = seen.undo[1].get(key);
            let whole = now.is_none_or(|now| kept.files.iter().all(|(path, file)| now.files.get(path) == Some(file)));
            self.demand("undo-touched", whole, || format!("undo/{}/{} lost files", key.0, name(key.1)));
        }
        let owed_before = self.owed.len();
        let mut stick_won = false;
        for dataset in 0..2 {
            let sides = Sides::new(seen, dataset);
            let half_written = self.half_written(visit, dataset, &sides);
            // On a medium that was pulled in the middle of it the consent may be in two places at once.
            let unusable = run.code == Some(2) && run.job["error"].to_string().contains("can't be renamed");
            if !seen.stick[0].has_role || !sides.on_stick || unusable {
                let same = contents(&sides.server[0]) == contents(&sides.server[1]);
                self.demand("mixture", same, || format!("{}: the server changed without a cause", name(dataset)));
                // The manifest may be another server's by now, whatever became of the other dataset.
                let foreign = self.sticks[stick].common[dataset].server().is_some_and(|with| with != server);
                if foreign && seen.stick[0].has_role && (seen.killed || seen.torn) {
                    self.blur(stick, dataset, server);
                }
            } else if seen.killed || seen.torn {
                self.cut_off(visit, seen, dataset, &sides);
                self.sticks[stick].half_written[dataset] = half_written_now(server, &sides, half_written);
            } else {
                // Over an empty server the stick needs no consent.
                stick_won |= sides.winner() == Winner::Stick && !sides.server[0].is_empty();
                self.ended(visit, seen, dataset, &sides, owed_before > 0);
            }
        }
        // A manifest of this server says nothing to another one.
        let common = &mut self.sticks[stick].common;
        if common.iter().any(|common| common.server() == Some(server)) {
            for other in common.iter_mut().filter(|common| common.server().is_some_and(|with| with != server)) {
                *other = Common::None;
            }
        }
        if stick_won && consent_by_file(&seen.stick[0]) {
            let used = seen.stick[1].consents.contains("REPLACE-done.txt") && !consent_by_file(&seen.stick[1]);
            self.demand("consent", used, || format!("it was used, but is {:?}", seen.stick[1].consents));
        }
        if run.code == Some(0) && !seen.torn {
            self.sticks[stick].consented = false;
            self.settle(server, stick, owed_before, seen);
        }
        if let Some(Late { dataset, path, content, .. }) = &seen.late {
            let has = |view: &View| view.files(*dataset).get(path).is_some_and(|file| file.content == *content);
            if has(&seen.server[1]) {
                self.on_server[server][*dataset].insert(content.clone());
            } else {
                // It may have come after the run looked for such files: then the next one names it.
                let marked = lost_in(&seen.undo[1]).contains(content);
                if marked {
                    self.tell(content);
                }
                self.owed.push(Owed { content: content.clone(), server, stick: None, marked });
            }
            if has(&seen.stick[1]) {
                self.sticks[stick].held[*dataset].insert(content.clone());
            }
            self.blur(stick, *dataset, server);
        }
    }

    fn tell(&mut self, content: &str) {
        if let Some(fate) = self.fates.get_mut(content).filter(|fate| !fate.told) {
            (fate.told, fate.acknowledged) = (true, false);
        }
    }

    /// An earlier run was cut off while it wrote to the stick; tells whether that was so. What was alike on both sides by then, and what a person changed
    /// or deleted on the server alone since then, does not come back.
    fn half_written(&mut self, visit: &Visit, dataset: usize, sides: &Sides) -> bool {
        let half = self.sticks[visit.stick].half_written[dataset].take();
        let Some(half) = half.filter(|half| half.by == visit.server && !sides.late && !self.has_twin(visit.stick))
        else {
            return false;
        };
        let [old, new] = [contents(&sides.server[0]), contents(&sides.server[1])];
        let offered = contents(&sides.stick[0]);
        let back = half.alike.iter().filter(|(path, content)| {
            offered.get(*path) == Some(content) && old.get(*path) != Some(content) && new.get(*path) != old.get(*path)
        });
        let back: Vec<_> = back.collect();
        self.demand("comes-back", old.is_empty() || back.is_empty(), || {
            format!("{}: {back:?} of a half-written stick; server {old:?}, then {new:?}", name(dataset))
        });
        true
    }

    /// A run that did not come to its end: the server has the one or the other.
    fn cut_off(&mut self, visit: &Visit, seen: &Seen, dataset: usize, sides: &Sides) {
        let (server, stick) = (visit.server, visit.stick);
        let [old, new] = [contents(&sides.server[0]), contents(&sides.server[1])];
        let offered = contents(&sides.stick[0]);
        let whole = new == old || new == offered;
        let whole = whole || (self.unfinished(visit.stick, dataset) && of_both(&new, &old, &offered));
        self.demand("mixture", whole, || format!("{}: neither old nor new: {new:?}", name(dataset)));
        let carried = &self.sticks[stick];
        let old_stick = carried.common[dataset].server() == Some(server) && !carried.edited[dataset];
        let open = seen.stick.each_ref().map(consent_by_file);
        let forced = visit.consent == Consent::Force || open[0] || carried.consented;
        self.sticks[stick].consented = (open[0] || carried.consented) && !open[1];
        self.demand("old-wins", !old_stick || forced || new == old || old.is_empty(), || {
            format!("{}: the stick won, which nobody edited since it was in step", name(dataset))
        });
        let mut lost = Lost::default();
        for side in [Winner::Server, Winner::Stick] {
            self.lost_by(side, visit, dataset, sides, &mut lost);
        }
        // What the run had marked in undo is told by the next one, also if the loser still had it when the run was cut off.
        let said = lost_in(&seen.undo[1]);
        let there: BTreeSet<String> = old.values().chain(offered.values()).cloned().collect();
        let mut fresh = seen.undo[1].clone();
        fresh.retain(|key, _| !seen.undo[0].contains_key(key));
        let fresh = lost_in(&fresh);
        let untold = |content: &String| self.fates.get(content).is_some_and(|fate| !fate.told);
        let marked = said.intersection(&there).filter(|content| untold(content) || fresh.contains(*content));
        let marked: Vec<String> = marked.cloned().collect();
        for content in marked {
            self.tell(&content);
            self.owed.push(Owed { content, server, stick: None, marked: true });
        }
        for content in lost.must.into_values().filter(|content| !said.contains(content)) {
            self.owed.push(Owed { content, server, stick: Some(stick), marked: false });
        }
        for content in lost.older.into_values() {
            self.fates.entry(content).or_default().waived = true;
        }
        if new != old {
            let heritage = self.sticks[stick].held[dataset].clone();
            self.on_server[server][dataset].extend(heritage);
        }
        let carried = &mut self.sticks[stick];
        carried.held[dataset].extend(contents(&sides.stick[1]).into_values());
        // The server may have noted what it wrote there, or not yet.
        self.written.remove(&(server, self.sticks[stick].uuid, dataset));
        self.blur(stick, dataset, server);
    }

    fn blur(&mut self, stick: usize, dataset: usize, server: usize) {
        let common = &mut self.sticks[stick].common[dataset];
        *common = common.blurred(server);
    }

    /// A run that came to its end.
    fn ended(&mut self, visit: &Visit, seen: &Seen, dataset: usize, sides: &Sides, owing: bool) {
        let winner = sides.winner();
        self.who_won(visit, seen, dataset, sides, winner);
        let lost = self.lost(visit, dataset, sides, winner);
        self.what_was_said(seen, dataset, &lost, winner, owing || sides.late);
        if !sides.late {
            let exact = !owing && !self.unfinished(visit.stick, dataset);
            self.what_was_kept(seen, dataset, sides, winner, exact);
        }
        let said = lost_in(&seen.undo[1]);
        for content in lost.must.values().chain(&lost.may) {
            if said.contains(content) {
                self.tell(content);
            }
        }
        let untold: Vec<_> = lost.must.values().filter(|content| !said.contains(*content)).collect();
        for content in lost.older.values().chain(untold) {
            self.fates.entry(content.clone()).or_default().waived = true;
        }
        self.after(visit, seen, dataset, sides, winner);
    }

    /// The side that won is one that may, and the other is its equal now.
    fn who_won(&mut self, visit: &Visit, seen: &Seen, dataset: usize, sides: &Sides, winner: Winner) {
        let [old, new] = [contents(&sides.server[0]), contents(&sides.server[1])];
        let [offered, left] = [contents(&sides.stick[0]), contents(&sides.stick[1])];
        let place = name(dataset);
        let whole = match winner {
            Winner::Nobody => true,
            Winner::Stick => new == offered && left == offered,
            Winner::Server => left == old,
        };
        let whole = whole || (self.unfinished(visit.stick, dataset) && new == left && of_both(&new, &old, &offered));
        self.demand("mixture", whole, || format!("{place}: {winner:?} won; server {new:?}, stick {left:?}"));
        let forced = visit.consent == Consent::Force || consent_by_file(&seen.stick[0]);
        if sides.late {
            return;
        }
        let may = self.sticks[visit.stick].consented && winner == Winner::Stick;
        if forced || may {
            // What a run that was cut off left half-done is finished first, consent or not.
            let finished = self.unfinished(visit.stick, dataset) && of_both(&new, &old, &offered);
            let won = new == offered || finished;
            self.demand("consent", won, || format!("{place}: the stick did not win with consent"));
            return;
        }
        match (offered.is_empty(), old.is_empty()) {
            (true, true) => return,
            (true, false) => {
                let refused = winner == Winner::Nobody;
                self.demand("empty", refused, || format!("{place}: an empty stick, and {winner:?} won"));
                return;
            }
            (false, true) => {
                self.demand("empty", new == offered, || {
                    format!("{place}: the server had nothing, the stick did not win")
                });
                return;
            }
            (false, false) => {}
        }
        let carried = &self.sticks[visit.stick];
        let (common, edited) = (carried.common[dataset].clone(), carried.edited[dataset]);
        if common.server() != Some(visit.server) {
            return;
        }
        if !edited {
            self.demand("old-wins", winner != Winner::Stick, || {
                format!("{place}: the stick won, which nobody edited since it was in step")
            });
            self.demand("follows", left == old, || format!("{place}: the stick, unedited, is not the server's equal"));
        } else if let Common::Known { base, meta, .. } = common {
            let here: BTreeSet<&String> = offered.values().collect();
            let gone = base.iter().filter(|(path, content)| !offered.contains_key(*path) && !here.contains(content));
            let untouched = base == old && seen.server[0].metas[dataset] == meta;
            let gone: Vec<usize> = gone.map(|(_, content)| content.len()).collect();
            let all: usize = base.values().map(String::len).sum();
            // More than half of the files or of the bytes gone is doubtful.
            let halved = gone.len() * 3 > base.len() || gone.iter().sum::<usize>() * 2 > all;
            // A doubt is about a UUID: what another stick with the same one left unfinished counts for this one too.
            let sound = untouched && !seen.doubtful && !halved && !self.has_twin(visit.stick);
            self.demand("arrives", !sound || new == offered, || {
                format!("{place}: edited on the stick alone, it did not win")
            });
        }
    }

    /// There is, or was, another stick with the same UUID: a clone, or an image of this one.
    fn has_twin(&self, stick: usize) -> bool {
        let uuid = self.sticks[stick].uuid;
        let twins = self.sticks.iter().filter(|other| other.uuid == uuid).count();
        twins > 1 || self.images.values().any(|image| image.uuid == uuid)
    }

    /// An earlier run with that stick was cut off. The next one finishes it first, so that the stick brings the files that were
    /// edited on it among those of the server.
    fn unfinished(&self, stick: usize, dataset: usize) -> bool {
        matches!(self.sticks[stick].common[dataset], Common::Unclear { .. })
    }

    /// What both sides have in common now.
    fn after(&mut self, visit: &Visit, seen: &Seen, dataset: usize, sides: &Sides, winner: Winner) {
        let (server, stick) = (visit.server, visit.stick);
        let [new, left] = [contents(&sides.server[1]), contents(&sides.stick[1])];
        // What a program saved meanwhile is left out: a run that took nothing did not bring them in step.
        let equal = new == left && (seen.run.code == Some(0) || !sides.late);
        let carried = &mut self.sticks[stick];
        if winner == Winner::Stick || equal {
            self.on_server[server][dataset].extend(carried.held[dataset].iter().cloned());
        }
        if winner == Winner::Server || equal {
            carried.held[dataset].extend(self.on_server[server][dataset].iter().cloned());
        }
        if !equal {
            if winner == Winner::Nobody && matches!(carried.common[dataset], Common::None) {
                // The manifest that the other dataset got does not tell of this one any more.
                self.written.remove(&(server, carried.uuid, dataset));
            }
            return;
        }
        let known = matches!(carried.common[dataset], Common::Known { server: with, .. } if with == server);
        let recorded = matches!(seen.run.code, Some(0 | 2)) && !sides.late && (known || winner != Winner::Nobody);
        self.written.insert((server, carried.uuid, dataset), new.clone());
        carried.edited[dataset] = false;
        carried.common[dataset] = if recorded {
            Common::Known { server, base: new, meta: seen.server[1].metas[dataset].clone() }
        } else {
            Common::Unclear { server: Some(server) }
        };
    }

    /// What earlier runs left to be told is told by now.
    fn settle(&mut self, server: usize, stick: usize, before: usize, seen: &Seen) {
        let flagged = lost_in(&seen.undo[1]);
        let views = [&seen.server[1], &seen.stick[1]];
        let live: BTreeSet<String> =
            views.iter().flat_map(|view| [values(view, 0), values(view, 1)]).flatten().collect();
        let (due, rest): (Vec<_>, Vec<_>) = self
            .owed
            .drain(..before.min(self.owed.len()))
            .partition(|owed| owed.server == server && owed.stick.is_none_or(|owing| owing == stick));
        self.owed.splice(..0, rest);
        for owed in due {
            if flagged.contains(&owed.content) {
                self.tell(&owed.content);
            } else if !owed.marked {
                self.demand("owed", live.contains(&owed.content), || {
                    format!("{:?} was left by an earlier run and is not told of", owed.content)
                });
            }
        }
    }
}

/// What is half-written after a run that was cut off: it changed the stick, or an earlier one did, and not the server.
fn half_written_now(by: usize, sides: &Sides, before: bool) -> Option<HalfWritten> {
    let [old, mut alike] = [contents(&sides.server[0]), contents(&sides.server[1])];
    let [offered, left] = [contents(&sides.stick[0]), contents(&sides.stick[1])];
    if old != alike || (offered == left && !before) {
        return None;
    }
    alike.retain(|path, content| left.get(path) == Some(content));
    Some(HalfWritten { by, alike })
}

/// Each file is that of the one or of the other side.
fn of_both(mixed: &Contents, one: &Contents, other: &Contents) -> bool {
    let from = |path: &String, side: &Contents| side.get(path) == mixed.get(path);
    mixed.keys().chain(one.keys()).chain(other.keys()).all(|path| from(path, one) || from(path, other))
}

fn consent_by_file(stick: &View) -> bool {
    stick.consents.iter().any(|name| ["REPLACE", "REPLACE.TXT"].contains(&name.to_uppercase().as_str()))
}

fn droppings(side: &str, views: &[View; 2]) -> String {
    format!("the {side}'s: {:?}, then {:?}", views[0].droppings, views[1].droppings)
}
