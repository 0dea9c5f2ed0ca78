//! A stick's life as a chain of types, each made from the one before: [`Probed`] → [`Mounted`] (read-only) →
//! [`Stick`] (label and role proven) → [`WritableStick`]. Whatever writes takes the last one, so code that writes
//! can't be reached without proof, and a dry run, which stops at `Stick`, can't write.

mod tools;

use std::path::Path;

use super::control::{CONTROL, MANIFEST, header, role_trouble};
use super::enroll::{self, Key};
use super::probe::{FsType, Superblock, probe};
use super::repair;
use super::role::Role;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::block::{self, Block};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::disk;
use crate::os::lock::Lock;
use crate::os::mount::{Mount, clear_the_way, write_protected};
use crate::settings::Settings;
use crate::text::Shown;
use crate::tree::manifest::Header;
use crate::tree::remove;
use crate::tree::same::Limits;

const TEMP: &[u8] = b"tmp";

/// A device whose superblock has been read by our own prober. It is locked.
pub struct Probed {
    block: Block,
    superblock: Superblock,
    how: How,
    enrolment: Enrolment,
    _lock: Lock,
}

/// What is asked of a stick beyond label and role.
enum Enrolment {
    /// Nothing.
    NotAsked,
    /// This server's signature. Without a key it has signed none.
    Asked(Option<Key>),
}

/// What mounting needs to know.
#[derive(Clone, Copy)]
struct How {
    attempts: u32,
    offset_minutes: i32,
}

/// A stick mounted read-only; nothing on it is believed yet.
pub struct Mounted {
    probed: Probed,
    role: Role,
    /// Before the mount, because it is dropped first: an open directory would keep the mount busy.
    root: Dir,
    mount: Mount,
    watch: block::Watch,
}

/// A stick whose label and role are proven. It is mounted read-only.
pub struct Stick(Mounted);

/// A proven stick that may be written to.
pub struct WritableStick(Stick);

impl Probed {
    /// Opens and locks a device, ends what is left of earlier mounts of it, and reads its superblock.
    ///
    /// # Errors
    /// `Usage` if it is no block device, `Busy` if it is in use, `Refused` (beginning with `validation failed for`)
    /// if there is no filesystem on it that a stick may have.
    pub fn open(device: &Path, settings: &Settings, clock: Clock) -> Result<Probed> {
        let block = Block::open(device)?;
        let lock = Lock::device(&block.whole)?;
        Probed::locked(block, lock, settings, clock)
    }

    fn locked(block: Block, lock: Lock, settings: &Settings, clock: Clock) -> Result<Probed> {
        let device = &block.path;
        if disk::is_the_system_s(&block, &settings.server_root) {
            return Err(refused(device, "it is on the disk that this system runs from", NEXT_STICK));
        }
        clear_the_way(device, block.number)?;
        let superblock = probe(&mut block.file()).map_err(|error| refused(device, &error.to_string(), NEXT_STICK))?;
        let how = How { attempts: settings.max_retry, offset_minutes: clock.offset_minutes() };
        let enrolment = match settings.require_enrolled {
            true => Enrolment::Asked(Key::read(settings)?),
            false => Enrolment::NotAsked,
        };
        Ok(Probed { block, superblock, how, enrolment, _lock: lock })
    }

    /// Checks the label and mounts it read-only, at a place of its own; not even a journal is replayed.
    ///
    /// # Errors
    /// `Refused` (beginning with `validation failed for`) if the label is not the role's or what is mounted is not the
    /// device that was probed; `Busy`, `Io`.
    pub fn mount(self, role: Role, settings: &Settings) -> Result<Mounted> {
        self.check_label(role, settings)?;
        Mounted::new(self, role, false)
    }

    fn check_label(&self, role: Role, settings: &Settings) -> Result<()> {
        let label = role.label(&settings.labels);
        if self.superblock.label == label {
            return Ok(());
        }
        let why = format!("its label is \"{}\", not \"{label}\"", Shown(self.superblock.label.as_bytes()));
        Err(refused(&self.block.path, &why, "plug in the right stick, or give this one its label"))
    }

    /// What was read from its superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Whether there still is on the device what was read from it.
    fn is_unchanged(&self) -> bool {
        let same = |now: Superblock| {
            let Superblock { fstype, label, uuid, .. } = &self.superblock;
            (&now.fstype, &now.label, &now.uuid) == (fstype, label, uuid)
        };
        probe(&mut self.block.file()).is_ok_and(same)
    }

    /// The whole of what mount(2) is told beside the flags (SPEC 5): FAT keeps local time.
    fn mount_data(&self, writable: bool) -> String {
        if self.superblock.fstype.is_ext() {
            return if writable { "errors=remount-ro" } else { "noload,errors=remount-ro" }.to_owned();
        }
        let offset = self.how.offset_minutes;
        let common = format!("errors=remount-ro,fmask=0133,dmask=0022,time_offset={offset}");
        match self.superblock.fstype {
            FsType::Exfat => format!("{common},iocharset=utf8"),
            _ => format!("{common},utf8=1,shortname=mixed"),
        }
    }
}

const NEXT_STICK: &str = "plug in a stick that was made for this";

fn refused(device: &Path, why: &str, next: &str) -> Error {
    Error::Refused { why: format!("validation failed for {}: {why}", device.display()), next: next.to_owned() }
}

impl Mounted {
    fn new(probed: Probed, role: Role, writable: bool) -> Result<Mounted> {
        let device = probed.block.path.clone();
        let kernel_name = probed.superblock.fstype.kernel_name();
        let watch = probed.block.watch();
        let data = probed.mount_data(writable);
        let mount = Mount::new(&device, kernel_name, writable, &data, probed.how.attempts)?;
        let root = mount.root()?;
        // The kernel reads its own superblock when it mounts. What a writable mount makes of that is its own affair.
        if root.entry()?.dev != probed.block.number || !(writable || probed.is_unchanged()) {
            return Err(refused(&device, "what was mounted is not what was probed", NEXT_STICK));
        }
        Ok(Mounted { probed, role, mount, root, watch })
    }

    /// Reads `/.toolmaster/role`, and where that is asked for the server's signature.
    ///
    /// # Errors
    /// `Refused`, beginning with `validation failed for`; `Io` if it was pulled meanwhile, which says nothing of what it is.
    pub fn prove(self) -> Result<Stick> {
        let block = &self.probed.block;
        match self.check() {
            Err(_) if !block::exists(block.number) => {
                Err(Error::io("read the role on", &block.path, rustix::io::Errno::NODEV))
            }
            checked => checked.map(|()| Stick(self)),
        }
    }

    fn check(&self) -> Result<()> {
        let device = &self.probed.block.path;
        if let Some(why) = role_trouble(&self.root, self.role) {
            return Err(refused(device, &why, "plug in the right stick"));
        }
        match &self.probed.enrolment {
            Enrolment::Asked(key) if !key.as_ref().is_some_and(|key| self.is_enrolled(key)) => Err(refused(
                device,
                "it is not enrolled",
                &format!("if it may be trusted: sudo toolmaster stick enroll --device {}", device.display()),
            )),
            _ => Ok(()),
        }
    }

    fn is_enrolled(&self, key: &Key) -> bool {
        enroll::is_enrolled(&self.root, &self.probed.superblock.uuid, self.role, key)
    }
}

impl Stick {
    /// Its root directory.
    pub fn root(&self) -> &Dir {
        &self.0.root
    }

    /// What was read from its superblock before it was mounted.
    pub fn superblock(&self) -> &Superblock {
        &self.0.probed.superblock
    }

    /// What its filesystem can keep.
    pub fn limits(&self) -> Limits {
        match self.superblock().fstype {
            FsType::Ext2 | FsType::Ext3 | FsType::Ext4 => Limits::EXT,
            FsType::Fat12 | FsType::Fat16 | FsType::Fat32 => Limits::FAT,
            FsType::Exfat => Limits::EXFAT,
        }
    }

    /// The first line of its manifest, if it has one that can be read.
    pub fn manifest(&self) -> Option<Header> {
        header(&self.0.root)
    }

    /// Whether a run that was cut off left `/.toolmaster/tmp`.
    ///
    /// # Errors
    /// `Io`.
    pub fn was_cut_off(&self) -> Result<bool> {
        let Some(control) = self.root().sub(CONTROL)? else { return Ok(false) };
        Ok(control.look(TEMP)?.is_some())
    }

    /// Says if not all that was read from it may be believed. To be asked before anything is replaced by that ([`Block::check`]).
    ///
    /// # Errors
    /// `Io`.
    pub fn check_read(&self) -> Result<()> {
        self.0.probed.block.check(&self.0.watch, &self.0.root)
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// `Busy`, `Io`.
    pub fn release(self) -> Result<()> {
        let Mounted { mount, root, .. } = self.0;
        drop(root);
        mount.release()
    }

    /// Says if the stick can't be written to at all.
    ///
    /// # Errors
    /// `Refused`.
    pub fn check_writable(&self) -> Result<()> {
        if self.0.probed.block.read_only { Err(write_protected(&self.0.probed.block.path)) } else { Ok(()) }
    }

    /// Mounts it anew for writing. A journal that was not clean is replayed by that, so the role is proven again. With `repair` a stick
    /// that was pulled while it was written to is repaired first: only where nothing can be on it that is nowhere else, or it was this server that
    /// wrote to it.
    ///
    /// # Errors
    /// `Refused` if it is write-protected or no longer what it was; `Failed` if it can't be repaired; `Io`.
    pub fn writable(self, repair: bool) -> Result<WritableStick> {
        self.check_writable()?;
        let Mounted { mut probed, role, mount, root, .. } = self.0;
        let repaired = repair && probed.superblock.dirty;
        let before = if repaired { repair::remnants(&root)? } else { Vec::new() };
        drop(root);
        mount.release()?;
        if repaired {
            repair::repair(&probed.block.path, probed.superblock.fstype)?;
            probed.superblock.dirty = false;
        }
        let mounted = Mounted::new(probed, role, true)?;
        mounted.check()?;
        if mounted.root.room()?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            return Err(write_protected(&mounted.probed.block.path));
        }
        if repaired {
            for name in repair::remnants(&mounted.root)?.iter().filter(|name| !before.contains(name)) {
                mounted.root.remove(name)?;
            }
        }
        Ok(WritableStick(Stick(mounted)))
    }
}

impl WritableStick {
    /// The stick itself, for whatever reads.
    pub fn stick(&self) -> &Stick {
        &self.0
    }

    /// As [`Stick::check_read`]. The kernel shuts a file system to writing when it finds damage, such as a directory's block on ext4 with a wrong
    /// checksum, which it too leaves out of the list (fs/ext4/dir.c, `ext4_readdir`).
    ///
    /// # Errors
    /// `Io`.
    pub fn check_read(&self) -> Result<()> {
        let root = self.0.root();
        if root.room()?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            return Err(Error::io("read all of", root.path(), rustix::io::Errno::IO));
        }
        self.0.check_read()
    }

    /// Makes it durable and unmounts it.
    ///
    /// # Errors
    /// `Busy`, `Io`.
    pub fn release(self) -> Result<()> {
        // Unmounting flushes, but tells nobody if that failed; this does.
        self.0.root().sync_all()?;
        self.0.release()
    }

    /// The same stick mounted anew, so that what is read next comes from the medium and not from memory. Every
    /// descriptor below its root must be closed by now.
    ///
    /// # Errors
    /// `Busy`, `Io`, `Refused` if it is no longer what it was.
    pub fn afresh(self) -> Result<WritableStick> {
        self.0.root().sync_all()?;
        self.0.writable(false)
    }

    /// `/.toolmaster` on the stick.
    ///
    /// # Errors
    /// `Io`.
    pub fn control(&self) -> Result<Dir> {
        let root = self.0.root();
        root.sub(CONTROL)?.ok_or_else(|| Error::io("open", &root.path_of(CONTROL), rustix::io::Errno::NOENT))
    }

    /// An empty `/.toolmaster/tmp`, cleared of what a run that was cut off left there.
    ///
    /// # Errors
    /// `Io`.
    pub fn temp(&self) -> Result<Dir> {
        let control = self.control()?;
        remove::tree(&control, TEMP)?;
        control.make(TEMP, 0o755)
    }

    /// `/.toolmaster/tmp` with what this run wrote there, after the stick was mounted anew.
    ///
    /// # Errors
    /// `Failed` if it is not there, `Io`.
    pub fn written_temp(&self) -> Result<Dir> {
        self.control()?.sub(TEMP)?.ok_or_else(|| Error::Failed {
            why: "what was written to the stick is gone".to_owned(),
            next: "use another stick",
        })
    }

    /// Removes `/.toolmaster/tmp`.
    ///
    /// # Errors
    /// `Io`.
    pub fn end_temp(&self) -> Result<()> {
        remove::tree(&self.control()?, TEMP)
    }

    /// Replaces the stick's manifest by a finished file of its temporary directory, durably.
    ///
    /// # Errors
    /// `Io`.
    pub fn set_manifest(&self, temp: &Dir, temp_name: &[u8]) -> Result<()> {
        let control = self.control()?;
        clear_link(&control, MANIFEST)?;
        temp.rename(temp_name, &control, MANIFEST)?;
        control.sync()
    }

    /// Replaces a small file of the stick, durably.
    ///
    /// # Errors
    /// `Io`.
    pub fn set_file(&self, temp: &Dir, dir: &Dir, name: &[u8], content: &[u8]) -> Result<()> {
        clear_link(dir, name)?;
        atomic::write_via(temp, name, dir, name, content, 0o644)
    }
}

/// Reads the superblock of a stick once more, after it was unmounted.
///
/// # Errors
/// `Io`, `Usage`, `Refused` if there is no such filesystem on it any more.
pub fn look_again(device: &Path) -> Result<Superblock> {
    let block = Block::open(device)?;
    probe(&mut block.file()).map_err(|error| refused(device, &error.to_string(), NEXT_STICK))
}

/// A directory in the place of a file of ours would stop the rename; nobody's data is in it.
fn clear_link(dir: &Dir, name: &[u8]) -> Result<()> {
    match dir.look(name)? {
        Some(Entry { kind: Kind::File, .. }) | None => Ok(()),
        Some(_) => remove::tree(dir, name),
    }
}
