//! Snapshots and their archives (SPEC 7).

pub mod archive;
