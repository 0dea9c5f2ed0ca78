//! Looking through a root directory of 32-byte entries, as FAT and exFAT have it. Pure; bounded.

use super::NotAStick;
use super::medium::Medium;

/// Size of one entry in bytes.
const ENTRY: usize = 32;

/// Most bytes of a directory that are read: 65,536 entries, the most a FAT directory may have (fatgen103, "FAT
/// Directory Structure"). exFAT allows 256 MiB (§7), but there the label is written at the beginning.
const MAX_LEN: u64 = 0x20_0000;

/// Bytes read at once.
const STEP: usize = 4096;

/// An entry.
pub(super) type Entry = [u8; ENTRY];

/// What to do after an entry.
pub(super) enum Look<T> {
    /// See the next one.
    On,
    /// The directory ends here.
    End,
    /// This is it.
    Found(T),
}

/// A root directory in a cluster chain.
pub(super) struct Chain {
    /// Byte offset of the FAT, whose entries are 32 bits wide.
    pub(super) fat: u64,
    /// Byte offset of cluster 2, the first one.
    pub(super) heap: u64,
    /// Size of a cluster in bytes: a power of two, at least 512.
    pub(super) cluster_size: u64,
    /// Number of clusters.
    pub(super) clusters: u32,
    /// The directory's first cluster.
    pub(super) first: u32,
    /// The bits of a FAT entry that count.
    pub(super) mask: u32,
    /// From this value on a FAT entry means "the last cluster".
    pub(super) last: u32,
}

/// Looks through `len` bytes at `offset`. `Err` of the inner result says what is wrong with the directory.
pub(super) fn span<T>(
    medium: &mut Medium<'_>,
    offset: u64,
    len: u64,
    look: &mut impl FnMut(&Entry) -> Look<T>,
) -> Result<Result<Look<T>, &'static str>, NotAStick> {
    let mut buffer = [0; STEP];
    let mut done = 0;
    while done < len {
        let step = (len - done).min(STEP as u64);
        let part = usize::try_from(step).ok().and_then(|n| buffer.get_mut(..n)).unwrap_or_default();
        let Some(at) = offset.checked_add(done) else {
            return Ok(Err("its root directory lies beyond the medium"));
        };
        if !medium.read(at, part)? {
            return Ok(Err("its root directory lies beyond the medium"));
        }
        for entry in part.as_chunks::<ENTRY>().0 {
            match look(entry) {
                Look::On => {}
                end => return Ok(Ok(end)),
            }
        }
        done += step;
    }
    Ok(Ok(Look::On))
}

/// Looks through a directory in a cluster chain, [`MAX_LEN`] bytes at most.
pub(super) fn chain<T>(
    medium: &mut Medium<'_>,
    chain: &Chain,
    look: &mut impl FnMut(&Entry) -> Look<T>,
) -> Result<Result<Option<T>, &'static str>, NotAStick> {
    let mut cluster = chain.first;
    let mut left = MAX_LEN;
    while left > 0 {
        // Clusters are numbered from 2. A zero (free), the mark of a bad cluster and numbers behind the end all fail here.
        let Some(index) = cluster.checked_sub(2).filter(|index| *index < chain.clusters) else {
            return Ok(Err("its root directory's cluster chain leaves the file system"));
        };
        let len = chain.cluster_size.min(left);
        let offset = u64::from(index).saturating_mul(chain.cluster_size).saturating_add(chain.heap);
        match span(medium, offset, len, look)? {
            Ok(Look::On) => {}
            Ok(Look::End) => return Ok(Ok(None)),
            Ok(Look::Found(found)) => return Ok(Ok(Some(found))),
            Err(what) => return Ok(Err(what)),
        }
        left -= len;
        let mut next = [0; 4];
        if !medium.read(chain.fat.saturating_add(u64::from(cluster) * 4), &mut next)? {
            return Ok(Err("its allocation table lies beyond the medium"));
        }
        cluster = u32::from_le_bytes(next) & chain.mask;
        if cluster >= chain.last {
            return Ok(Ok(None));
        }
    }
    Ok(Err("its root directory has no end (a loop?)"))
}
