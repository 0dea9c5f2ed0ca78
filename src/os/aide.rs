//! A thread that does one kind of work for its owner, who does something else meanwhile: a piece is given, a result comes back.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::thread;

/// The thread. It ends with this value, which waits for it.
pub struct Aide<Work, Done> {
    desk: Arc<Desk<Work, Done>>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

/// What lies between the two threads. A channel would do, but asks the system three times as often for a piece.
struct Desk<Work, Done> {
    slot: Mutex<Slot<Work, Done>>,
    turned: Condvar,
}

enum Slot<Work, Done> {
    Empty,
    Given(Work),
    Done(Done),
    Over,
}

impl<Work, Done> Desk<Work, Done> {
    fn put(&self, slot: Slot<Work, Done>) {
        // A slot is replaced as a whole: a thread that panicked has left none half. The end stays the end.
        let mut there = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*there, Slot::Over) {
            *there = slot;
        }
        self.turned.notify_one();
    }

    /// Waits for what `wanted` takes out of the slot; `None` at the end.
    fn take<T>(&self, wanted: impl Fn(Slot<Work, Done>) -> Result<T, Slot<Work, Done>>) -> Option<T> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match wanted(std::mem::replace(&mut *slot, Slot::Empty)) {
                Ok(taken) => return Some(taken),
                Err(Slot::Over) => {
                    *slot = Slot::Over;
                    return None;
                }
                Err(other) => *slot = other,
            }
            slot = self.turned.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Whichever way the thread ends, nobody waits for it in vain.
struct Ending<'a, Work, Done>(&'a Desk<Work, Done>);

impl<Work, Done> Drop for Ending<'_, Work, Done> {
    fn drop(&mut self) {
        self.0.put(Slot::Over);
    }
}

impl<Work: Send + 'static, Done: Send + 'static> Aide<Work, Done> {
    /// Starts it; none on a machine with one core, or if the system allows no more threads: then the owner does it all. `work` lets go
    /// of a piece before its result is given.
    pub fn start(mut work: impl FnMut(Work) -> Done + Send + 'static) -> Option<Self> {
        if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
            return None;
        }
        let desk = Arc::new(Desk { slot: Mutex::new(Slot::Empty), turned: Condvar::new() });
        let theirs = Arc::clone(&desk);
        let task = move || {
            let _ending = Ending(&theirs);
            let given = |slot| if let Slot::Given(given) = slot { Ok(given) } else { Err(slot) };
            while let Some(given) = theirs.take(given) {
                theirs.put(Slot::Done(work(given)));
            }
            Ok(())
        };
        thread::start(None, Box::new(task)).ok().map(|thread| Aide { desk, thread: Some(thread) })
    }

    /// Gives it a piece of work, while `meanwhile` is done here; then its result. `None`: the thread is gone, with what it held.
    pub fn share<T>(&self, work: Work, meanwhile: impl FnOnce() -> T) -> (T, Option<Done>) {
        self.desk.put(Slot::Given(work));
        let ours = meanwhile();
        let done = |slot| if let Slot::Done(done) = slot { Ok(done) } else { Err(slot) };
        (ours, self.desk.take(done))
    }
}

impl<Work, Done> Drop for Aide<Work, Done> {
    fn drop(&mut self) {
        self.desk.put(Slot::Over);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_shared_and_a_thread_that_is_gone_is_told_of() {
        let mut sum = 0;
        let Some(aide) = Aide::start(move |number: u32| {
            assert!(number != 9);
            sum += number;
            sum
        }) else {
            return;
        };
        assert_eq!(aide.share(2, || "ours"), ("ours", Some(2)));
        assert_eq!(aide.share(3, || ()), ((), Some(5)));
        assert_eq!(aide.share(9, || 1), (1, None));
        assert_eq!(aide.share(1, || 1), (1, None));
    }
}
