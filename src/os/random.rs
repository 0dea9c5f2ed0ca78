//! Random names and ids.

use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{Error, Result};
use crate::text::hex;

/// Sixteen random hexadecimal digits.
///
/// # Errors
/// `Failed` if the system has no random numbers.
pub fn word() -> Result<String> {
    bytes::<8>().map(|bytes| hex(&bytes))
}

/// That many random bytes, up to 256.
///
/// # Errors
/// As [`word`].
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(count) if count == N => Ok(bytes),
        _ => Err(Error::Failed { why: "the system gives no random numbers".to_owned(), next: "run it again" }),
    }
}

/// 128 random bits as 32 hexadecimal digits.
///
/// # Errors
/// As [`word`].
pub fn id() -> Result<String> {
    Ok(word()? + &word()?)
}
