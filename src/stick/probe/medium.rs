//! Reading an untrusted medium: every read is checked against its size and counted against the limit, and bytes
//! are taken from a buffer without any index that could panic. Pure.

use std::io::{Read, Seek, SeekFrom};

use super::{MAX_READ, NotAStick};

/// Length of the head in bytes: the superblocks of all formats that begin at or before 64 KiB.
const HEAD_LEN: u64 = 0x1_1000;

/// `Read + Seek` as one trait, so that the probers are compiled once and not once per kind of file.
pub(super) trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// A medium of known size with a reading limit.
pub(super) struct Medium<'a> {
    source: &'a mut dyn Source,
    size: u64,
    /// Bytes that may still be read.
    left: u64,
}

impl<'a> Medium<'a> {
    /// Asks the source for its size.
    pub(super) fn new(source: &'a mut dyn Source) -> Result<Self, NotAStick> {
        let size = source.seek(SeekFrom::End(0)).map_err(NotAStick::Io)?;
        Ok(Self { source, size, left: MAX_READ })
    }

    /// Size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` from byte `offset`. `false` when that is not wholly on the medium: nothing is read then.
    pub(super) fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<bool, NotAStick> {
        let len = buffer.len() as u64;
        if offset.checked_add(len).is_none_or(|end| end > self.size) {
            return Ok(false);
        }
        // Not reached: the probers' own limits add up to less. It is here so that a mistake in them stays bounded.
        let Some(left) = self.left.checked_sub(len) else {
            return Err(NotAStick::Damaged {
                format: "medium's",
                what: "it asks for more reading than a sound one needs",
            });
        };
        self.left = left;
        self.source.seek(SeekFrom::Start(offset)).map_err(NotAStick::Io)?;
        self.source.read_exact(buffer).map_err(NotAStick::Io)?;
        Ok(true)
    }

    /// The first [`HEAD_LEN`] bytes, or all of a smaller medium.
    pub(super) fn head(&mut self) -> Result<Bytes, NotAStick> {
        self.bytes(0, self.size.min(HEAD_LEN)).map(Option::unwrap_or_default)
    }

    /// `len` bytes from `offset`; `None` when they are not wholly on the medium.
    pub(super) fn bytes(&mut self, offset: u64, len: u64) -> Result<Option<Bytes>, NotAStick> {
        let Ok(len) = usize::try_from(len.min(MAX_READ)) else {
            return Ok(None);
        };
        let mut buffer = vec![0; len];
        Ok(self.read(offset, &mut buffer)?.then_some(Bytes(buffer)))
    }
}

/// Bytes with numbers in them. What lies behind the end reads as zero: no format takes zeros for a superblock,
/// and how much of a filesystem is there is a question for its size, not for this buffer.
#[derive(Default)]
pub(super) struct Bytes(Vec<u8>);

impl Bytes {
    /// The bytes from `offset`, shorter than `len` only at the end.
    pub(super) fn slice(&self, offset: usize, len: usize) -> &[u8] {
        let rest = self.0.get(offset..).unwrap_or_default();
        rest.get(..len).unwrap_or(rest)
    }

    /// Whether `magic` stands at `offset`.
    pub(super) fn has(&self, offset: usize, magic: &[u8]) -> bool {
        self.slice(offset, magic.len()) == magic
    }

    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut array = [0; N];
        for (to, from) in array.iter_mut().zip(self.slice(offset, N)) {
            *to = *from;
        }
        array
    }

    /// The byte at `offset`.
    pub(super) fn u8(&self, offset: usize) -> u8 {
        self.array::<1>(offset)[0]
    }

    /// The little-endian 16-bit number at `offset`.
    pub(super) fn u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.array(offset))
    }

    /// The little-endian 32-bit number at `offset`.
    pub(super) fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    /// The little-endian 64-bit number at `offset`.
    pub(super) fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }
}

/// Appends a character of a label: control characters become U+FFFD, for a label is printed on terminals.
pub(super) fn push(label: &mut heapless::String<64>, c: char) {
    // Never full: the longest label is 16 bytes, and each byte becomes at most the three of U+FFFD.
    let _full = label.push(if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
}

/// The serial number of FAT and exFAT as `XXXX-XXXX`.
pub(super) fn serial(number: u32) -> heapless::String<36> {
    let mut text = heapless::String::new();
    let _full = std::fmt::Write::write_fmt(&mut text, format_args!("{:04X}-{:04X}", number >> 16, number & 0xffff));
    text
}
