//! A buffer for reading files, kept from one file to the next: memory that comes from the system for each file and goes
//! back after it costs more than reading a small one.

use std::cell::Cell;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// This thread's buffer while it is in use. A second one taken meanwhile is a new one.
pub struct Buffer(Vec<u8>);

impl Buffer {
    /// Bytes.
    pub const SIZE: usize = 256 * 1024;

    /// Takes it. What is in it is left over from its last use.
    pub fn take() -> Buffer {
        let mut bytes = SPARE.take();
        bytes.resize(Buffer::SIZE, 0);
        Buffer(bytes)
    }

    /// All of it.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // At the thread's end there may be no place for it any more.
        let _ = SPARE.try_with(|spare| spare.set(std::mem::take(&mut self.0)));
    }
}
