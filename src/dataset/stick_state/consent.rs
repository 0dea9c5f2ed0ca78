//! A person's consent that a run took and did not live to use up (SPEC 6). Its file on the stick has another name by then, so that no later visit is
//! taken for one; this note says for which datasets it is still to be followed, while the stick has that file.

use super::StickState;
use crate::dataset::Dataset;
use crate::error::Result;
use crate::os::atomic;
use crate::os::dir::Dir;

const NAME: &[u8] = b"consent";

/// What the note says.
struct Note {
    /// The consent's name on the stick since it was taken.
    done: String,
    /// The stick's manifest then, `-` if it had none: by it the stick is told from others with its UUID.
    manifest: String,
    /// For which datasets it is still to be followed.
    left: Vec<String>,
}

impl StickState {
    /// Notes, before the consent's file is renamed to `done`, that it is to be followed for all datasets.
    ///
    /// # Errors
    /// `Io`.
    pub fn note_consent(&self, done: &str) -> Result<()> {
        let left = Dataset::ALL.iter().map(|dataset| dataset.name().to_owned()).collect();
        self.has_consent.set(true);
        self.write_consent(Note { done: done.to_owned(), manifest: self.manifest_met(), left })
    }

    /// Whether the note is of the stick with that root: by its manifest, and the file that was taken.
    pub(super) fn is_consent_of(&self, root: &Dir) -> Result<bool> {
        let Some(note) = self.consent() else { return Ok(false) };
        let is_it = self.was_cut_off() || note.manifest == self.manifest_met();
        Ok(is_it && root.look(note.done.as_bytes())?.is_some())
    }

    /// Whether a consent that an earlier run took is still to be followed for a dataset. `root`: the stick's.
    ///
    /// # Errors
    /// `Io`.
    pub fn consents_still(&self, dataset: Dataset, root: &Dir) -> Result<bool> {
        let is_left = self.consent().is_some_and(|note| note.left.iter().any(|left| left == dataset.name()));
        Ok(is_left && self.is_consent_of(root)?)
    }

    /// It was followed for a dataset, or there was nothing to do. `met`: the manifest that the stick had.
    pub(super) fn consent_used(&self, dataset: Dataset, met: Option<&str>) -> Result<()> {
        let Some(mut note) = self.consent() else { return Ok(()) };
        // What a run that was cut off had exchanged is noted where no stick is.
        let is_it = self.has_consent.get()
            || self.run.is_empty() && note.manifest == met.filter(|met| !met.is_empty()).unwrap_or("-");
        if !is_it {
            return Ok(());
        }
        note.left.retain(|left| left != dataset.name());
        if note.left.is_empty() { self.to_write()?.remove(NAME) } else { self.write_consent(note) }
    }

    /// The stick has the manifest that was written last: what is left of a consent goes on with that.
    pub(super) fn consent_goes_on(&self) -> Result<()> {
        match (self.consent().filter(|_| self.has_consent.get()), self.manifests()?.pop()) {
            (Some(note), Some(manifest)) => self.write_consent(Note { manifest, ..note }),
            _ => Ok(()),
        }
    }

    /// There is none of this stick's any more.
    ///
    /// # Errors
    /// `Io`.
    pub fn forget_consent(&self) -> Result<()> {
        self.dir().filter(|_| self.has_consent.get()).map_or(Ok(()), |dir| dir.remove(NAME))
    }

    /// What can't be read counts for nothing: the stick is then decided upon as any other.
    fn consent(&self) -> Option<Note> {
        let (file, _) = self.dir()?.read_if_there(NAME).ok().flatten()?;
        let text = std::io::read_to_string(std::io::Read::take(file, 256)).ok()?;
        let mut words = text.split_whitespace().map(str::to_owned);
        Some(Note { done: words.next()?, manifest: words.next()?, left: words.collect() })
    }

    fn manifest_met(&self) -> String {
        self.met.digest().filter(|digest| !digest.is_empty()).unwrap_or("-").to_owned()
    }

    fn write_consent(&self, note: Note) -> Result<()> {
        let text = format!("{} {} {}\n", note.done, note.manifest, note.left.join(" "));
        atomic::write(self.to_write()?, NAME, text.as_bytes(), 0o600)
    }
}
