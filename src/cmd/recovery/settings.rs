//! The old server's settings. What is a plain setting of ours comes back by itself: the lines of `/etc/default/toolmaster` that
//! say how the jobs work, and the mirror's `config.json`. What would be executed (`ingest.d`, `notify.d`), what says where the data
//! lie or how the database is reached, and the containers' own files do not: they are the old machine's, and whoever
//! plugged in the stick may not be whoever wrote them. All of it lies in `restored-settings` of the server's root for the operator to look at.
//!
//! What is replaced stays beside it, with `.before-restore` at its end.

use std::io::Read;
use std::path::Path;

use log::{info, warn};

use crate::cmd::Env;
use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::dir::Dir;
use crate::settings::{Settings, env_file, mirror};
use crate::stick::enroll::Key;
use crate::text::Shown;
use crate::tree::walk::{Step, Walk};

/// In an archive, and where its settings lie afterwards, below the server's root.
const SETTINGS: &[u8] = b"settings";
const KEPT: &str = "restored-settings";
/// At the end of the name of what was replaced.
const BEFORE: &[u8] = b".before-restore";
const REQUIRE_ENROLLED: &str = "REQUIRE_ENROLLED";
/// The lines that come back.
const PLAIN: [&str; 17] = [
    "SNAPSHOT_RETENTION_DAYS",
    "BACKUP_RETENTION",
    "USB_MAX_RETRY",
    "LOG_MAX_BYTES",
    "LOG_RETENTION_DAYS",
    "USB_INGEST_LABEL",
    "USB_DIST_LABEL",
    "USB_BACKUP_LABEL",
    REQUIRE_ENROLLED,
    "LED_NAMES",
    "LED_BUZZER",
    "STATUS_SNAPSHOT_HOURS",
    "STATUS_BACKUP_DAYS",
    "STATUS_DRILL_DAYS",
    "STATUS_FREE_PERCENT",
    "STATUS_WEAR_PERCENT",
    "STATUS_MIRROR_NIGHTS",
];

/// Brings back what is staged of them, and keeps all of them in the server's root. Done again, it goes on where it was.
///
/// # Errors
/// `Io`. A file that can't be understood is a warning: the data matter more.
pub fn bring_back(env: &Env, staged: &Dir) -> Result<()> {
    let Some(settings) = staged.sub(SETTINGS)? else { return Ok(()) };
    if let Some(etc) = settings.sub(b"etc")? {
        if let Some(text) = read(&etc, b"default", b"toolmaster")? {
            defaults(env, &text)?;
        }
        if let Some(text) = read(&etc, b"mirrorctl", b"config.json")? {
            mirror_config(&text)?;
        }
    }
    let left: Vec<String> = others(&settings)?;
    let root = Dir::open(&env.settings.server_root)?;
    let mut names = (1..).map(|number| if number == 1 { KEPT.to_owned() } else { format!("{KEPT}-{number}") });
    let Some(name) = names.find(|name| root.look(name.as_bytes()).is_ok_and(|there| there.is_none())) else {
        return Ok(());
    };
    settings.set_owner_mode(None, 0o700)?;
    drop(settings);
    staged.rename_new(SETTINGS, &root, name.as_bytes())?;
    root.sync()?;
    let place = root.path_of(name.as_bytes());
    info!("the old server's settings lie in {}", place.display());
    if !left.is_empty() {
        warn!("not put in their place, look at them in {}: {}", place.display(), left.join(", "));
    }
    Ok(())
}

/// A file of the archive's settings; none that is larger than any of ours.
fn read(etc: &Dir, dir: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>> {
    let Some(dir) = etc.sub(dir)? else { return Ok(None) };
    let Some((file, entry)) = dir.read_if_there(name)? else { return Ok(None) };
    if entry.size > mirror::MAX as u64 {
        warn!("{} is too large for a setting and not brought back", dir.shown(name));
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(entry.size)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Unreadable { path: dir.shown(name), source })?;
    Ok(Some(bytes))
}

/// The plain lines of `/etc/default/toolmaster`; the rest of this machine's file stays.
fn defaults(env: &Env, old: &[u8]) -> Result<()> {
    let etc = Dir::made(Path::new("/etc/default"))?;
    let name = b"toolmaster";
    let (pairs, now) = match (env_file::parse(old), std::fs::read_to_string("/etc/default/toolmaster")) {
        (Ok(pairs), Ok(now)) => (pairs, now),
        (Ok(pairs), Err(error)) if error.kind() == std::io::ErrorKind::NotFound => (pairs, String::new()),
        (Err(why), _) => {
            warn!("the old /etc/default/toolmaster is not brought back: {why}");
            return Ok(());
        }
        (_, Err(error)) => return Err(Error::io("read", &etc.path_of(name), error)),
    };
    let mut text = now.clone();
    for (key, value) in pairs {
        let is_plain = PLAIN.contains(&key.as_str()) && is_understood(&key, &value);
        // Without the key that signed the sticks it would shut all of them out.
        if key == REQUIRE_ENROLLED && value == "1" && Key::read(&env.settings)?.is_none() {
            warn!("{REQUIRE_ENROLLED}=1 is not brought back: enroll the sticks anew, then set it");
        } else if is_plain
            && env_file::parse(text.as_bytes()).is_ok_and(|now| !now.contains(&(key.clone(), value.clone())))
        {
            text = env_file::with(&text, &key, &value);
            info!("/etc/default/toolmaster: {key}={value}");
        } else if !is_plain {
            warn!("/etc/default/toolmaster: {} stays as it is on this machine", Shown(key.as_bytes()));
        }
    }
    if text == now {
        return Ok(());
    }
    replace(&etc, name, text.as_bytes(), 0o644)
}

/// Whether the program takes the value, and both the shell's and systemd's reader see the same in it.
fn is_understood(key: &str, value: &str) -> bool {
    let plain = value.chars().all(|c| !c.is_control() && !matches!(c, '"' | '\'' | '\\' | '$' | '`'));
    plain && Settings::read(|name| (name == key).then(|| value.to_owned())).is_ok()
}

/// The mirror's configuration, whole.
fn mirror_config(old: &[u8]) -> Result<()> {
    if mirror::Mirror::parse(old, "config.json").is_err() {
        warn!("the old /etc/mirrorctl/config.json is not brought back: it can't be understood");
        return Ok(());
    }
    super::super::provision::mirror_settings()?;
    let dir = Dir::made(Path::new("/etc/mirrorctl"))?;
    let now = std::fs::read("/etc/mirrorctl/config.json").unwrap_or_default();
    if now == old {
        return Ok(());
    }
    replace(&dir, b"config.json", old, 0o600)?;
    info!("/etc/mirrorctl/config.json: as it was");
    Ok(())
}

/// Replaces a file and keeps what was there.
fn replace(dir: &Dir, name: &[u8], content: &[u8], mode: u32) -> Result<()> {
    if dir.look(name)?.is_none() {
        return atomic::write(dir, name, content, mode);
    }
    atomic::keep(dir, name, BEFORE)?;
    atomic::rewrite(dir, name, content)
}

/// What is left for the operator.
fn others(settings: &Dir) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut walk = Walk::new(Some(settings), None)?;
    while let Some(step) = walk.step()? {
        let ours = [&b"etc/default/toolmaster"[..], b"etc/mirrorctl/config.json", b"etc/toolmaster/server"];
        if matches!(step, Step::File { .. }) && !ours.contains(&walk.path()) {
            found.push(walk.shown());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that say where things are, or how the database is reached.
    const MACHINE_S: [&str; 8] = [
        "SERVER_MASTER_DIR",
        "SERVER_DOC_DIR",
        "USB_LOG_DIR",
        "PG_URI",
        "SERVER_ROOT",
        "SNAPSHOT_ROOT",
        "SNAPSHOT_DIR",
        "LED_DIR",
    ];

    #[test]
    fn each_setting_is_the_site_s_or_the_machine_s() {
        let sample = include_str!("../../../config/toolmaster.default");
        let lines = sample.lines().filter(|line| !line.contains("# ") && line.contains('='));
        let mut keys: Vec<&str> = lines.filter_map(|line| line.trim_start_matches('#').split('=').next()).collect();
        keys.sort_unstable();
        let mut known: Vec<&str> = PLAIN.into_iter().chain(MACHINE_S).collect();
        known.sort_unstable();
        assert_eq!(keys, known);
    }

    #[test]
    fn values_are_understood_or_stay_out() {
        for (key, value, good) in [
            ("BACKUP_RETENTION", "9", true),
            ("BACKUP_RETENTION", "many", false),
            ("LED_NAMES", "ACT PWR", true),
            ("LED_NAMES", "../x", false),
            ("USB_BACKUP_LABEL", "$(x)", false),
        ] {
            assert_eq!(is_understood(key, value), good, "{key}={value}");
        }
    }
}
