//! A year of nights on a server with a real PostgreSQL: clocks that jump both ways, data that are emptied and come back, snapshots that are removed by hand or rot, sticks
//! that come by chance, a server that is replaced. After each night an oracle asks whether every state that SPEC 7 promises can be brought back, equal.
//!
//! `TOOLMASTER_YEAR_NIGHTS=365` plays so many nights of each seed, `TOOLMASTER_YEAR_SEED=7` that seed alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;
mod oracle;
mod world;

use world::World;

/// Nights of a seed, if nobody asks for more.
const NIGHTS: u32 = 16;

fn asked(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn play(seed: u64) {
    let seed = asked("TOOLMASTER_YEAR_SEED").unwrap_or(seed);
    let nights = asked("TOOLMASTER_YEAR_NIGHTS").map_or(NIGHTS, |nights| u32::try_from(nights).unwrap());
    let mut world = World::new(seed);
    for night in 0..nights {
        world.night(night);
    }
    println!("seed {seed}: {nights} nights, {} states brought back", world.brought_back);
    assert!(world.brought_back >= u64::from(nights));
}

#[test]
fn every_promised_state_comes_back_one() {
    play(1);
}

#[test]
fn every_promised_state_comes_back_two() {
    play(2);
}
