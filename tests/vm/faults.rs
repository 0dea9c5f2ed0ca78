//! Sticks pulled and the power cut at random moments of each job, on each file system; then everything has to come right by
//! itself. `scripts/vm-faults` runs it; docs/faults.md has its last figures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::lab::{JOBS, Lab, in_service};
use crate::moments::Moments;
use crate::qemu::{Bus, SLOW};
use crate::replay::{Lost, Random};
use crate::shell::Shell;
use crate::stick::{Fs, Layout, Recipe, make};
use crate::sticks::{BACKUP, DIST, INGEST, Role, completed, finished, mark};
use crate::{Outcome, check, fuzzed, hands};

/// Files of a dataset, and bytes of each.
const FILES: usize = 24;
/// A slow stick is busy for some seconds then.
const BYTES: usize = 60_000;
/// Seconds from the plugging in until the jobs are done, at first.
const PULLED: f64 = 12.0;
/// From the first job's first line until it and the next are done, and until the backup is, which waits at a boot for the database.
const CUT: [f64; 2] = [6.0, 60.0];
/// Visits of a round, each of three sticks that are pulled.
const VISITS: usize = 10;
/// Power cuts of a round: all but the first meet the boot that follows the one before.
const CUTS: usize = 28;
/// The first job has begun by then.
const BEGIN: Duration = Duration::from_secs(120);
pub const ROLES: [&Role; 3] = [&INGEST, &DIST, &BACKUP];
const SYSTEMS: [Fs; 3] = [Fs::Fat32, Fs::Ext4, Fs::ExFat];

/// The sticks for export and backup by role and file system, and what has happened.
pub struct Field {
    sticks: BTreeMap<(usize, usize), PathBuf>,
    pub random: Random,
    pub round: u64,
    pulls: [Moments; 3],
    /// Four times the first jobs are to be met, then the backup, which takes long to begin.
    cuts: [Moments; 2],
    pub hands: hands::Spans,
}

/// How far a job was when it was disturbed.
#[derive(Default)]
pub struct Tally(BTreeMap<(String, &'static str, &'static str), u32>);

/// Runs so many rounds of each; each round disturbs the three roles' jobs at once.
pub fn run(lab: &mut Lab, [pulls, cuts, errors, damages, hands]: [u64; 5]) -> Outcome<()> {
    if cuts > 0 || hands > 1 {
        lab.be_forgetful()?;
    }
    let mut field = Field::new(lab)?;
    let mut tally = Tally::default();
    for round in 0..[pulls, cuts, errors, damages, hands].into_iter().max().unwrap_or(0) {
        if round < pulls {
            field.pulled(lab, &mut tally).map_err(|error| format!("round {round} of pulls: {error}"))?;
        }
        if round < cuts {
            field.power_cut(lab, &mut tally).map_err(|error| format!("round {round} of power cuts: {error}"))?;
        }
        if round < errors {
            field.failing(lab, &mut tally).map_err(|error| format!("round {round} of I/O errors: {error}"))?;
        }
        if round < damages {
            let done = fuzzed::round(&mut field, lab, &mut tally);
            done.map_err(|error| format!("round {round} of damaged sticks: {error}"))?;
        }
        if round < hands {
            let done = hands::round(&mut field, lab, &mut tally, round % 2 == 1);
            done.map_err(|error| format!("round {round} of commands by hand: {error}"))?;
        }
    }
    tally.print();
    Ok(())
}

impl Field {
    fn new(lab: &mut Lab) -> Outcome<Field> {
        let pulls = [0; 3].map(|_| Moments::until(PULLED));
        let cuts = CUT.map(Moments::until);
        let mut field =
            Field { sticks: BTreeMap::new(), random: random(), round: 0, pulls, cuts, hands: hands::Spans::new() };
        for index in 1..ROLES.len() {
            for system in 0..SYSTEMS.len() {
                field.sticks.insert((index, system), stick(lab, index, system, 0, &[])?);
            }
        }
        Ok(field)
    }

    /// The round's token and three sticks, each role's on another file system than in the round before. The sticks for
    /// export and backup keep what earlier rounds left on them, cut off or not.
    pub fn sticks(&mut self, lab: &mut Lab) -> Outcome<(String, Vec<(PathBuf, Fs)>)> {
        self.round += 1;
        let token = format!("TOKEN-{:010}", self.round);
        // Other lengths than in any other round, so that no file passes for one that is there.
        let length = BYTES + 16 * self.round as usize;
        let mut files = Vec::new();
        for set in ["master", "docviewer"] {
            files.push((format!("{set}/meta.json"), format!("{{\"updated_at\": {}}}\n", lab.later())));
            for number in 0..FILES {
                let bulk = self.random.text(length);
                files.push((format!("{set}/工具{number:02}.csv"), format!("{token}\n{bulk}")));
            }
        }
        let mut sticks = Vec::new();
        for index in 0..ROLES.len() {
            let system = (self.round as usize + index) % SYSTEMS.len();
            let file = match self.sticks.get(&(index, system)) {
                Some(file) => file.clone(),
                None => stick(lab, index, system, self.round, &files)?,
            };
            sticks.push((file, SYSTEMS[system]));
        }
        Ok((token, sticks))
    }

    /// All three are plugged in and each is pulled at its own moment, with newer data each time and on what the visit before has left; then the last
    /// ones of each kind are plugged in again.
    fn pulled(&mut self, lab: &mut Lab, tally: &mut Tally) -> Outcome<()> {
        let mut sets = Vec::new();
        for _ in 0..VISITS {
            sets.push(self.sticks(lab)?);
        }
        fresh_snapshot_data(lab.machine()?.1, self.round)?;
        let mut told = Vec::new();
        for (_, sticks) in &sets {
            for (moment, index, reached) in self.pull_each(lab, sticks)? {
                let (label, fs) = (ROLES[index].label, sticks[index].1);
                tally.note(label, fs, reached, "pulled");
                told.push(format!("pull   {:5} ms  {label:9} {:5}  {reached:10}", moment.as_millis(), fs.name()));
            }
        }
        let newest = sets.last().map(|(token, _)| token.clone()).unwrap_or_default();
        for (_, sticks) in sets.iter().rev().take(SYSTEMS.len()) {
            self.again(lab, &newest, sticks)?;
        }
        for line in told {
            println!("{line}  came right");
        }
        Ok(())
    }

    /// The moment of each pull, the role's place, and how far its job was.
    fn pull_each(&mut self, lab: &mut Lab, sticks: &[(PathBuf, Fs)]) -> Outcome<Vec<(Duration, usize, &'static str)>> {
        let (vm, shell) = lab.machine()?;
        let begun = mark(shell)?;
        let started = Instant::now();
        for (index, (stick, _)) in sticks.iter().enumerate() {
            vm.plug_slow(ROLES[index].word, stick, SLOW)?;
        }
        let mut moments: Vec<(Duration, usize)> =
            self.pulls.iter().map(|moments| moments.next(&mut self.random)).zip(0..).collect();
        moments.sort();
        for (moment, index) in &moments {
            sleep(moment.saturating_sub(started.elapsed()));
            vm.pull(ROLES[*index].word)?;
        }
        shell.until(QUIET, Duration::from_secs(120))?;
        completed(shell)?;
        let reached = reached(shell, &begun)?;
        whole(shell, "/srv/rpi-server", None)?;
        for (moment, index) in &moments {
            self.pulls[*index].learn(*moment, reached[*index]);
        }
        Ok(moments.into_iter().map(|(moment, index)| (moment, index, reached[index])).collect())
    }

    /// All three are plugged in and fail at a reading or writing of their own, once or from there on; then they are pulled, and
    /// plugged in again in good health.
    fn failing(&mut self, lab: &mut Lab, tally: &mut Tally) -> Outcome<()> {
        let (token, sticks) = self.sticks(lab)?;
        let (vm, shell) = lab.machine()?;
        fresh_snapshot_data(shell, self.round)?;
        let begun = mark(shell)?;
        let mut told = Vec::new();
        for (index, (stick, _)) in sticks.iter().enumerate() {
            let (reading, stays) = (self.random.chance() < 0.3, self.random.chance() < 0.5);
            // A job reads and writes that often, most times.
            let number = 1 + (self.random.chance() * 120.0) as u64;
            vm.plug_failing(ROLES[index].word, stick, reading, number, stays)?;
            told.push(format!(
                "{} {number}{}",
                if reading { "reading" } else { "writing" },
                if stays { " and all after it" } else { "" }
            ));
        }
        shell.until(&format!("journalctl --after-cursor='{begun}' -q -o cat -t systemd | grep -q usb-"), BEGIN)?;
        sleep(Duration::from_secs(10));
        shell.until(QUIET, Duration::from_secs(240))?;
        let reached = reached(shell, &begun)?;
        whole(shell, "/srv/rpi-server", None)?;
        lab.pull_all()?;
        completed(lab.shell()?)?;
        self.again(lab, &token, &sticks)?;
        for (index, (_, fs)) in sticks.iter().enumerate() {
            tally.note(ROLES[index].label, *fs, reached[index], "failed");
            let (label, reached) = (ROLES[index].label, reached[index]);
            println!("error  {label:9} {:5}  {:30}  {reached:10}  came right", fs.name(), told[index]);
        }
        Ok(())
    }

    /// The power fails while all three jobs and a snapshot are under way. It comes back with other sticks in, of which the INGEST stick brings newer data,
    /// and fails again while their jobs run upon what the cut before has left, and so on; the last time it stays.
    fn power_cut(&mut self, lab: &mut Lab, tally: &mut Tally) -> Outcome<()> {
        let mut sets = Vec::new();
        for _ in 0..CUTS {
            sets.push(self.sticks(lab)?);
        }
        let mut told = Vec::new();
        for (number, (_, sticks)) in sets.iter().enumerate() {
            let (turn, met) = if number % 5 < 4 { (0, &ROLES[..2]) } else { (1, &ROLES[2..]) };
            let moment = self.cuts[turn].next(&mut self.random);
            let (said, lost) = if told.is_empty() {
                self.first_cut(lab, sticks, moment)?
            } else {
                lab.cut_again(&files(sticks), begun, moment, &mut self.random)?
            };
            for (role, (_, fs)) in ROLES.into_iter().zip(sticks) {
                tally.note(role.label, *fs, how_far(&said, role), "cut");
            }
            // One that was met is what counts.
            let far =
                ["cut off", "not begun"].into_iter().find(|far| met.iter().any(|role| how_far(&said, role) == *far));
            self.cuts[turn].learn(moment, far.unwrap_or("done"));
            told.push(line(sticks, moment, &said, lost));
        }
        let Some((token, last)) = sets.last() else { return Ok(()) };
        lab.switch_on(Bus::Virtio, &files(last))?;
        let shell = lab.shell()?;
        in_service(shell)?;
        for role in ROLES {
            let done = format!("journalctl -b -t {} -o cat | grep -F '{}'", role.tag, role.line);
            shell.until(&done, Duration::from_secs(240))?;
        }
        shell.until(QUIET, Duration::from_secs(120))?;
        whole(shell, "/srv/rpi-server", Some(token))
            .map_err(|error| format!("{error}\nbefore:\n{}", told.join("\n")))?;
        snapshots(shell)?;
        lab.pull_all()?;
        completed(lab.shell()?)?;
        // Each stick that a cut has met, the last one of its kind and file system.
        for (_, sticks) in sets.iter().rev().take(SYSTEMS.len()) {
            self.again(lab, token, sticks)?;
        }
        for line in told {
            println!("{line}  came right");
        }
        Ok(())
    }

    /// What was said until the power failed, and what it cost.
    fn first_cut(&mut self, lab: &mut Lab, sticks: &[(PathBuf, Fs)], moment: Duration) -> Outcome<(String, Lost)> {
        let (vm, shell) = lab.machine()?;
        fresh_snapshot_data(shell, self.round)?;
        // The journal of the last seconds is lost with the power; the serial console's text is not.
        shell.send(&format!("journalctl -f -n 0 -o short {JOBS} >/dev/ttyAMA0 & true"))?;
        shell.run("systemctl start --no-block tool-snapshot.service")?;
        let started = Instant::now();
        for (index, (stick, _)) in sticks.iter().enumerate() {
            vm.plug_slow(ROLES[index].word, stick, SLOW)?;
        }
        // The first job has begun; a cut before that would say nothing of it.
        while !begun(&lab.console()) && started.elapsed() < BEGIN {
            sleep(Duration::from_millis(100));
        }
        sleep(moment);
        lab.cut(&mut self.random)
    }

    /// Each stick once more, in peace: now all of it must be there.
    pub fn again(&mut self, lab: &mut Lab, token: &str, sticks: &[(PathBuf, Fs)]) -> Outcome<()> {
        let (vm, shell) = lab.machine()?;
        for (index, role) in ROLES.into_iter().enumerate() {
            let begun = mark(shell)?;
            vm.plug(role.word, &sticks[index].0)?;
            finished(shell, role, &begun)?;
            match index {
                2 => shell.run("cd /mnt/backup && sha256sum -c --quiet *_full.tar.zst.sha256").map(drop)?,
                _ => whole(shell, role.place, Some(token))?,
            }
            whole(shell, "/srv/rpi-server", Some(token))?;
            if index < 2 {
                // What is on record of it, and of no backup: the directory is there, or this fails.
                let uuid = shell.run(&format!("lsblk -no UUID $(findmnt -no SOURCE {})", role.place))?;
                let place = format!("/srv/rpi-server/.toolmaster/sticks/{}", uuid.to_ascii_lowercase());
                let left = shell.run(&format!("find {place} -name '.*.tmp'"))?;
                check(left.is_empty(), format!("left over:\n{left}"))?;
            }
            vm.pull(role.word)?;
            completed(shell)?;
        }
        // What a cut-off run left for the next one to clear is gone.
        let left = shell.run(LEFT)?;
        check(left.is_empty(), format!("left over:\n{left}"))
    }
}

/// What is left of runs that were cut off. A stick's own place is for its next visit to clear, which not each stick of a round has.
const LEFT: &str = "find /srv/rpi-server -path '*/.toolmaster/sticks' -prune -o -name '.*.tmp' -print -o -path '*/.toolmaster/tmp/*' -print | \
    grep -v '^/srv/rpi-server/logs' || true";

fn files(sticks: &[(PathBuf, Fs)]) -> Vec<&Path> {
    sticks.iter().map(|(stick, _)| stick.as_path()).collect()
}

/// How a power cut is told.
fn line(sticks: &[(PathBuf, Fs)], moment: Duration, said: &str, lost: Lost) -> String {
    let jobs: Vec<String> = ROLES
        .into_iter()
        .zip(sticks)
        .map(|(role, (_, fs))| format!("{} {} {}", role.label, fs.name(), how_far(said, role)))
        .collect();
    format!(
        "cut    {:5} ms  {} writes flushed, {} not: {} blocks of these lost  {}",
        moment.as_millis(),
        lost.durable,
        lost.open,
        lost.blocks,
        jobs.join(", ")
    )
}

/// A role's stick with a file system.
fn stick(lab: &mut Lab, index: usize, system: usize, round: u64, files: &[(String, String)]) -> Outcome<PathBuf> {
    let (role, fs) = (ROLES[index], SYSTEMS[system]);
    let layout = if fs == Fs::Ext4 { Layout::Whole } else { Layout::Partitioned };
    let recipe = Recipe { label: role.label, role: Some(role.word), fs, layout, files };
    let dir = lab.dir.clone();
    // No more of them than a round needs.
    let name = format!("{}-{system}-{}", role.word, round % (VISITS.max(CUTS) as u64 + 1));
    make(&dir, &name, &recipe, lab.machine()?.1)
}

/// No job of a stick runs or is about to; its light burns until it is pulled.
pub const QUIET: &str = "! systemctl list-units --no-legend --plain --state=activating,active,deactivating 'usb-*@*' | grep -qv '^usb-light@'";

/// The next backup differs from the last one.
pub fn fresh_snapshot_data(shell: &mut Shell, round: u64) -> Outcome<()> {
    let sql = format!("CREATE TABLE IF NOT EXISTS rounds (n int); INSERT INTO rounds VALUES ({round})");
    shell.run(&format!("docker exec postgres psql -q -U $(docker exec postgres printenv POSTGRES_USER) -d $(docker exec postgres printenv POSTGRES_DB) -c '{sql}' 2>&1"))?;
    shell.run_within("toolmaster snapshot", Duration::from_secs(240)).map(drop)
}

/// How far each role's job was when it ended, by its journal after a mark.
pub fn reached(shell: &mut Shell, mark: &str) -> Outcome<Vec<&'static str>> {
    let mut all = Vec::new();
    for role in ROLES {
        let said = shell.run(&format!("journalctl --after-cursor='{mark}' -q -t {} -o short | cat", role.tag))?;
        all.push(how_far(&said, role));
    }
    Ok(all)
}

/// Whether a stick's job has, by the serial console.
fn begun(console: &str) -> bool {
    ROLES.iter().any(|role| how_far(console, role) != "not begun")
}

/// By the lines of the role's job.
fn how_far(said: &str, role: &Role) -> &'static str {
    let said = |word: &str| said.lines().any(|line| line.contains(role.tag) && line.contains(word));
    match (said(role.line), said(&format!(" {} ", role.label))) {
        (true, _) => "done",
        (false, true) => "cut off",
        (false, false) => "not begun",
    }
}

/// Both datasets are of one round, with all their files; of this round, if there is a token.
pub fn whole(shell: &mut Shell, place: &str, token: Option<&str>) -> Outcome<()> {
    for set in ["master", "docviewer"] {
        let found = shell.run(&format!(
            "cd {place}/{set} && find . -name '*.csv' -size +50k | wc -l && cat /dev/null *.csv 2>/dev/null | grep -ao 'TOKEN-[0-9]*' | fold -w 16 | sort -u"
        ))?;
        let lines: Vec<&str> = found.lines().map(str::trim).collect();
        let files = FILES.to_string();
        let whole = matches!(lines[..], [count, one] if count == files && token.is_none_or(|token| token == one));
        // Before the first round the server is empty.
        let empty = token.is_none() && lines == ["0"];
        check(whole || empty, format!("{place}/{set}: {lines:?}, not {FILES} files of {token:?}"))?;
    }
    Ok(())
}

/// Each snapshot is whole: what is not yet has no such name.
fn snapshots(shell: &mut Shell) -> Outcome<()> {
    shell
        .run("cd /srv/rpi-server/snapshots && for d in 20*; do test -s $d/manifest.json -a -s $d/db/pg_dump.sql || { echo $d; exit 1; }; done")
        .map(drop)
}

impl Tally {
    pub fn note(&mut self, what: &str, fs: Fs, reached: &'static str, how: &'static str) {
        *self.0.entry((format!("{how} {what}"), fs.name(), reached)).or_default() += 1;
    }

    fn print(&self) {
        for ((what, fs, reached), count) in &self.0 {
            println!("FAULTS|{what}|{fs}|{reached}|{count}|");
        }
        println!("{} jobs disturbed, each came right", self.0.values().sum::<u32>());
    }
}

/// Chance that `FAULTS_SEED` repeats.
pub fn random() -> Random {
    let given = std::env::var("FAULTS_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().map_or(1, |age| age.as_nanos() as u64)) | 1;
    println!("seed {seed}");
    Random::new(seed)
}
