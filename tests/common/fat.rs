//! Damage to a FAT32 file system that lies on a whole image file, as mkfs.fat makes it (Microsoft, fatgen103).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a pulled stick may hold: the file whose short name ends so leads to space that is free, and the file system was not unmounted.
pub fn cut_off(path: &Path, ending: &[u8; 3]) -> std::io::Result<()> {
    let image = File::options().read(true).write(true).open(path)?;
    let mut boot = [0; 512];
    image.read_exact_at(&mut boot, 0)?;
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let (sector, fat_bytes) = (number(&boot[11..13]), number(&boot[36..40]) * number(&boot[11..13]));
    let fat = number(&boot[14..16]) * sector;
    let root_dir = fat + fat_bytes * u64::from(boot[16]);
    let mut root = vec![0; usize::from(boot[13]) * 512];
    image.read_exact_at(&mut root, root_dir)?;
    let entry = root.chunks(32).find(|entry| &entry[8..11] == ending && entry[0] != 0xe5);
    let entry = entry.ok_or(std::io::ErrorKind::NotFound)?;
    let cluster = number(&entry[26..28]) | number(&entry[20..22]) << 16;
    for table in [fat, fat + fat_bytes] {
        image.write_all_at(&[0; 4], table + cluster * 4)?;
    }
    image.write_all_at(&[1], 65)
}

/// Where these bytes are first, such as a short name in a directory.
#[allow(dead_code, reason = "each test takes what it needs")]
pub fn find(path: &Path, bytes: &[u8]) -> std::io::Result<u64> {
    let image = std::fs::read(path)?;
    let place = image.windows(bytes.len()).position(|window| window == bytes).ok_or(std::io::ErrorKind::NotFound)?;
    Ok(place as u64)
}
