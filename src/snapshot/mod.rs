//! Snapshots: the server's data at one moment, as generations that share what did not change, their archives on backup
//! sticks, and the way back (SPEC 7).

pub mod archive;
pub mod build;
pub mod generation;
pub mod part;
pub mod retention;
pub mod rot;
pub mod settings_files;
pub mod shelf;
pub mod unproven;
