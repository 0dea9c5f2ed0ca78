//! The machine that the cases share, and the place for its disk and its sticks.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, UNIX_EPOCH};

use crate::qemu::{Bus, Start, Vm, overlay};
use crate::replay::{self, Lost, Random};
use crate::shell::{Shell, quiet};
use crate::{Outcome, check, fail};

/// The slowest boot, with the container's loading and the cluster's making, beside other work.
pub const BOOT: Duration = Duration::from_secs(1200);
/// From switching on to a login.
pub const LOGIN: Duration = Duration::from_secs(420);

/// GiB of the shared machine's disk.
pub const DISK: u64 = 16;

/// The jobs' names in the journal, as journalctl takes them.
pub const JOBS: &str = "-t tool-ingest-sync -t tool-dist-export -t tool-backup-export -t tool-recover -t tool-snapshot";

/// What the cases work with.
pub struct Lab {
    /// The image's files, without their endings.
    pub image: PathBuf,
    /// For disks and sticks.
    pub dir: PathBuf,
    /// For sockets, whose paths must be short.
    run: tempfile::TempDir,
    machine: Option<(Vm, Shell)>,
    /// Whether a power cut loses what the shared machine has not flushed to its disk.
    forgetful: bool,
    /// A time for meta.json, later with each question.
    time: u64,
    _dir: Removed,
}

/// Removes the directory at the end.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Lab {
    /// Looks for the image and makes the places.
    pub fn new() -> Outcome<Self> {
        let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/image/toolmaster-virt");
        let file = image.with_extension("img");
        check(file.exists(), format!("{} is missing -> build it: scripts/image virt", file.display()))?;
        forget_dead(&image);
        let dir = image.with_file_name(format!("vm-test.{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let run = tempfile::tempdir().map_err(|error| error.to_string())?;
        Ok(Self { image, run, machine: None, forgetful: false, time: 0, _dir: Removed(dir.clone()), dir })
    }

    /// A machine of a case's own, on this disk.
    pub fn start(&self, disk: &Path, bus: Bus, sticks: &[&Path], append: &str) -> Outcome<Vm> {
        Vm::start(&Start {
            image: &self.image,
            disk,
            log: None,
            bus,
            sticks,
            run: self.run.path(),
            append,
            clock: None,
        })
    }

    /// The same machine switched on again, with a clock that says so.
    pub fn start_at(&self, disk: &Path, clock: &str) -> Outcome<Vm> {
        let (image, run) = (&self.image, self.run.path());
        let start =
            Start { image, disk, log: None, bus: Bus::Virtio, sticks: &[], run, append: "", clock: Some(clock) };
        Vm::start(&start)
    }

    /// From here on a power cut loses what the shared machine has not flushed; it is to be off. Its disk is a raw file then, with
    /// a copy as it was when the power came on.
    pub fn be_forgetful(&mut self) -> Outcome<()> {
        check(self.machine.is_none(), "the machine is on")?;
        let disk = self.disk();
        quiet(Command::new("cp").arg("--sparse=always").arg(self.image.with_extension("img")).arg(&disk))?;
        let grown = File::options().write(true).open(&disk).and_then(|file| file.set_len(DISK << 30));
        grown.map_err(|error| format!("{}: {error}", disk.display()))?;
        self.forgetful = true;
        Ok(())
    }

    /// The shared machine is to begin anew with the image, and a power cut loses nothing again.
    pub fn begin_anew(&mut self) -> Outcome<()> {
        self.machine = None;
        self.forgetful = false;
        let _ = fs::remove_file(self.disk());
        Ok(())
    }

    /// Starts the shared machine's QEMU.
    fn start_shared(&self, bus: Bus, sticks: &[&Path], append: &str) -> Outcome<Vm> {
        let disk = self.disk();
        if !self.forgetful {
            return self.start(&disk, bus, sticks, append);
        }
        quiet(Command::new("cp").arg("--sparse=always").arg(&disk).arg(self.before()))?;
        let log = self.log();
        File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let run = self.run.path();
        Vm::start(&Start { image: &self.image, disk: &disk, log: Some(&log), bus, sticks, run, append, clock: None })
    }

    fn before(&self) -> PathBuf {
        self.dir.join("before.img")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("writes.log")
    }

    /// The shared machine's disk.
    pub fn disk(&self) -> PathBuf {
        self.dir.join("disk.qcow2")
    }

    /// Switches the shared machine on; its first time, its disk is as the image has it.
    pub fn switch_on(&mut self, bus: Bus, sticks: &[&Path]) -> Outcome<()> {
        check(self.machine.is_none(), "the machine is on already")?;
        let disk = self.disk();
        if !disk.exists() {
            overlay(&self.image, &disk, DISK)?;
        }
        let vm = self.start_shared(bus, sticks, "")?;
        let shell = vm.shell(LOGIN)?;
        self.machine = Some((vm, shell));
        Ok(())
    }

    /// Shuts the shared machine down.
    pub fn switch_off(&mut self) -> Outcome<()> {
        match self.machine.take() {
            Some((vm, mut shell)) => vm.switch_off(&mut shell, Duration::from_secs(300)),
            None => Ok(()),
        }
    }

    /// The power fails; all that the machine had written to its serial console, and what its disk lost.
    pub fn cut(&mut self, random: &mut Random) -> Outcome<(String, Lost)> {
        match self.machine.take() {
            Some((vm, _)) => self.lose(vm, random),
            None => fail("the machine is off"),
        }
    }

    /// Switches the shared machine on with sticks in, and the power fails again so long after it has said that something has begun.
    pub fn cut_again(
        &mut self,
        sticks: &[&Path],
        begun: impl Fn(&str) -> bool,
        moment: Duration,
        random: &mut Random,
    ) -> Outcome<(String, Lost)> {
        let vm = self.start_shared(Bus::Virtio, sticks, "systemd.journald.forward_to_console=1")?;
        while !begun(&self.console()) {
            check(vm.started.elapsed() < LOGIN, format!("nothing has begun\n{}", vm.console_tail()))?;
            sleep(Duration::from_millis(200));
        }
        sleep(moment);
        self.lose(vm, random)
    }

    fn lose(&self, mut vm: Vm, random: &mut Random) -> Outcome<(String, Lost)> {
        vm.stop()?;
        drop(vm);
        let mut lost = Lost::default();
        if self.forgetful {
            lost = replay::cut(&self.before(), &self.log(), random)?;
            fs::rename(self.before(), self.disk()).map_err(|error| error.to_string())?;
        }
        Ok((self.console(), lost))
    }

    /// What the machine has written to its serial console.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.run.path().join("console.log")).unwrap_or_default()).into_owned()
    }

    /// Empties the shared machine's ports.
    pub fn pull_all(&mut self) -> Outcome<()> {
        self.machine()?.0.pull_all();
        Ok(())
    }

    /// The shared machine; switched on if it is not, and in service.
    pub fn machine(&mut self) -> Outcome<(&mut Vm, &mut Shell)> {
        if self.machine.is_none() {
            self.switch_on(Bus::Virtio, &[])?;
            in_service(self.shell()?)?;
        }
        match self.machine.as_mut() {
            Some((vm, shell)) => Ok((vm, shell)),
            None => fail("the machine is off"),
        }
    }

    /// Its shell, without waiting until it is in service.
    pub fn shell(&mut self) -> Outcome<&mut Shell> {
        self.machine.as_mut().map_or_else(|| fail("the machine is off"), |(_, shell)| Ok(shell))
    }

    /// A time for meta.json that is later than any before.
    pub fn later(&mut self) -> u64 {
        let now = UNIX_EPOCH.elapsed().map_or(0, |age| age.as_secs());
        self.time = self.time.max(now) + 100;
        self.time
    }

    /// What the product wrote to the journal since the last question: what an operator would read.
    pub fn news(&mut self) -> String {
        let Some((_, shell)) = self.machine.as_mut() else { return String::new() };
        let ask = format!(
            "journalctl -b -q --no-pager -o short-iso --cursor-file=/run/vm-test.cursor {JOBS} -t toolmaster -t raspi-server"
        );
        shell.run(&ask).unwrap_or_else(|error| error)
    }

    /// What the machine can tell of a failure.
    pub fn after_failure(&mut self) -> String {
        let Some((vm, shell)) = self.machine.as_mut() else { return String::new() };
        let ask = "journalctl --no-pager --lines 40 --output short-precise; systemctl --failed --no-pager; lsblk -f; \
                   grep -E ' (/mnt|/run/toolmaster)' /proc/mounts || true";
        let said = shell.run(ask).unwrap_or_else(|error| format!("{error}\n{}", vm.console_tail()));
        // The next case begins with empty ports.
        vm.pull_all();
        said
    }
}

/// Removes what a run that was killed has left.
fn forget_dead(image: &Path) {
    let entries = image.parent().and_then(|dir| fs::read_dir(dir).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("vm-test."));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Waits until nothing of the boot is left to do, and fails if any unit has failed or the database is not healthy.
pub fn in_service(shell: &mut Shell) -> Outcome<()> {
    shell.try_run("systemctl is-system-running --wait", BOOT)?;
    // A disk so slow that the boot went on without it is taken into service afterwards.
    shell.until("systemctl is-active toolmaster-ready.target", BOOT)?;
    let (_, state) = shell.try_run("systemctl is-system-running --wait", BOOT)?;
    let failed = shell.run("systemctl list-units --failed --no-legend --plain --no-pager")?;
    if !failed.is_empty() {
        let (_, why) = shell.try_run("systemctl status --failed --no-pager --lines 8", Duration::from_secs(60))?;
        return fail(format!("failed units:\n{failed}\n{why}"));
    }
    check(state == "running", format!("the system is {state}, not running"))?;
    let database =
        shell.run("cd /srv/rpi-server && docker compose ps --format '{{.Name}} {{.State}} {{.Health}} {{.Ports}}'")?;
    let healthy = "postgres running healthy 127.0.0.1:5432->5432/tcp";
    check(database == healthy, format!("docker compose ps: {database}"))
}
