//! What `toolmaster stick …` needs of the chain beyond a job's way through it: a new stick's role file, whose stick it
//! is, a mount that outlives the run.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Enrolment, Mounted, NEXT_STICK, Probed, Stick, WritableStick, refused};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::block::{self, Block};
use crate::os::dir::Dir;
use crate::os::lock::Lock;
use crate::settings::Settings;
use crate::stick::control::{CONTROL, ROLE};
use crate::stick::enroll::{ENROLLED, Key};
use crate::stick::probe::probe;
use crate::stick::role::Role;
use crate::text::Shown;

const SERVER: &[u8] = b"server";
/// More is no server's id.
const MAX_SERVER: u64 = 64;

impl Probed {
    /// The kind of stick that it is by its label.
    ///
    /// # Errors
    /// `Refused` (beginning with `validation failed for`) if it is none of the three.
    pub fn role(&self, settings: &Settings) -> Result<Role> {
        let labels = &settings.labels;
        Role::of_label(&self.superblock.label, labels).ok_or_else(|| {
            let [a, b, c] = Role::ALL.map(|role| role.label(labels));
            let why = format!("its label is \"{}\", none of {a}, {b}, {c}", Shown(self.superblock.label.as_bytes()));
            refused(&self.block.path, &why, NEXT_STICK)
        })
    }

    /// [`Probed::open`] for a caller that holds the whole disk's lock already.
    ///
    /// # Errors
    /// As [`Probed::open`].
    pub fn open_locked(device: &Path, lock: Lock, settings: &Settings, clock: Clock) -> Result<Probed> {
        Probed::locked(Block::open(device)?, lock, settings, clock)
    }

    /// The same for a stick that is about to be enrolled: label and role are enough.
    #[must_use]
    pub fn not_enrolled_yet(self) -> Probed {
        Probed { enrolment: Enrolment::NotAsked, ..self }
    }

    /// Writes the role file of a filesystem that was just made, and the signature if this is a server, durably, unmounts it and reads its superblock again. The
    /// lock is kept: nobody sees the stick without its role.
    ///
    /// # Errors
    /// `Refused` if the label is not the role's, `Config` if the kernel lacks the filesystem, `Busy`, `Io`.
    pub fn write_role(self, role: Role, key: Option<&Key>, settings: &Settings) -> Result<Probed> {
        self.check_label(role, settings)?;
        let Mounted { mut probed, mount, root, .. } = Mounted::new(self, role, true)?;
        let written = root.make(CONTROL, 0o755).and_then(|control| {
            if let Some(key) = key.filter(|_| !probed.superblock.uuid.is_empty()) {
                let signature = format!("{}\n", key.signature(&probed.superblock.uuid, role));
                atomic::write(&control, ENROLLED, signature.as_bytes(), 0o644)?;
            }
            // The role comes last: without it no job takes the stick.
            atomic::write(&control, ROLE, format!("{}\n", role.word()).as_bytes(), 0o644)?;
            root.sync_all()
        });
        drop(root);
        written.and(mount.release())?;
        let device = &probed.block.path;
        probed.superblock =
            probe(&mut probed.block.file()).map_err(|error| refused(device, &error.to_string(), NEXT_STICK))?;
        Ok(probed)
    }

    /// Mounts it and leaves it mounted when the run ends; says where, and whether it may be written to: only a stick
    /// that is not write-protected, and whose label and role are proven.
    ///
    /// # Errors
    /// `Refused`, `Busy`, `Config`, `Io`.
    pub fn keep_mounted(self, settings: &Settings) -> Result<(PathBuf, bool)> {
        let role = Role::of_label(&self.superblock.label, &settings.labels);
        let write_protected = self.block.read_only;
        // Without a role there is nothing to prove, and what is given here is never asked for.
        let mounted = Mounted::new(self, role.unwrap_or(Role::Ingest), false)?;
        if role.is_some() && !write_protected && mounted.check().is_ok() {
            let WritableStick(Stick(mounted)) = Stick(mounted).writable(false)?;
            return Ok((mounted.keep(), true));
        }
        Ok((mounted.keep(), false))
    }
}

impl Mounted {
    fn keep(self) -> PathBuf {
        self.mount.keep()
    }
}

impl Stick {
    /// Shows it, read-only as it is, where an operator looks for it, and leaves it mounted there.
    ///
    /// # Errors
    /// `Busy` if something else is mounted there, `Io`.
    pub fn park(self) -> Result<&'static Path> {
        let Mounted { mount, root, role, .. } = self.0;
        mount.show_at(root, role.parking())?;
        Ok(role.parking())
    }

    /// The role that was proven.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// Says if it was pulled: then what can't be read on it is no fault of the medium.
    ///
    /// # Errors
    /// `Failed`.
    pub fn check_present(&self) -> Result<()> {
        if block::exists(self.0.probed.block.number) {
            return Ok(());
        }
        let why = format!("{} is gone: it was pulled", self.0.probed.block.path.display());
        Err(Error::Failed { why, next: "plug it in and run it again" })
    }

    /// The id of the server that the stick was adopted by, if it says so.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn server(&self) -> Result<Option<String>> {
        let Some(control) = self.0.root.sub(CONTROL)? else {
            return Ok(None);
        };
        let Some((file, _)) = control.read_if_there(SERVER)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let unreadable = |source| Error::Unreadable { path: control.shown(SERVER), source };
        file.take(MAX_SERVER).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(Some(String::from_utf8_lossy(bytes.trim_ascii()).into_owned()).filter(|id| !id.is_empty()))
    }
}

impl Stick {
    /// Whether the server with that key has signed it.
    pub fn is_enrolled(&self, key: &Key) -> bool {
        self.0.is_enrolled(key)
    }
}

impl WritableStick {
    /// Signs it, through its temporary directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn enroll(&self, temp: &Dir, key: &Key) -> Result<()> {
        let stick = self.stick();
        let signature = format!("{}\n", key.signature(&stick.superblock().uuid, stick.role()));
        self.set_file(temp, &self.control()?, ENROLLED, signature.as_bytes())
    }

    /// Writes on the stick whose it is, through its temporary directory; nothing to do where it says so already.
    ///
    /// # Errors
    /// `Io`.
    pub fn set_server(&self, temp: &Dir, id: &str) -> Result<()> {
        if self.stick().server()?.as_deref() == Some(id) {
            return Ok(());
        }
        self.set_file(temp, &self.control()?, SERVER, format!("{id}\n").as_bytes())
    }
}
