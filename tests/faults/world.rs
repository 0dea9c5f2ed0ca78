//! What a command is run on: a server's disk, a stick, settings; and what is seen there.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::Tree;
use crate::common::call::BINARY;
use crate::common::pi_zero::Site;
use crate::disk::Disk;

/// A run that takes longer hangs.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A command whose every step is disturbed.
pub struct Subject {
    /// Its name in the table.
    pub name: &'static str,
    /// Label and MiB of its stick, if it has one.
    pub stick: Option<(&'static str, u64)>,
    /// Brings a new server and a new stick into the state that the command begins with.
    pub prepare: fn(&World),
    /// Brings back what does not lie on the two disks.
    pub reset: fn(&World),
    /// The command line.
    pub arguments: fn(&World) -> Vec<String>,
    /// What is there, in parts.
    pub look: fn(&World, &mut State),
    /// How its last line begins when all is done.
    pub done: &'static str,
    /// The code of a run that finds all done already.
    pub again: i32,
    /// Programs that it runs which write its data.
    pub children: &'static [&'static str],
}

/// What is there.
#[derive(Default, Debug)]
pub struct State {
    /// What must at every instant be as it was before the run, or as it is after it.
    pub atomic: BTreeMap<&'static str, String>,
    /// What must be as it is after the run once a run came to its end.
    pub settled: BTreeMap<&'static str, String>,
    /// Every name on the disks, times in names left out.
    pub names: BTreeSet<String>,
    /// What is wrong whenever it is seen.
    pub broken: Vec<String>,
}

/// The machine.
pub struct World {
    pub server: Disk,
    pub stick: Option<Disk>,
    /// Settings beyond those of every run.
    pub variables: RefCell<Vec<(&'static str, String)>>,
    /// What `prepare` found out for the command line.
    pub notes: RefCell<BTreeMap<&'static str, String>>,
    /// The Pi Zero and the databases of the mirror's commands.
    pub mirror: RefCell<Option<Site>>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code, 137 if it was killed.
    pub code: i32,
    pub stderr: String,
}

impl World {
    /// A new one in the state that the command begins with. Nothing is mounted.
    pub fn new(subject: &Subject) -> World {
        let mut world = World {
            server: Disk::new("server", 16),
            stick: subject.stick.map(|(label, mib)| Disk::new(label, mib)),
            variables: RefCell::default(),
            notes: RefCell::default(),
            mirror: RefCell::default(),
        };
        world.server.mount(false);
        std::fs::create_dir(world.path("")).unwrap();
        (subject.prepare)(&world);
        (subject.reset)(&world);
        // What is named by the time is named anew.
        std::thread::sleep(Duration::from_millis(1100));
        world.server.unmount();
        world.server.keep();
        if let Some(stick) = &mut world.stick {
            stick.unmount();
            stick.keep();
        }
        world
    }

    /// Back to the state that the command begins with; the server's disk is mounted.
    pub fn put_back(&self, subject: &Subject) {
        if let Some(stick) = &self.stick {
            stick.unmount();
            stick.put_back();
        }
        self.server.unmount();
        self.server.put_back();
        self.server.mount(false);
        (subject.reset)(self);
    }

    /// A path below `$SERVER_ROOT`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.server.place().join("root").join(name)
    }

    /// The tree below `$SERVER_ROOT`.
    pub fn tree(&self) -> Tree {
        Tree::at(self.path(""))
    }

    /// The stick.
    pub fn stick(&self) -> &Disk {
        self.stick.as_ref().unwrap()
    }

    /// The stick's node.
    pub fn device(&self) -> String {
        self.stick().device().to_owned()
    }

    /// One more setting.
    pub fn set(&self, name: &'static str, value: impl Into<String>) {
        self.variables.borrow_mut().push((name, value.into()));
    }

    /// Something that `prepare` found out.
    pub fn note(&self, name: &'static str) -> String {
        self.notes.borrow()[name].clone()
    }

    /// Looks at the mirror's other side.
    pub fn mirror(&self, look: impl FnOnce(&Site)) {
        look(self.mirror.borrow().as_ref().unwrap());
    }

    /// Runs a command line while the world is made; it must succeed.
    pub fn must(&self, arguments: &[&str]) {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let ended = self.run(&[], None, &arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.stderr);
    }

    /// Runs a command line, through the words of another program; `programs`: a directory before the others in `$PATH`.
    pub fn run(&self, through: &[String], programs: Option<&Path>, arguments: &[String]) -> Ended {
        let mut words = through.to_vec();
        words.push(BINARY.to_owned());
        words.extend(arguments.iter().cloned());
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", &TIME_LIMIT.as_secs().to_string()]).args(&words);
        command.env_clear().env("PATH", path(programs)).env("TZ", "UTC");
        // A disturbed run makes no second try that waits half a second for a stick in use. The one after it may meet what was open when that one was
        // killed, also in a program that another test was about to start.
        let tries = if through.is_empty() { "3" } else { "1" };
        command.env("SERVER_ROOT", self.path("")).env("USB_MAX_RETRY", tries);
        command.envs(self.variables.borrow().iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = Instant::now();
        let output = command.output().unwrap();
        assert!(start.elapsed() < TIME_LIMIT, "hangs: {words:?}");
        use std::os::unix::process::ExitStatusExt;
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or_default());
        Ended { code, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }
}

/// `$PATH`, with PostgreSQL's programs themselves before Debian's wrappers of them, which are slow.
fn path(programs: Option<&Path>) -> std::ffi::OsString {
    let postgres = crate::common::postgres::programs();
    let path = std::env::var_os("PATH").unwrap();
    let places = programs.map(Path::to_owned).into_iter().chain([postgres]).chain(std::env::split_paths(&path));
    std::env::join_paths(places).unwrap()
}
