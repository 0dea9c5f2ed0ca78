//! Compresses a piece of an archive.

use std::ops::Range;

use codec::Encoder;

use super::guard::Work;
use super::{FRAME, Piece};

/// Makes as much as `zstd -3` (docs/dependencies.md): what is saved on a slow stick is worth more than the cores' time.
const LEVEL: i32 = 3;
/// Of text that is mostly hexadecimal numbers, as a database's dump can be, this one makes less, in a third of the time. It is taken
/// where it makes a thirty-third less of a sample.
const FAST: i32 = 1;
/// The sample: these bytes of each piece.
const TRY: Range<usize> = FRAME / 2..FRAME / 2 + (32 << 10);
/// The whole piece: what was in it before is found again, such as a drawing's copy beside it.
const WINDOW_LOG: u32 = FRAME.ilog2();
/// Bytes of a block. An encoder that may choose looks for where to cut blocks of 128 KiB, which takes a third of its time on drawings.
const BLOCK: u32 = 64 << 10;

/// What compresses pieces on a thread of its own.
pub(super) fn compressor() -> Work<Piece> {
    let [mut usual, mut fast] = [LEVEL, FAST].map(encoder);
    Box::new(move |mut piece: Piece| {
        let bytes = piece.bytes.get(..piece.used).unwrap_or_default();
        let is_fast = bytes.get(TRY).is_some_and(|sample| {
            let [fast, usual] = [&mut fast, &mut usual].map(|encoder| encoder.compress(sample, &mut piece.frame));
            fast * 33 < usual * 32
        });
        if is_fast { &mut fast } else { &mut usual }.compress(bytes, &mut piece.frame);
        piece
    })
}

fn encoder(level: i32) -> Encoder {
    Encoder::new(level, WINDOW_LOG, BLOCK)
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::*;

    /// What a piece with these bytes takes.
    fn size(parts: &[&[u8]]) -> usize {
        let mut piece = Piece::new();
        let bytes = parts.concat();
        piece.used = bytes.len();
        piece.bytes[..bytes.len()].copy_from_slice(&bytes);
        compressor()(piece).frame.len()
    }

    #[test]
    fn a_copy_is_found_wherever_it_is_in_the_piece() {
        let (drawing, other) = (noise(1, 1 << 20), noise(2, 5 << 19));
        let once = size(&[&drawing, &other]);
        let twice = size(&[&drawing, &other, &drawing[..1 << 19]]);
        assert!(once > 7 << 19 && twice < once + (1 << 17), "{once} {twice}");
    }

    #[test]
    fn numbers_in_hexadecimal_are_compressed_at_the_level_that_makes_less() {
        let ids = noise(3, 2 << 20);
        let rows = ids.chunks(16).enumerate().map(|(row, id)| format!("OC-{row}\t{}\n", crate::text::hex(id)));
        let mut dump: String = rows.collect();
        dump.truncate(FRAME);
        let of_level = |level| encoder(level).compress(dump.as_bytes(), &mut Vec::new());
        let (usual, fast) = (of_level(LEVEL), of_level(FAST));
        assert!(fast < usual, "{fast} {usual}");
        assert_eq!(size(&[dump.as_bytes()]), fast);
    }
}
