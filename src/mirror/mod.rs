//! The mirror (SPEC 9): the Pi Zero's configuration, the compare timer, the comparison of the two databases and its records.

pub mod compare;
pub mod db;
pub mod keys;
pub mod record;
pub mod remote;
pub mod rotate;
pub mod row;
pub mod timer;
