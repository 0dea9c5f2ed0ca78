//! `provision`: makes a machine a server, step by step, each only where it is not done yet (SPEC 6, 10). Run at every boot
//! by a unit; the marker that the server's other units ask for comes last, so that a power cut in between leaves a machine
//! that does nothing yet and goes on at its next start.

mod container;
mod port;
mod twin;

use std::path::Path;

use argh::FromArgs;
use log::{info, warn};

use super::{Env, pi_zero_key};
use crate::database::own::PASSWORD_FILE;
use crate::dataset::server::{PROVISIONED, Server};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, split, temp_name};
use crate::os::{atomic, eeprom, mount, random};

/// Where the package keeps what is copied to the server.
const SHARE: &str = "/usr/share/toolmaster";
/// Says that this machine is a server: its unit provisions it.
const SERVER_MARK: &str = "server";
const ETC: &str = "/etc/toolmaster";
const MIRROR: &str = "/etc/mirrorctl";
/// Who may read the mirror's settings.
const GROUP: &str = "toolmaster";
/// Who may read the system's logs, ours too.
const LOG_GROUP: &str = "adm";
/// Files of [`SHARE`] that belong into the server's root, their names there and modes. None holds a secret.
const SAMPLES: [(&str, &str, u32); 3] = [
    ("docker-compose.yml", "docker-compose.yml", 0o644),
    ("env.example", ".env.example", 0o644),
    ("env.example", ".env", 0o600),
];

/// Make this machine a server: directories, database password, settings. Done again, it does what is missing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "provision")]
pub struct Args {
    /// take the database's container image, which comes with the system, into Docker's store instead
    #[argh(switch)]
    container: bool,
}

/// Carries it out.
///
/// # Errors
/// `Config` if the data disk is not mounted or is there twice, `Failed`, `Io`. What is done stays; the next run goes on from there.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    if args.container {
        container::load(Path::new(SHARE))?;
        return port::give_back();
    }
    if let Some(complaint) = eeprom::Boot::look().and_then(|boot| boot.complaint()) {
        warn!("{complaint}");
    }
    let root = &env.settings.server_root;
    check_data_disk(root)?;
    twin::check(root)?;
    make_dirs(env)?;
    let dir = Dir::open(root)?;
    for (sample, name, mode) in SAMPLES {
        copy_sample(sample, &dir, name, mode, None)?;
    }
    make_password()?;
    mirror_settings()?;
    // A server without it takes sticks all the same.
    match pi_zero_key::make() {
        Err(Error::Interrupted) => return Err(Error::Interrupted),
        Err(error) => warn!("{error}"),
        Ok(()) => {}
    }
    // Its id is made by opening it.
    let server = Server::open(&env.settings, false)?;
    if server.set_provisioned()? {
        info!("this machine is a server now: {}", root.join(".toolmaster").join(PROVISIONED).display());
    }
    Ok(())
}

/// Nothing is made on the system's disk in the place of a data disk that is not there.
fn check_data_disk(root: &Path) -> Result<()> {
    let fstab = std::fs::read_to_string("/etc/fstab").unwrap_or_default();
    let places = fstab.lines().filter(|line| !line.trim_start().starts_with('#'));
    for place in places.filter_map(|line| line.split_whitespace().nth(1)).map(Path::new) {
        if place != Path::new("/") && root.starts_with(place) && mount::mounted_at(place)?.is_none() {
            return Err(Error::Config {
                why: format!("{} is not mounted: the data disk is missing", place.display()),
                next: "connect it and start the system again",
            });
        }
    }
    Ok(())
}

fn make_dirs(env: &Env) -> Result<()> {
    let settings = &env.settings;
    let etc = Path::new(ETC);
    let modes = [
        (settings.server_root.as_path(), 0o755),
        (&settings.master_dir, 0o755),
        (&settings.doc_dir, 0o755),
        (&settings.snapshot_root, 0o700),
        (etc, 0o755),
        (Path::new(MIRROR), 0o755),
    ];
    for (path, mode) in modes {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        if Dir::open(parent)?.make_new(name.as_encoded_bytes(), mode)? {
            info!("made {}", path.display());
        }
    }
    make_log_dir(&settings.log_dir)?;
    put(&Dir::open(etc)?, SERVER_MARK, b"", 0o644, None)?;
    Ok(())
}

/// What is logged there (0640) belongs to the directory's group, so that its members need no sudo to read it. Made under
/// another name first: a cut leaves none that they can't read.
fn make_log_dir(path: &Path) -> Result<()> {
    let Some((parent, name)) = split(path) else { return Ok(()) };
    let dir = Dir::open(parent)?;
    if dir.look(name)?.is_some() {
        return Ok(());
    }
    let owner = system_group(LOG_GROUP).map(|group| (0, group));
    let temp = temp_name(name);
    dir.make(&temp, 0o755)?.set_owner_mode(owner, if owner.is_some() { 0o2755 } else { 0o755 })?;
    dir.rename_new(&temp, &dir, name)?;
    info!("made {}", path.display());
    Ok(())
}

/// Copies a file of the package where none is. Without the package there are no samples; then there is nothing to copy.
fn copy_sample(sample: &str, dir: &Dir, name: &str, mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    let path = Path::new(SHARE).join(sample);
    match std::fs::read(&path) {
        Ok(content) => put(dir, name, &content, mode, owner),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("read", &path, error)),
    }
}

/// The database's password: made once, never shown.
fn make_password() -> Result<()> {
    let path = Path::new(PASSWORD_FILE);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let password = format!("{}\n", random::id()?);
    put(&Dir::open(parent)?, &name.to_string_lossy(), password.as_bytes(), 0o600, None)
}

/// The mirror's settings hold passwords: for root, and for the group whose members run `mirrorctl status`.
pub fn mirror_settings() -> Result<()> {
    let group = system_group(GROUP);
    let mode = if group.is_some() { 0o640 } else { 0o600 };
    let owner = group.map(|group| (0, group));
    copy_sample("mirrorctl-config.sample.json", &Dir::made(Path::new(MIRROR))?, "config.json", mode, owner)
}

/// A group's number, where the system has it.
pub fn system_group(name: &str) -> Option<u32> {
    id_of(&std::fs::read_to_string("/etc/group").unwrap_or_default(), name)
}

/// The number in a name's line of group(5) or passwd(5): `name:password:number:…`.
pub fn id_of(lines: &str, name: &str) -> Option<u32> {
    lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split(':').nth(1)?.parse().ok())
}

/// Writes a file where none is, durably before it has its name. Whatever is there already is somebody's: it stays.
fn put(dir: &Dir, name: &str, content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    if dir.look(name.as_bytes())?.is_some() {
        return Ok(());
    }
    atomic::make(dir, name.as_bytes(), content, mode, owner)?;
    info!("made {}", dir.shown(name.as_bytes()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups() {
        let groups = "root:x:0:\ntoolmaster2:x:5:\ntoolmaster:x:977:pi,op\n";
        assert_eq!(id_of(groups, GROUP), Some(977));
        assert_eq!(id_of("", GROUP), None);
        assert_eq!(id_of("toolmaster:x:\n", GROUP), None);
    }
}
