//! *Pure.* Headers of tar entries (IEEE 1003.1-2017, *pax*, "ustar Interchange Format" and "pax Extended Header"). The blocks are the
//! crate `tar`'s. Extended headers are ours: its reader splits values at line feeds, which names may contain.

use tar::{EntryType, Header};

use crate::text::{hex, unhex_exactly};

/// Bytes of a block: a header, or the unit that contents are filled up to.
pub(super) const BLOCK: usize = 512;

/// Bytes of a name in a block.
const NAME: usize = 100;
/// Largest number in a field of twelve: eleven octal digits.
const MAX_OCTAL: u64 = 0o777_7777_7777;
const COMMENT: &str = "toolmaster sha256=";

/// What a file's comment says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// SHA-256 of its content.
    pub(super) sha256: [u8; 32],
    /// Its place in the manifest, from 1; the manifest itself has 0.
    pub(super) number: u64,
}

/// A file or a directory, as it is written.
pub(super) struct Plain<'a> {
    /// Path from the archive's root.
    pub(super) path: &'a [u8],
    /// For a file its proof, for a directory nothing.
    pub(super) proof: Option<Proof>,
    /// Bytes of content that follow.
    pub(super) size: u64,
    /// Permission bits.
    pub(super) mode: u32,
    /// Nanoseconds since 1970.
    pub(super) mtime: i64,
}

impl Plain<'_> {
    /// The header, with an extended one before it if something does not fit.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut path = self.path.to_vec();
        if self.proof.is_none() {
            path.push(b'/');
        }
        let records = self.records(&path);
        let seconds = u64::try_from(self.mtime.div_euclid(1_000_000_000)).unwrap_or(0).min(MAX_OCTAL);
        let mut bytes = Vec::new();
        if !records.is_empty() {
            bytes.extend(block(b"PaxHeaders", b'x', records.len() as u64, 0o644, seconds));
            bytes.extend(&records);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        let kind = if self.proof.is_some() { b'0' } else { b'5' };
        bytes.extend(block(&path, kind, self.size, self.mode, seconds));
        bytes
    }

    fn records(&self, path: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        // A ustar name has no character set: what is UTF-8 says so by a record, what is not fits there as it is.
        let text = std::str::from_utf8(path).is_ok();
        if path.len() > NAME || (text && !path.is_ascii()) {
            if !text {
                record(&mut records, "hdrcharset", b"BINARY");
            }
            record(&mut records, "path", path);
        }
        if self.size > MAX_OCTAL {
            record(&mut records, "size", self.size.to_string().as_bytes());
        }
        if self.mtime.rem_euclid(1_000_000_000) != 0 || !(0..=MAX_OCTAL as i64 * 1_000_000_000).contains(&self.mtime) {
            record(&mut records, "mtime", decimal(self.mtime).as_bytes());
        }
        if let Some(Proof { sha256, number }) = self.proof {
            record(&mut records, "comment", format!("{COMMENT}{} number={number}", hex(&sha256)).as_bytes());
        }
        records
    }
}

/// `length key=value\n`, the length counting its own digits.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend(format!("{length} {key}=").as_bytes());
    records.extend(value);
    records.push(b'\n');
}

fn decimal(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let size = nanoseconds.unsigned_abs();
    format!("{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000)
}

fn block(path: &[u8], kind: u8, size: u64, mode: u32, seconds: u64) -> [u8; BLOCK] {
    let mut header = Header::new_ustar();
    // Of a longer one this is the beginning, and the extended header has the whole.
    for (to, from) in header.as_old_mut().name.iter_mut().zip(path) {
        *to = *from;
    }
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    // Beyond 8 GiB the extended header counts; readers without it know GNU's form, which this is then.
    header.set_size(size);
    header.set_mtime(seconds);
    header.set_cksum();
    *header.as_bytes()
}

/// A header as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) path: Vec<u8>,
    pub(super) kind: u8,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) mtime: i64,
}

/// Reads a header; `None` if it is none, or its checksum is wrong.
pub(super) fn decode(block: &[u8; BLOCK]) -> Option<Raw> {
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    let mut summed = header.clone();
    summed.set_cksum();
    if header.cksum().ok()? != summed.cksum().ok()? {
        return None;
    }
    // GNU's label of an archive leaves blank what it does not have.
    let sized = header.as_old().size != [0; 12];
    Some(Raw {
        path: header.path_bytes().into_owned(),
        kind: header.entry_type().as_byte(),
        size: if sized { header.entry_size().ok()? } else { 0 },
        mode: header.mode().unwrap_or(0) & 0o7777,
        // A time before 1970 is GNU's binary form of it.
        mtime: header.mtime().unwrap_or(0).cast_signed().saturating_mul(1_000_000_000),
    })
}

/// What extended headers say of the entry that follows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<i64>,
    pub(super) proof: Option<Proof>,
    /// A file with holes in GNU's form, whose content is not what follows.
    pub(super) sparse: bool,
}

impl Extended {
    /// Takes the records of an extended header. `None`: it is not sound.
    pub(super) fn take(&mut self, mut records: &[u8]) -> Option<()> {
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').filter(|at| *at < 10)?;
            let length: usize = std::str::from_utf8(records.get(..space)?).ok()?.parse().ok()?;
            let line = records.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = line.iter().position(|byte| *byte == b'=')?;
            self.set(line.get(..equals)?, line.get(equals + 1..)?)?;
            records = records.get(length..)?;
        }
        Some(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"size" => self.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
            b"mtime" => self.mtime = Some(nanoseconds(value)?),
            b"comment" => self.proof = proof(value).or(self.proof),
            key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {}
        }
        Some(())
    }
}

fn proof(value: &[u8]) -> Option<Proof> {
    let (digits, number) = std::str::from_utf8(value).ok()?.strip_prefix(COMMENT)?.split_once(" number=")?;
    Some(Proof { sha256: unhex_exactly(digits.as_bytes())?, number: number.parse().ok()? })
}

/// A decimal number of seconds; what is finer than nanoseconds is dropped.
fn nanoseconds(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let fraction = format!("{:0<9}", fraction.get(..9).unwrap_or(fraction));
    let size = whole.parse::<i128>().ok()?.checked_mul(1_000_000_000)? + fraction.parse::<i128>().ok()?;
    i64::try_from(if negative { -size } else { size }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(plain: &Plain<'_>) -> (Raw, Extended) {
        let bytes = plain.encode();
        assert_eq!(bytes.len() % BLOCK, 0);
        let at = |index: usize| decode(bytes[index * BLOCK..][..BLOCK].try_into().unwrap()).unwrap();
        let mut extended = Extended::default();
        let first = at(0);
        if first.kind == b'x' {
            extended.take(&bytes[BLOCK..][..first.size as usize]).unwrap();
        }
        (at(bytes.len() / BLOCK - 1), extended)
    }

    #[test]
    fn what_is_written_is_read() {
        let proof = Some(Proof { sha256: [9; 32], number: 12 });
        let long = [b'n'; 255];
        for path in [&b"a"[..], "図面/部品.pdf".as_bytes(), b"\xff\xfe", b"new\nline=1", &long] {
            for size in [0, 1, MAX_OCTAL, MAX_OCTAL + 1, 1 << 62] {
                for mtime in [0, 1, -1, 1_700_000_000_123_456_789, -1_500_000_000, i64::MIN, i64::MAX] {
                    let (raw, extended) = back(&Plain { path, proof, size, mode: 0o640, mtime });
                    assert_eq!((raw.kind, raw.size, raw.mode), (b'0', size, 0o640));
                    assert_eq!(extended.path.unwrap_or(raw.path), path);
                    assert_eq!(extended.size.unwrap_or(raw.size), size);
                    assert_eq!(extended.mtime.unwrap_or(raw.mtime), mtime);
                    assert_eq!(extended.proof, proof);
                }
            }
        }
        let (raw, extended) = back(&Plain { path: b"d", proof: None, size: 0, mode: 0o755, mtime: 5_000_000_000 });
        assert_eq!((raw.path, raw.kind, raw.mtime), (b"d/".to_vec(), b'5', 5_000_000_000));
        assert_eq!(extended, Extended::default());
    }

    #[test]
    fn a_records_length_counts_itself() {
        for count in 0..1200 {
            let mut records = Vec::new();
            record(&mut records, "path", &vec![b'x'; count]);
            let digits: String =
                records.iter().map(|byte| char::from(*byte)).take_while(char::is_ascii_digit).collect();
            assert_eq!(digits.parse::<usize>().unwrap(), records.len());
        }
    }

    #[test]
    fn odd_headers_are_none() {
        let sound = block(b"a", b'0', 5, 0o644, 7);
        assert!(decode(&sound).is_some());
        for at in 0..BLOCK {
            let mut bad = sound;
            bad[at] ^= 0x04;
            assert!(decode(&bad).is_none_or(|raw| (148..156).contains(&at) && raw.path == b"a"), "byte {at}");
        }
        for records in
            ["", "x", "5 a=b\n", "7 a=b\n", "6 a=bc", "99999999999999999999 a=b\n", "8 size=\n", "13 mtime=1e5\n"]
        {
            assert_eq!(Extended::default().take(records.as_bytes()).is_some(), records.is_empty(), "{records:?}");
        }
    }
}
