//! What is on record of one dataset of a stick, read in step with a walk: the common state, and what our own writing may have left.

use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry};
use crate::tree::copy;
use crate::tree::manifest::{Listed, path_order};
use crate::tree::same::{Limits, Same, same};
use crate::tree::stream::Stream;
use crate::tree::walk::{Step, Walk};

/// Lists of a dataset, each passed once.
#[derive(Default)]
pub struct Known {
    /// The common state, if there is one.
    pub base: Option<Stream>,
    /// What the stick held and was to hold when a run was cut off, in pairs: a file that is as in one of them was not edited.
    pub pending: Vec<Stream>,
    /// Without a common state: what this server wrote last to a stick of that UUID. It only tells what is no news to the server.
    pub last: Vec<Stream>,
}

/// What the lists say of one path.
#[derive(Default)]
pub struct Remembered {
    /// In the common state.
    pub base: Option<Listed>,
    /// In the lists of interrupted writing, in pairs (before, planned).
    pub pending: Vec<Option<Listed>>,
    /// In what was written last.
    pub last: Vec<Listed>,
}

/// How a file is held against a list.
#[derive(Clone, Copy)]
pub struct Rule {
    /// What the stick's filesystem can keep.
    pub limits: Limits,
    /// `--checksum`: contents count even where size and time are the same.
    pub checksum: bool,
}

impl Known {
    /// Whether anything tells edits from what was there.
    pub fn is_known(&self) -> bool {
        self.base.is_some() || !self.pending.is_empty()
    }

    /// The first path that is on record and comes before `bound` (or, without one, at all), with what is said of it;
    /// it is passed then.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn before(&mut self, bound: Option<&[u8]>) -> Result<Option<(Vec<u8>, Remembered)>> {
        let heads = self.base.iter().chain(&self.pending).chain(&self.last).filter_map(|stream| stream.head());
        let Some(first) = heads.map(|head| &head.path).min_by(|a, b| path_order(a, b)).cloned() else {
            return Ok(None);
        };
        if bound.is_some_and(|bound| path_order(&first, bound).is_ge()) {
            return Ok(None);
        }
        let remembered = self.at(&first)?;
        Ok(Some((first, remembered)))
    }

    /// As [`Known::at`], past all that is on record before `path`.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn past(&mut self, path: &[u8]) -> Result<Remembered> {
        while self.before(Some(path))?.is_some() {}
        self.at(path)
    }

    /// What is on record of `path`; it is passed then.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn at(&mut self, path: &[u8]) -> Result<Remembered> {
        let take = |stream: &mut Stream| match stream.head() {
            Some(head) if head.path == path => stream.take(),
            _ => Ok(None),
        };
        let base = self.base.as_mut().map(take).transpose()?.flatten();
        let pending = self.pending.iter_mut().map(take).collect::<Result<_>>()?;
        let last = self.last.iter_mut().map(take).collect::<Result<Vec<_>>>()?;
        Ok(Remembered { base, pending, last: last.into_iter().flatten().collect() })
    }
}

impl Remembered {
    /// Whether a file of the stick is neither as in the common state nor as our own interrupted writing may have left
    /// it. `hash` is asked only if size and time leave it open.
    ///
    /// # Errors
    /// Of `hash`.
    pub fn changed_on_stick(
        &self,
        known: &Known,
        entry: Option<&Entry>,
        rule: Rule,
        hash: impl FnMut() -> Result<[u8; 32]>,
    ) -> Result<bool> {
        let base = known.base.iter().map(|_| self.base.as_ref());
        let states: Vec<Option<&Listed>> = base.chain(self.pending.iter().map(Option::as_ref)).collect();
        if self.may_be_torn() && entry.is_none_or(|entry| entry.size == 0) {
            return Ok(false);
        }
        differs_from_all(&states, entry, rule, hash)
    }

    /// Whether a file of the server is not as in the common state.
    ///
    /// # Errors
    /// Of `hash`.
    pub fn changed_on_server(
        &self,
        entry: Option<&Entry>,
        rule: Rule,
        hash: impl FnMut() -> Result<[u8; 32]>,
    ) -> Result<bool> {
        differs_from_all(&[self.base.as_ref()], entry, rule, hash)
    }

    /// Whether a file of the stick is as a run that was cut off meant to leave it.
    ///
    /// # Errors
    /// Of `hash`.
    pub fn is_as_planned(&self, entry: &Entry, rule: Rule, hash: impl FnMut() -> Result<[u8; 32]>) -> Result<bool> {
        let planned: Vec<Option<&Listed>> = self.pending.iter().skip(1).step_by(2).map(Option::as_ref).collect();
        Ok(!differs_from_all(&planned, Some(entry), rule, hash)?)
    }

    /// Whether the server wrote exactly this to the stick once.
    ///
    /// # Errors
    /// Of `hash`.
    pub fn was_written(&self, entry: &Entry, rule: Rule, hash: impl FnMut() -> Result<[u8; 32]>) -> Result<bool> {
        let states: Vec<Option<&Listed>> = self.last.iter().map(Some).collect();
        Ok(!states.is_empty() && !differs_from_all(&states, Some(entry), rule, hash)?)
    }

    /// Writing to this path was cut off: on FAT the file may be missing or empty then, and nobody did that.
    fn may_be_torn(&self) -> bool {
        let state = |listed: &Option<Listed>| listed.as_ref().map(|listed| (listed.size, listed.mtime));
        self.pending.chunks(2).any(|pair| pair.first().map(state) != pair.get(1).map(state))
    }
}

/// Of two states of a stick's dataset, whether what is on the stick is of the later one: something is as in that alone, and nothing as in the earlier
/// alone.
///
/// # Errors
/// `Io`, `Unreadable` for the lists.
pub fn is_later(stick: Option<&Dir>, [earlier, later]: [Stream; 2], rule: Rule) -> Result<bool> {
    let mut lists = Known { base: Some(earlier), last: Vec::new(), pending: vec![later] };
    let (mut differ, mut as_in) = (false, [0_u64; 2]);
    let mut weigh = |remembered: Remembered, entry: Option<&Entry>, hash: &dyn Fn() -> Result<[u8; 32]>| {
        let states = [remembered.base.as_ref(), remembered.pending.first().and_then(Option::as_ref)];
        let [earlier, later] = states.map(|listed| listed.map(|listed| (listed.size, listed.mtime, listed.sha256)));
        if earlier == later {
            return Ok(());
        }
        differ = true;
        let fits = states.map(|state| differs_from_all(&[state], entry, rule, hash).map(|differs| !differs));
        match fits {
            [Ok(earlier), Ok(later)] if earlier != later => as_in[usize::from(later)] += 1,
            [Err(Error::Interrupted), _] | [_, Err(Error::Interrupted)] => return Err(Error::Interrupted),
            _ => {}
        }
        Ok(())
    };
    let none = || Err(Error::Interrupted);
    let mut walk = Walk::new(stick, None)?.tolerant();
    while let Some(step) = walk.step()? {
        let Step::File { left: Some(entry), .. } = step else { continue };
        while let Some((_, gone)) = lists.before(Some(walk.path()))? {
            weigh(gone, None, &none)?;
        }
        let Some(dir) = walk.left() else { continue };
        weigh(lists.at(walk.path())?, Some(&entry), &|| copy::hash(dir, walk.name()))?;
    }
    while let Some((_, gone)) = lists.before(None)? {
        weigh(gone, None, &none)?;
    }
    let [earlier, later] = as_in;
    Ok(!differ || later > 0 && earlier == 0)
}

fn differs_from_all(
    states: &[Option<&Listed>],
    entry: Option<&Entry>,
    rule: Rule,
    mut hash: impl FnMut() -> Result<[u8; 32]>,
) -> Result<bool> {
    let Some(entry) = entry else {
        return Ok(states.iter().all(Option::is_some));
    };
    let mut to_hash = Vec::new();
    for listed in states.iter().copied().flatten() {
        match (same((listed.size, listed.mtime), (entry.size, entry.mtime), rule.limits), listed.sha256) {
            (Same::Yes, Some(sha256)) if rule.checksum => to_hash.push(sha256),
            (Same::Yes, _) => return Ok(false),
            (Same::Content, sha256) => to_hash.extend(sha256),
            (Same::No, _) => {}
        }
    }
    if to_hash.is_empty() {
        return Ok(true);
    }
    let sha256 = hash()?;
    Ok(!to_hash.contains(&sha256))
}
