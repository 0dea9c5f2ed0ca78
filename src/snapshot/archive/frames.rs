//! A stream of bytes cut into zstd frames, compressed on all cores and written in order.
//!
//! The encoder sees slices and gives `Vec`s; it never sees the writer, on whose errors it would panic.

use std::collections::VecDeque;
use std::io::Write;

use sha2::{Digest, Sha256};
use structured_zstd::encoding::{CompressionLevel, FrameCompressor};

use super::guard::Pending;
use super::{FRAME, MAX_THREADS};
use crate::error::{Error, Result};
use crate::os::signal;

/// As `zstd -3`, measured in docs/dependencies.md: what is saved on a slow stick is worth more than the cores' time.
const LEVEL: CompressionLevel = CompressionLevel::Level(3);

/// What a frame may have beyond its content, bytes (RFC 8878 3.1.1): magic number 4, header 14, checksum 4, and for each
/// stored block of 128 KiB 3; rounded up, for blocks may be smaller.
const OVERHEAD: u64 = 1024;

/// The most that so many bytes of tar take as frames.
pub(super) fn largest(tar: u64) -> u64 {
    tar.saturating_add(tar.div_ceil(FRAME as u64).saturating_mul(OVERHEAD))
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

/// The stream.
pub(super) struct Frames<'a> {
    out: &'a mut dyn Write,
    shown: String,
    piece: Vec<u8>,
    /// A compressed piece's memory, for the next one.
    spare: Vec<u8>,
    /// Frames under way, each with its piece.
    pending: VecDeque<Pending<(Vec<u8>, Vec<u8>)>>,
    threads: usize,
    hasher: Sha256,
    bytes: u64,
    raw: u64,
}

impl<'a> Frames<'a> {
    /// Begins. `shown`: the archive in messages.
    pub(super) fn new(out: &'a mut dyn Write, shown: String) -> Frames<'a> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Frames {
            out,
            shown,
            piece: Vec::with_capacity(FRAME),
            spare: Vec::new(),
            pending: VecDeque::new(),
            threads: cores.min(MAX_THREADS),
            hasher: Sha256::new(),
            bytes: 0,
            raw: 0,
        }
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// `Io` of the writer, `Interrupted`, `Failed`.
    pub(super) fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.raw += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(FRAME - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == FRAME {
                self.cut()?;
            }
        }
        Ok(())
    }

    /// Fills up with zeros to a multiple of `unit` bytes.
    ///
    /// # Errors
    /// As [`Frames::put`].
    pub(super) fn pad(&mut self, unit: u64) -> Result<()> {
        let mut count = self.raw.next_multiple_of(unit) - self.raw;
        while count > 0 {
            let now = count.min(512);
            self.put([0; 512].get(..now as usize).unwrap_or_default())?;
            count -= now;
        }
        Ok(())
    }

    /// Compresses and writes what is left.
    ///
    /// # Errors
    /// As [`Frames::put`].
    pub(super) fn finish(mut self) -> Result<Total> {
        if !self.piece.is_empty() {
            self.cut()?;
        }
        while !self.pending.is_empty() {
            self.write_one()?;
        }
        self.out.flush().map_err(|source| self.failed(source))?;
        Ok(Total { bytes: self.bytes, sha256: self.hasher.finalize().into() })
    }

    fn cut(&mut self) -> Result<()> {
        signal::check()?;
        while self.pending.len() >= self.threads {
            self.write_one()?;
        }
        let mut next = std::mem::take(&mut self.spare);
        next.clear();
        next.reserve_exact(FRAME);
        let piece = std::mem::replace(&mut self.piece, next);
        let compressed = move || {
            let frame = compress(&piece);
            (frame, piece)
        };
        let pending = Pending::start(compressed).map_err(|source| Error::Io {
            what: "start a thread for",
            path: self.shown.clone(),
            source,
        })?;
        self.pending.push_back(pending);
        Ok(())
    }

    fn write_one(&mut self) -> Result<()> {
        let Some(pending) = self.pending.pop_front() else { return Ok(()) };
        let (frame, piece) = pending.wait().ok_or_else(|| Error::Failed {
            why: format!("the encoder failed while it made {}", self.shown),
            next: "try again; if it stays, keep the log and call the system's keeper",
        })?;
        self.out.write_all(&frame).map_err(|source| self.failed(source))?;
        self.spare = piece;
        self.hasher.update(&frame);
        self.bytes += frame.len() as u64;
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Io { what: "write", path: self.shown.clone(), source }
    }
}

fn compress(piece: &[u8]) -> Vec<u8> {
    let mut encoder: FrameCompressor = FrameCompressor::new(LEVEL);
    encoder.set_content_checksum(true);
    encoder.compress_independent_frame(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that nothing compresses (splitmix64).
    fn noise(count: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb).to_le_bytes()
        };
        (0..count.div_ceil(8)).flat_map(|_| next()).take(count).collect()
    }

    #[test]
    fn noise_stays_below_the_bound() {
        for count in [1, 511, 100_000, FRAME - 1, FRAME, FRAME + 1] {
            let mut out = Vec::new();
            let mut frames = Frames::new(&mut out, String::new());
            frames.put(&noise(count)).unwrap();
            let total = frames.finish().unwrap();
            assert_eq!(total.bytes, out.len() as u64);
            assert!(total.bytes <= largest(count as u64), "{count}: {}", total.bytes);
        }
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_threads() {
        let bytes = noise(FRAME / 8).repeat(30);
        let make = |threads| {
            let mut out = Vec::new();
            let mut frames = Frames::new(&mut out, String::new());
            frames.threads = threads;
            for part in bytes.chunks(10_000) {
                frames.put(part).unwrap();
            }
            frames.finish().unwrap().sha256
        };
        assert_eq!(make(1), make(4));
    }

    #[test]
    fn a_full_stick_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut full = Full;
        let mut frames = Frames::new(&mut full, "the archive".to_owned());
        frames.put(b"x").unwrap();
        assert!(frames.finish().unwrap_err().to_string().starts_with("cannot write the archive: "));
    }
}
