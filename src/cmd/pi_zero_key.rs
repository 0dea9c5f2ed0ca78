//! The key with which this server logs in to the Pi Zero: root's own, where `ssh` looks for it by itself (ssh(1), `~/.ssh`). Made once,
//! by `provision`; one that is there already, whoever made it, stays.

use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{info, warn};

use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::process::{self, Output, Program};
use crate::text::Shown;

/// The name that ssh tries for keys of this kind.
pub const KEY: &str = "id_ed25519";
/// Its public half.
pub const PUBLIC: &str = "id_ed25519.pub";
/// The names of other kinds that ssh tries, as far as machines make them.
const OTHERS: [&str; 3] = ["id_rsa", "id_ecdsa", "id_dsa"];
/// While it is being made.
const TEMP: &str = ".toolmaster-key.tmp";
const TEMP_PUBLIC: &str = ".toolmaster-key.tmp.pub";
const LIMIT: Duration = Duration::from_secs(60);
const NEXT: &str = "run it again; if it stays, make one by hand: sudo ssh-keygen -t ed25519";

/// Root's `.ssh`, as passwd(5) says: that is where ssh looks, whatever `$HOME` is. None where root has no home.
pub fn ssh_dir() -> Option<PathBuf> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let home = users.lines().find_map(|line| line.strip_prefix("root:")?.split(':').nth(4))?;
    Some(Path::new(home)).filter(|home| home.is_dir()).map(|home| home.join(".ssh"))
}

/// Makes it if root has no key yet, and tells its public half.
///
/// # Errors
/// `Failed`, `Io`, `Interrupted`. A crash leaves no half key under its name; a public half that is missing is made anew.
pub fn make() -> Result<()> {
    let (Some(path), Some(program)) = (ssh_dir(), process::find("ssh-keygen")) else { return Ok(()) };
    let (Some(home), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let dir = Dir::open(home)?.make(name.as_encoded_bytes(), 0o700)?;
    if OTHERS.iter().any(|name| dir.look(name.as_bytes()).is_ok_and(|there| there.is_some())) {
        info!("root has a key of its own for ssh in {}", path.display());
        return Ok(());
    }
    match dir.look(KEY.as_bytes())? {
        None if dir.look(PUBLIC.as_bytes())?.is_some() => {
            warn!("{} has no private half: it is left as it is", dir.path_of(PUBLIC.as_bytes()).display());
            return Ok(());
        }
        None => generate(&dir, &program)?,
        Some(Entry { kind: Kind::File, mode, .. }) if mode & 0o077 == 0 => {}
        Some(_) => {
            let key = dir.path_of(KEY.as_bytes());
            warn!("ssh does not use {}, because others may read it: sudo chmod 600 {0}", key.display());
            return Ok(());
        }
    }
    if dir.look(PUBLIC.as_bytes())?.is_none() {
        derive(&dir, &program)?;
    }
    let public = std::fs::read(dir.path_of(PUBLIC.as_bytes())).unwrap_or_default();
    info!("the key for the Pi Zero: {}", Shown(public.trim_ascii()));
    Ok(())
}

/// The private half gets its name first: without it the public one is of no use.
fn generate(dir: &Dir, program: &Path) -> Result<()> {
    for name in [TEMP, TEMP_PUBLIC] {
        dir.remove(name.as_bytes())?;
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let (comment, file) = (format!("toolmaster@{}", host.trim()), dir.path_of(TEMP.as_bytes()));
    let file = file.to_string_lossy();
    process::run(program, &["-q", "-t", "ed25519", "-N", "", "-C", &comment, "-f", &file], LIMIT, NEXT)?;
    for (temp, name) in [(TEMP, KEY), (TEMP_PUBLIC, PUBLIC)] {
        let (file, _) = dir.read(temp.as_bytes())?;
        file.sync_all().map_err(|error| Error::io("flush", &dir.path_of(temp.as_bytes()), error))?;
        dir.rename_new(temp.as_bytes(), dir, name.as_bytes())?;
    }
    dir.sync()?;
    info!("made {}", dir.path_of(KEY.as_bytes()).display());
    Ok(())
}

/// Makes the public half from the private one; not of a key with a passphrase.
fn derive(dir: &Dir, program: &Path) -> Result<()> {
    let file = dir.path_of(KEY.as_bytes());
    let file = file.to_string_lossy();
    let ended = Program::new(program, &["-y", "-P", "", "-f", &file], LIMIT, NEXT).output(Output::Text(4096)).end()?;
    if !ended.status.success() || ended.text.is_empty() {
        return Err(Error::Failed { why: format!("ssh-keygen can't read {file}: {}", ended.words), next: NEXT });
    }
    atomic::write(dir, PUBLIC.as_bytes(), &ended.text, 0o644)
}
