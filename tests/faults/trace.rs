//! Which system calls a run makes, and how one of them is named: by thread, call and number, as `strace` counts.

use std::collections::BTreeMap;
use std::fmt;

/// Who makes a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The program's first thread.
    Main,
    /// Another one of its threads, by number.
    Thread(usize),
    /// A program that it runs.
    Child(String),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Main => write!(f, "main"),
            Who::Thread(number) => write!(f, "thread{number}"),
            Who::Child(name) => write!(f, "{name}"),
        }
    }
}

/// A call of one thread: its name, and its number among that thread's calls of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    pub number: usize,
    /// Its arguments, without what differs from run to run.
    pub text: String,
}

/// A system call that changes something, or waits until it is changed.
#[derive(Clone, Debug)]
pub struct Point {
    pub who: Who,
    pub call: Call,
    /// The same thread's next call of any kind: a kill there is a kill after this one.
    pub next: Option<Call>,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.who, self.call.name, self.call.number)
    }
}

/// What is done at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed instead of making the call.
    KillBefore,
    /// It makes the call and is killed before it makes another one.
    KillAfter,
    /// Only for a program that ours runs: both are killed instead of its making the call.
    KillBoth,
    /// The call is not made and fails.
    Error(&'static str),
    /// This call and all later ones of its name fail, as on a medium that broke.
    Errors(&'static str),
}

impl Fault {
    /// Whether it is an error, not a kill.
    pub fn is_error(self) -> bool {
        matches!(self, Fault::Error(_) | Fault::Errors(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::KillBefore => write!(f, "kill-before"),
            Fault::KillAfter => write!(f, "kill-after"),
            Fault::KillBoth => write!(f, "kill-both"),
            Fault::Error(error) => write!(f, "{error}"),
            Fault::Errors(error) => write!(f, "{error}+"),
        }
    }
}

impl Point {
    /// All that can happen there.
    pub fn faults(&self) -> Vec<Fault> {
        let kills = match self.who {
            Who::Child(_) => [Fault::KillBefore, Fault::KillBoth],
            _ => [Fault::KillBefore, Fault::KillAfter],
        };
        let errors: &[&str] = match self.call.name.as_str() {
            "mount" => &["EIO", "EROFS", "ENODEV"],
            "umount2" => &["EIO", "EBUSY"],
            "flock" => &["ENOLCK"],
            "write" | "pwrite64" | "writev" | "copy_file_range" | "sendfile" | "ftruncate" | "fallocate" | "fsync"
            | "fdatasync" | "syncfs" | "ioctl" => &["EIO", "ENOSPC"],
            "unlink" | "unlinkat" | "rmdir" | "fchmod" | "fchmodat" | "chmod" | "fchown" | "fchownat" | "chown"
            | "utimensat" => &["EIO", "EROFS"],
            _ => &["EIO", "ENOSPC", "EROFS"],
        };
        // Of calls that read as well, and say what is wrong, not all can fail.
        let broken = match self.call.name.as_str() {
            "write" | "open" | "openat" | "mount" | "umount2" | "flock" => None,
            _ => Some(Fault::Errors("EIO")),
        };
        kills.into_iter().chain(errors.iter().copied().map(Fault::Error)).chain(broken).collect()
    }
}

/// Whether a call changes anything that outlives the process, or waits until that is done.
fn changes(name: &str, text: &str) -> bool {
    match name {
        "open" | "openat" | "openat2" => {
            ["O_CREAT", "O_WRONLY", "O_RDWR", "O_TRUNC"].iter().any(|flag| text.contains(flag))
                && !text.contains("\"/dev/null\"")
        }
        // What is said to whoever called is no change of anything; nor is a pipe.
        "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" => {
            let descriptor = text.split(',').next().unwrap_or_default();
            !["<pipe:", "<socket:", "<UNIX", "<TCP", "<anon_inode:"].iter().any(|kind| descriptor.contains(kind))
        }
        "ioctl" => text.contains("FICLONE") || text.contains(", BLK"),
        "creat" | "copy_file_range" | "sendfile" | "splice" | "ftruncate" | "truncate" | "fallocate" | "rename"
        | "renameat" | "renameat2" | "link" | "linkat" | "symlink" | "symlinkat" | "unlink" | "unlinkat" | "mkdir"
        | "mkdirat" | "rmdir" | "mknod" | "mknodat" | "fsync" | "fdatasync" | "syncfs" | "sync" | "chmod"
        | "fchmod" | "fchmodat" | "fchmodat2" | "chown" | "fchown" | "lchown" | "fchownat" | "utimensat"
        | "setxattr" | "fsetxattr" | "mount" | "umount2" | "mount_setattr" | "move_mount" | "flock" => true,
        _ => false,
    }
}

/// A process or thread of a trace.
struct Thread {
    who: Who,
    process: u32,
    counts: BTreeMap<String, usize>,
    calls: Vec<Call>,
    /// A `clone` of it that was not finished on its line.
    cloning: Option<bool>,
}

impl Thread {
    fn new(who: Who, process: u32) -> Thread {
        Thread { who, process, counts: BTreeMap::new(), calls: Vec::new(), cloning: None }
    }
}

/// All calls that change something in a trace made with `strace -f -y -s 0`, in the threads of our program and in the
/// programs of that names which it runs.
pub fn points(trace: &str, children: &[&str]) -> Vec<Point> {
    let mut threads: Vec<(u32, Thread)> = Vec::new();
    for line in trace.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let (pid, rest): (u32, &str) = (pid.parse().unwrap(), rest.trim_start());
        if threads.is_empty() {
            threads.push((pid, Thread::new(Who::Main, pid)));
        }
        if !threads.iter().any(|(known, _)| *known == pid) {
            // Its parent's line comes later; what it is is known then.
            threads.push((pid, Thread::new(Who::Child(String::new()), pid)));
        }
        let thread = threads.iter_mut().find(|(known, _)| *known == pid).map(|(_, thread)| thread).unwrap();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            if let (Some(is_thread), Some(new)) = (thread.cloning, result(resumed)) {
                thread.cloning = None;
                let process = thread.process;
                adopt(&mut threads, process, new, is_thread);
            }
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(').filter(|(name, _)| is_name(name)) else { continue };
        let count = thread.counts.entry(name.to_owned()).or_default();
        *count += 1;
        let text = shape(rest);
        thread.calls.push(Call { name: name.to_owned(), number: *count, text });
        match name {
            "execve" if thread.who != Who::Main => {
                let path = arguments.split('"').nth(1).unwrap_or_default();
                thread.who = Who::Child(path.rsplit('/').next().unwrap_or_default().to_owned());
            }
            "clone" | "clone3" | "fork" | "vfork" => {
                let is_thread = arguments.contains("CLONE_THREAD");
                match result(rest) {
                    Some(new) => {
                        let process = thread.process;
                        adopt(&mut threads, process, new, is_thread);
                    }
                    None => thread.cloning = Some(is_thread),
                }
            }
            _ => {}
        }
    }
    let wanted = |who: &Who| match who {
        Who::Child(name) => children.contains(&name.as_str()),
        _ => true,
    };
    let mut found = Vec::new();
    for (_, thread) in threads.iter().filter(|(_, thread)| wanted(&thread.who)) {
        for (index, call) in thread.calls.iter().enumerate().filter(|(_, call)| changes(&call.name, &call.text)) {
            let next = thread.calls.get(index + 1).cloned();
            found.push(Point { who: thread.who.clone(), call: call.clone(), next });
        }
    }
    found
}

/// Notes what a process that was just made is: a thread of our program, or another program.
fn adopt(threads: &mut Vec<(u32, Thread)>, process: u32, new: u32, is_thread: bool) {
    let main = threads.first().map(|(pid, _)| *pid).unwrap_or_default();
    if !threads.iter().any(|(known, _)| *known == new) {
        threads.push((new, Thread::new(Who::Child(String::new()), new)));
    }
    let number = threads.iter().filter(|(_, thread)| matches!(thread.who, Who::Thread(_))).count();
    let (_, thread) = threads.iter_mut().find(|(known, _)| *known == new).unwrap();
    if is_thread && process == main {
        (thread.who, thread.process) = (Who::Thread(number + 1), main);
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn result(line: &str) -> Option<u32> {
    line.rsplit_once(" = ")?.1.split(' ').next()?.parse().ok()
}

/// A call and its arguments without numbers: descriptors, processes, times and sizes differ from run to run.
pub fn shape(line: &str) -> String {
    let call = line.rsplit_once(" = ").map_or(line, |(call, _)| call).replace("<unfinished ...>", "");
    let shape: String = call.trim_end_matches([' ', ')']).chars().filter(|c| !c.is_ascii_digit()).collect();
    // What is named by the time has one number more if there were two in that second.
    shape.replace("--_-", "--_")
}
