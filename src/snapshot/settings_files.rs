//! The site's settings that a snapshot holds, so that a dead server can be replaced (SPEC 7). Secrets are not among
//! them: what only its owner may read stays out.

use std::path::{Path, PathBuf};

use log::warn;

use crate::error::Result;
use crate::os::dir::{Dir, Entry, Kind};
use crate::tree::manifest::path_order;
use crate::tree::walk::{Step, Walk};

/// No settings file is larger, bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// A file to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its path below `settings/`.
    pub path: Vec<u8>,
    /// The directory that it is in, and its name there.
    pub at: (PathBuf, Vec<u8>),
}

/// The settings that are there, in walk order: `etc/…` as below /etc, `server/…` as below the server's root.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn list(etc: &Path, server_root: &Path) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    single(&mut items, etc.join("default"), b"toolmaster", b"etc/default/")?;
    single(&mut items, etc.join("mirrorctl"), b"config.json", b"etc/mirrorctl/")?;
    for name in [&b".env"[..], b"docker-compose.yml"] {
        single(&mut items, server_root.to_owned(), name, b"server/")?;
    }
    if let Some(dir) = Dir::open_if_there(&etc.join("toolmaster"))? {
        let mut walk = Walk::new(Some(&dir), None)?;
        while let Some(step) = walk.step()? {
            if let (Step::File { left: Some(entry), .. }, Some(at)) = (step, walk.left())
                && wanted(&entry, &at.path_of(walk.name()))
            {
                let path = [b"etc/toolmaster/", walk.path()].concat();
                items.push(Item { path, at: (at.path().to_owned(), walk.name().to_vec()) });
            }
        }
    }
    items.sort_by(|a, b| path_order(&a.path, &b.path));
    Ok(items)
}

fn single(items: &mut Vec<Item>, dir: PathBuf, name: &[u8], prefix: &[u8]) -> Result<()> {
    let Some(open) = Dir::open_if_there(&dir)? else { return Ok(()) };
    if let Some(entry) = open.look(name)?
        && wanted(&entry, &open.path_of(name))
    {
        items.push(Item { path: [prefix, name].concat(), at: (dir, name.to_vec()) });
    }
    Ok(())
}

fn wanted(entry: &Entry, path: &Path) -> bool {
    if entry.kind != Kind::File || entry.mode & 0o077 == 0 {
        return false;
    }
    if entry.size > MAX_SIZE {
        warn!("{} is too large for a setting and not taken", path.display());
    }
    entry.size <= MAX_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_links_and_large_files_stay_out() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, size: usize, mode: u32| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, vec![b'x'; size]).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        put("etc/default/toolmaster", 1, 0o644);
        put("etc/mirrorctl/config.json", 1, 0o640);
        put("etc/toolmaster/postgres-password", 1, 0o600);
        put("etc/toolmaster/ingest.d/tell", 1, 0o755);
        put("etc/toolmaster/huge", 2 << 20, 0o644);
        put("srv/.env", 1, 0o600);
        put("srv/docker-compose.yml", 1, 0o644);
        std::os::unix::fs::symlink("/etc/shadow", root.path().join("etc/toolmaster/link")).unwrap();
        let items = list(&root.path().join("etc"), &root.path().join("srv")).unwrap();
        let paths: Vec<_> = items.iter().map(|item| String::from_utf8_lossy(&item.path).into_owned()).collect();
        assert_eq!(
            paths,
            [
                "etc/default/toolmaster",
                "etc/mirrorctl/config.json",
                "etc/toolmaster/ingest.d/tell",
                "server/docker-compose.yml"
            ]
        );
    }
}
