//! Makes a history that breaks a promise as short and as plain as it can be while it breaks the same one.

use crate::history::History;
use crate::play::{Outcome, play};
use crate::steps::{Act, Consent, Disturbed, Edit, Meta, Step, Visit};

/// Histories tried for one that fails.
const TRIES: usize = 120;

/// Times that one is played whose outcome depends on the instant of a kill.
const PATIENCE: usize = 3;

/// The shortest one found, with its outcome.
pub fn shrink(history: &History, first: Outcome, ignored: &[String]) -> (History, Outcome) {
    let mut best = (history.clone(), first);
    let mut tries = TRIES;
    let mut attempt = |best: &mut (History, Outcome), tried: History| {
        if tries == 0 {
            return false;
        }
        let check = best.1.broken.as_ref().map(|broken| broken.0.check);
        for _ in 0..if by_chance(&tried) { PATIENCE } else { 1 } {
            tries = tries.saturating_sub(1);
            let outcome = crate::caught(|| play(&tried, ignored));
            if outcome.broken.as_ref().map(|broken| broken.0.check) == check {
                *best = (tried, outcome);
                return true;
            }
        }
        false
    };
    // What comes after the step that broke it had no part in it.
    let end = best.1.steps.min(best.0.steps.len());
    let mut cut = best.0.clone();
    cut.steps.truncate(end);
    attempt(&mut best, cut);
    loop {
        let mut better = false;
        let mut width = best.0.steps.len().div_ceil(2);
        while width > 0 {
            let mut start = 0;
            while start < best.0.steps.len() {
                let mut tried = best.0.clone();
                let end = (start + width).min(tried.steps.len());
                tried.steps.drain(start..end);
                if attempt(&mut best, tried) { better = true } else { start += width }
            }
            width /= 2;
        }
        for tried in plainer_histories(&best.0) {
            better |= attempt(&mut best, tried);
        }
        let mut number = 0;
        while number < best.0.steps.len() {
            let all = plainer(&best.0.steps[number].step);
            let taken = all.into_iter().any(|step| {
                let mut tried = best.0.clone();
                tried.steps[number].step = step;
                attempt(&mut best, tried)
            });
            better |= taken;
            number += usize::from(!taken);
        }
        if !better {
            best.0 = best.0.resolved();
            return best;
        }
    }
}

fn by_chance(history: &History) -> bool {
    history.steps.iter().any(|timed| matches!(&timed.step, Step::Ingest(visit) if visit.disturbed != Disturbed::Not))
}

fn plainer_histories(history: &History) -> Vec<History> {
    let mut all = Vec::new();
    if history.servers > 1 {
        all.push(History { servers: 1, ..history.clone() });
    }
    if history.kinds.len() > 1 {
        all.push(History { kinds: history.kinds[..1].to_vec(), ..history.clone() });
    }
    let mut even = history.clone();
    even.steps.iter_mut().for_each(|timed| timed.after = 3600);
    if even.steps != history.steps {
        all.push(even);
    }
    all
}

/// The same step with one thing less to it, each way.
fn plainer(step: &Step) -> Vec<Step> {
    match step {
        Step::Edit(edit) => plainer_edits(edit).into_iter().map(Step::Edit).collect(),
        Step::Ingest(visit) => plainer_visits(visit).into_iter().map(Step::Ingest).collect(),
        _ => Vec::new(),
    }
}

fn plainer_edits(edit: &Edit) -> Vec<Edit> {
    let mut all = Vec::new();
    for number in 0..edit.acts.len() {
        let mut less = edit.clone();
        less.acts.remove(number);
        if !less.acts.is_empty() {
            all.push(less);
        }
        if let Act::Write { path, longer: true } = edit.acts[number] {
            let mut shorter = edit.clone();
            shorter.acts[number] = Act::Write { path, longer: false };
            all.push(shorter);
        }
    }
    if edit.meta != Meta::Untouched {
        all.push(Edit { meta: Meta::Untouched, ..edit.clone() });
    }
    if edit.clock != 0 {
        all.push(Edit { clock: 0, ..edit.clone() });
    }
    if edit.kept.is_some() {
        all.push(Edit { kept: None, ..edit.clone() });
    }
    if edit.pulled {
        all.push(Edit { pulled: false, ..edit.clone() });
    }
    all
}

fn plainer_visits(visit: &Visit) -> Vec<Visit> {
    let mut all = Vec::new();
    if visit.disturbed != Disturbed::Not {
        all.push(Visit { disturbed: Disturbed::Not, ..visit.clone() });
    }
    if visit.consent != Consent::None {
        all.push(Visit { consent: Consent::None, ..visit.clone() });
    }
    if visit.checksum {
        all.push(Visit { checksum: false, ..visit.clone() });
    }
    if visit.rehearsed {
        all.push(Visit { rehearsed: false, ..visit.clone() });
    }
    all
}
