//! Sticks, as files: made without a mount, a loop device or root. exFAT has no such tool, so the machine makes those.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::shell::{Shell, quiet};
use crate::{Outcome, fail};

const MIB: u64 = 1024 * 1024;
/// FAT32 needs that many at least.
const SIZE: u64 = 64 * MIB;

/// A file system of sticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fs {
    /// ext4.
    Ext4,
    /// FAT32.
    Fat32,
    /// exFAT.
    ExFat,
}

impl Fs {
    /// Its name in a case's line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Fat32 => "FAT32",
            Self::ExFat => "exFAT",
        }
    }
}

/// Where the file system lies on the stick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In the first partition.
    Partitioned,
    /// On the whole disk.
    Whole,
}

impl Layout {
    /// Its name in a case's line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Partitioned => "partitioned",
            Self::Whole => "whole disk",
        }
    }
}

/// What a stick is made of.
pub struct Recipe<'a> {
    pub label: &'a str,
    /// The word in its role file; none, no file.
    pub role: Option<&'a str>,
    pub fs: Fs,
    pub layout: Layout,
    /// Files by their path on the stick.
    pub files: &'a [(String, String)],
}

/// Makes a stick in `dir`. The shell is the machine's, for exFAT.
pub fn make(dir: &Path, name: &str, recipe: &Recipe, shell: &mut Shell) -> Outcome<PathBuf> {
    let tree = dir.join(format!("{name}.tree"));
    let _ = fs::remove_dir_all(&tree);
    let role = recipe.role.map(|role| (".toolmaster/role".to_owned(), format!("{role}\n")));
    fs::create_dir_all(&tree).map_err(|error| error.to_string())?;
    for (path, text) in recipe.files.iter().chain(&role) {
        let path = tree.join(path);
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let stick = dir.join(format!("{name}.img"));
    let _ = fs::remove_file(&stick);
    match recipe.fs {
        Fs::Ext4 => {
            blank(&stick, SIZE)?;
            quiet(
                Command::new("mke2fs")
                    .args(["-q", "-F", "-t", "ext4", "-L", recipe.label, "-d"])
                    .arg(&tree)
                    .arg(&stick),
            )?;
        }
        Fs::Fat32 => fat(&tree, &stick, recipe.label)?,
        Fs::ExFat => exfat(&tree, &stick, recipe.label, shell)?,
    }
    fs::remove_dir_all(&tree).map_err(|error| error.to_string())?;
    if recipe.layout == Layout::Partitioned {
        partition(&stick)?;
    }
    Ok(stick)
}

/// A stick that is encrypted, and as good as empty.
pub fn luks(dir: &Path) -> Outcome<PathBuf> {
    let stick = dir.join("luks.img");
    let _ = fs::remove_file(&stick);
    blank(&stick, SIZE)?;
    let secret = dir.join("luks.key");
    fs::write(&secret, "not a secret").map_err(|error| error.to_string())?;
    quiet(
        Command::new("cryptsetup")
            .args(["luksFormat", "--batch-mode", "--label", "TM-INGEST", "--pbkdf", "pbkdf2"])
            .args(["--pbkdf-force-iterations", "1000", "--key-file"])
            .arg(&secret)
            .arg(&stick),
    )?;
    Ok(stick)
}

fn blank(file: &Path, bytes: u64) -> Outcome<()> {
    File::create(file).and_then(|file| file.set_len(bytes)).map_err(|error| format!("{}: {error}", file.display()))
}

fn fat(tree: &Path, stick: &Path, label: &str) -> Outcome<()> {
    blank(stick, SIZE)?;
    quiet(Command::new("mkfs.vfat").args(["-F", "32", "-n", label]).arg(stick))?;
    let entries = fs::read_dir(tree).map_err(|error| error.to_string())?;
    for entry in entries.flatten() {
        quiet(
            Command::new("mcopy").env("LC_ALL", "C.UTF-8").args(["-s", "-i"]).arg(stick).arg(entry.path()).arg("::/"),
        )?;
    }
    Ok(())
}

/// On a loop device of the machine, which udev's rule takes for no stick; the tree goes there as a tar file.
fn exfat(tree: &Path, stick: &Path, label: &str, shell: &mut Shell) -> Outcome<()> {
    let tar = Command::new("sh")
        .args(["-c", "tar -C \"$1\" --owner=0 --group=0 -cz . | base64 -w 0", "sh"])
        .arg(tree)
        .output()
        .map_err(|error| format!("tar: {error}"))?;
    let script = format!(
        "set -e; cd /tmp; rm -rf exfat.*; mkdir exfat.dir; truncate -s {SIZE} exfat.img; mkfs.exfat -q -L {label} exfat.img >&2; \
         mount -o loop exfat.img exfat.dir; echo {} | base64 -d | tar -C exfat.dir --no-same-owner -xz; umount exfat.dir; \
         gzip -1c exfat.img | base64 -w 0; rm -rf exfat.*",
        String::from_utf8_lossy(&tar.stdout)
    );
    // Some megabytes through the console: minutes where others use the machine too.
    let text = shell.run_within(&script, Duration::from_secs(1200))?;
    let packed = text.lines().last().unwrap_or_default();
    let file = File::create(stick).map_err(|error| error.to_string())?;
    let mut unpack = Command::new("sh")
        .args(["-c", "base64 -d | gzip -d"])
        .stdin(Stdio::piped())
        .stdout(file)
        .spawn()
        .map_err(|error| format!("gzip: {error}"))?;
    let sent = unpack.stdin.take().map(|mut input| input.write_all(packed.as_bytes()));
    let status = unpack.wait().map_err(|error| error.to_string())?;
    let length = fs::metadata(stick).map_or(0, |meta| meta.len());
    if !status.success() || !matches!(sent, Some(Ok(()))) || length != SIZE {
        return fail(format!("the machine's exFAT image did not arrive: {length} bytes"));
    }
    Ok(())
}

/// Moves the file system into the first partition of a disk.
fn partition(stick: &Path) -> Outcome<()> {
    let disk = stick.with_extension("disk");
    let written = (|| {
        let mut out = File::create(&disk)?;
        out.set_len(SIZE + 2 * MIB)?;
        out.seek(SeekFrom::Start(MIB))?;
        let mut input = File::open(stick)?;
        let mut block = vec![0; MIB as usize];
        let zeros = vec![0; MIB as usize];
        loop {
            let count = input.read(&mut block)?;
            if count == 0 {
                break;
            }
            if block[..count] == zeros[..count] {
                out.seek(SeekFrom::Current(count as i64))?;
            } else {
                out.write_all(&block[..count])?;
            }
        }
        Ok::<(), std::io::Error>(())
    })();
    written.map_err(|error| format!("{}: {error}", disk.display()))?;
    let mut sfdisk = Command::new("sfdisk")
        .args(["-q", "--no-reread", "--no-tell-kernel", "--wipe", "never", "--wipe-partitions", "never"])
        .arg(&disk)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("sfdisk: {error}"))?;
    if let Some(mut input) = sfdisk.stdin.take() {
        let table = format!("label: dos\nstart=2048, size={}, type=7\n", SIZE / 512);
        input.write_all(table.as_bytes()).map_err(|error| format!("sfdisk: {error}"))?;
    }
    if !sfdisk.wait().map_err(|error| error.to_string())?.success() {
        return fail("sfdisk can't partition the stick");
    }
    fs::rename(&disk, stick).map_err(|error| error.to_string())
}
