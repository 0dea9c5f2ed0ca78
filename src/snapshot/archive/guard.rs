//! Turns a panic of a codec into an error, in a program whose panics abort.
//!
//! A panic hook runs on the panicking thread before the abort. On a thread that does guarded work our hook tells whoever waits
//! for it, and then never returns: the thread sleeps until the process ends, in order, through `main`. All
//! other threads keep the hook that was there. The sleeping thread keeps its memory; whoever waits gets an error and stops.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Once;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use crate::os::thread;

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

/// What does one kind of work, with what it keeps for it: a codec, whose memory is taken once.
pub(super) type Work<T> = Box<dyn FnMut(T) -> T>;

/// A thread that does it, and where it is given pieces.
type Worker<T> = Sender<(T, SyncSender<Option<T>>)>;

/// Threads that do one kind of work, piece after piece, and take turns.
pub(super) struct Workers<T> {
    /// Makes what does the work, on its thread.
    prepare: fn() -> Work<T>,
    pub(super) most: usize,
    /// The first of them has the next piece.
    turns: VecDeque<Worker<T>>,
}

impl<T: Send + 'static> Workers<T> {
    /// As many as there are cores, `most` at most. Each starts when it has something to do.
    pub(super) fn new(most: usize, prepare: fn() -> Work<T>) -> Workers<T> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Workers { prepare, most: cores.min(most), turns: VecDeque::new() }
    }

    /// Gives a piece to the one whose turn it is.
    ///
    /// # Errors
    /// Of the system, if it starts no thread.
    pub(super) fn give(&mut self, piece: T) -> std::io::Result<Pending<T>> {
        if self.turns.len() < self.most {
            self.turns.push_front(start(self.prepare)?);
        }
        let (send, done) = sync_channel(1);
        if let Some(worker) = self.turns.pop_front() {
            // A thread that is gone has let go of `send`, which tells.
            let _ = worker.send((piece, send));
            self.turns.push_back(worker);
        }
        Ok(Pending(done))
    }
}

fn start<T: Send + 'static>(prepare: fn() -> Work<T>) -> std::io::Result<Worker<T>> {
    let (worker, given) = channel::<(T, SyncSender<Option<T>>)>();
    let task = move || {
        let mut work = prepare();
        for (piece, done) in given {
            let failed = done.clone();
            let piece = guarded(move || drop(failed.try_send(None)), || work(piece));
            let _ = done.send(Some(piece));
        }
        Ok(())
    };
    thread::start(Some("zstd"), Box::new(task))?;
    Ok(worker)
}

/// A piece that is being worked on.
pub(super) struct Pending<T>(Receiver<Option<T>>);

impl<T> Pending<T> {
    /// The piece, done; `None` if the work panicked.
    pub(super) fn wait(self) -> Option<T> {
        self.0.recv().ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let double =
            || -> Work<u8> { Box::new(|number| if number == 9 { panic!("a codec's bug") } else { number * 2 }) };
        let mut workers = Workers::new(1, double);
        let [one, two, bad] = [1, 2, 9].map(|number| workers.give(number).unwrap());
        assert_eq!((one.wait(), two.wait(), bad.wait()), (Some(2), Some(4), None));
        // Others panic as ever.
        assert!(std::thread::spawn(|| std::panic::resume_unwind(Box::new(()))).join().is_err());
        assert_eq!(Workers::new(2, double).give(8).unwrap().wait(), Some(16));
    }
}
