//! SIGTERM (a pulled stick, a stopped unit), SIGINT and SIGHUP end a run in order: the flag is looked at between
//! two pieces of work, the stick is unmounted, the exit code is 1. A second signal ends the process at once.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Error, Result};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Starts listening. Without it signals end the process at once, as they always do.
pub fn listen() {
    let flag = FLAG.get_or_init(|| Arc::new(AtomicBool::new(false)));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        // Order matters: the first signal finds the flag unset and sets it, the second finds it set.
        let _ = signal_hook::flag::register_conditional_default(signal, Arc::clone(flag));
        let _ = signal_hook::flag::register(signal, Arc::clone(flag));
    }
}

/// To be called between two pieces of work.
///
/// # Errors
/// `Interrupted` once a signal came.
pub fn check() -> Result<()> {
    match FLAG.get() {
        Some(flag) if flag.load(Ordering::Relaxed) => Err(Error::Interrupted),
        _ => Ok(()),
    }
}
