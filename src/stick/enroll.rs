//! Enrolment: whoever can write a label can make a stick that looks like ours, but not the signature of its filesystem's
//! UUID and role with the server's key (`/.toolmaster/enrolled`). With `REQUIRE_ENROLLED=1` a stick without it is refused.
//!
//! The key never leaves the server. It does not keep anybody from copying an enrolled stick, UUID and all.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::control::CONTROL;
use super::role::Role;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::lock::Lock;
use crate::os::{atomic, random};
use crate::settings::{STATE_DIR, STATE_LOCK, Settings};
use crate::text::{hex, unhex};

/// The signature's name in a stick's `/.toolmaster`.
pub const ENROLLED: &[u8] = b"enrolled";
/// The key's name in the server's `.toolmaster`.
const KEY: &[u8] = b"enroll-key";
/// So much of a signature is read, bytes; it has 64 digits.
const MAX_SIGNATURE: u64 = 128;
const SIZE: usize = 32;

/// The server's key: random, made once, readable by root alone.
pub struct Key([u8; SIZE]);

impl Key {
    /// The server's, if it has one yet.
    ///
    /// # Errors
    /// `Config` if it is damaged, `Io`, `Unreadable`.
    pub fn read(settings: &Settings) -> Result<Option<Key>> {
        match Dir::open_if_there(&settings.server_root.join(STATE_DIR))? {
            Some(state) => Key::in_state(&state),
            None => Ok(None),
        }
    }

    /// The server's, made if it has none yet.
    ///
    /// # Errors
    /// As [`Key::read`]; `Busy`.
    pub fn make(settings: &Settings) -> Result<Key> {
        let state = Dir::open(&settings.server_root)?.make(STATE_DIR.as_bytes(), 0o700)?;
        let _lock = Lock::file(&state, STATE_LOCK)?;
        if let Some(key) = Key::in_state(&state)? {
            return Ok(key);
        }
        let key = random::bytes::<SIZE>()?;
        atomic::write(&state, KEY, &key, 0o600)?;
        Ok(Key(key))
    }

    fn in_state(state: &Dir) -> Result<Option<Key>> {
        let Some((file, _)) = state.read_if_there(KEY)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let unreadable = |source| Error::Unreadable { path: state.shown(KEY), source };
        file.take(SIZE as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let key = bytes.try_into().map_err(|_| Error::Config {
            why: format!("{} is damaged: it has not {SIZE} bytes", state.shown(KEY)),
            next: "remove it and enroll every stick anew (toolmaster stick enroll)",
        })?;
        Ok(Some(Key(key)))
    }

    /// What stands in `/.toolmaster/enrolled` of a stick with that UUID and role.
    pub fn signature(&self, uuid: &str, role: Role) -> String {
        hex(&self.sign(uuid, role))
    }

    fn sign(&self, uuid: &str, role: Role) -> [u8; 32] {
        // A UUID has no line feed, so no two sticks give one text.
        hmac(&self.0, format!("toolmaster stick 1\n{uuid}\n{}\n", role.word()).as_bytes())
    }
}

/// Whether a stick with that UUID is enrolled in that role.
pub fn is_enrolled(root: &Dir, uuid: &str, role: Role, key: &Key) -> bool {
    let read = || {
        let (file, _) = root.sub(CONTROL).ok()??.read(ENROLLED).ok()?;
        let mut text = String::new();
        file.take(MAX_SIGNATURE).read_to_string(&mut text).ok()?;
        unhex(text.trim())
    };
    let expected = key.sign(uuid, role);
    // As long for a wrong first byte as for a wrong last one.
    read().is_some_and(|found| {
        found.len() == expected.len() && found.iter().zip(expected).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
    })
}

/// HMAC with SHA-256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut padded = [0; BLOCK];
    if key.len() > BLOCK {
        padded[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        padded.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    }
    let inner = Sha256::new().chain_update(padded.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, cases 1, 2, 3, 4, 6 and 7.
    #[test]
    fn the_standards_examples() {
        let sequence: Vec<u8> = (1..=25).collect();
        let long = b"This is a test using a larger than block-size key and a larger than block-size data. \
            The key needs to be hashed before being used by the HMAC algorithm.";
        for (key, message, expected) in [
            (&[0x0b; 20][..], &b"Hi There"[..], "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            (&sequence, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (&[0xaa; 131], long, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
        ] {
            assert_eq!(hex(&hmac(key, message)), expected);
        }
    }

    #[test]
    fn each_uuid_role_and_key_has_its_own_signature() {
        let (key, other) = (Key([1; SIZE]), Key([2; SIZE]));
        let all = [
            key.signature("1234-ABCD", Role::Ingest),
            key.signature("1234-ABCE", Role::Ingest),
            key.signature("1234-ABCD", Role::Dist),
            other.signature("1234-ABCD", Role::Ingest),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one) && one.len() == 64);
        }
    }

    #[test]
    fn only_the_signature_itself_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = Dir::open(dir.path()).unwrap();
        let key = Key([7; SIZE]);
        let good = key.signature("u", Role::Dist);
        let put = |text: &str| {
            std::fs::create_dir_all(dir.path().join(".toolmaster")).unwrap();
            std::fs::write(dir.path().join(".toolmaster/enrolled"), text).unwrap();
            is_enrolled(&root, "u", Role::Dist, &key)
        };
        assert!(!is_enrolled(&root, "u", Role::Dist, &key), "nothing there");
        assert!(put(&format!("{good}\n")) && put(&format!(" {good} \r\n")));
        let flipped = good.replacen(|_: char| true, if good.starts_with('0') { "1" } else { "0" }, 1);
        for bad in ["", "\n", &good[..62], &format!("{good}00"), &flipped, &"0".repeat(1 << 20)] {
            assert!(!put(bad), "{bad:.70}");
        }
        assert!(
            put(&good) && !is_enrolled(&root, "u", Role::Ingest, &key) && !is_enrolled(&root, "v", Role::Dist, &key)
        );
    }
}
