//! Whether what an identity file holds is what it says: a checksum over all of it, and each key by the program that uses it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use log::warn;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::dir::Dir;
use crate::os::process::{self, Output, Program};
use crate::text::hex;

/// In memory: keys that are only looked at lie on no disk.
const PLACE: &str = "/run/toolmaster";
const TEMP: &[u8] = b"identity-check";
const ENROLL_KEY_SIZE: usize = 32;
const LIMIT: Duration = Duration::from_secs(60);
const NEXT: &str = "use the file from the safe; nothing was changed";
/// No output of ssh-keygen is longer, bytes.
const MAX_TEXT: usize = 64 * 1024;

/// The checksum of a server's id and keys: of each the name and the content, in the order of the names.
pub fn checksum(server: &str, keys: &BTreeMap<String, String>) -> String {
    let mut hasher = Sha256::new().chain_update(format!("server {server}\n"));
    for (name, digits) in keys {
        hasher.update(format!("{name} {digits}\n"));
    }
    hex(&hasher.finalize())
}

/// Refuses keys of which one is not what its name says. Where there is no `ssh-keygen`, ssh's are taken as they are.
///
/// # Errors
/// `Refused`, `Io`, `Failed`.
pub fn keys(contents: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    if let Some(key) = contents.get("enroll-key")
        && key.len() != ENROLL_KEY_SIZE
    {
        return Err(bad("enroll-key", &format!("it has {} bytes instead of {ENROLL_KEY_SIZE}", key.len())));
    }
    let Some(program) = process::find("ssh-keygen") else {
        warn!("ssh-keygen is not installed: ssh's keys are taken unchecked");
        return Ok(());
    };
    let dir = Dir::made(Path::new(PLACE))?;
    let checked = contents
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "enroll-key" | "known_hosts"))
        .try_for_each(|(name, content)| {
            let public = contents.get(&format!("{name}.pub")).map(Vec::as_slice);
            one(&program, &dir, name, content, public)
        });
    let removed = atomic::remove(&dir, TEMP);
    checked.and(removed)
}

fn one(program: &Path, dir: &Dir, name: &str, content: &[u8], public: Option<&[u8]>) -> Result<()> {
    atomic::write(dir, TEMP, content, 0o600)?;
    let file = dir.path_of(TEMP);
    let file = file.to_string_lossy();
    let ask = |arguments: &[&str]| {
        Program::new(program, arguments, LIMIT, "run it again").output(Output::Text(MAX_TEXT)).end()
    };
    if name.ends_with(".pub") {
        let read = ask(&["-l", "-f", &file])?;
        return if read.status.success() { Ok(()) } else { Err(bad(name, &read.reason())) };
    }
    let derived = ask(&["-y", "-P", "", "-f", &file])?;
    if !derived.status.success() {
        // A key with a passphrase shows its public half alone.
        let is_locked = derived.words.contains("passphrase") && ask(&["-l", "-f", &file])?.status.success();
        return if is_locked { Ok(()) } else { Err(bad(name, &derived.reason())) };
    }
    // Kind and key; the comment is anybody's.
    let halves = |text: &[u8]| -> Vec<Vec<u8>> {
        text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).take(2).map(<[u8]>::to_vec).collect()
    };
    match public {
        Some(public) if halves(public) != halves(&derived.text) => Err(bad(name, "its public half is another key's")),
        _ => Ok(()),
    }
}

fn bad(name: &str, why: &str) -> Error {
    Error::Refused { why: format!("the key {name} in the file is damaged: {why}"), next: NEXT.to_owned() }
}
