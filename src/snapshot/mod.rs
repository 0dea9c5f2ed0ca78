//! Snapshots: the server's data at one moment, as generations that share what did not change, their archives on backup
//! sticks, and the way back (SPEC 7).

pub mod archive;
pub mod build;
pub mod client;
pub mod dump;
pub mod generation;
pub mod load;
pub mod part;
pub mod retention;
pub mod rot;
pub mod script;
pub mod settings_files;
pub mod shelf;
pub mod unproven;
