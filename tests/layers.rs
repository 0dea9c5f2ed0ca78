//! The house rules of imports: modules use what lies below them, never what lies above or beside, and each external
//! crate stays behind the files named here.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};

/// From the top down. A module may use those in lower rows; those in the last row may use one another.
const LAYERS: [&[&str]; 8] = [
    &["cmd"],
    &["exchange"],
    &["report"],
    &["stick", "dataset", "snapshot", "mirror"],
    &["database"],
    &["tree"],
    &["os"],
    &["settings", "clock", "error", "text"],
];

/// Where a crate may be named: files, or directories with a slash at their end. Empty means everywhere.
const CRATES: [(&str, &[&str]); 11] = [
    ("argh", &["lib.rs", "cmd/"]),
    ("codec", &["snapshot/archive/"]),
    ("heapless", &["stick/"]),
    ("log", &[]),
    ("rustix", &["os/", "error.rs", "tree/copy.rs", "stick/chain.rs", "database/dump.rs", "cmd/stick/probe.rs"]),
    ("serde", &[]),
    ("serde_json", &[]),
    ("sha2", &["snapshot/archive/", "stick/enroll.rs", "tree/", "cmd/identity/"]),
    ("signal_hook", &["os/signal.rs"]),
    ("tar", &["snapshot/archive/header.rs"]),
    ("time", &["clock.rs"]),
];

#[test]
fn imports_point_down() {
    let wrong: Vec<String> = sources().iter().flat_map(|(file, text)| complaints(file, text)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_dependency_has_its_place() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("\n[").find_map(|section| section.strip_prefix("dependencies]")).unwrap();
    let mut names: Vec<String> =
        dependencies.lines().filter_map(|line| Some(line.split_once(" =")?.0.replace('-', "_"))).collect();
    names.sort();
    assert_eq!(names, CRATES.map(|(name, _)| name));
}

#[test]
fn the_rules_catch_what_they_forbid() {
    for (file, text) in [
        ("tree/walk.rs", "use crate::stick::Stick;"),
        ("dataset/decide.rs", "use crate::stick::Stick;"),
        ("cmd/stick.rs", "use crate::cmd::ingest;"),
        ("cmd/stick.rs", "use std::fs;\nuse super::ingest::each_of;"),
        ("cmd/stick.rs", "use std::fs;\nuse super::{Env, ingest};"),
        ("os/atomic.rs", "fn f() { crate::tree::walk(); }"),
        ("os/atomic.rs", "use crate::{\n    error::{Error, Result},\n    tree::walk,\n};"),
        ("error.rs", "use crate::os::signal;"),
        ("os/atomic.rs", "use crate::main;"),
        ("os/atomic.rs", "use super::super::tree;"),
        ("clock.rs", "use super::os;"),
        ("util.rs", "use std::fs;"),
        ("tree/plan.rs", "use rustix::fs;"),
        ("cmd/ingest.rs", "let now = time::OffsetDateTime::now_utc();"),
        ("lib.rs", "use sha2::Sha256;"),
    ] {
        assert_eq!(complaints(file, text).len(), 1, "{file}: {text}: {:?}", complaints(file, text));
    }
    for (file, text) in [
        ("lib.rs", "pub mod cmd;\nuse crate::cmd::ingest;"),
        ("cmd/ingest.rs", "use crate::{dataset::decide, error::Result, os::signal};"),
        ("cmd/ingest.rs", "use std::fs;\nuse super::{Env, replace};\nuse crate::cmd::Report;"),
        ("stick/probe/ext.rs", "use super::super::role;\nuse crate::stick::role;"),
        ("clock.rs", "use std::time::SystemTime;\nmod tests {\n    use super::*;\n}"),
        ("error.rs", "use crate::text::Shown; // not crate::os\n/// See [`crate::os`].\nfn f() {}"),
        ("os/mount.rs", "use rustix::mount;\nlet runtime::x = uptime::y;"),
    ] {
        assert_eq!(complaints(file, text), Vec::<String>::new());
    }
}

/// What is wrong with the imports of one file (named from `src/`).
fn complaints(file: &str, text: &str) -> Vec<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or("").to_owned() + "\n").collect();
    let own = file.split(['/', '.']).next().unwrap();
    let code = if is_below(file, "cmd/") && file.matches('/').count() == 1 {
        code.replace("\nuse super::", "\nuse crate::cmd::")
    } else {
        code
    };
    let mut wrong = Vec::new();
    if !matches!(own, "lib" | "main") && layer(own).is_none() {
        wrong.push(format!("src/{file}: belongs to no layer"));
    }
    for path in crate_paths(&code) {
        if !allowed(file, own, &path) {
            wrong.push(format!("src/{file}: must not use crate::{path}"));
        }
    }
    for line in code.lines().filter(|line| leaves_through_super(file, line)) {
        wrong.push(format!("src/{file}: write crate:: in: {}", line.trim()));
    }
    for (name, places) in CRATES {
        let here = places.is_empty() || places.iter().any(|place| file == *place || is_below(file, place));
        if !here && names_crate(&code, name) {
            wrong.push(format!("src/{file}: must not use the crate {name}"));
        }
    }
    wrong
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// Whether `file`, which belongs to the module `own`, may use `path` (two names at most, as in `os::signal`).
fn allowed(file: &str, own: &str, path: &str) -> bool {
    let (module, rest) = path.split_once("::").unwrap_or((path, ""));
    if own == "lib" {
        return true;
    }
    if module == own {
        let another_command = own == "cmd" && file != format!("cmd/{rest}.rs") && is_command(rest);
        return !another_command;
    }
    match (layer(own), layer(module)) {
        (Some(from), Some(to)) => from < to || (from == to && to == LAYERS.len() - 1),
        _ => false,
    }
}

/// The first two names of each path after `crate::`, groups resolved.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let module = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
        let within = &rest[module.len()..];
        match (rest.strip_prefix('{'), within.strip_prefix("::{")) {
            (Some(group), _) => paths.extend(members(group).map(two_names)),
            (None, Some(group)) => paths.extend(members(group).map(|name| two_names(&format!("{module}::{name}")))),
            (None, None) => paths.push(two_names(rest)),
        }
    }
    paths
}

/// The members of a `use` group whose opening brace has been taken.
fn members(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let mut end = group.len();
    let mut starts = vec![0];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                end = at;
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    let group = &group[..end];
    starts.into_iter().filter_map(move |start| group.get(start..)).map(str::trim_start).filter(|name| !name.is_empty())
}

fn two_names(path: &str) -> String {
    let end = path.find(|c: char| !is_name(c) && c != ':').unwrap_or(path.len());
    path[..end].split("::").filter(|name| !name.is_empty()).take(2).collect::<Vec<_>>().join("::")
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a chain of `super::` reaches the crate's root. An indented line is taken to be in an inner module.
fn leaves_through_super(file: &str, line: &str) -> bool {
    let depth = file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
    let inner = usize::from(line.starts_with(' '));
    line.contains(&"super::".repeat(depth + inner))
}

fn names_crate(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| !code[..at].ends_with(|c: char| is_name(c) || c == ':'))
}

fn is_below(file: &str, place: &str) -> bool {
    place.ends_with('/') && file.starts_with(place)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files in `cmd/` that are no command hold what commands share.
fn is_command(name: &str) -> bool {
    let file = root().join("src/cmd").join(name).with_extension("rs");
    fs::read_to_string(file).is_ok_and(|text| text.contains("FromArgs"))
}

/// All files of `src/`, named from there.
fn sources() -> Vec<(String, String)> {
    let top = root().join("src");
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![top.clone()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(&top).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(found.len() > 5, "src/ was not read");
    found
}
