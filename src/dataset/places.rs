//! Where datasets, `undo/` and snapshots may lie (SPEC 2): real directories of one filesystem, none inside or equal to
//! another, nothing mounted on or below them. They are exchanged by renaming, and what is replaced is removed: a mount would
//! wander off with its directory, a dataset inside another would be taken for that one's files.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind, split};
use crate::os::mount;

const APART: &str = "give each a directory of its own in /etc/default/toolmaster";

/// A place as the setting names it and as the system does, without links.
struct Place<'a> {
    name: &'a str,
    path: PathBuf,
    /// The filesystem that it is on, or will be made on.
    dev: u64,
}

/// Refuses places that no run may work with. A place that does not exist yet is judged by where it would be made. Nothing
/// is changed.
///
/// # Errors
/// `Config`; `Io`.
pub fn check_places(places: &[(&str, &Path)]) -> Result<()> {
    let places: Vec<Place> = places.iter().map(|(name, path)| real(name, path)).collect::<Result<_>>()?;
    apart(&places)?;
    let points: Vec<PathBuf> = mount::points()?.into_iter().filter(|point| is_seen(point)).collect();
    for place in &places {
        if let Some(point) = points.iter().find(|point| point.starts_with(&place.path)) {
            return Err(Error::Config {
                why: format!("something is mounted at {}, which {} must not have", point.display(), shown(place)),
                next: "unmount it; what is to be shown there has its place beside the server's directories",
            });
        }
    }
    let Some((first, others)) = places.split_first() else { return Ok(()) };
    let mount = mount_of(&first.path, &points);
    match others.iter().find(|other| other.dev != first.dev || mount_of(&other.path, &points) != mount) {
        Some(other) => Err(Error::Config {
            why: format!("{} does not lie on the filesystem of {}", shown(other), shown(first)),
            next: "put both on one filesystem: directories can't be exchanged between two",
        }),
        None => Ok(()),
    }
}

/// Finds the real directory, or where it would be made.
fn real<'a>(name: &'a str, path: &Path) -> Result<Place<'a>> {
    let not_real = || Error::Config {
        why: format!("{name} ({}) is not a real directory", path.display()),
        next: "put a real directory there, no link and no file",
    };
    let (parent, last) = split(path).ok_or_else(not_real)?;
    let (above, rest) = existing(parent)?;
    let dir = Dir::open(&above)?;
    let entry = if rest.as_os_str().is_empty() { dir.look(last)? } else { None };
    match entry {
        Some(Entry { kind: Kind::Dir, .. }) | None => {}
        Some(_) => return Err(not_real()),
    }
    let dev = entry.map_or_else(|| dir.entry(), Ok)?.dev;
    Ok(Place { name, path: above.join(rest).join(path.file_name().unwrap_or_default()), dev })
}

/// The deepest directory of a path that there is, without links, and what is missing below it.
fn existing(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match there {
        Some((above, real)) => Ok((real, path.strip_prefix(above).unwrap_or(path).to_owned())),
        None => Err(Error::io("look at", path, std::io::Error::from(std::io::ErrorKind::NotFound))),
    }
}

/// *Pure.* Refuses two places of which one is the other or lies inside it.
fn apart(places: &[Place]) -> Result<()> {
    for (index, one) in places.iter().enumerate() {
        for other in places.iter().take(index) {
            let why = if one.path == other.path {
                format!("{} and {} are one directory", shown(other), shown(one))
            } else if one.path.starts_with(&other.path) {
                format!("{} lies inside {}", shown(one), shown(other))
            } else if other.path.starts_with(&one.path) {
                format!("{} lies inside {}", shown(other), shown(one))
            } else {
                continue;
            };
            return Err(Error::Config { why, next: APART });
        }
    }
    Ok(())
}

/// *Pure.* The mount point that a path is under.
fn mount_of<'a>(path: &Path, points: &'a [PathBuf]) -> Option<&'a Path> {
    points
        .iter()
        .filter(|point| path.starts_with(point))
        .max_by_key(|point| point.as_os_str().len())
        .map(PathBuf::as_path)
}

/// Whether a mount can be seen: one that a later mount covers is on the system's list as well. What can't be looked at
/// counts as seen.
fn is_seen(point: &Path) -> bool {
    let Some((parent, name)) = split(point) else { return true };
    let look = || Dir::open_if_there(parent)?.map_or(Ok(None), |dir| dir.look(name));
    look().map_or(true, |entry: Option<Entry>| entry.is_some_and(|entry| entry.mount_root))
}

fn shown(place: &Place) -> String {
    format!("{} ({})", place.name, place.path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(paths: &[&str]) -> Option<String> {
        let places: Vec<Place> =
            paths.iter().map(|path| Place { name: "P", path: PathBuf::from(path), dev: 1 }).collect();
        apart(&places).err().map(|error| {
            assert_eq!(error.exit_code(), 78);
            error.to_string()
        })
    }

    #[test]
    fn none_is_inside_another() {
        for fine in [
            &["/srv/master", "/srv/docviewer", "/srv/undo", "/srv/snapshots", "/srv/.toolmaster"][..],
            &["/srv/a", "/srv/ab", "/srv/a-b"],
            &["/a", "/b/a"],
            &["/srv/master"],
            &[],
        ] {
            assert_eq!(refused(fine), None, "{fine:?}");
        }
        for (paths, what) in [
            (["/srv/a", "/srv/a"], "are one directory"),
            (["/srv/a", "/srv/a/b"], "P (/srv/a/b) lies inside P (/srv/a)"),
            (["/srv/a/b/c", "/srv/a"], "P (/srv/a/b/c) lies inside P (/srv/a)"),
            (["/srv/.toolmaster", "/srv"], "P (/srv/.toolmaster) lies inside P (/srv)"),
            (["/srv/.toolmaster", "/srv/.toolmaster/docs"], "lies inside P (/srv/.toolmaster)"),
        ] {
            assert!(refused(&paths).is_some_and(|text| text.contains(what)), "{paths:?}");
        }
    }

    #[test]
    fn the_deepest_mount_point_counts() {
        let points = ["/", "/srv", "/srv/data", "/srv/database"].map(PathBuf::from);
        for (path, point) in [
            ("/opt/master", "/"),
            ("/srv/master", "/srv"),
            ("/srv/data/master", "/srv/data"),
            ("/srv/database/x", "/srv/database"),
            ("/srv/data2/x", "/srv"),
        ] {
            assert_eq!(mount_of(Path::new(path), &points), Some(Path::new(point)), "{path}");
        }
    }

    #[test]
    fn links_and_files_are_refused_and_ways_to_one_place_are_seen_through() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("root/master")).unwrap();
        std::fs::write(at("root/file"), "").unwrap();
        std::os::unix::fs::symlink("root", at("way")).unwrap();
        std::os::unix::fs::symlink("master", at("root/link")).unwrap();
        let check = |one: &str, other: &str| check_places(&[("A", &at(one)), ("B", &at(other))]);
        check("root/master", "way/docviewer").unwrap();
        check("root/not/yet", "root/not/there").unwrap();
        for (one, other) in [
            ("root/master", "way/master"),
            ("root/master", "way/master/docs/deep"),
            ("root/new", "way/new"),
            ("root/master", "root/link"),
            ("root/file", "root/master"),
        ] {
            assert_eq!(check(one, other).unwrap_err().exit_code(), 78, "{one} {other}");
        }
    }
}
