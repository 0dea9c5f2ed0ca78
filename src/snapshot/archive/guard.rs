//! Turns a panic of a codec into an error, in a program whose panics abort.
//!
//! A panic hook runs on the panicking thread before the abort. On a thread that does guarded work our hook tells whoever waits
//! for it, and then never returns: the thread sleeps until the process ends, in order, through `main`. All
//! other threads keep the hook that was there. The sleeping thread keeps its memory; whoever waits gets an error and stops.

use std::cell::Cell;
use std::sync::Once;
use std::sync::mpsc::{Receiver, sync_channel};

thread_local! {
    static ON_PANIC: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
}

static HOOK: Once = Once::new();

fn install() {
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match ON_PANIC.try_with(Cell::take) {
            Ok(Some(tell)) => {
                tell();
                // Where panics unwind (tests), this thread ends by itself, and the test harness wants its hook back.
                while cfg!(panic = "abort") {
                    std::thread::park();
                }
            }
            _ => previous(info),
        }));
    });
}

/// Does `work`; if it panics, calls `on_panic` and never returns. For threads that nobody joins.
pub(super) fn guarded<T>(on_panic: impl FnOnce() + 'static, work: impl FnOnce() -> T) -> T {
    install();
    ON_PANIC.set(Some(Box::new(on_panic)));
    let result = work();
    drop(ON_PANIC.take());
    result
}

/// Work on another thread.
pub(super) struct Pending<T>(Receiver<Option<T>>);

impl<T: Send + 'static> Pending<T> {
    /// Starts a thread.
    ///
    /// # Errors
    /// Of the system.
    pub(super) fn start(work: impl FnOnce() -> T + Send + 'static) -> std::io::Result<Pending<T>> {
        let (send, receive) = sync_channel(1);
        std::thread::Builder::new().name("zstd".to_owned()).spawn(move || {
            let failed = send.clone();
            let result = guarded(move || drop(failed.try_send(None)), work);
            let _ = send.send(Some(result));
        })?;
        Ok(Pending(receive))
    }

    /// Its result; `None` if it panicked.
    pub(super) fn wait(self) -> Option<T> {
        self.0.recv().ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(Pending::start(|| 7).unwrap().wait(), Some(7));
        let pending = Pending::<u8>::start(|| panic!("a codec's bug")).unwrap();
        assert_eq!(pending.wait(), None);
        // Others panic as ever.
        assert!(std::thread::spawn(|| std::panic::resume_unwind(Box::new(()))).join().is_err());
        assert_eq!(Pending::start(|| 8).unwrap().wait(), Some(8));
    }
}
