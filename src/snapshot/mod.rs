//! Snapshots and what they are made of (SPEC 7).

pub mod script;
