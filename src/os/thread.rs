//! Starts threads.

use std::io::Result;
use std::thread::{Builder, JoinHandle};

/// What a thread does.
pub type Task = Box<dyn FnOnce() -> Result<()> + Send>;

/// Starts a thread; without a name it is called as the program is. The work comes in a box because the standard library's part of a
/// thread would otherwise be in the program once for each kind of work.
///
/// # Errors
/// Of the system, if it allows no more threads.
pub fn start(name: Option<&str>, task: Task) -> Result<JoinHandle<Result<()>>> {
    let builder = Builder::new();
    match name {
        Some(name) => builder.name(name.to_owned()),
        None => builder,
    }
    .spawn(task)
}
