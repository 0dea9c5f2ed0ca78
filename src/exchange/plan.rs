//! What a winner's files would do to the other side, file by file, without a list of them.

use log::info;

use crate::dataset::publish::Compare;
use crate::dataset::{Dataset, meta};
use crate::error::Result;
use crate::os::dir::{Dir, Entry};
use crate::tree::walk::{Side, Step, Walk};

/// What would happen to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It would come new, with that many bytes.
    Add(u64),
    /// It would take another's place, with that many bytes.
    Replace(u64),
    /// It would go.
    Delete,
    /// It is no file, so it would not be copied; the word says what it is.
    Skip(&'static str),
}

/// Tells each difference between two datasets: what making the loser equal to the winner does.
///
/// # Errors
/// `Io`, `Unreadable`, of `tell`.
pub fn each_change(
    winner: Option<&Dir>,
    loser: Option<&Dir>,
    compare: &Compare<'_>,
    mut tell: impl FnMut(&Walk, Change) -> Result<()>,
) -> Result<()> {
    let mut walk = Walk::new(winner, loser)?;
    while let Some(step) = walk.step()? {
        let change = match step {
            Step::Skipped(Side::Left, what) => Change::Skip(what),
            Step::File { left, right } if walk.path() != meta::NAME => match (Entry::file(left), Entry::file(right)) {
                (Some(left), Some(right)) if compare.same(&walk, &left, &right)? => continue,
                (Some(left), Some(_)) => Change::Replace(left.size),
                (Some(left), None) => Change::Add(left.size),
                (None, Some(_)) => Change::Delete,
                (None, None) => continue,
            },
            _ => continue,
        };
        tell(&walk, change)?;
    }
    Ok(())
}

/// Logs what a winner's files would do to the other side: the dry run's plan.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn log_plan(
    dataset: Dataset,
    winner: Option<&Dir>,
    loser: Option<&Dir>,
    side: &str,
    compare: &Compare<'_>,
) -> Result<()> {
    let name = dataset.name();
    each_change(winner, loser, compare, |walk, change| {
        match change {
            Change::Add(size) | Change::Replace(size) => {
                info!("plan: {name}: copy to {side}: {} ({size} bytes)", walk.shown());
            }
            Change::Delete => info!("plan: {name}: delete on {side}: {}", walk.shown()),
            // The survey has told it.
            Change::Skip(_) => {}
        }
        Ok(())
    })
}
