//! The commands: the order of steps, `--dry-run`, the completion line. Nothing else knows these.

pub mod backup;
pub mod clock;
pub mod dist_export;
pub mod dist_sync;
pub mod identity;
pub mod ingest;
pub mod led;
pub mod log;
pub mod mirror;
pub mod mirror_compare;
pub mod mirror_config;
pub mod notify;
pub mod pi_zero_key;
pub mod provision;
pub mod recover;
pub mod recovery;
pub mod restore;
pub mod restore_drill;
pub mod site;
pub mod snapshot;
pub mod status;
pub mod stick;
pub mod undo;
pub mod watch;
pub mod wear;

pub use crate::exchange::session::{open_stick, prove};
pub use crate::report::{Env, Report, each_of, job_name, note_kept};
