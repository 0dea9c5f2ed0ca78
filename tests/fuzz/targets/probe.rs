//! Any medium: no panic, never more than the bound is read, and what is taken for a stick holds what it promises.
//! The input is a list of pieces (offset in KiB, length, bytes) laid on an empty medium of some MiB, so that
//! structures far apart can be reached with few bytes; an input without the mark is the medium itself.

#![no_main]

use std::io::{Cursor, Read, Result, Seek, SeekFrom};

use libfuzzer_sys::fuzz_target;
use toolmaster::stick::probe::{MAX_READ, probe, to_json, to_text};

const MARK: &[u8] = b"PIECES";
const MEDIUM: usize = 4 << 20;

struct Counting {
    inner: Cursor<Vec<u8>>,
    read: u64,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read += count as u64;
        assert!(self.read <= MAX_READ, "{} bytes read, the bound is {MAX_READ}", self.read);
        Ok(count)
    }
}

impl Seek for Counting {
    fn seek(&mut self, position: SeekFrom) -> Result<u64> {
        self.inner.seek(position)
    }
}

fn medium(input: &[u8]) -> Vec<u8> {
    let Some(mut rest) = input.strip_prefix(MARK) else { return input.to_vec() };
    let mut medium = vec![0; MEDIUM];
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        let [low, high, length_low, length_high] = *head;
        let offset = usize::from(u16::from_le_bytes([low, high])) % 4096 * 1024;
        let length = usize::from(u16::from_le_bytes([length_low, length_high])).min(after.len());
        let (piece, next) = after.split_at(length);
        let end = (offset + length).min(MEDIUM);
        medium[offset..end].copy_from_slice(&piece[..end - offset]);
        rest = next;
    }
    medium
}

fuzz_target!(|input: &[u8]| {
    let mut source = Counting { inner: Cursor::new(medium(input)), read: 0 };
    let result = probe(&mut source);
    let json = to_json(&result);
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
    assert_eq!(to_text(&result).chars().filter(|c| c.is_control() && *c != '\n').count(), 0);
    if let Ok(superblock) = &result {
        assert!(superblock.size <= source.inner.get_ref().len() as u64);
    }
});
