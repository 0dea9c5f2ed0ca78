//! Any dump, in pieces of any size: no panic, the same answer, and what is handed on is a dump of the same tables.

#![no_main]

use std::collections::BTreeSet;
use std::io::Read;

use libfuzzer_sys::fuzz_target;
use toolmaster::database::entries::read;

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
    let once = read(text, &mut whole, &BTreeSet::new()).expect("memory can be read and written");
    let again = read(Pieces(text, usize::from(*size % 64) + 1), &mut pieces, &BTreeSet::new()).expect("so can pieces");
    assert_eq!((&once, &whole), (&again, &pieces));
    assert!(whole.len() <= text.len());
    let second = read(whole.as_slice(), std::io::sink(), &BTreeSet::new()).expect("memory can be read");
    assert_eq!((&second.tables, second.large_objects), (&once.tables, once.large_objects));
});
