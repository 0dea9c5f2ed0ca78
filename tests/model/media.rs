//! What lies on a medium, as a person sees it: files of the two datasets, droppings, the receipt. And sticks of each file
//! system that this kernel mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::mount::MountFlags;

use serde_json::Value;

use crate::common::stick::{Mounted, mkfs};
use crate::common::{Stick, Tree, tool};
use crate::steps::DATASETS;

/// A file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    pub content: String,
    pub mtime: i64,
}

/// A dataset's files, without meta.json and droppings.
pub type Files = BTreeMap<String, File>;

/// Names and contents alone.
pub fn contents(files: &Files) -> BTreeMap<String, String> {
    files.iter().map(|(path, file)| (path.clone(), file.content.clone())).collect()
}

/// A medium at one instant.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Nothing where the directory is missing.
    pub datasets: [Option<Files>; 2],
    /// Each dataset's meta.json, empty where there is none.
    pub metas: [String; 2],
    /// Droppings anywhere on it.
    pub droppings: BTreeMap<String, String>,
    pub receipt: String,
    pub has_role: bool,
    /// The latest time that a meta.json or a file gives.
    pub newest: i64,
    /// Names in its root that give consent, or that did.
    pub consents: BTreeSet<String>,
}

impl View {
    /// A dataset's files, none if it is missing.
    pub fn files(&self, dataset: usize) -> Files {
        self.datasets[dataset].clone().unwrap_or_default()
    }

    /// What is below a medium's root.
    pub fn of(root: &Path) -> View {
        let mut view = View {
            receipt: fs::read(root.join("RESULT.txt"))
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .unwrap_or_default(),
            has_role: root.join(".toolmaster/role").exists(),
            ..View::default()
        };
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.to_uppercase().starts_with("REPLACE") {
                view.consents.insert(name.clone());
            }
            let dataset = DATASETS.iter().position(|dataset| *dataset == name);
            if dataset.is_none() && !is_dropping(&name) {
                continue;
            }
            let mut files = Files::new();
            read_below(&entry.path(), &name, &mut |path, file| {
                // The program's own meta.json has the kernel's time, which is not the history's.
                let said = path.ends_with("/meta.json").then(|| updated_at(&file.content));
                view.newest = view.newest.max(said.unwrap_or(file.mtime));
                if is_dropping(path) {
                    view.droppings.insert(path.to_owned(), file.content);
                } else if let Some((_, below)) = path.split_once('/').filter(|(_, below)| *below != "meta.json") {
                    files.insert(below.to_owned(), file);
                }
            });
            if let Some(dataset) = dataset {
                view.metas[dataset] = fs::read_to_string(entry.path().join("meta.json")).unwrap_or_default();
                view.datasets[dataset] = Some(files);
            }
        }
        view
    }
}

fn updated_at(text: &str) -> i64 {
    let said: Value = serde_json::from_str(text).unwrap_or_default();
    said["updated_at"].as_i64().unwrap_or(0)
}

/// Whether a name on the way is one of [`crate::steps::DROPPINGS`].
pub fn is_dropping(path: &str) -> bool {
    path.split('/').any(|name| {
        let own = ["Thumbs.db", ".DS_Store", "@eaDir", "$RECYCLE.BIN", "System Volume Information"];
        own.contains(&name) || name.starts_with("._") || name.starts_with("~$") || name.starts_with(".~lock.")
    })
}

/// Every regular file below a directory, with its path that begins with `name`.
pub fn read_below(directory: &Path, name: &str, see: &mut impl FnMut(&str, File)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = format!("{name}/{}", entry.file_name().to_string_lossy());
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            read_below(&entry.path(), &path, see);
        } else if metadata.is_file() {
            let bytes = crate::common::tree::read_quietly(&entry.path());
            let content = String::from_utf8_lossy(&bytes).into_owned();
            see(&path, File { content, mtime: metadata.mtime() });
        }
    }
}

/// A file system that sticks may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Ext4,
    Fat16,
    Fat32,
    Exfat,
}

impl Kind {
    /// Those that this kernel mounts; ext4 is a must.
    pub fn all() -> Vec<Kind> {
        let known = fs::read_to_string("/proc/filesystems").unwrap();
        let has = |name: &str| known.lines().any(|line| line.trim() == name);
        let mut kinds = vec![Kind::Ext4];
        kinds.extend(has("vfat").then_some([Kind::Fat16, Kind::Fat32]).into_iter().flatten());
        kinds.extend(has("exfat").then_some(Kind::Exfat));
        kinds
    }

    fn make(self, image: &str, label: &str) {
        match self {
            Kind::Ext4 => mkfs(image, label),
            Kind::Fat16 => drop(tool("mkfs.vfat", &["-F", "16", "-n", label, image])),
            Kind::Fat32 => drop(tool("mkfs.vfat", &["-F", "32", "-s", "1", "-n", label, image])),
            Kind::Exfat => drop(tool("mkfs.exfat", &["-L", label, image])),
        }
    }

    /// The name by which it is mounted, and for looking only: nothing is written, not even a journal replay.
    fn mount(self, device: &str, looking: bool) -> Mounted {
        let flags = if looking { MountFlags::RDONLY } else { MountFlags::empty() };
        match self {
            Kind::Ext4 => Mounted::of_type("ext4", device, flags, if looking { "noload" } else { "" }),
            Kind::Fat16 | Kind::Fat32 => Mounted::of_type("vfat", device, flags, "tz=UTC"),
            Kind::Exfat => Mounted::of_type("exfat", device, flags, ""),
        }
    }
}

/// A stick in somebody's hand.
pub struct Port {
    pub stick: Stick,
    pub kind: Kind,
    /// It was pulled out while it was written to, and nobody has ejected it since.
    pub pulled: bool,
}

impl Port {
    /// A new one with a label and a role, else empty.
    pub fn new(kind: Kind, label: &str, role: &str) -> Port {
        let size = if kind == Kind::Fat32 { 40 } else { 16 };
        let stick = Stick::made(size, |image| kind.make(image, label));
        let port = Port { stick, kind, pulled: false };
        port.mounted(|root| {
            root.file(".toolmaster/role", format!("{role}\n"), crate::world::long_ago());
        });
        port
    }

    /// The same bytes on another medium.
    pub fn copy(&self) -> Port {
        Port { stick: self.stick.copy(), ..*self }
    }

    /// Changes what is on it as a PC does, which ends the doubt.
    pub fn edit<T>(&mut self, change: impl FnOnce(&Tree) -> T) -> T {
        self.pulled = false;
        self.mounted(change)
    }

    /// The same, but it is pulled out with all of it written and nothing ejected.
    pub fn edit_and_pull<T>(&mut self, change: impl FnOnce(&Tree) -> T) -> T {
        let place = self.kind.mount(self.stick.device(), false);
        let result = change(&Tree::at(place.0.path()));
        rustix::fs::syncfs(fs::File::open(place.0.path()).unwrap()).unwrap();
        let pulled = self.stick.copy();
        place.unmount();
        self.stick = pulled;
        self.pulled = true;
        result
    }

    /// What is on it. A medium that was pulled is looked at on a copy, since a journal has to be replayed for that.
    pub fn look(&self) -> View {
        if self.pulled {
            return Port { pulled: false, ..self.copy() }.mounted(|root| View::of(&root.path("")));
        }
        let place = self.kind.mount(self.stick.device(), true);
        let view = View::of(place.0.path());
        place.unmount();
        view
    }

    fn mounted<T>(&self, change: impl FnOnce(&Tree) -> T) -> T {
        let place = self.kind.mount(self.stick.device(), false);
        let result = change(&Tree::at(place.0.path()));
        place.unmount();
        result
    }
}
