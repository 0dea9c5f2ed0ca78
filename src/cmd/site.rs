//! `site`: applies `toolmaster.json` from the boot partition, at the next boot after it was put there or changed. All of it is checked
//! before anything is applied. What came of it is written beside the file for whoever reads the card on a PC.
//!
//! A power cut in between leaves some of it applied; since the record of it comes last, the next boot applies all of it again.

mod apply;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use argh::FromArgs;
use log::info;

use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::dir::{Dir, split};
use crate::settings::site::{MAX, Mistake, Site};

/// Where Raspberry Pi OS and our image have the boot partition; on a PC it is the drive `bootfs`.
const FILE: &str = "/boot/firmware/toolmaster.json";
/// Where the result goes, beside it.
const RESULT: &str = "toolmaster-result.txt";
/// A copy of the file that was applied last.
const APPLIED: &str = "site.applied";
const ETC: &str = "/etc/toolmaster";

/// Apply toolmaster.json from the boot partition, if it is new.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "site")]
pub struct Args {
    /// another file
    #[argh(positional)]
    file: Option<PathBuf>,
    /// only say whether the file is good; change nothing
    #[argh(switch)]
    check: bool,
}

/// Carries it out.
///
/// # Errors
/// `Config` for a mistake in the file, and then nothing is applied; `Io`, `Failed`.
pub fn run(args: &Args) -> Result<()> {
    let file = args.file.as_deref().unwrap_or(Path::new(FILE));
    let Some((parent, name)) = split(file) else {
        return Err(Error::Usage(format!("{} is no file", file.display())));
    };
    let Some(dir) = Dir::open_if_there(parent)? else { return Ok(()) };
    let Some(bytes) = read(&dir, name)? else {
        // Windows hides the ending that Notepad adds.
        let hidden = [name, b".txt"].concat();
        if dir.look(&hidden)?.is_none() {
            info!("there is no {}", file.display());
            return Ok(());
        }
        let why = "名前が toolmaster.json.txt になっています。エクスプローラーで拡張子を表示し、.txt を消します";
        return refuse(args, &dir, Mistake { line: 0, why: why.to_owned() });
    };
    if !args.check && applied()?.is_some_and(|applied| applied == bytes) {
        return Ok(());
    }
    let site = match Site::parse(&bytes).and_then(|site| apply::check(&site).map(|()| site)) {
        Ok(site) => site,
        Err(mistake) => return refuse(args, &dir, mistake),
    };
    if args.check {
        info!("{}: 正しく読めます", file.display());
        return Ok(());
    }
    let done = apply::all(&site)?;
    let lines: String = done.iter().map(|line| format!("・{line}\n")).collect();
    answer(
        &dir,
        &format!("結果: 設定しました。\n{lines}\n変えるときは、toolmaster.json を直して、もう一度起動します。\n"),
    )?;
    for line in &done {
        info!("toolmaster.json: {line}");
    }
    atomic::write(&Dir::made(Path::new(ETC))?, APPLIED.as_bytes(), &bytes, 0o644)
}

/// Tells of a mistake, here and beside the file.
fn refuse(args: &Args, dir: &Dir, Mistake { line, why }: Mistake) -> Result<()> {
    let place = if line == 0 { String::new() } else { format!("{line} 行目: ") };
    if !args.check {
        answer(
            dir,
            &format!("結果: 使えません。何も変えていません。\n\n{place}{why}\n\n直して、もう一度起動します。\n"),
        )?;
    }
    Err(Error::Config { why: format!("toolmaster.json: {place}{why}"), next: "直して、もう一度起動する" })
}

/// The file's contents, of which no more than a byte too many is read.
fn read(dir: &Dir, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let Some((file, _)) = dir.read_if_there(name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let most = MAX as u64 + 1;
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io("read", &dir.path_of(name), error).unreadable())?;
    Ok(Some(bytes))
}

fn applied() -> Result<Option<Vec<u8>>> {
    let Some(dir) = Dir::open_if_there(Path::new(ETC))? else { return Ok(None) };
    read(&dir, APPLIED.as_bytes())
}

/// Writes the result as Notepad shows it: with a byte order mark and CRLF. Not at each boot anew: the boot partition is written to as
/// seldom as can be. FAT keeps no modes, so none is set.
fn answer(dir: &Dir, text: &str) -> Result<()> {
    let text = format!("\u{feff}toolmaster.json の結果\n\n{text}").replace('\n', "\r\n");
    if read(dir, RESULT.as_bytes())?.is_some_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let temp = b"toolmaster-result.tmp";
    dir.remove(temp)?;
    let mut file = dir.create(temp, 0o644)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| Error::io("write", &dir.path_of(temp), error))?;
    dir.rename(temp, dir, RESULT.as_bytes())?;
    dir.sync()
}
