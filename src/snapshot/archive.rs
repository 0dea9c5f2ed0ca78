//! Archives of snapshots, `*_full.tar.zst`: written in one pass, read back, proved and extracted in one pass (SPEC 7).
//!
//! # Format
//! A POSIX tar file (IEEE 1003.1-2017, *pax*: ustar headers with extended headers where needed), cut into pieces of
//! [`FRAME`] bytes, each a zstd frame of its own with a checksum (RFC 8878). `tar --zstd -xf` and `zstd -t` take it.
//!
//! - Entries lie below one directory, which has the snapshot's name.
//! - After that directory comes `manifest.json`, then everything else in the order of a walk, which is the manifest's
//!   order too. The manifest comes first because a reader then knows from the first piece what it has to expect, and whether the
//!   archive can be checked at all.
//! - Each file's extended header has the record `comment=toolmaster sha256=… number=…`: the SHA-256 and the place that
//!   the manifest gives it. (POSIX: a comment "shall be ignored"; GNU tar warns of keywords that it does not know, not of this.)
//!   So a reader proves each file as it passes, by name, without holding the manifest; that the files are those of the
//!   manifest, in both directions, one digest over the manifest's lines and one over the files prove at the end.
//!   Neither needs memory that grows with the number of files.
//! - Owner is 0:0 without names: a number of this server means nothing on another one, restoring gives the data to whom
//!   the settings say, and the same snapshot gives the same bytes on a rebuilt server. Times are those of the files.
//! - The tar ends with two blocks of zeros, filled up to [`RECORD`], and nothing follows.
//!
//! # Memory
//! Whatever the snapshot's size: writing takes less than [`WRITE_MEMORY`], reading one of ours less than [`READ_MEMORY`];
//! an archive from elsewhere may ask for a window of up to 128 MiB more (`zstd --ultra -22`). Added to it are a walk's names.
//!
//! # Hostile input
//! `ruzstd` has assertions that damaged input might reach, and a panic ends the program at once (`panic = "abort"`), with
//! the stick still mounted. So codecs run on threads of their own, on which a panic is turned into an error:
//! see `archive/guard.rs`. Nothing here trusts a size that an archive claims: nothing is allocated by it.

mod compress;
mod extract;
mod failing;
mod frames;
mod guard;
mod header;
mod list;
mod members;
mod pattern;
mod peek;
mod proof;
mod read;
mod root;
mod split;
mod unframe;
mod write;

pub use failing::is_not_taken;
pub use list::{Seen, list};
pub use pattern::Pattern;
pub use peek::{Beginning, peek};
pub use read::{Checked, Source, read};
pub use write::{Written, digest, estimate, write, write_listed};

/// Bytes of tar in a zstd frame (the last has less). Fixed, so that the bytes do not depend on the number of cores.
pub const FRAME: usize = 4 << 20;
/// Bytes to which a tar file is filled up (POSIX: 20 blocks of 512).
pub const RECORD: u64 = 10_240;
/// Writing takes less than this many bytes: six pieces, each with its frame, and the encoders' tables.
pub const WRITE_MEMORY: u64 = 64 << 20;
/// Reading an archive of ours takes less than this many bytes.
pub const READ_MEMORY: u64 = 56 << 20;

/// Frames compressed at once at most: the Pi 5 has four cores, and each takes memory. One more waits, so that no core does while a frame
/// is written.
const MAX_THREADS: usize = 4;
/// The manifest's name in a snapshot.
const MANIFEST: &[u8] = b"manifest.json";
/// How much of an archive is read at once, bytes.
const BUFFER: usize = 256 << 10;

/// A piece of the tar file and its frame, on its way between threads: each is made of the other. It is kept for a later one: memory that
/// comes from the system for each and goes back after it costs as much as to compress it.
struct Piece {
    /// [`FRAME`] bytes, the first `used` of them taken.
    bytes: Vec<u8>,
    used: usize,
    frame: Vec<u8>,
    /// When an archive is read: the frame's number, counted from 1, and why it is not sound. What there was up to there is given out
    /// first, since that tells which file it is.
    number: u64,
    fault: Option<std::io::Error>,
}

impl Piece {
    fn new() -> Piece {
        Piece { bytes: vec![0; FRAME], used: 0, frame: Vec::new(), number: 0, fault: None }
    }
}

#[cfg(test)]
mod tests;
