//! The only doors outside: directories and files by descriptor, mounts, locks, programs, the journal, run records.

pub mod atomic;
pub mod attributes;
pub mod block;
pub mod bound;
pub mod buffer;
pub mod dir;
pub mod disk;
pub mod eeprom;
pub mod entry;
pub mod flow;
pub mod jobs;
pub mod journal;
pub mod led;
pub mod lock;
pub mod mount;
pub mod open_files;
pub mod output;
pub mod process;
pub mod progress;
pub mod random;
pub mod signal;
pub mod smart;
pub mod systemd;
pub mod thread;
