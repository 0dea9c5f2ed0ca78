//! `restore --list`: which snapshots and archives there are, and which files in them. Changes nothing.

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Value, json};

use super::{Args, checksum_beside, from_snapshot, named, read};
use crate::cmd::{Env, Report, open_stick};
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::flow::Once;
use crate::os::output::Lines;
use crate::snapshot::archive::{self, Checked, Pattern, Seen};
use crate::snapshot::generation::{self, MANIFEST};
use crate::snapshot::shelf;
use crate::stick::role::Role;
use crate::text::{Bytes, Shown};
use crate::tree::manifest::{Header, Reader};
use crate::tree::walk::{Step, Walk};

/// A snapshot or an archive.
struct Item {
    kind: &'static str,
    name: String,
    /// The first line of its manifest, if it has one.
    header: Option<Header>,
    /// Bytes: of an archive its own, of a snapshot those of its files.
    bytes: u64,
    /// What is known of its soundness, and why it is not sound.
    state: State,
    /// The files that are wanted.
    files: Vec<Wanted>,
}

enum State {
    /// It has a manifest, against which nothing was held yet.
    Unread,
    /// All of it was read, and is what its manifest says.
    Sound,
    /// It has none: nothing can prove it.
    Unproven,
    Damaged(String),
}

struct Wanted {
    path: Vec<u8>,
    size: u64,
    mtime: i64,
}

/// What a look into one came to.
struct Look {
    header: Option<Header>,
    files: Vec<Wanted>,
    bytes: u64,
}

/// Lists them.
///
/// # Errors
/// `NoSource` if there is none, or none with such a file; those of the stick; `Io`.
pub fn list(args: &Args, env: &Env, report: &mut Report) -> Result<()> {
    if args.dest.is_some() || args.pg_uri.is_some() {
        return Err(Error::Usage("--list restores nothing: it goes without --dest and --pg-uri".to_owned()));
    }
    let text = args.files.as_deref().or(args.only.as_deref());
    let pattern = text.map(Pattern::new);
    let mut lines = Lines::start();
    let mut all = Vec::new();
    let mut found = 0_usize;
    let mut show = |item: Item| {
        if pattern.is_some() && item.files.is_empty() && !matches!(item.state, State::Damaged(_)) {
            return Ok(());
        }
        found += if pattern.is_some() { item.files.len() } else { 1 };
        if args.json {
            all.push(to_json(&item, env));
            return Ok(());
        }
        to_text(&item, env).iter().try_for_each(|line| lines.line(line))
    };
    let looked = look(args, env, report, pattern.as_ref(), &mut show);
    if args.json && looked.is_ok() {
        lines.line(&Value::Array(all).to_string())?;
    }
    lines.end(looked)?;
    if found > 0 {
        return Ok(());
    }
    Err(match text {
        Some(text) => Error::NoSource {
            why: format!("no file {} is in any of them", Shown(text.as_bytes())),
            next: "try a part of its name: toolmaster restore --list '*NAME*'",
        },
        None => Error::NoSource {
            why: "there is nothing to restore from".to_owned(),
            next: "plug in a TM-BACKUP stick and name it with --device",
        },
    })
}

type Show<'a> = dyn FnMut(Item) -> Result<()> + 'a;

fn look(args: &Args, env: &Env, report: &mut Report, pattern: Option<&Pattern>, show: &mut Show<'_>) -> Result<()> {
    match (&args.device, &args.archive, &args.snapshot) {
        (Some(device), archive, None) => on_stick(args, env, (device, archive.as_deref(), report), pattern, show),
        (None, Some(archive), None) => {
            let open = || File::open(archive).map_err(|error| Error::io("open", archive, error));
            let bytes = open()?.metadata().map_or(0, |data| data.len());
            let check = || read(args, Once::new(open()?), archive, checksum_beside(archive)?, None);
            let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
            show(archive_item(name, bytes, into_archive(open()?, archive, pattern), args.check.then_some(&check))?)
        }
        (None, None, Some(snapshot)) => snapshot_item(args, env, &named(snapshot, env), pattern).and_then(show),
        (None, None, None) => on_server(args, env, pattern, show),
        _ => Err(Error::Usage("name one of --device, --archive and --snapshot, or none".to_owned())),
    }
}

fn on_stick(
    args: &Args,
    env: &Env,
    (device, archive, report): (&Path, Option<&Path>, &mut Report),
    pattern: Option<&Pattern>,
    show: &mut Show<'_>,
) -> Result<()> {
    let stick = open_stick(Some(device), Role::Backup, env, report)?;
    let mut work = || {
        let root = stick.root();
        let names = match archive {
            Some(name) => vec![name.to_string_lossy().into_owned()],
            None => shelf::list(root)?,
        };
        for name in names {
            let open = || root.read(name.as_bytes());
            let (file, entry) = open()?;
            let path = root.path_of(name.as_bytes());
            let check = || read(args, Once::new(open()?.0), &path, shelf::checksum(root, &name)?, None);
            let look = into_archive(file, &path, pattern);
            // What can't be read on a stick that was pulled is no fault of the archive.
            stick.check_present()?;
            show(archive_item(name.clone(), entry.size, look, args.check.then_some(&check))?)?;
        }
        stick.check_read()
    };
    let done = work();
    done.and(stick.release())
}

/// The snapshots, the newest last.
fn on_server(args: &Args, env: &Env, pattern: Option<&Pattern>, show: &mut Show<'_>) -> Result<()> {
    let server = Server::open(&env.settings, true)?;
    let mut places = vec![&env.settings.snapshot_root, &env.settings.snapshot_dir];
    places.dedup();
    for place in places {
        let Some(root) = server.snapshots(place)? else { continue };
        for generation in generation::list(&root)? {
            show(snapshot_item(args, env, &place.join(&generation.name), pattern)?)?;
        }
    }
    Ok(())
}

fn into_archive(file: impl Read + Send + 'static, path: &Path, pattern: Option<&Pattern>) -> Result<Look> {
    let mut look = Look { header: None, files: Vec::new(), bytes: 0 };
    let shown = Shown(path.as_os_str().as_encoded_bytes()).to_string();
    look.header = archive::list(file, &shown, |seen| match pattern {
        Some(pattern) => {
            look.files.extend(wanted(pattern, &seen));
            ControlFlow::Continue(())
        }
        None => ControlFlow::Break(()),
    })?;
    Ok(look)
}

fn wanted(pattern: &Pattern, seen: &Seen<'_>) -> Option<Wanted> {
    let Seen { path, size, mtime } = *seen;
    (pattern.is_all() || pattern.takes(path)).then(|| Wanted { path: path.to_vec(), size, mtime })
}

type Check<'a> = dyn Fn() -> Result<Checked> + 'a;

fn archive_item(name: String, bytes: u64, look: Result<Look>, check: Option<&Check<'_>>) -> Result<Item> {
    item("archive", name, look.map(|look| Look { bytes, ..look }), check)
}

fn snapshot_item(args: &Args, env: &Env, path: &Path, pattern: Option<&Pattern>) -> Result<Item> {
    let path = path.canonicalize().map_err(|error| Error::io("open", path, error))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let check = || from_snapshot(args, env, &path, None);
    item("snapshot", name, into_snapshot(&Dir::open(&path)?, pattern), args.check.then_some(&check))
}

/// What is damaged is told in the list, for the others are wanted all the more.
fn item(kind: &'static str, name: String, look: Result<Look>, check: Option<&Check<'_>>) -> Result<Item> {
    let checked = look.and_then(|look| check.map_or(Ok(()), |check| check().map(drop)).map(|()| look));
    let (look, state) = match checked {
        Ok(look) => {
            let is_proven = look.header.as_ref().is_some_and(|header| header.seq.is_some());
            let state = match (is_proven, check) {
                (false, _) => State::Unproven,
                (true, Some(_)) => State::Sound,
                (true, None) => State::Unread,
            };
            (look, state)
        }
        Err(error @ (Error::Refused { .. } | Error::Unreadable { .. })) => {
            (Look { header: None, files: Vec::new(), bytes: 0 }, State::Damaged(error.to_string()))
        }
        Err(error) => return Err(error),
    };
    Ok(Item { kind, name, header: look.header, bytes: look.bytes, state, files: look.files })
}

fn into_snapshot(dir: &Dir, pattern: Option<&Pattern>) -> Result<Look> {
    let mut look = Look { header: None, files: Vec::new(), bytes: 0 };
    let see = |look: &mut Look, seen: Seen<'_>| {
        look.bytes = look.bytes.saturating_add(seen.size);
        look.files.extend(pattern.and_then(|pattern| wanted(pattern, &seen)));
    };
    if let Some((file, _)) = dir.read_if_there(MANIFEST)? {
        let broken = |source| Error::Unreadable { path: dir.shown(MANIFEST), source };
        let mut reader = Reader::new(file).map_err(broken)?;
        while let Some(file) = reader.next_file().map_err(broken)? {
            see(&mut look, Seen { path: &file.path, size: file.size, mtime: file.mtime });
        }
        look.header = Some(reader.header().clone());
        return Ok(look);
    }
    let mut walk = Walk::new(Some(dir), None)?;
    while let Some(step) = walk.step()? {
        if let Step::File { left: Some(entry), .. } = step {
            see(&mut look, Seen { path: walk.path(), size: entry.size, mtime: entry.mtime });
        }
    }
    Ok(look)
}

/// When it was taken: as its manifest says, else as its name does.
fn taken(item: &Item, env: &Env) -> Option<i64> {
    let named = || {
        let name = item.name.strip_suffix("_full.tar.zst").unwrap_or(&item.name);
        env.clock.of_dir_name(name).or_else(|| env.clock.of_dir_name(&format!("{name}_000000")))
    };
    item.header.as_ref().and_then(|header| header.taken).or_else(named)
}

/// `archive   12  2026-01-31T02:30:00+09:00    1.2 GiB  2026-01-31_full.tar.zst  (server 0123…)`, and a line a file.
fn to_text(item: &Item, env: &Env) -> Vec<String> {
    let number = item.header.as_ref().and_then(|header| header.seq).map_or("-".to_owned(), |seq| seq.to_string());
    let time = taken(item, env).map_or("-".to_owned(), |time| env.clock.log_time(time));
    let server = item.header.as_ref().map_or("-", |header| &header.server);
    let note = match &item.state {
        State::Unread => String::new(),
        State::Sound => "  sound".to_owned(),
        State::Unproven => "  UNPROVEN: it has no manifest".to_owned(),
        State::Damaged(why) => format!("  NOT USABLE: {why}"),
    };
    let (kind, name, bytes) = (item.kind, Shown(item.name.as_bytes()), Bytes(item.bytes).to_string());
    let head = format!("{kind:<8} {number:>5}  {time:<25}  {bytes:>9}  {name}  {}{note}", Shown(server.as_bytes()));
    let files = item.files.iter().map(|file| {
        let (time, size) = (env.clock.log_time(file.mtime.div_euclid(1_000_000_000)), Bytes(file.size).to_string());
        format!("{:<14}  {time:<25}  {size:>9}  {}", "", Shown(&file.path))
    });
    std::iter::once(head).chain(files).collect()
}

fn to_json(item: &Item, env: &Env) -> Value {
    let (state, why) = match &item.state {
        State::Unread => ("unread", None),
        State::Sound => ("sound", None),
        State::Unproven => ("unproven", None),
        State::Damaged(why) => ("damaged", Some(why)),
    };
    let files: Vec<Value> = item
        .files
        .iter()
        .map(|file| json!({"path": String::from_utf8_lossy(&file.path), "bytes": file.size, "mtime_ns": file.mtime}))
        .collect();
    json!({
        "kind": item.kind,
        "name": item.name,
        "number": item.header.as_ref().and_then(|header| header.seq),
        "unix": taken(item, env),
        "server": item.header.as_ref().map(|header| &header.server),
        "bytes": item.bytes,
        "state": state,
        "why": why,
        "files": files,
    })
}
