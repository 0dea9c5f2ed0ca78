//! Any dump, in pieces of any size: no panic, the same answer, and nothing of psql's own is handed on by our reader.

#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use toolmaster::database::script::read;

struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.1.min(buffer.len());
        self.0.read(&mut buffer[..count])
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((size, text)) = input.split_first() else { return };
    let (mut whole, mut pieces) = (Vec::new(), Vec::new());
    let once = read(text, &mut whole);
    let again = read(Pieces(text, usize::from(*size % 64) + 1), &mut pieces);
    assert_eq!(format!("{once:?}"), format!("{again:?}"));
    let Ok(contents) = once else { return };
    assert_eq!(whole, pieces);
    // What is handed on is a dump itself, and the same one.
    let mut second = Vec::new();
    let passed = read(whole.as_slice(), &mut second).expect("what was handed on is no dump");
    assert_eq!((&passed.tables, passed.large_objects), (&contents.tables, contents.large_objects));
    assert_eq!(whole, second);
});
