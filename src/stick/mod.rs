//! Sticks: what is on a device (probe), whether it is ours (role), how one is made (format), and the chain of types from
//! one to the other.

pub mod chain;
pub mod control;
pub mod enroll;
pub mod find;
pub mod format;
pub mod probe;
pub mod repair;
pub mod role;
