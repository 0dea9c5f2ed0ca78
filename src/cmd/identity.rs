//! `export-identity` and `import-identity`: what makes a server this one and is in no backup, because it is secret. On a new machine
//! it spares what else is to be done anew: the enrolment of every stick, the Pi Zero's `authorized_keys`, the warnings of every
//! PC that knows the old server's ssh key.

mod check;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use argh::FromArgs;
use log::{info, warn};
use serde::{Deserialize, Serialize};

use super::{Env, pi_zero_key, recovery};
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::dir::{Dir, split, temp_name};
use crate::settings::STATE_DIR;
use crate::text::{hex, unhex};

/// What the file says of itself.
const FORMAT: &str = "toolmaster identity 2";
/// The same of the program's first version, which wrote no checksum.
const OLD_FORMAT: &str = "toolmaster identity 1";
/// No such file is longer, bytes.
const MAX: u64 = 1 << 20;
/// No key is longer, bytes.
const MAX_KEY: u64 = 64 * 1024;
/// What sshd makes at its first start (ssh-keygen(1), `-A`).
const HOST_KEYS: [&str; 6] = [
    "ssh_host_ecdsa_key",
    "ssh_host_ecdsa_key.pub",
    "ssh_host_ed25519_key",
    "ssh_host_ed25519_key.pub",
    "ssh_host_rsa_key",
    "ssh_host_rsa_key.pub",
];
/// Of what an import replaces.
const BEFORE: &[u8] = b".before-import";

/// Write the server's id and keys to a new file, for a safe.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "export-identity")]
pub struct Export {
    /// the new file
    #[argh(positional)]
    file: PathBuf,
}

/// Give this server the id and the keys of the server that exported them.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "import-identity")]
pub struct Import {
    /// the file that "toolmaster export-identity" wrote
    #[argh(positional)]
    file: PathBuf,
}

/// The file: JSON, for which no order of its members counts.
#[derive(Serialize, Deserialize)]
struct Identity {
    format: String,
    server: String,
    /// By the names below, hexadecimal.
    keys: BTreeMap<String, String>,
    /// Of the id and the keys: `check::checksum`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sha256: Option<String>,
}

/// Where each key is, by its name in the file, and its mode.
fn places(env: &Env) -> Vec<(&'static str, PathBuf, u32)> {
    let mode = |name: &str| if name.ends_with(".pub") || name == "known_hosts" { 0o644 } else { 0o600 };
    let mut places = vec![("enroll-key", env.settings.server_root.join(STATE_DIR))];
    places.extend(HOST_KEYS.map(|name| (name, PathBuf::from("/etc/ssh"))));
    if let Some(ssh) = pi_zero_key::ssh_dir() {
        places.extend([pi_zero_key::KEY, pi_zero_key::PUBLIC, "known_hosts"].map(|name| (name, ssh.clone())));
    }
    places.into_iter().map(|(name, dir)| (name, dir, mode(name))).collect()
}

/// Writes the file, readable for root alone.
///
/// # Errors
/// `Refused` if something has that name, `Io`.
pub fn export(args: &Export, env: &Env) -> Result<()> {
    let server = Server::open(&env.settings, false)?;
    let (mut keys, mut contents) = (BTreeMap::new(), BTreeMap::new());
    for (name, dir, _) in places(env) {
        let Some(dir) = Dir::open_if_there(&dir)? else { continue };
        let Some((file, _)) = dir.read_if_there(name.as_bytes())? else { continue };
        let mut bytes = Vec::new();
        let read = file.take(MAX_KEY).read_to_end(&mut bytes);
        read.map_err(|source| Error::Unreadable { path: dir.shown(name.as_bytes()), source })?;
        keys.insert(name.to_owned(), hex(&bytes));
        contents.insert(name.to_owned(), bytes);
    }
    // What is broken here stays out of the safe: there it would be found when it is too late.
    check::keys(&contents).map_err(|error| match error {
        Error::Refused { why, .. } => Error::Failed {
            why: why.replace(" in the file", " of this server"),
            next: "make it anew; no file was written",
        },
        error => error,
    })?;
    let names: Vec<&str> = keys.keys().map(String::as_str).collect();
    let names = names.join(", ");
    let sha256 = Some(check::checksum(&server.id, &keys));
    let identity = Identity { format: FORMAT.to_owned(), server: server.id, keys, sha256 };
    let file = &args.file;
    let text = serde_json::to_string(&identity).map_err(|error| Error::io("write", file, error))?;
    write_new(file, format!("{text}\n").as_bytes())?;
    info!("the server's id and its keys ({names}) are in {}: whoever has it is this server", file.display());
    Ok(())
}

/// Nothing is written over, and a cut leaves nothing under the name.
fn write_new(path: &Path, content: &[u8]) -> Result<()> {
    let wrong = || Error::Usage(format!("{} is no file's name", path.display()));
    let (parent, name) = split(path).ok_or_else(wrong)?;
    let dir = Dir::open(parent)?;
    if dir.look(name)?.is_some() {
        let next = "give a name that is free; nothing was written".to_owned();
        return Err(Error::Refused { why: format!("{} is there already", path.display()), next });
    }
    // Not by `atomic::make`: that sets the mode, which FAT on a stick refuses.
    let temp = temp_name(name);
    dir.remove(&temp)?;
    let mut file = dir.create(&temp, 0o600)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.map_err(|error| Error::io("write", path, error))?;
    dir.rename_new(&temp, &dir, name)?;
    dir.sync()
}

/// Puts the keys where they belong and takes the id, once all of them are found sound. What is replaced stays beside it.
///
/// # Errors
/// `Refused` for another file, and on a server with another id that holds data; `Io`. Done again, it goes on.
pub fn import(args: &Import, env: &Env) -> Result<()> {
    let identity = read(&args.file)?;
    let contents = contents(&identity, &args.file, env)?;
    check::keys(&contents)?;
    let server = Server::open(&env.settings, false)?;
    if server.id != identity.server {
        recovery::refuse_held(&server, env)?;
    }
    for (name, dir, mode) in places(env) {
        let Some(content) = contents.get(name) else { continue };
        if put(&Dir::made(&dir)?, name.as_bytes(), content, mode)? {
            info!("put in its place: {}", dir.join(name).display());
        }
    }
    server.set_id(&identity.server)?;
    info!("this server is {} now; its ssh keys count from the next start on", identity.server);
    Ok(())
}

fn read(path: &Path) -> Result<Identity> {
    let mut text = Vec::new();
    let fail = |error| Error::io("read", path, error);
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX).read_to_end(&mut text).map_err(fail)?;
    let identity: Option<Identity> = serde_json::from_slice(&text).ok();
    identity
        .filter(|identity| [FORMAT, OLD_FORMAT].contains(&&*identity.format) && recovery::is_id(&identity.server))
        .ok_or_else(|| refused(path, "is not what \"toolmaster export-identity\" writes, or not whole"))
}

fn refused(path: &Path, why: &str) -> Error {
    let next = "use the file from the safe; nothing was changed".to_owned();
    Error::Refused { why: format!("{} {why}", path.display()), next }
}

/// The keys, if the file is as it was written.
fn contents(identity: &Identity, path: &Path, env: &Env) -> Result<BTreeMap<String, Vec<u8>>> {
    match &identity.sha256 {
        Some(sha256) if *sha256 == check::checksum(&identity.server, &identity.keys) => {}
        None if identity.format == OLD_FORMAT => {
            warn!("{} has no checksum: whether it is as it was written can't be told of all in it", path.display());
        }
        _ => return Err(refused(path, "is damaged: its checksum is wrong")),
    }
    let known = places(env);
    let mut contents = BTreeMap::new();
    for (name, digits) in &identity.keys {
        // root without a home has no place for some.
        let is_known = known.iter().any(|(known, ..)| known == name) || pi_zero_key::ssh_dir().is_none();
        match unhex(digits).filter(|_| is_known) {
            Some(content) => drop(contents.insert(name.clone(), content)),
            None => return Err(refused(path, "is damaged: one of its keys is none")),
        }
    }
    Ok(contents)
}

/// `false`: it was there already.
fn put(dir: &Dir, name: &[u8], content: &[u8], mode: u32) -> Result<bool> {
    if std::fs::read(dir.path_of(name)).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    atomic::keep(dir, name, BEFORE)?;
    atomic::write(dir, name, content, mode).map(|()| true)
}
