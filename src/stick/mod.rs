//! Sticks: what is on a device (probe), whether it is ours (role), and the chain of types from one to the other.

pub mod chain;
pub mod control;
pub mod probe;
pub mod role;
