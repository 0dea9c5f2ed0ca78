//! Snapshots and what they are made of (SPEC 7).

pub mod client;
pub mod dump;
pub mod load;
pub mod script;
