//! Disturbs a command at one point after the other and holds what it leaves against what must hold (SPEC 8).

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::trace::{Fault, Point, Who, points, shape};
use crate::world::{Ended, State, Subject, World};

/// What an undisturbed run starts from, does and leaves.
pub struct Reference {
    pub points: Vec<Point>,
    old: State,
    new: State,
}

/// One disturbed run and the undisturbed one after it.
pub struct Outcome {
    /// The fault happened, and at the call that was meant.
    pub reached: bool,
    /// What did not hold.
    pub broken: Vec<String>,
}

/// Where strace and the programs in its way are put.
pub struct Bench(tempfile::TempDir);

impl Bench {
    pub fn new() -> Bench {
        Bench(tempfile::tempdir_in("/run").unwrap())
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("strace")
    }

    /// Runs the command undisturbed and notes what it does.
    pub fn reference(&self, world: &World, subject: &Subject) -> Reference {
        world.put_back(subject);
        let old = state(world, subject);
        assert!(old.broken.is_empty(), "before the run: {:?}", old.broken);
        let log = self.log();
        let strace = ["strace", "-f", "-y", "-qq", "-s", "0", "-o", log.to_str().unwrap()].map(str::to_owned);
        let ended = world.run(&strace, None, &(subject.arguments)(world));
        let new = state(world, subject);
        let broken = [complaints_of_success(subject, &ended), new.broken.clone()].concat();
        assert!(broken.is_empty(), "undisturbed: {broken:?}\n{}", ended.stderr);
        let trace = std::fs::read_to_string(log).unwrap();
        if let Some(file) = std::env::var_os("FAULTS_TRACE") {
            std::fs::write(file, &trace).unwrap();
        }
        // A run with nothing left to do also finds everything as it is to be.
        let again = world.run(&[], None, &(subject.arguments)(world));
        assert_eq!(again.code, subject.again, "a second time: {}", again.stderr);
        Reference { points: points(&trace, subject.children), old, new }
    }

    /// Disturbs a run at one point, looks, lets the next run finish the work, looks again.
    pub fn disturb(
        &self,
        world: &World,
        subject: &Subject,
        reference: &Reference,
        point: &Point,
        fault: Fault,
    ) -> Outcome {
        world.put_back(subject);
        let (ended, reached) = self.disturbed(world, subject, point, fault);
        let mut broken = Vec::new();
        let mut complain = |when: &str, complaints: Vec<String>| {
            broken.extend(complaints.into_iter().map(|complaint| format!("{when}: {complaint}")));
        };
        let after = state(world, subject);
        complain("after the fault", complaints_after(subject, reference, (point, reached), fault, &ended, &after));
        // An unmount that was told of an error has not happened.
        if fault.is_error() && !matches!(point.call.name.as_str(), "umount2" | "rmdir") {
            complain("after the fault", mounted(world));
        }
        let next = world.run(&[], None, &(subject.arguments)(world));
        let settled = state(world, subject);
        let mut complaints = unsettled(reference, &settled);
        // One that finds all done already may say that it can't be done again.
        let was_done = subject.again != 0 && next.code == subject.again && unsettled(reference, &after).is_empty();
        if !was_done {
            complaints.extend(complaints_of_success(subject, &next));
            complaints.extend(mounted(world));
        }
        complaints.extend(locked(world));
        complain("after the next run", complaints);
        if !broken.is_empty() {
            broken.push(format!("the disturbed run (code {}) said:\n{}", ended.code, ended.stderr));
            broken.push(format!("the next run (code {}) said:\n{}", next.code, next.stderr));
        }
        Outcome { reached, broken }
    }

    fn disturbed(&self, world: &World, subject: &Subject, point: &Point, fault: Fault) -> (Ended, bool) {
        let log = self.log();
        let _ = std::fs::remove_file(&log);
        let hit = match fault {
            Fault::KillAfter => point.next.as_ref(),
            _ => Some(&point.call),
        };
        let Some(hit) = hit else { return (world.run(&[], None, &(subject.arguments)(world)), false) };
        let what = match fault {
            Fault::Error(error) | Fault::Errors(error) => format!("error={error}"),
            _ => "signal=SIGKILL".to_owned(),
        };
        let on = if matches!(fault, Fault::Errors(_)) { "+" } else { "" };
        let inject = format!("inject={}:{what}:when={}{on}", hit.name, hit.number);
        let mut words = vec!["strace", "-y", "-qq", "-s", "0", "-o", log.to_str().unwrap()];
        // Another thread is traced with all of them; then the first one whose count comes there is disturbed.
        words.extend(matches!(point.who, Who::Thread(_)).then_some("-f"));
        let trace = format!("trace={}", hit.name);
        words.extend(["-e", &trace, "-e", &inject]);
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let arguments = (subject.arguments)(world);
        let ended = match &point.who {
            Who::Child(name) => {
                let program = stand_in(name, &words, fault == Fault::KillBoth);
                world.run(&[], Some(program.path()), &arguments)
            }
            _ => world.run(&words, None, &arguments),
        };
        let trace = std::fs::read_to_string(&log).unwrap_or_default();
        let reached = trace.lines().any(|line| {
            let was_hit = line.contains("(INJECTED)") || line.trim_end().ends_with("= ?");
            let call = line
                .strip_prefix(|c: char| c.is_ascii_digit())
                .map_or(line, |_| line.split_once(' ').map_or(line, |(_, call)| call.trim_start()));
            // What a call was to fill in is not shown of one that never returned.
            let call = shape(call.trim_end_matches(" (INJECTED)"));
            was_hit && hit.text.starts_with(call.trim_end_matches([',', ' ']))
        });
        (ended, reached)
    }
}

/// A program of that name that runs the real one below strace; with `both`, its caller ends as it does.
fn stand_in(name: &str, strace: &[String], both: bool) -> tempfile::TempDir {
    let real = crate::common::postgres::programs().join(name);
    let quoted: Vec<String> = strace.iter().map(|word| format!("'{word}'")).collect();
    let (quoted, real) = (quoted.join(" "), real.display());
    if both {
        crate::common::program(name, &format!("{quoted} {real} \"$@\"\nkill -9 $PPID\nexit 1"))
    } else {
        crate::common::program(name, &format!("exec {quoted} {real} \"$@\""))
    }
}

fn state(world: &World, subject: &Subject) -> State {
    let mut state = State::default();
    (subject.look)(world, &mut state);
    state.names.retain(|name| name != "server/logs" && !name.starts_with("server/logs/"));
    state
}

/// What a run that ends well says.
fn complaints_of_success(subject: &Subject, ended: &Ended) -> Vec<String> {
    let mut complaints = Vec::new();
    if ended.code != 0 {
        complaints.push(format!("code {}", ended.code));
    }
    if !ended.stderr.lines().last().unwrap_or_default().starts_with(subject.done) {
        complaints.push(format!("the last line is not \"{}…\"", subject.done));
    }
    if ended.stderr.lines().any(|line| line.starts_with("[error]")) {
        complaints.push("it says that it is done, and tells of an error".to_owned());
    }
    complaints
}

/// How a run that was told of an error may end: with 1, and with another code where that says more.
fn code_is_right(point: &Point, fault: Fault, code: i32) -> bool {
    match (point.call.name.as_str(), fault, code) {
        (_, _, 0 | 1) => true,
        // A write-protected stick is refused; a kernel without the filesystem is a matter of configuration.
        ("mount", Fault::Error("EROFS"), 2) | ("mount", Fault::Error("ENODEV"), 78) => true,
        // Somebody else has the stick in use.
        ("umount2", Fault::Error("EBUSY"), 75) => true,
        _ => false,
    }
}

fn complaints_after(
    subject: &Subject,
    reference: &Reference,
    (point, reached): (&Point, bool),
    fault: Fault,
    ended: &Ended,
    after: &State,
) -> Vec<String> {
    let mut complaints = after.broken.clone();
    for (part, now) in &after.atomic {
        let (old, new) = (reference.old.atomic.get(part), reference.new.atomic.get(part));
        if Some(now) != old && Some(now) != new {
            complaints.push(format!("{part} is neither old nor new:\n  {now}\n  old {old:?}\n  new {new:?}"));
        }
    }
    let killed = !fault.is_error() && (!matches!(point.who, Who::Child(_)) || fault == Fault::KillBoth);
    if ended.stderr.contains("panicked") {
        complaints.push("it panicked".to_owned());
    }
    if ended.code == 137 && killed {
        return complaints;
    }
    if ended.code == 0 {
        complaints.extend(complaints_of_success(subject, ended));
        complaints.extend(unsettled(reference, after));
        return complaints;
    }
    // A run that came upon more calls than the recorded one was disturbed at another: which code is right there, nobody says.
    if reached && !code_is_right(point, fault, ended.code) {
        complaints.push(format!("code {}", ended.code));
    }
    let errors: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("[error] ")).collect();
    let last = ended.stderr.lines().last().unwrap_or_default();
    // Where an error stays each dataset has its own.
    let most = if matches!(fault, Fault::Errors(_)) { 2 } else { 1 };
    if !(1..=most).contains(&errors.len()) || !last.starts_with("[error] ") || !last.contains(" -> ") {
        complaints.push(format!("{} error lines, the last line is: {last}", errors.len()));
    }
    if !subject.done.is_empty() && ended.stderr.lines().any(|line| line.starts_with(subject.done)) {
        complaints.push("it failed, but claims to be complete".to_owned());
    }
    complaints
}

/// What is not as an undisturbed run leaves it.
fn unsettled(reference: &Reference, now: &State) -> Vec<String> {
    let mut complaints = now.broken.clone();
    let parts = |state: &State| -> Vec<(&'static str, String)> {
        state.atomic.iter().chain(&state.settled).map(|(part, text)| (*part, text.clone())).collect()
    };
    for ((part, text), (_, new)) in parts(now).into_iter().zip(parts(&reference.new)) {
        if text != new {
            complaints.push(format!("{part} is not as it should be:\n  {text}\n  new {new}"));
        }
    }
    complaints.extend(now.names.difference(&reference.new.names).map(|name| format!("left over: {name}")));
    complaints.extend(reference.new.names.difference(&now.names).map(|name| format!("missing: {name}")));
    complaints
}

/// Mounts of the stick, and places for them.
fn mounted(world: &World) -> Vec<String> {
    let Some(stick) = &world.stick else { return Vec::new() };
    let mut left: Vec<String> = stick.mounts().iter().map(|place| format!("mounted at {}", place.display())).collect();
    let name = Path::new(stick.device()).file_name().unwrap().to_str().unwrap();
    let places = std::fs::read_dir("/run/toolmaster").map(|list| list.flatten().collect()).unwrap_or(vec![]);
    let places = places.into_iter().map(|entry| entry.file_name().into_string().unwrap());
    left.extend(
        places.filter(|place| place.starts_with(&format!("{name}-"))).map(|place| format!("/run/toolmaster/{place}")),
    );
    left
}

/// Locks that somebody still holds.
fn locked(world: &World) -> Vec<String> {
    let mut files: Vec<PathBuf> = world.stick.iter().map(|stick| stick.device().into()).collect();
    let state = std::fs::read_dir(world.path(".toolmaster")).map(|list| list.flatten().collect()).unwrap_or(vec![]);
    files.extend(
        state.into_iter().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "lock")),
    );
    files.retain(|path| {
        let file = File::open(path).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
    });
    files.into_iter().map(|path| format!("{} is locked", path.display())).collect()
}
