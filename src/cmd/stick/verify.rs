//! `toolmaster stick verify`: reads every file of a stick and compares it with the stick's manifest; of a BACKUP stick
//! every archive with its `.sha256` (SPEC 1, 6, 7).
//!
//! A stick without a manifest is the original system's or a new one: accepted as SPEC 6 says, with a warning that it was
//! only read. An incomplete or unsound manifest is none to rely on: refused.

use std::path::PathBuf;

use argh::FromArgs;
use log::{error, info, warn};

use super::{Env, Report, prove, record};
use crate::dataset::{Dataset, meta};
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::progress::Progress;
use crate::stick::chain::Stick;
use crate::stick::control;
use crate::stick::role::Role;
use crate::text::{Bytes, Shown, unhex};
use crate::tree::{copy, verify};

/// What an archive's name ends with.
const ARCHIVE: &[u8] = b"_full.tar.zst";
/// A line of `sha256sum` about an archive is shorter.
const MAX_SUM: u64 = 512;

/// Read every file of a stick and compare it with the stick's manifest. Changes nothing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "verify")]
pub struct Args {
    /// the stick's device, such as /dev/sda1
    #[argh(option)]
    device: PathBuf,
    /// INGEST, DIST or BACKUP; without it the label says it
    #[argh(option)]
    role: Option<Role>,
}

/// Carries it out.
///
/// # Errors
/// SPEC 3.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let mut report = Report::new("stick-verify");
    let result = prove(&args.device, args.role, env, &mut report).and_then(|stick| {
        let checked = match stick.role() {
            Role::Ingest | Role::Dist => datasets(&stick),
            Role::Backup => archives(&stick),
        };
        checked.and_then(|checked| say(&checked, stick.role())).and(stick.release())
    });
    record(report, env, result)?;
    info!("stick verify completed");
    Ok(())
}

/// What was checked.
struct Checked {
    files: u64,
    bytes: u64,
    bad: u64,
}

fn say(checked: &Checked, role: Role) -> Result<()> {
    let Checked { files, bytes, bad } = checked;
    if *bad == 0 {
        info!("{files} file(s), {} read: all in order", Bytes(*bytes));
        return Ok(());
    }
    let next = match role {
        Role::Ingest => "what was edited on a PC is no fault: ingest decides; the rest is damaged: use another stick",
        Role::Dist => "export to it again; if that comes back, use another stick",
        Role::Backup => "back up again, onto another stick",
    };
    Err(Error::Refused { why: format!("{bad} file(s) are not as they were written"), next: next.to_owned() })
}

/// Both datasets, in walk order.
fn names() -> [&'static str; 2] {
    let mut names = Dataset::ALL.map(Dataset::name);
    names.sort_unstable();
    names
}

fn datasets(stick: &Stick) -> Result<Checked> {
    let (files, bytes) = verify::measure(stick.root(), &names())?;
    let manifest = match control::whole_manifest(stick.root())? {
        Some(_) => Some(control::manifest_files(stick.root(), b"")?),
        None => None,
    };
    if manifest.is_none() {
        warn!(
            "it has no manifest (a new stick, or one that the original system made): its files are read, but can't be checked"
        );
    }
    let mut bad = 0;
    let mut progress = Progress::new("verify".to_owned(), bytes, files);
    verify::verify(stick.root(), &names(), meta::NAME, manifest, &mut progress, |path, fault| {
        stick.check_present()?;
        bad += 1;
        error!("{}: {fault}", Shown(path));
        Ok(())
    })?;
    Ok(Checked { files, bytes, bad })
}

/// Every archive against the sum beside it.
fn archives(stick: &Stick) -> Result<Checked> {
    let root = stick.root();
    let names = root.names()?;
    let archives: Vec<&[u8]> = names.iter().filter(|name| name.ends_with(ARCHIVE)).collect();
    if archives.is_empty() {
        warn!("there is no archive on it yet");
    }
    let mut checked = Checked { files: 0, bytes: 0, bad: 0 };
    for name in archives {
        let shown = Shown(name).to_string();
        let Some(expected) = sum_of(root, name)? else {
            warn!("{shown}: no sum beside it says what it should be: it can't be checked");
            continue;
        };
        info!("reading {shown}");
        match copy::hash(root, name) {
            Ok(sha256) if sha256.as_slice() == expected => {}
            Ok(_) => {
                checked.bad += 1;
                error!("{shown}: damaged: another content than {shown}.sha256 says");
            }
            Err(Error::Unreadable { source, .. }) => {
                stick.check_present()?;
                checked.bad += 1;
                error!("{shown}: can't be read: {source}");
            }
            Err(error) => return Err(error),
        }
        checked.files += 1;
        checked.bytes = checked.bytes.saturating_add(root.look(name)?.map_or(0, |entry| entry.size));
    }
    Ok(checked)
}

/// The sum in `<archive>.sha256`: sha256sum(1) writes it in hexadecimal at the beginning.
fn sum_of(root: &Dir, archive: &[u8]) -> Result<Option<Vec<u8>>> {
    use std::io::Read;
    let name = [archive, b".sha256"].concat();
    let Some((file, _)) = root.read_if_there(&name)? else {
        return Ok(None);
    };
    let mut line = Vec::new();
    let unreadable = |source| Error::Unreadable { path: root.shown(&name), source };
    file.take(MAX_SUM).read_to_end(&mut line).map_err(unreadable)?;
    let word = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    Ok(std::str::from_utf8(word).ok().and_then(unhex).filter(|sum| sum.len() == 32))
}
