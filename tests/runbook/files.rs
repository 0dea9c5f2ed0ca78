//! Which paths there are on a Pi: the package's files, what tmpfiles and `provision` make, what runs make, and what is
//! others'.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::Server;
use crate::{read, root};

/// What runs make: the path, the source that says so, and the words there.
const MADE_BY_RUNS: &[(&str, &str, &str)] = &[
    ("/srv/rpi-server/undo", "src/dataset/server.rs", "b\"undo\""),
    ("/srv/rpi-server/undo/<time>", "src/dataset/undo.rs", "clock.dir_names()"),
    ("/srv/rpi-server/undo/<time>/master", "src/dataset/mod.rs", "\"master\""),
    ("/srv/rpi-server/undo/<time>/master/<file>", "src/dataset/mod.rs", "\"master\""),
    ("/srv/rpi-server/master/<file>", "src/dataset/mod.rs", "\"master\""),
    ("/srv/rpi-server/snapshots/<time>", "src/snapshot/generation.rs", "clock.dir_names()"),
    ("/srv/rpi-server/snapshots/latest", "src/snapshot/generation.rs", "b\"latest\""),
    ("/srv/rpi-server/snapshots/latest/db/pg_dump.sql", "src/snapshot/part.rs", "b\"pg_dump.sql\""),
    ("/srv/rpi-server/logs/usb_ingest.log", "src/lib.rs", "\"usb_ingest.log\""),
    ("/srv/rpi-server/logs/usb_dist_export.log", "src/lib.rs", "\"usb_dist_export.log\""),
    ("/srv/rpi-server/logs/usb_dist_sync.log", "src/lib.rs", "\"usb_dist_sync.log\""),
    ("/srv/rpi-server/logs/usb_backup.log", "src/lib.rs", "\"usb_backup.log\""),
    ("/srv/rpi-server/logs/snapshot.log", "src/lib.rs", "\"snapshot.log\""),
    ("/srv/rpi-server/logs/usb_guard.log", "src/report.rs", "\"usb_guard.log\""),
    ("/srv/rpi-server/logs/jobs.jsonl", "src/os/jobs.rs", "\"jobs.jsonl\""),
    ("/run/toolmaster-page", "systemd/toolmaster-page.service", "\nRuntimeDirectory=toolmaster-page\n"),
    ("/run/toolmaster-page/index.html", "src/cmd/status.rs", "\"/run/toolmaster-page/index.html\""),
    ("/mnt/backup/<date>_full.tar.zst", "src/snapshot/shelf.rs", "\"_full.tar.zst\""),
    ("/srv/rpi-server/.toolmaster/enroll-key", "src/stick/enroll.rs", "b\"enroll-key\""),
    ("/opt/toolmaster/master", "src/settings.rs", "\"/opt/toolmaster/master\""),
    ("/opt/toolmaster/docviewer", "src/settings.rs", "\"/opt/toolmaster/docviewer\""),
    ("/srv/rpi-server/logs/mirror_status.log", "src/mirror/record.rs", "\"mirror_status.log\""),
    ("/var/lib/mirror/ok_counter", "src/settings/mirror.rs", "status_dir.join(\"ok_counter\")"),
    ("/etc/mirrorctl/config.json", "src/cmd/provision.rs", "\"config.json\", mode, owner"),
    ("/boot/firmware/toolmaster.json", "src/cmd/site.rs", "\"/boot/firmware/toolmaster.json\""),
    ("/srv/rpi-server/restored-settings", "src/cmd/recovery/settings.rs", "\"restored-settings\""),
    ("/root/.ssh/id_ed25519", "src/cmd/pi_zero_key.rs", "\"id_ed25519\""),
    ("/root/.ssh/id_ed25519.pub", "src/cmd/pi_zero_key.rs", "\"id_ed25519.pub\""),
    // On a stick.
    ("/.toolmaster/role", "src/stick/control.rs", "b\"role\""),
    ("/.toolmaster/manifest.json", "src/stick/control.rs", "b\"manifest.json\""),
    ("/.toolmaster/server", "src/stick/chain/tools.rs", "b\"server\""),
];

/// What is not ours, and why the handbook may name it.
const OTHERS: &[(&str, &str)] = &[
    ("/", "the root of the system"),
    ("/dev/<device>", "the kernel's name of a stick"),
    ("/tmp/<name>", "a place that the operator makes up"),
    ("/etc/toolmaster/notify.d/10-tell", "a name that the page makes up for a site's own program"),
    ("/etc/onsitelogistics/config.json", "on the Pi Zero: src/settings/mirror.rs, config_path"),
    ("/boot/firmware", "the image's first partition"),
    ("/sys/class/leds", "the kernel's lights"),
    ("/srv", "the image's data partition"),
    ("/srv/docker", "the image's place for Docker's things"),
    ("/var/lib/docker", "Docker's own place"),
    ("/var/lib/docker/volumes/postgres-data/_data", "Docker's own place for the database"),
    ("/etc/systemd/system", "systemd's place for units that were put there by hand"),
    ("/etc/udev/rules.d", "udev's place for rules that were put there by hand"),
];

/// A path that there is, its mode and owner where they are known.
#[derive(Clone, Debug)]
pub struct Known {
    path: String,
    pub mode: Option<u32>,
    pub owner: Option<String>,
}

/// All of them.
pub struct Files(Vec<Known>);

impl Files {
    pub fn collect() -> Files {
        let mut all = package();
        all.extend(tmpfiles());
        all.extend(provisioned());
        for (path, source, words) in MADE_BY_RUNS {
            assert!(read(source).contains(words), "{source} no longer says {words}, which {path} is from");
            all.push(Known { path: (*path).to_owned(), mode: None, owner: None });
        }
        all.extend(OTHERS.iter().map(|(path, _)| Known { path: (*path).to_owned(), mode: None, owner: None }));
        // What the handbook puts there by hand is what the package would bring.
        for (from, by_hand) in
            [("/usr/lib/systemd/system/", "/etc/systemd/system/"), ("/usr/lib/udev/rules.d/", "/etc/udev/rules.d/")]
        {
            let moved = |known: &Known| Some(Known { path: known.path.replacen(from, by_hand, 1), ..known.clone() });
            let found: Vec<Known> = all.iter().filter(|known| known.path.starts_with(from)).filter_map(moved).collect();
            all.extend(found);
        }
        Files(all)
    }

    /// The paths that a path of the handbook, which may hold `*`, stands for.
    pub fn find(&self, path: &str) -> Vec<&Known> {
        let path = if path == "/" { path } else { path.trim_end_matches('/') };
        self.0.iter().filter(|known| is_same(&known.path, path)).collect()
    }
}

fn is_same(known: &str, path: &str) -> bool {
    let (known, path): (Vec<&str>, Vec<&str>) = (known.split('/').collect(), path.split('/').collect());
    known.len() == path.len() && known.iter().zip(&path).all(|(known, part)| part_fits(known, part))
}

fn part_fits(known: &str, part: &str) -> bool {
    let digits = |text: &str, form: &str| {
        text.len() == form.len()
            && text.chars().zip(form.chars()).all(|(c, f)| if f == '0' { c.is_ascii_digit() } else { c == f })
    };
    let is_date = |text: &str| text == "YYYY-MM-DD" || digits(text, "0000-00-00");
    match known {
        "<time>" => matches!(part, "日時" | "YYYY-MM-DD_HHMMSS") || digits(part, "0000-00-00_000000"),
        "<device>" => {
            let name = part.strip_prefix("sd").unwrap_or_default();
            matches!(name.as_bytes(), [b'a'..=b'z' | b'X'] | [b'a'..=b'z' | b'X', b'1'..=b'9'])
        }
        "<file>" | "<name>" => !part.is_empty(),
        _ => match known.strip_prefix("<date>") {
            Some(rest) => part.strip_suffix(rest).is_some_and(is_date),
            None => glob(part, known),
        },
    }
}

/// Whether a name is what a pattern with stars says.
pub fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| glob(after, &rest[at..]))
        }),
    }
}

/// The files of the repository that a path with stars in its last part means.
pub fn in_repository(path: &str) -> Vec<String> {
    let (directory, pattern) = path.rsplit_once('/').unwrap_or((".", path));
    let Ok(entries) = fs::read_dir(root().join(directory)) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = names.filter(|name| glob(pattern, name)).collect();
    found.sort();
    found
}

/// `assets` of the package, in Cargo.toml.
fn package() -> Vec<Known> {
    let manifest = read("Cargo.toml");
    let assets = manifest.split("\nassets = [\n").nth(1).unwrap().split("\n]").next().unwrap();
    let mut files = Vec::new();
    for line in assets.lines() {
        let fields: Vec<&str> = line.split('"').collect();
        let [_, from, _, to, _, mode, _] = fields[..] else { panic!("no asset: {line}") };
        let names = match from {
            "target/release/toolmaster" => vec!["toolmaster".to_owned()],
            "target/package/bin/*" => links(),
            _ => in_repository(from),
        };
        assert!(!names.is_empty(), "Cargo.toml: {from} is nowhere");
        let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode != 0o777);
        let owner = Some("root".to_owned());
        for name in names {
            let path = if to.ends_with('/') { format!("/{to}{name}") } else { format!("/{to}") };
            let parents = Path::new(&path).ancestors().skip(1).map(|dir| dir.to_str().unwrap().to_owned());
            files.extend(parents.enumerate().filter_map(|(level, path)| {
                // What of Debian's own directories is, is not our doing.
                let ours = path.contains("toolmaster").then(|| (Some(0o755), owner.clone()));
                let (mode, owner) = if level == 0 { ours.unwrap_or_default() } else { ours? };
                Some(Known { path, mode, owner })
            }));
            files.push(Known { path, mode, owner: owner.clone() });
        }
    }
    assert!(files.len() > 20, "{files:?}");
    files
}

/// The links that scripts/package makes.
fn links() -> Vec<String> {
    let script = read("scripts/package");
    let loops = |name: &str| {
        let start = format!("for {name} in ");
        let words = script.lines().find_map(|line| line.strip_prefix(&*start)?.strip_suffix("; do")).unwrap();
        words.split(' ').map(str::to_owned).collect::<Vec<String>>()
    };
    loops("shim").iter().flat_map(|shims| in_repository(shims)).chain(loops("name")).collect()
}

/// tmpfiles.d(5): `d /path mode user group age`.
fn tmpfiles() -> Vec<Known> {
    let text = read("config/toolmaster.tmpfiles");
    let lines = text.lines().filter(|line| line.starts_with("d "));
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let mode = u32::from_str_radix(fields[2], 8).ok();
            let owner =
                if fields[3] == fields[4] { fields[3].to_owned() } else { format!("{}:{}", fields[3], fields[4]) };
            Known { path: fields[1].to_owned(), mode, owner: Some(owner) }
        })
        .collect()
}

/// What `provision` makes on a new machine, by running it. The samples, which it copies from the package, are not here.
fn provisioned() -> Vec<Known> {
    let server = Server::new();
    server.call(&["provision"]).finish().ended(0);
    let mut found =
        vec![Known { path: "/srv/rpi-server".to_owned(), mode: Some(0o755), owner: Some("root".to_owned()) }];
    list(&server.path(""), "/srv/rpi-server", &mut found);
    for etc in ["/etc/toolmaster", "/etc/mirrorctl"] {
        found.push(known(Path::new(etc), etc.to_owned()));
        list(Path::new(etc), etc, &mut found);
    }
    found.extend(samples());
    found
}

/// `SAMPLES` of the source: the package's file, its name in the server's root, its mode.
fn samples() -> Vec<Known> {
    let source = read("src/cmd/provision.rs");
    let table = source.split("const SAMPLES: ").nth(1).unwrap().split("];").next().unwrap();
    let rows: Vec<&str> = table.lines().map(str::trim).filter(|line| line.starts_with("(\"")).collect();
    assert!(!rows.is_empty(), "{table}");
    let known = |row: &&str| {
        let [_, _, _, name, mode] = row.split('"').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let mode = u32::from_str_radix(mode.trim_start_matches(", 0o").trim_end_matches([')', ',']), 8).unwrap();
        let owner = Some("root".to_owned());
        Known { path: format!("/srv/rpi-server/{name}"), mode: Some(mode), owner }
    };
    rows.iter().map(known).collect()
}

fn list(directory: &Path, shown: &str, found: &mut Vec<Known>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let shown = format!("{shown}/{}", path.file_name().unwrap().to_str().unwrap());
        found.push(known(&path, shown.clone()));
        if path.is_dir() {
            list(&path, &shown, found);
        }
    }
}

fn known(path: &Path, shown: String) -> Known {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).unwrap();
    let named = format!(":{}:", metadata.gid());
    let groups = fs::read_to_string("/etc/group").unwrap();
    let group = groups.lines().find(|line| line.contains(&named)).and_then(|line| line.split(':').next());
    let owner = match (metadata.uid(), metadata.gid()) {
        (0, 0) => Some("root".to_owned()),
        (0, _) => group.map(|group| format!("root:{group}")),
        _ => None,
    };
    Known { path: shown, mode: Some(metadata.permissions().mode() & 0o7777), owner }
}
