//! What a winner's files would do to the other side, file by file: a dry run's plan.

use log::info;

use crate::dataset::publish::Compare;
use crate::dataset::{Dataset, meta};
use crate::error::Result;
use crate::os::dir::Dir;
use crate::tree::pairs::{Pair, Pairs};

/// Logs it.
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
    let mut pairs = Pairs::new(winner, loser, meta::NAME)?;
    while let Some(Pair { left, right, .. }) = pairs.take()? {
        let walk = pairs.walk();
        match (left, right) {
            (Some(left), Some(right)) if compare.same(walk, &left, &right)? => {}
            (Some(left), _) => info!("plan: {name}: copy to {side}: {} ({} bytes)", walk.shown(), left.size),
            (None, _) => info!("plan: {name}: delete on {side}: {}", walk.shown()),
        }
    }
    Ok(())
}
