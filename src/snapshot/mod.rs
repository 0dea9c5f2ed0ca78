//! Snapshots: the server's data at one moment, as generations that share what did not change, their archives on backup
//! sticks, and the way back (SPEC 7).

pub mod archive;
pub mod client;
pub mod dump;
pub mod load;
pub mod script;
