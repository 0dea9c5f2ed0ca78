//! Cuts a file of zstd frames where a frame ends, without decoding it, so that several are decoded at once (RFC 8878 3.1.1).
//!
//! Nothing here judges: what is not one whole frame of a size that is written here is given on as far as it was read, to
//! whoever decodes it.

use std::io::{self, BufRead, Read};

use super::FRAME;
use super::frames::largest;

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A whole frame, which says that its content is not more than [`FRAME`].
    Whole,
    /// The beginning of something else.
    Begun,
    /// A frame that is to be passed over, and was (RFC 8878 3.1.2). `pzstd` writes one before each of its frames.
    Skippable,
    End,
}

/// Reads a frame, or the beginning of something else, into `frame`, whose memory is used again.
///
/// # Errors
/// Of the input; not that it ends.
pub(super) fn next(input: &mut impl BufRead, frame: &mut Vec<u8>) -> io::Result<Next> {
    frame.clear();
    if input.fill_buf()?.is_empty() {
        return Ok(Next::End);
    }
    if skippable(input, frame)? {
        frame.clear();
        return Ok(Next::Skippable);
    }
    Ok(if header(input, frame)? && blocks(input, frame)? { Next::Whole } else { Next::Begun })
}

/// Passes over a skippable frame: magic number, size, and what nobody reads.
fn skippable(input: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    let Some(&[0x50..=0x5f, 0x2a, 0x4d, 0x18]) = take(input, frame, 4)? else { return Ok(false) };
    let Some(size) = take(input, frame, 4)?.map(number) else { return Ok(false) };
    Ok(io::copy(&mut input.take(size), &mut io::sink())? == size)
}

/// Magic number, descriptor, window, dictionary and size of the content.
fn header(input: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    if take(input, frame, 1)?.is_none() {
        return Ok(false);
    }
    let &[a, b, c, d, descriptor] = frame.as_slice() else { return Ok(false) };
    let single = descriptor >> 5 & 1;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = [single, 2, 4, 8][usize::from(descriptor >> 6)];
    if [a, b, c, d] != MAGIC || size == 0 || take(input, frame, usize::from(1 - single + dictionary))?.is_none() {
        return Ok(false);
    }
    let added = if size == 2 { 256 } else { 0 };
    let size = take(input, frame, usize::from(size))?.map(number);
    Ok(size.is_some_and(|size| size.saturating_add(added) <= FRAME as u64))
}

/// Blocks up to the last, and the checksum. `false`: they are more than a frame of ours has, or the file ends.
fn blocks(input: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    const RLE: u64 = 1;
    let most = largest(FRAME as u64) as usize;
    let checksum = if frame.get(4).is_some_and(|descriptor| descriptor & 4 != 0) { 4 } else { 0 };
    loop {
        let Some(block) = take(input, frame, 3)?.map(number) else { return Ok(false) };
        let size = if block >> 1 & 3 == RLE { 1 } else { (block >> 3) as usize };
        if frame.len() + size > most || take(input, frame, size)?.is_none() {
            return Ok(false);
        }
        if block & 1 == 1 {
            return Ok(take(input, frame, checksum)?.is_some());
        }
    }
}

/// So many bytes more; `None` if there are fewer.
fn take<'a>(input: &mut impl Read, frame: &'a mut Vec<u8>, count: usize) -> io::Result<Option<&'a [u8]>> {
    let read = input.take(count as u64).read_to_end(frame)?;
    Ok(if read == count { frame.get(frame.len() - count..) } else { None })
}

/// Little-endian, of at most eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_from_what_is_none() {
        let stored = b"\x28\xb5\x2f\xfd\x20\x03\x19\x00\x00abc".as_slice();
        let repeated = b"\x28\xb5\x2f\xfd\x24\x40\x03\x02\x00z\x01\x02\x03\x04";
        let large = b"\x28\xb5\x2f\xfd\xa0\x01\x00\x40\x00";
        let sizeless = b"\x28\xb5\x2f\xfd\x00\x58";
        let skipped = b"\x50\x2a\x4d\x18\x03\x00\x00\x00ab";
        let mut frame = Vec::new();
        for odd in [&large[..], sizeless, skipped, b"x", &stored[..10], &repeated[..13]] {
            let file = [b"\x5f\x2a\x4d\x18\x03\x00\x00\x00abc", stored, repeated, odd].concat();
            let mut input = file.as_slice();
            assert_eq!((next(&mut input, &mut frame).unwrap(), frame.len()), (Next::Skippable, 0));
            for whole in [stored, repeated] {
                assert_eq!(next(&mut input, &mut frame).unwrap(), Next::Whole);
                assert_eq!(frame, whole);
            }
            // What was read is there, and what was not read is still to come.
            assert_eq!(next(&mut input, &mut frame).unwrap(), Next::Begun);
            let given = [&frame, input].concat();
            assert!(given == odd || (odd == skipped && given == skipped[..8]), "{given:?}");
        }
        assert_eq!(next(&mut [].as_slice(), &mut frame).unwrap(), Next::End);
    }
}
