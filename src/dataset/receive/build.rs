//! Builds a terminal's new generation: the stick's files, of which the terminal's own are linked if they are the same, and
//! what the terminal has beside files.

use log::warn;

use super::{How, Source, is_same, not_whole};
use crate::dataset::publish::server_ownership;
use crate::dataset::{Dataset, meta};
use crate::error::{Error, Result};
use crate::os::attributes;
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::flow::EarlyFlush;
use crate::os::progress::Progress;
use crate::text::Shown;
use crate::tree::copy::{self, Ownership};
use crate::tree::droppings::is_dropping;
use crate::tree::manifest::Listed;
use crate::tree::walk::{Side, Step, Walk};

/// Deeper than a walk goes, less deep than what is removed may be.
const MAX_DEPTH: usize = 120;

/// A generation while it is built.
pub(super) struct Generation<'a> {
    new: &'a Dir,
    /// From its root down to where the walk is; none for a directory that only the terminal has and that nothing came into yet.
    dirs: Vec<Option<Dir>>,
    live: Option<&'a Dir>,
    owned: Ownership,
    dataset: Dataset,
    how: How,
}

impl<'a> Generation<'a> {
    /// One that begins in the empty directory `new`. `live`: what the terminal has in `parent`.
    pub(super) fn new(
        dataset: Dataset,
        live: Option<&'a Dir>,
        parent: &Dir,
        new: &'a Dir,
        how: How,
    ) -> Result<Generation<'a>> {
        let owned = server_ownership(live.unwrap_or(parent).entry()?.owner);
        Ok(Generation { new, dirs: vec![Some(new.again()?)], live, owned, dataset, how })
    }

    /// Fills it: with the stick's files, of which the terminal's own are linked if they are the same, and with what else the terminal has there.
    pub(super) fn fill(&mut self, source: &mut Source<'_>, progress: &mut Progress) -> Result<()> {
        let (new, live) = (self.new, self.live);
        self.dress(new, live)?;
        if let Some(live) = live {
            self.carry_droppings(live, b"")?;
        }
        let flushed = |error| new.not_flushed(error);
        let mut early = EarlyFlush::new(new).map_err(flushed)?;
        let mut walk = Walk::new(Some(source.stick), live)?;
        while let Some(step) = walk.step()? {
            match step {
                Step::Enter { left, right } => self.enter(&walk, left.is_some(), right.is_some())?,
                Step::Leave => drop(self.dirs.pop()),
                Step::Skipped(Side::Right, what) => self.carry_odd(&walk, what)?,
                Step::File { left: Some(left @ Entry { kind: Kind::File, .. }), right }
                    if walk.path() != meta::NAME =>
                {
                    let head = match &mut source.listed {
                        Some(listed) => listed.find(walk.path())?.cloned(),
                        None => None,
                    };
                    let size = self.place(&mut walk, (left, Entry::file(right)), head.as_ref(), progress)?;
                    early.wrote(size).map_err(flushed)?;
                }
                _ => {}
            }
        }
        if let Some(Entry { kind: Kind::File, .. }) = source.stick.look(meta::NAME)? {
            copy::copy((source.stick, meta::NAME), (new, meta::NAME), self.owned, progress)?;
        }
        progress.flush();
        early.end().map_err(flushed)
    }

    /// Gives a new directory what the terminal's has, so that what is made in it inherits from that.
    fn dress(&self, made: &Dir, live: Option<&Dir>) -> Result<()> {
        match live {
            Some(live) => attributes::copy(live, made)
                .map_err(|error| Error::io("set the owner and the attributes of", made.path(), error)),
            None => made.set_owner_mode(self.owned.owner, self.owned.dir_mode),
        }
    }

    fn here(&self) -> Option<&Dir> {
        self.dirs.last().and_then(Option::as_ref)
    }

    fn enter(&mut self, walk: &Walk, on_stick: bool, on_terminal: bool) -> Result<()> {
        let live = match walk.right() {
            Some(above) if on_terminal => above.sub(walk.name())?,
            _ => None,
        };
        let made = match self.here() {
            Some(here) if on_stick => {
                let made = here.make(walk.name(), 0o700)?;
                self.dress(&made, live.as_ref())?;
                Some(made)
            }
            _ => None,
        };
        self.dirs.push(made);
        live.map_or(Ok(()), |live| self.carry_droppings(&live, walk.path()))
    }

    /// Links or copies a file; the bytes that were copied.
    fn place(
        &self,
        walk: &mut Walk,
        (left, right): (Entry, Option<Entry>),
        head: Option<&Listed>,
        progress: &mut Progress,
    ) -> Result<u64> {
        let Some(here) = self.here() else { return Ok(0) };
        if let (Some(right), Some(live)) = (right, walk.right())
            && is_same(walk, &left, &right, head, self.how)?
            && live.link(walk.name(), here, walk.name())?
        {
            return Ok(0);
        }
        let Some(stick) = walk.left() else { return Ok(0) };
        let copied = copy::copy((stick, walk.name()), (here, walk.name()), self.owned, progress)?;
        if head.and_then(|head| head.sha256).is_some_and(|sha256| sha256 != copied.sha256) {
            return Err(not_whole(self.dataset, walk.path(), "is not what the server wrote"));
        }
        Ok(copied.entry.size)
    }

    /// Something odd on the terminal stays, unless the stick has a file or a directory of that name.
    fn carry_odd(&mut self, walk: &Walk, what: &str) -> Result<()> {
        let on_stick = walk.left().map(|left| left.look(walk.name())).transpose()?.flatten();
        if on_stick.is_some_and(|entry| !matches!(entry.kind, Kind::Other(_))) {
            warn!("{}: {} is replaced, a {what} on the terminal", self.dataset.name(), walk.shown());
            return Ok(());
        }
        let path = walk.path();
        let above = path.len().saturating_sub(walk.name().len() + 1);
        match walk.right() {
            Some(from) => self.carry(from, walk.name(), path.get(..above).unwrap_or_default()),
            None => Ok(()),
        }
    }

    /// What PCs left in a directory of the terminal stays. `path`: of that directory.
    fn carry_droppings(&mut self, live: &Dir, path: &[u8]) -> Result<()> {
        for name in live.names()?.iter().filter(|name| is_dropping(name)) {
            self.carry(live, name, path)?;
        }
        Ok(())
    }

    fn carry(&mut self, from: &Dir, name: &[u8], path: &[u8]) -> Result<()> {
        let depth = self.dirs.len();
        match self.made(path)? {
            Some(to) => carry(from, name, to, depth),
            None => {
                let gone = [path, b"/", name].concat();
                warn!(
                    "{}: {} goes: the stick has a file in the place of its directory",
                    self.dataset.name(),
                    Shown(&gone)
                );
                Ok(())
            }
        }
    }

    /// The directory where the walk is, made with those above it if it was not yet. None: a file of the stick has its place.
    fn made(&mut self, path: &[u8]) -> Result<Option<&Dir>> {
        let mut live = self.live.map(Dir::again).transpose()?;
        for (depth, name) in (1..self.dirs.len()).zip(path.split(|byte| *byte == b'/')) {
            live = live.map(|live| live.sub(name)).transpose()?.flatten();
            if self.dirs.get(depth).is_none_or(Option::is_some) {
                continue;
            }
            let Some(above) = self.dirs.get(depth - 1).and_then(Option::as_ref) else { return Ok(None) };
            if above.look(name)?.is_some_and(|entry| entry.kind != Kind::Dir) {
                return Ok(None);
            }
            let made = above.make(name, 0o700)?;
            self.dress(&made, live.as_ref())?;
            if let Some(dir) = self.dirs.get_mut(depth) {
                *dir = Some(made);
            }
        }
        Ok(self.here())
    }
}

/// Gives what has a name a second one, a directory anew with all that is in it.
fn carry(from: &Dir, name: &[u8], to: &Dir, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        let why = format!("{} lies deeper than {MAX_DEPTH} directories", from.shown(name));
        return Err(Error::Refused { why, next: "move it up".to_owned() });
    }
    match from.look(name)? {
        Some(Entry { kind: Kind::Dir, .. }) => {
            let Some(inner) = from.sub(name)? else { return Ok(()) };
            let made = to.make(name, 0o700)?;
            attributes::copy(&inner, &made)
                .map_err(|error| Error::io("set the owner and the attributes of", made.path(), error))?;
            for name in inner.names()?.iter() {
                carry(&inner, name, &made, depth + 1)?;
            }
            Ok(())
        }
        Some(_) if !from.link(name, to, name)? => {
            warn!("{} goes: its filesystem allows no further link to it", from.shown(name));
            Ok(())
        }
        _ => Ok(()),
    }
}
