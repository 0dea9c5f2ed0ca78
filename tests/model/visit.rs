//! A stick's visit at a server, with all that may happen meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Instant;

use rustix::mount::UnmountFlags;
use rustix::process::Signal;

use crate::common::{Call, Run, Server, tree::set_mtime};
use crate::media::View;
use crate::steps::{Consent, DATASETS, Disturbed, Visit, path};
use crate::world::{Undo, World, long_ago};

/// What a program saved meanwhile into the server's directory that it had opened before.
pub struct Late {
    pub dataset: usize,
    pub path: String,
    pub replaced: Option<String>,
    pub content: String,
}

/// A run, and what was there before and after it.
pub struct Seen {
    pub run: Run,
    pub killed: bool,
    /// The stick that comes out is not what the run left.
    pub torn: bool,
    /// The stick had been pulled before, and nobody had ejected it since.
    pub doubtful: bool,
    pub server: [View; 2],
    pub stick: [View; 2],
    pub undo: [Undo; 2],
    pub late: Option<Late>,
    /// The server has a time on record that is later than the clock.
    pub ahead: bool,
    /// What is wrong with the dry run before it.
    pub rehearsal: Option<String>,
}

impl World {
    /// A stick visits a server. `late` is what a program saves meanwhile, if one does.
    pub fn ingest(&mut self, visit: &Visit, late: &str) -> Seen {
        let number = visit.stick;
        if visit.consent == Consent::File {
            self.sticks[number].edit(|root| {
                root.file("REPLACE.txt", "", long_ago());
            });
        }
        let before = (self.server(visit.server), self.sticks[number].look(), self.undo(visit.server));
        let doubtful = self.sticks[number].pulled;
        let rehearsal = if visit.rehearsed { Some(self.rehearse(visit)) } else { None };
        self.note_times(visit.server);
        let ahead = self.newest[visit.server].max(before.1.newest) > self.now;
        let (run, torn, late) = self.disturbed(visit, late);
        self.note_times(visit.server);
        let killed = run.code.is_none();
        if torn || killed {
            self.sticks[number].pulled = true;
        } else if run.code == Some(0) {
            // The run has replayed the journal and unmounted it.
            self.sticks[number].pulled = false;
        }
        let rehearsal = rehearsal.and_then(|(code, wrong)| {
            let other = (late.is_none() && !killed && code != run.code)
                .then(|| format!("the dry run ended with {code:?}, the run with {:?}", run.code));
            wrong.or(other)
        });
        Seen {
            killed,
            torn,
            doubtful,
            ahead,
            server: [before.0, self.server(visit.server)],
            stick: [before.1, self.sticks[number].look()],
            undo: [before.2, self.undo(visit.server)],
            late,
            rehearsal,
            run,
        }
    }

    fn ingest_call(&self, visit: &Visit) -> Call<'_> {
        let device = self.sticks[visit.stick].stick.device();
        let mut call = self.call(visit.server, &["ingest", "--device", device]);
        if visit.consent == Consent::Force {
            call = call.flag("--force");
        }
        if visit.checksum { call.flag("--checksum") } else { call }
    }

    /// A dry run: its code, and what it changed.
    fn rehearse(&self, visit: &Visit) -> (Option<i32>, Option<String>) {
        let (server, port) = (&self.servers[visit.server], &self.sticks[visit.stick]);
        let before = (server.tree().snapshot_of_inodes(), port.stick.bytes());
        // Of an ext4 that was pulled the kernel takes away files without a name, also where it is mounted to be read.
        let mut pulled = needs_recovery(&before.1).then(|| port.copy());
        let run = self.ingest_call(visit).flag("--dry-run").start().wait();
        let wrong = if server.tree().snapshot_of_inodes() != before.0 {
            Some(format!("the dry run changed the server\n{run}"))
        } else if pulled.as_mut().map_or_else(
            || port.stick.bytes() != before.1,
            |pulled| format!("{:?}", pulled.look()) != format!("{:?}", port.copy().look()),
        ) {
            Some(format!("the dry run changed the stick\n{run}"))
        } else {
            None
        };
        (run.code, wrong)
    }

    /// The run itself, whether the stick that comes out is torn, and what was saved meanwhile.
    fn disturbed(&mut self, visit: &Visit, text: &str) -> (Run, bool, Option<Late>) {
        let moment = |instant: u64| self.pace.mul_f64(instant as f64 / 1000.0);
        let port = &self.sticks[visit.stick];
        match visit.disturbed {
            Disturbed::Not => {
                let start = Instant::now();
                let run = self.ingest_call(visit).start().wait();
                self.pace = (self.pace + start.elapsed()) / 2;
                (run, false, None)
            }
            Disturbed::Late { instant, dataset, path: number } => {
                let writer = LateWriter::new(&self.servers[visit.server], dataset, path(number), text, self.now);
                let running = self.ingest_call(visit).start();
                sleep(moment(instant));
                let replaced = writer.as_ref().and_then(LateWriter::save);
                let late = replaced.map(|replaced| Late {
                    dataset,
                    path: path(number).to_owned(),
                    replaced,
                    content: text.to_owned(),
                });
                (running.wait(), false, late)
            }
            Disturbed::Killed { instant } | Disturbed::Pulled { instant } | Disturbed::Unflushed { instant } => {
                let running = self.ingest_call(visit).start();
                sleep(moment(instant));
                let mut copy = None;
                if !matches!(visit.disturbed, Disturbed::Killed { .. }) {
                    running.signal(Signal::STOP);
                    copy = Some(port.copy());
                }
                let goes_on = matches!(visit.disturbed, Disturbed::Unflushed { .. });
                running.signal(if goes_on { Signal::CONT } else { Signal::KILL });
                let run = running.wait();
                let mut torn = run.code.is_none() || copy.is_some();
                if copy.is_none() && torn {
                    if let Some(place) = port.stick.mountpoint() {
                        rustix::fs::syncfs(fs::File::open(place).unwrap()).unwrap();
                    }
                    copy = Some(port.copy());
                }
                while let Some(place) = port.stick.mountpoint() {
                    rustix::mount::unmount(&place, UnmountFlags::DETACH).unwrap();
                }
                match copy {
                    Some(copy) => self.sticks[visit.stick] = copy,
                    None => torn = false,
                }
                (run, torn, None)
            }
        }
    }
}

/// The mark of an ext4 filesystem whose journal is to be replayed (Linux, fs/ext4/ext4.h, `EXT4_FEATURE_INCOMPAT_RECOVER`).
fn needs_recovery(image: &[u8]) -> bool {
    let at = |offset: usize| image.get(1024 + offset).copied().unwrap_or(0);
    (at(0x38), at(0x39)) == (0x53, 0xef) && at(0x60) & 4 != 0
}

/// A program that holds a server's dataset open and saves a file into it: aside first, then by renaming.
struct LateWriter {
    directory: fs::File,
    path: &'static str,
    aside: PathBuf,
}

impl LateWriter {
    fn new(server: &Server, dataset: usize, path: &'static str, text: &str, mtime: i64) -> Option<LateWriter> {
        let name = Path::new(path);
        let parent = server.path(DATASETS[dataset]).join(name.parent().unwrap());
        let directory = fs::File::open(parent).ok()?;
        let aside = server.path(format!("being-saved-{}", text.len()));
        fs::write(&aside, text).unwrap();
        set_mtime(&aside, mtime);
        Some(LateWriter { directory, path: name.file_name().unwrap().to_str().unwrap(), aside })
    }

    /// What it replaced, if anything; nothing at all if the directory is gone and the program was told so.
    fn save(&self) -> Option<Option<String>> {
        use std::os::fd::AsRawFd;
        let held = format!("/proc/self/fd/{}/{}", self.directory.as_raw_fd(), self.path);
        let before = fs::read_to_string(held).ok();
        let saved = rustix::fs::renameat(rustix::fs::CWD, &self.aside, &self.directory, self.path);
        saved.ok().map(|()| before)
    }
}

impl Drop for LateWriter {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.aside);
    }
}
