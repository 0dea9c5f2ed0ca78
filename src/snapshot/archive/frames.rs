//! A stream of bytes cut into zstd frames, compressed on all cores and written in order.
//!
//! The encoder sees slices and gives `Vec`s; it never sees the writer, on whose errors it would panic.

use std::collections::VecDeque;
use std::io::Write;

use super::compress::compressor;
use super::guard::{Pending, Workers};
use super::{FRAME, MAX_THREADS, Piece};
use crate::error::{Error, Result};
use crate::os::signal;

/// What a frame may have beyond its content, bytes (RFC 8878 3.1.1): magic number 4, header 14, checksum 4, and for each
/// stored block of 128 KiB 3; rounded up, for blocks may be smaller.
const OVERHEAD: u64 = 1024;

/// The most that so many bytes of tar take as frames.
pub(super) fn largest(tar: u64) -> u64 {
    tar.saturating_add(tar.div_ceil(FRAME as u64).saturating_mul(OVERHEAD))
}

/// The stream.
pub(super) struct Frames<'a> {
    out: &'a mut dyn Write,
    shown: String,
    /// Being filled.
    piece: Piece,
    spare: Vec<Piece>,
    /// Being compressed, in their order.
    pending: VecDeque<Pending<Piece>>,
    workers: Workers<Piece>,
    bytes: u64,
    raw: u64,
}

impl<'a> Frames<'a> {
    /// Begins. `shown`: the archive in messages.
    pub(super) fn new(out: &'a mut dyn Write, shown: String) -> Frames<'a> {
        Frames {
            out,
            shown,
            piece: Piece::new(),
            spare: Vec::new(),
            pending: VecDeque::new(),
            workers: Workers::new(MAX_THREADS, compressor),
            bytes: 0,
            raw: 0,
        }
    }

    /// Room for what comes next, never none. What is put there counts once [`Frames::filled`] is told of it.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.piece.bytes.get_mut(self.piece.used..).unwrap_or_default()
    }

    /// So many bytes of the room are filled.
    ///
    /// # Errors
    /// `Io` of the writer, `Interrupted`, `Failed`.
    pub(super) fn filled(&mut self, count: usize) -> Result<()> {
        self.piece.used += count;
        self.raw += count as u64;
        if self.piece.used == FRAME { self.cut() } else { Ok(()) }
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// As [`Frames::filled`].
    pub(super) fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.room();
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room.get_mut(..now.len()).unwrap_or_default().copy_from_slice(now);
            bytes = later;
            self.filled(now.len())?;
        }
        Ok(())
    }

    /// Fills up with zeros to a multiple of `unit` bytes.
    ///
    /// # Errors
    /// As [`Frames::filled`].
    pub(super) fn pad(&mut self, unit: u64) -> Result<()> {
        let mut count = self.raw.next_multiple_of(unit) - self.raw;
        while count > 0 {
            let now = count.min(512);
            self.put([0; 512].get(..now as usize).unwrap_or_default())?;
            count -= now;
        }
        Ok(())
    }

    /// Compresses and writes what is left; the bytes written in all.
    ///
    /// # Errors
    /// As [`Frames::filled`].
    pub(super) fn finish(mut self) -> Result<u64> {
        if self.piece.used > 0 {
            self.cut()?;
        }
        while !self.pending.is_empty() {
            self.write_one()?;
        }
        self.out.flush().map_err(|source| self.failed(source))?;
        Ok(self.bytes)
    }

    fn cut(&mut self) -> Result<()> {
        signal::check()?;
        while self.pending.len() > MAX_THREADS {
            self.write_one()?;
        }
        let next = self.spare.pop().unwrap_or_else(Piece::new);
        let piece = std::mem::replace(&mut self.piece, next);
        let fail = |source| Error::Io { what: "start a thread for", path: self.shown.clone(), source };
        self.pending.push_back(self.workers.give(piece).map_err(fail)?);
        Ok(())
    }

    fn write_one(&mut self) -> Result<()> {
        let Some(pending) = self.pending.pop_front() else { return Ok(()) };
        let mut piece = pending.wait().ok_or_else(|| Error::Failed {
            why: format!("the encoder failed while it made {}", self.shown),
            next: "try again; if it stays, keep the log and call the system's keeper",
        })?;
        self.out.write_all(&piece.frame).map_err(|source| self.failed(source))?;
        self.bytes += piece.frame.len() as u64;
        piece.used = 0;
        self.spare.push(piece);
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Io { what: "write", path: self.shown.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::*;

    #[test]
    fn noise_stays_below_the_bound() {
        for count in [1, 511, 100_000, FRAME - 1, FRAME, FRAME + 1] {
            let mut out = Vec::new();
            let mut frames = Frames::new(&mut out, String::new());
            frames.put(&noise(1, count)).unwrap();
            let total = frames.finish().unwrap();
            assert_eq!(total, out.len() as u64);
            assert!(total <= largest(count as u64), "{count}: {total}");
        }
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_threads() {
        let bytes = noise(1, FRAME / 8).repeat(30);
        let make = |threads| {
            let mut out = Vec::new();
            let mut frames = Frames::new(&mut out, String::new());
            frames.workers.most = threads;
            for part in bytes.chunks(10_000) {
                frames.put(part).unwrap();
            }
            frames.finish().unwrap();
            out
        };
        assert!(make(1) == make(4));
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
