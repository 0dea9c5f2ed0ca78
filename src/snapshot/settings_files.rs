//! The site's settings that a snapshot holds, so that a dead server can be replaced (SPEC 7). Secrets are not among them: only what is listed here is taken,
//! not what its owner alone may read, and passwords in it are left out.

use std::io::Read;
use std::path::Path;

use log::{info, warn};

use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::settings::secrets;
use crate::text::Shown;
use crate::tree::manifest::path_order;
use crate::tree::walk::{Step, Walk};

/// No settings file is larger, bytes.
const MAX_SIZE: u64 = 1024 * 1024;
/// What is taken of `/etc/toolmaster`. What tells others (`notify.d`) holds their keys.
const TAKEN: [&[u8]; 4] = [b"ingest.d/", b"update.d/", b"backup.d/", b"site.applied"];
/// A file with one of these is a key, whoever may read it.
const KEYS: [&str; 2] = ["PRIVATE KEY-----", "AGE-SECRET-KEY-"];

/// What sites write themselves. In a program a password can stand in any form, so that somebody has to say that there is none.
const OWN: [&[u8]; 2] = [b"etc/toolmaster/ingest.d/", b"server/docker-compose.yml"];
/// How a file says so, in one of its first lines.
const NO_SECRETS: &str = "# toolmaster: no secrets";
const FIRST_LINES: usize = 10;

/// A file to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its path below `settings/`.
    pub path: Vec<u8>,
    /// What of it is no secret.
    pub content: Vec<u8>,
    /// Its last change, nanoseconds since 1970.
    pub mtime: i64,
}

/// The settings that are there, in walk order: `etc/…` as below /etc, `server/…` as below the server's root.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn list(etc: &Path, server_root: &Path) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    single(&mut items, &etc.join("default"), b"toolmaster", b"etc/default/")?;
    single(&mut items, &etc.join("mirrorctl"), b"config.json", b"etc/mirrorctl/")?;
    for name in [&b".env"[..], b"docker-compose.yml"] {
        single(&mut items, server_root, name, b"server/")?;
    }
    if let Some(dir) = Dir::open_if_there(&etc.join("toolmaster"))? {
        let mut walk = Walk::new(Some(&dir), None)?;
        while let Some(step) = walk.step()? {
            if let (Step::File { left: Some(entry), .. }, Some(at)) = (step, walk.left()) {
                if TAKEN.iter().any(|taken| walk.path().starts_with(taken)) {
                    items.extend(item(at, walk.name(), &entry, [b"etc/toolmaster/", walk.path()].concat())?);
                } else if !is_private(&entry) {
                    info!("{} is not in the snapshot", at.shown(walk.name()));
                }
            }
        }
    }
    items.sort_by(|a, b| path_order(&a.path, &b.path));
    Ok(items)
}

fn single(items: &mut Vec<Item>, dir: &Path, name: &[u8], prefix: &[u8]) -> Result<()> {
    let Some(dir) = Dir::open_if_there(dir)? else { return Ok(()) };
    if let Some(entry) = dir.look(name)? {
        items.extend(item(&dir, name, &entry, [prefix, name].concat())?);
    }
    Ok(())
}

fn is_private(entry: &Entry) -> bool {
    entry.kind != Kind::File || entry.mode & 0o077 == 0
}

/// What is taken of a file, if anything.
fn item(dir: &Dir, name: &[u8], entry: &Entry, path: Vec<u8>) -> Result<Option<Item>> {
    if is_private(entry) {
        return Ok(None);
    }
    if entry.size > MAX_SIZE {
        warn!("{} is too large for a setting and not taken", dir.shown(name));
        return Ok(None);
    }
    let (file, entry) = dir.read(name)?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_SIZE).read_to_end(&mut bytes);
    read.map_err(|source| Error::Unreadable { path: dir.shown(name), source })?;
    let text = String::from_utf8_lossy(&bytes);
    let is_own = OWN.iter().any(|own| path.starts_with(own));
    if is_own && !text.lines().take(FIRST_LINES).any(|line| line.contains(NO_SECRETS)) {
        info!("{} is not in the snapshot: no line \"{NO_SECRETS}\" is in it", dir.shown(name));
        return Ok(None);
    }
    let blanked = secrets::blanked(&text);
    let is_program = entry.mode & 0o111 != 0;
    if KEYS.iter().any(|key| text.contains(key)) || is_program && blanked != text {
        warn!("{} is not in the snapshot: it holds a password or a key", dir.shown(name));
        return Ok(None);
    }
    let content = if blanked == text {
        bytes
    } else {
        info!("{} is in the snapshot without its passwords", Shown(&path));
        blanked.into_bytes()
    };
    Ok(Some(Item { path, content, mtime: entry.mtime }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_links_and_large_files_stay_out() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str, mode: u32| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        put("etc/default/toolmaster", "PG_URI=postgresql://app:hunter2@h/d\nBACKUP_RETENTION=9\n", 0o644);
        put("etc/mirrorctl/config.json", "{\"mirror_db_uri\": \"postgresql://u:hunter2@h/d\", \"a\": 1}", 0o640);
        put("etc/toolmaster/postgres-password", "hunter2", 0o600);
        put("etc/toolmaster/ingest.d/tell", "#!/bin/sh\n# toolmaster: no secrets\n", 0o755);
        put("etc/toolmaster/ingest.d/pass", "#!/bin/sh\nsmbclient //nas/x -U user%hunter2\n", 0o755);
        put(
            "etc/toolmaster/ingest.d/call",
            "# toolmaster: no secrets\ncurl -H 'Authorization: Bearer hunter2' http://h",
            0o755,
        );
        put("etc/toolmaster/notify.d/chat", "curl https://chat.example/hooks/hunter2", 0o755);
        put("etc/toolmaster/backup.d/site.age", "age1public\n", 0o644);
        put("etc/toolmaster/backup.d/wrong.age", "AGE-SECRET-KEY-1HUNTER2\n", 0o644);
        put("etc/toolmaster/ingest.d/huge", &"x".repeat(2 << 20), 0o644);
        put("etc/toolmaster/notes", "hunter2", 0o644);
        put("srv/.env", "x", 0o600);
        put("srv/docker-compose.yml", "# toolmaster: no secrets\nPOSTGRES_PASSWORD: hunter2\n", 0o644);
        std::os::unix::fs::symlink("/etc/shadow", root.path().join("etc/toolmaster/ingest.d/link")).unwrap();
        let items = list(&root.path().join("etc"), &root.path().join("srv")).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found: Vec<_> = items.iter().map(|item| (text(&item.path), text(&item.content))).collect();
        let expected = [
            ("etc/default/toolmaster", "PG_URI=postgresql://app@h/d\nBACKUP_RETENTION=9\n"),
            ("etc/mirrorctl/config.json", "{\"mirror_db_uri\": \"postgresql://u@h/d\", \"a\": 1}"),
            ("etc/toolmaster/backup.d/site.age", "age1public\n"),
            ("etc/toolmaster/ingest.d/tell", "#!/bin/sh\n# toolmaster: no secrets\n"),
            ("server/docker-compose.yml", "# toolmaster: no secrets\nPOSTGRES_PASSWORD: \n"),
        ];
        assert_eq!(found, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
    }
}
