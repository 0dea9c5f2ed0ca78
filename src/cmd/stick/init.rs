//! `toolmaster stick init`: makes a disk a stick of ours, with filesystem, label and role (SPEC 1, 5).
//!
//! The lock on the whole disk is held from before the first look until the role file is there: udev honours it, so no job
//! starts for half a stick. A run that is cut off leaves a disk without a role, which every job refuses.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use argh::FromArgs;
use log::info;

use super::{Env, Report, record};
use crate::error::{Error, Result};
use crate::os::block::Block;
use crate::os::disk::{self, Disk, END, wipe_ends};
use crate::os::lock::Lock;
use crate::os::mount::{clear_the_way, write_protected};
use crate::os::process;
use crate::stick::chain::Probed;
use crate::stick::enroll::Key;
use crate::stick::format::Format;
use crate::stick::probe::{NotAStick, probe};
use crate::stick::role::Role;
use crate::text::{Bytes, Shown};

/// The smallest disk that is made a stick.
const MIN_SIZE: u64 = 16 * END;
/// A large stick that writes slowly takes minutes to get its filesystem.
const LIMIT: Duration = Duration::from_secs(1800);
const NEXT: &str = "run it again with --erase; if it fails again, take another stick";

/// Make a whole disk a stick, with partition, filesystem, label and role. Without --yes only say what would be done.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "init")]
pub struct Args {
    /// INGEST, DIST or BACKUP
    #[argh(option)]
    role: Role,
    /// the whole disk, such as /dev/sdX
    #[argh(option)]
    device: PathBuf,
    /// exfat, ext4 or vfat; without it exfat, which PCs read
    #[argh(option)]
    fs: Option<Format>,
    /// do it
    #[argh(switch)]
    yes: bool,
    /// also if there is something on it
    #[argh(switch)]
    erase: bool,
    /// also if it is not on USB (a card reader)
    #[argh(switch)]
    not_usb: bool,
}

/// Carries it out.
///
/// # Errors
/// SPEC 3.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    if !args.yes {
        return plan(args, env);
    }
    let mut report = Report::new("stick-init");
    let result = init(args, env, &mut report);
    record(report, env, result)
}

fn plan(args: &Args, env: &Env) -> Result<()> {
    let (plan, _lock) = Plan::new(args, env)?;
    for step in plan.steps(has_server(env)) {
        info!("plan: {step}");
    }
    info!("nothing was changed: to do it, run it again with --yes");
    Ok(())
}

fn init(args: &Args, env: &Env, report: &mut Report) -> Result<()> {
    report.device = Some(args.device.clone());
    let (plan, lock) = Plan::new(args, env)?;
    for part in plan.disk.parts() {
        clear_the_way(&part.node, part.number)?;
    }
    drop(plan.disk.claim()?);
    let [wipe, table, format, role] = plan.steps(has_server(env));
    info!("{wipe}");
    wipe_ends(&args.device)?;
    info!("{table}");
    let partition = plan.partition()?;
    report.device = Some(partition.clone());
    info!("{format}");
    plan.make_filesystem(&partition)?;
    info!("{role}");
    let probed = plan.write_role(&partition, lock, env)?;
    let superblock = probed.superblock().clone();
    report.probed(&partition, &superblock);
    probed.mount(plan.role, &env.settings)?.prove()?.release()?;
    info!("stick init completed device={} role={}", partition.display(), plan.role.word());
    info!("next: {}", next_step(plan.role));
    Ok(())
}

/// A new INGEST stick gets no empty datasets: the server would refuse an empty dataset, but not a missing one (SPEC 6).
fn next_step(role: Role) -> &'static str {
    match role {
        Role::Ingest => "put master/ and docviewer/ on it on a PC, then plug it into the server",
        Role::Dist => "the server fills it as soon as it is plugged in (if it is in already: toolmaster stick rescan)",
        Role::Backup => {
            "the server backs up to it as soon as it is plugged in (if it is in already: toolmaster stick rescan)"
        }
    }
}

/// What is to be done, and that nothing speaks against it.
struct Plan {
    disk: Disk,
    role: Role,
    format: Format,
    label: String,
    mkfs: PathBuf,
    sfdisk: PathBuf,
    partx: PathBuf,
}

impl Plan {
    /// Looks at everything that could speak against it, under the disk's lock.
    fn new(args: &Args, env: &Env) -> Result<(Plan, Lock)> {
        let block = Block::open(&args.device)?;
        let disk = Disk::of(&block)?;
        let format = args.fs.unwrap_or(Format::USUAL);
        let label = args.role.label(&env.settings.labels).to_owned();
        format.check_label(&label)?;
        let (mkfs, install) = format.program();
        let mkfs = installed(mkfs, install)?;
        let sfdisk = installed("sfdisk", "sudo apt install fdisk")?;
        let partx = installed("partx", "sudo apt install util-linux")?;
        if disk::is_the_system_s(&block, &env.settings.server_root) {
            return Err(refused(&disk, "is the disk that this system and its data are on", "name the stick's (lsblk)"));
        }
        if !disk.usb && !args.not_usb {
            let next = "name the stick's (lsblk), or for a card reader add --not-usb";
            return Err(refused(&disk, "is not on USB", next));
        }
        let lock = Lock::device(&args.device)?;
        disk.check_unused()?;
        if disk.read_only {
            return Err(write_protected(&args.device));
        }
        if disk.size < MIN_SIZE {
            let why = format!("has {}, which is too small", Bytes(disk.size));
            return Err(refused(&disk, &why, "use one of 16 MiB or more"));
        }
        if !format.fills(disk.size) {
            return Err(refused(&disk, "is larger than FAT can fill", "use --fs exfat or --fs ext4"));
        }
        if let (Some(found), false) = (contents(&disk, block.file())?, args.erase) {
            let next = "save what is on it; to erase it, add --erase";
            return Err(refused(&disk, &format!("is not empty: {found}"), next));
        }
        Ok((Plan { disk, role: args.role, format, label, mkfs, sfdisk, partx }, lock))
    }

    /// The steps, as they are told before and while they are done.
    fn steps(&self, enroll: bool) -> [String; 4] {
        let Disk { whole, size, model, serial, .. } = &self.disk;
        let node = whole.node.display();
        let serial = serial.as_deref().unwrap_or("none");
        let (table, _) = self.format.table(*size);
        let (mkfs, _) = self.format.program();
        let sign = if enroll { ", enroll it at this server" } else { "" };
        let (model, serial) = (Shown(model.as_bytes()), Shown(serial.as_bytes()));
        [
            format!("erase {node} ({}, {model}, serial number {serial}): its first and last MiB", Bytes(*size)),
            format!("write a partition table ({table}) with one partition to {node} (sfdisk)"),
            format!("make a filesystem on it: {} with the label {} ({mkfs})", self.format.name(), self.label),
            format!("mount it, write /.toolmaster/role ({}){sign}, unmount it, check it", self.role.word()),
        ]
    }

    /// Makes the partition and gives its node. We hold the lock that sfdisk would wait for, and tell the kernel ourselves:
    /// its old partitions are taken away first, because `partx --update` leaves one that overlaps the new one.
    fn partition(&self) -> Result<PathBuf> {
        let node = self.disk.whole.node.to_string_lossy();
        let (_, script) = self.format.table(self.disk.size);
        let never = ["--wipe", "never", "--wipe-partitions", "never"];
        let untold = ["--quiet", "--lock=no", "--no-reread", "--no-tell-kernel"];
        let arguments: Vec<&str> = untold.into_iter().chain(never).chain([&*node]).collect();
        if !self.disk.partitions().is_empty() {
            process::run(&self.partx, &["--delete", &node], LIMIT, NEXT)?;
        }
        process::feed(&self.sfdisk, &arguments, &script, LIMIT, NEXT)?;
        process::run(&self.partx, &["--update", &node], LIMIT, NEXT)?;
        let partition = self.disk.wait_for_partition()?;
        // Where the partition begins there may be a filesystem of an earlier one.
        wipe_ends(&partition)?;
        Ok(partition)
    }

    fn make_filesystem(&self, partition: &Path) -> Result<()> {
        let node = partition.to_string_lossy();
        process::run(&self.mkfs, &self.format.arguments(&self.label, &node), LIMIT, NEXT)
    }

    /// Writes the role file, and the server's signature where there is a server; a kernel that lacks the filesystem can't.
    fn write_role(&self, partition: &Path, lock: Lock, env: &Env) -> Result<Probed> {
        let key = if has_server(env) { Some(Key::make(&env.settings)?) } else { None };
        // A stick that is made on a terminal is enrolled later, at the server.
        let probed = Probed::open_locked(partition, lock, &env.settings, env.clock)?.not_enrolled_yet();
        probed.write_role(self.role, key.as_ref(), &env.settings).map_err(|error| match error {
            Error::Config { why, .. } => Error::Config {
                why: format!(
                    "{why}: it has that and its label now, but not the file .toolmaster/role (\"{}\"), so no job takes it",
                    self.role.word()
                ),
                next: "put that file on it on a PC, or make it with --fs ext4",
            },
            error => error,
        })
    }
}

/// Whether this machine is a server, which enrolls the sticks that it makes.
fn has_server(env: &Env) -> bool {
    env.settings.server_root.is_dir()
}

fn installed(program: &str, install: &'static str) -> Result<PathBuf> {
    process::find(program).ok_or_else(|| Error::Config { why: format!("{program} is not installed"), next: install })
}

fn refused(disk: &Disk, why: &str, next: &str) -> Error {
    Error::Refused { why: format!("{} {why}", disk.whole.node.display()), next: next.to_owned() }
}

/// What is on the disk, or nothing.
fn contents(disk: &Disk, file: &File) -> Result<Option<String>> {
    let found = match probe(&mut &*file) {
        Ok(superblock) => format!("{} \"{}\"", superblock.fstype, superblock.label),
        Err(NotAStick::Nothing) if disk.begins_empty(file)? => return Ok(None),
        Err(NotAStick::Nothing) => "unknown data in its first MiB".to_owned(),
        Err(NotAStick::Io(error)) => return Err(Error::io("read", &disk.whole.node, error)),
        Err(NotAStick::Known(name)) => name.to_owned(),
        Err(NotAStick::Ambiguous(names)) => names.join(", "),
        Err(NotAStick::Damaged { format, .. }) => format!("a damaged {format}"),
    };
    let filesystem = |node: &Path| probe(&mut File::open(node).ok()?).ok();
    let on_partitions = disk.partitions().into_iter().filter_map(|part| {
        let superblock = filesystem(&part.node)?;
        Some(format!(", {}: {} \"{}\"", part.node.display(), superblock.fstype, superblock.label))
    });
    Ok(Some(std::iter::once(found).chain(on_partitions).collect()))
}
