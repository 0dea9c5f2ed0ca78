//! A power cut that loses what was not flushed: the disk is made anew from what it was when the power came on and the log of all
//! that was written since.
//!
//! QEMU's `blklogwrites` writes the log in the format of Linux's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst,
//! drivers/md/dm-log-writes.c), little-endian: one sector with magic, version, count of entries, sector size; then for each entry one
//! sector with `sector, nr_sectors, flags, data_len` (u64 each), and its data.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{Outcome, check, fail};

const MAGIC: u64 = 0x6a_7366_7773_6872;
const SECTOR: u64 = 512;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// What a disk writes whole or not at all.
const BLOCK: usize = 4096;

/// Chance that can be repeated: Marsaglia's xorshift.
pub struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// A number below 1.
    pub fn chance(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// So many characters at least, hexadecimal digits that compress to half.
    pub fn text(&mut self, length: usize) -> String {
        let mut text = String::with_capacity(length + 16);
        while text.len() < length {
            self.chance();
            text.push_str(&format!("{:016x}", self.0));
        }
        text
    }
}

/// What became of the writes since the power came on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Writes that a flush made durable.
    pub durable: u64,
    /// Writes after the last flush.
    pub open: u64,
    /// Blocks of these that are lost.
    pub blocks: u64,
}

/// An entry of the log.
struct Entry {
    /// Where on the disk, bytes.
    at: u64,
    flags: u64,
    /// Where its data are in the log, and how many bytes.
    data: (u64, u64),
}

/// Makes `disk`, which is as it was when the power came on, what a power cut at the log's end may have left: all that was flushed, and
/// of what came after the last flush some blocks and others not, in no order.
pub fn cut(disk: &Path, log: &Path, random: &mut Random) -> Outcome<Lost> {
    let say = |error: std::io::Error| format!("{}: {error}", log.display());
    let file = File::open(log).map_err(say)?;
    // The power failed before the machine's first write.
    if file.metadata().map_err(say)?.len() < SECTOR {
        return Ok(Lost::default());
    }
    let mut entries = entries(&file).map_err(say)??;
    // QEMU's own, at its stop; the machine never asked for it.
    let last = entries.pop().map_or(0, |entry| entry.flags);
    check(last & FLUSH != 0, format!("{}: the log does not end with QEMU's own flush", log.display()))?;
    let flushed = entries.iter().rposition(|entry| entry.flags & FLUSH != 0).unwrap_or(0);
    let out = File::options().write(true).open(disk).map_err(|error| format!("{}: {error}", disk.display()))?;
    let mut lost = Lost::default();
    for (number, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.data.1 > 0) {
        let mut data = vec![0; usize::try_from(entry.data.1).unwrap_or(0)];
        file.read_exact_at(&mut data, entry.data.0).map_err(say)?;
        let durable = number < flushed || entry.flags & FUA != 0;
        if durable {
            lost.durable += 1
        } else {
            lost.open += 1
        }
        for (block, bytes) in data.chunks(BLOCK).enumerate() {
            if durable || random.chance() < 0.5 {
                out.write_all_at(bytes, entry.at + (block * BLOCK) as u64).map_err(|error| error.to_string())?;
            } else {
                lost.blocks += 1;
            }
        }
    }
    Ok(lost)
}

/// All entries, without their data. The log's own count is behind, since nobody closed it: it ends where nothing follows.
fn entries(file: &File) -> std::io::Result<Outcome<Vec<Entry>>> {
    let length = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut sector = [0; SECTOR as usize];
    let word = |sector: &[u8], index: usize| {
        u64::from_le_bytes(sector[index * 8..index * 8 + 8].try_into().unwrap_or_default())
    };
    reader.read_exact(&mut sector)?;
    let mut at = SECTOR;
    if word(&sector, 0) != MAGIC {
        return Ok(fail("this is no log of writes"));
    }
    let mut entries = Vec::new();
    while at < length {
        reader.read_exact(&mut sector)?;
        at += SECTOR;
        let (place, count, flags) = (word(&sector, 0), word(&sector, 1), word(&sector, 2));
        if count == 0 && flags == 0 {
            return Ok(fail(format!("the log has a hole at byte {}", at - SECTOR)));
        }
        let bytes = if flags & DISCARD == 0 { count * SECTOR } else { 0 };
        entries.push(Entry { at: place * SECTOR, flags, data: (at, bytes) });
        at += bytes;
        reader.seek(SeekFrom::Start(at))?;
    }
    Ok(Ok(entries))
}
