//! Sticks: each role, file system and layout; foreign and wrong ones; pulled at the wrong moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lab::Lab;
use crate::shell::Shell;
use crate::stick::{Fs, Layout, Recipe, luks, make};
use crate::{Case, Outcome, check, fail};

/// From plugging in to the line in the journal.
const JOB: Duration = Duration::from_secs(240);
/// From the job's end to the stick's being shown.
const SHOWN: Duration = Duration::from_secs(90);
/// Where the sticks' table is on the server.
pub const CSV: &str = "master/工具一覧.csv";
const DRAWING: &str = "docviewer/図面 2025/部品Ａ・組立.txt";

/// Units, completion lines and places of the roles.
pub struct Role {
    pub word: &'static str,
    pub label: &'static str,
    /// What its lines in the journal begin with.
    pub tag: &'static str,
    pub unit: &'static str,
    pub line: &'static str,
    pub place: &'static str,
}

pub const INGEST: Role = Role {
    word: "INGEST",
    label: "TM-INGEST",
    tag: "tool-ingest-sync",
    unit: "usb-ingest@*",
    line: "ingest completed (dry_run=0 force=0)",
    place: "/mnt/physusb",
};
pub const DIST: Role = Role {
    word: "DIST",
    label: "TM-DIST",
    tag: "tool-dist-export",
    unit: "usb-dist-export@*",
    line: "dist export completed (dry_run=0)",
    place: "/mnt/physusb",
};
pub const BACKUP: Role = Role {
    word: "BACKUP",
    label: "TM-BACKUP",
    tag: "tool-backup-export",
    unit: "usb-backup@*",
    line: "backup export completed archive=",
    place: "/mnt/backup",
};

/// In the order of their run: DIST and BACKUP want data on the server.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (role, run) in [(&INGEST, ingest as fn(&mut Lab, Fs, Layout) -> Outcome<()>), (&DIST, dist), (&BACKUP, backup)]
    {
        for fs in [Fs::Fat32, Fs::Ext4, Fs::ExFat] {
            for layout in [Layout::Partitioned, Layout::Whole] {
                let name = format!("{}, {}, {}, Japanese names", role.label, fs.name(), layout.name());
                let short = match role.word {
                    "INGEST" => {
                        (fs, layout) == (Fs::Fat32, Layout::Partitioned) || (fs, layout) == (Fs::ExFat, Layout::Whole)
                    }
                    "DIST" => (fs, layout) == (Fs::ExFat, Layout::Partitioned),
                    _ => (fs, layout) == (Fs::Ext4, Layout::Partitioned),
                };
                let case = Case::new(name, move |lab: &mut Lab| run(lab, fs, layout));
                cases.push(Case { short, ..case });
            }
        }
    }
    cases.extend([
        Case::new("the site's own program runs after an ingest, and is not confined as the job is", site_program),
        Case::new("a share's rights on a dataset's directory outlast the exchange", share_rights),
        Case::new("pulled idle, and put in again", pulled_idle),
        Case::new("put in again within a second", within_a_second),
        Case::new("pulled while it is being written, and put in again", pulled_writing),
        Case::new("a FAT stick whose archive leads to free space: repaired, and filled", cut_off_archive),
        Case::new("a FAT directory of which a block can't be read: nothing is taken", unreadable_directory),
        Case::new("three at once", three_at_once),
        Case::new("wrong label: told of, untouched", |lab| {
            foreign(lab, "OTHER", Fs::Ext4, "is no stick of ours: its label is \"OTHER\"")
        }),
        Case::new("wrong role: refused, not shown", |lab| refused(lab, Some("DIST"))),
        Case::new("no role: refused, not shown", |lab| refused(lab, None)),
        Case::new("LUKS: told of, untouched", encrypted),
        Case::long("unformatted: told of, untouched", unformatted),
    ]);
    cases
}

/// A stick with a later time than any before, whose table has this text.
pub fn ingest_stick(lab: &mut Lab, name: &str, fs: Fs, layout: Layout, text: &str) -> Outcome<PathBuf> {
    let meta = format!("{{\"updated_at\": {}}}\n", lab.later());
    let files = [
        ("master/meta.json".to_owned(), meta.clone()),
        (CSV.to_owned(), text.to_owned()),
        ("docviewer/meta.json".to_owned(), meta),
        (DRAWING.to_owned(), format!("図面 {text}")),
    ];
    let recipe = Recipe { label: INGEST.label, role: Some(INGEST.word), fs, layout, files: &files };
    let dir = lab.dir.clone();
    make(&dir, name, &recipe, lab.machine()?.1)
}

/// A stick with nothing but its role.
pub fn empty_stick(lab: &mut Lab, role: &Role, name: &str, fs: Fs, layout: Layout) -> Outcome<PathBuf> {
    let recipe = Recipe { label: role.label, role: Some(role.word), fs, layout, files: &[] };
    let dir = lab.dir.clone();
    make(&dir, name, &recipe, lab.machine()?.1)
}

/// A place in the journal: what comes after it is new.
pub fn mark(shell: &mut Shell) -> Outcome<String> {
    let text = shell.run("journalctl --lines 0 --show-cursor --quiet")?;
    text.lines()
        .find_map(|line| line.strip_prefix("-- cursor: "))
        .map(str::to_owned)
        .ok_or(format!("no cursor in {text}"))
}

/// Waits for the role's completion line after the mark, and until the stick is shown.
pub fn finished(shell: &mut Shell, role: &Role, mark: &str) -> Outcome<()> {
    shell
        .until(&format!("journalctl --after-cursor='{mark}' -t {} -o cat | grep -F '{}'", role.tag, role.line), JOB)?;
    shell.until(&format!("findmnt -no OPTIONS {} | grep -w ro", role.place), SHOWN).map(drop)
}

/// The file on the machine has this text.
pub fn same(shell: &mut Shell, path: &str, text: &str) -> Outcome<()> {
    let found = shell.run(&format!("cat '{path}'"))?;
    check(found == text, format!("{path} holds {found:?}, not {text:?}"))
}

/// No mount of a stick is left and no unit has failed.
pub fn completed(shell: &mut Shell) -> Outcome<()> {
    shell.until("! grep -E '^/dev/sd' /proc/mounts", Duration::from_secs(60))?;
    // A refused job counts as failed while its stick is in.
    shell
        .until("! systemctl list-units --failed --no-legend --plain --no-pager | grep .", Duration::from_secs(60))
        .map(drop)
}

/// A stick's visit: its job, what is looked at then, the operator's unmounting, and out.
pub fn visit(lab: &mut Lab, role: &Role, stick: &Path, look: impl FnOnce(&mut Shell) -> Outcome<()>) -> Outcome<()> {
    plugged(lab, role, stick, |shell| {
        look(shell)?;
        shell.run(&format!("sudo umount {}", role.place)).map(drop)
    })
}

/// Plugs a stick in, waits for the end of its job, looks and pulls it.
pub fn plugged(lab: &mut Lab, role: &Role, stick: &Path, look: impl FnOnce(&mut Shell) -> Outcome<()>) -> Outcome<()> {
    let (vm, shell) = lab.machine()?;
    let mark = mark(shell)?;
    vm.plug("stick", stick)?;
    finished(shell, role, &mark)?;
    look(shell)?;
    vm.pull("stick")?;
    completed(shell)
}

fn ingest(lab: &mut Lab, fs: Fs, layout: Layout) -> Outcome<()> {
    let text = format!("ハンマー,{} {}", fs.name(), layout.name());
    let stick = ingest_stick(lab, "stick", fs, layout, &text)?;
    visit(lab, &INGEST, &stick, |shell| {
        same(shell, &format!("/srv/rpi-server/{CSV}"), &text)?;
        same(shell, &format!("/srv/rpi-server/{DRAWING}"), &format!("図面 {text}"))?;
        same(shell, &format!("/mnt/physusb/{CSV}"), &text)?;
        shell.run("grep -q 'RaspberryPiServer の結果: 完了' /mnt/physusb/RESULT.txt")?;
        let modes = shell.run(&format!("stat -c '%a %U' '/srv/rpi-server/{CSV}'"))?;
        check(modes == "644 root", modes)?;
        let logs = shell.run("cd /srv/rpi-server/logs && stat -c '%a %U:%G' . usb_ingest.log jobs.jsonl")?;
        check(logs == "2755 root:adm\n640 root:adm\n640 root:adm", logs)
    })
}

fn dist(lab: &mut Lab, fs: Fs, layout: Layout) -> Outcome<()> {
    let stick = empty_stick(lab, &DIST, "stick", fs, layout)?;
    visit(lab, &DIST, &stick, |shell| {
        let equal = "for d in master docviewer; do diff -r /srv/rpi-server/$d /mnt/physusb/$d || exit; done";
        shell.run(equal).map(drop)
    })
}

fn backup(lab: &mut Lab, fs: Fs, layout: Layout) -> Outcome<()> {
    let stick = empty_stick(lab, &BACKUP, "stick", fs, layout)?;
    visit(lab, &BACKUP, &stick, |shell| {
        shell.run("cd /mnt/backup && sha256sum -c *_full.tar.zst.sha256")?;
        shell.run("grep -q 'RaspberryPiServer の結果: 完了' /mnt/backup/RESULT.txt")?;
        let listed = shell.run("tar --zstd -tf /mnt/backup/20*_full.tar.zst")?;
        check(
            listed.contains("工具一覧.csv") && listed.contains("db/pg_dump.sql"),
            format!("in the archive:\n{listed}"),
        )
    })
}

/// As a pulled stick was found once: at the first look at such a file the kernel shuts the stick to writing.
fn cut_off_archive(lab: &mut Lab) -> Outcome<()> {
    let stick = empty_stick(lab, &BACKUP, "stick", Fs::Fat32, Layout::Whole)?;
    visit(lab, &BACKUP, &stick, |_| Ok(()))?;
    crate::fat::cut_off(&stick, b"ZST").map_err(|error| format!("{}: {error}", stick.display()))?;
    let (_, shell) = lab.machine()?;
    let begun = mark(shell)?;
    visit(lab, &BACKUP, &stick, |shell| {
        shell.run(&format!(
            "journalctl --after-cursor='{begun}' -u 'usb-backup@*' -o cat | grep -F 'its file system is repaired'"
        ))?;
        shell.run("cd /mnt/backup && sha256sum -c *_full.tar.zst.sha256 && ! ls | grep -E '^FSCK'").map(drop)
    })
}

/// The kernel leaves the files of that block out of the list, and says nothing to whoever reads it.
fn unreadable_directory(lab: &mut Lab) -> Outcome<()> {
    let old = format!("directory {}", lab.later());
    let sound = ingest_stick(lab, "sound", Fs::Ext4, Layout::Whole, &old)?;
    visit(lab, &INGEST, &sound, |_| Ok(()))?;
    // All that the server has, or the stick would be refused as half-empty: the directory's block alone is to be at fault.
    let mut files = vec![
        ("master/meta.json".to_owned(), format!("{{\"updated_at\": {}}}\n", lab.later())),
        (CSV.to_owned(), old.clone()),
    ];
    files.extend((10..90).map(|number| (format!("master/F{number}.CSV"), format!("{number}"))));
    let recipe =
        Recipe { label: INGEST.label, role: Some(INGEST.word), fs: Fs::Fat32, layout: Layout::Whole, files: &files };
    let dir = lab.dir.clone();
    let stick = make(&dir, "stick", &recipe, lab.machine()?.1)?;
    let sector =
        crate::fat::find(&stick, b"F60     CSV").map_err(|error| format!("{}: {error}", stick.display()))? / 512;
    let (vm, shell) = lab.machine()?;
    let begun = mark(shell)?;
    vm.plug_bad_sector("stick", &stick, sector)?;
    let told = format!("journalctl --after-cursor='{begun}' -t {} -o cat | grep -F 'cannot read all of'", INGEST.tag);
    shell.until(&told, JOB)?;
    shell.until(crate::faults::QUIET, Duration::from_secs(60))?;
    same(shell, &format!("/srv/rpi-server/{CSV}"), &old)?;
    shell.run("! ls /srv/rpi-server/master | grep CSV$")?;
    vm.pull("stick")?;
    completed(shell)?;
    visit(lab, &INGEST, &stick, |shell| {
        let count = shell.run("ls /srv/rpi-server/master | grep -c CSV$")?;
        check(count == "80", format!("{count} files, not 80"))
    })?;
    // The next case's stick has one file: it would be refused as half-empty.
    lab.machine()?.1.run("rm /srv/rpi-server/master/F*.CSV").map(drop)
}

fn site_program(lab: &mut Lab) -> Outcome<()> {
    let program = "/etc/toolmaster/ingest.d/10-test";
    let said = "/var/lib/site-program";
    let text = format!("site's program {}", lab.later());
    let stick = ingest_stick(lab, "stick", Fs::Ext4, Layout::Whole, &text)?;
    let (vm, shell) = lab.machine()?;
    let script = format!(
        "#!/bin/sh\\necho \"$@\" >{said}\\nsystemctl is-active docker >>{said}\\nip -o link | wc -l >>{said}\\n"
    );
    shell.run(&format!("printf '{script}' >{program} && chmod 755 {program}"))?;
    let mark = mark(shell)?;
    vm.plug("stick", &stick)?;
    finished(shell, &INGEST, &mark)?;
    // It knows what changed, may write anywhere, and has the machine's network.
    let links = shell.run("ip -o link | wc -l")?;
    same(shell, said, &format!("master docviewer\nactive\n{links}"))?;
    vm.pull("stick")?;
    shell.run(&format!("rm {program} {said}"))?;
    completed(shell)
}

/// The job is confined, and must still be able to give the new directory what the old one had.
fn share_rights(lab: &mut Lab) -> Outcome<()> {
    const MASTER: &str = "/srv/rpi-server/master";
    const LOOK: &str = "stat -c '%a %u %g' /srv/rpi-server/master";
    let text = format!("share {}", lab.later());
    let stick = ingest_stick(lab, "stick", Fs::Ext4, Layout::Whole, &text)?;
    visit(lab, &INGEST, &stick, |_| Ok(()))?;
    let (_, shell) = lab.machine()?;
    let before = shell.run(LOOK)?;
    shell.run(&format!("chown 1234:2345 {MASTER} && chmod 2775 {MASTER}"))?;
    let text = format!("share {}", lab.later());
    let newer = ingest_stick(lab, "newer", Fs::Ext4, Layout::Whole, &text)?;
    let inode = format!("stat -c %i {MASTER}");
    let (_, shell) = lab.machine()?;
    let old = shell.run(&inode)?;
    visit(lab, &INGEST, &newer, |shell| {
        check(shell.run(&inode)? != old, "the directory was not exchanged".to_owned())?;
        same(shell, &format!("/srv/rpi-server/{CSV}"), &text)?;
        let rights = shell.run(LOOK)?;
        check(rights == "2775 1234 2345", format!("it was {before}, then 2775 1234 2345, and is {rights}"))
    })?;
    let (_, shell) = lab.machine()?;
    let undone = format!("set -- {before}; chmod g-s {MASTER} && chown $2:$3 {MASTER} && chmod $1 {MASTER}");
    shell.run(&undone).map(drop)
}

fn pulled_idle(lab: &mut Lab) -> Outcome<()> {
    let text = format!("pulled idle {}", lab.later());
    let stick = ingest_stick(lab, "stick", Fs::Ext4, Layout::Partitioned, &text)?;
    let (vm, shell) = lab.machine()?;
    for _ in 0..2 {
        let mark = mark(shell)?;
        vm.plug("stick", &stick)?;
        finished(shell, &INGEST, &mark)?;
        same(shell, &format!("/srv/rpi-server/{CSV}"), &text)?;
        // While it is shown: nobody unmounted it.
        vm.pull("stick")?;
        completed(shell)?;
    }
    Ok(())
}

fn within_a_second(lab: &mut Lab) -> Outcome<()> {
    let text = format!("within a second {}", lab.later());
    let stick = ingest_stick(lab, "stick", Fs::Fat32, Layout::Partitioned, &text)?;
    let (vm, shell) = lab.machine()?;
    let first = mark(shell)?;
    vm.plug("stick", &stick)?;
    finished(shell, &INGEST, &first)?;
    // While it is shown.
    let second = mark(shell)?;
    vm.pull("stick")?;
    vm.plug("stick", &stick)?;
    finished(shell, &INGEST, &second)?;
    // Before the job can have begun.
    let third = mark(shell)?;
    vm.pull("stick")?;
    vm.plug("stick", &stick)?;
    vm.pull("stick")?;
    vm.plug("stick", &stick)?;
    finished(shell, &INGEST, &third)?;
    same(shell, &format!("/srv/rpi-server/{CSV}"), &text)?;
    vm.pull("stick")?;
    completed(shell)
}

/// Waits until a DIST stick is mounted for writing and 256 KiB are on it.
pub fn written(shell: &mut Shell) -> Outcome<()> {
    let written = "dev=$(findmnt -rno SOURCE --task $(systemctl show -P MainPID 'usb-dist-export@*' | grep -m1 '[1-9]') -t vfat | tail -1); \
                   test $(cut -d ' ' -f 7 < <(tr -s ' ' </sys/class/block/${dev##*/}/stat | sed 's/^ //')) -gt 512";
    shell.until(written, JOB).map(drop)
}

/// A DIST stick that takes 256 KiB in a second, of 8 MiB.
fn pulled_writing(lab: &mut Lab) -> Outcome<()> {
    let stick = empty_stick(lab, &DIST, "stick", Fs::Fat32, Layout::Partitioned)?;
    let (vm, shell) = lab.machine()?;
    shell.run("head -c 8M /dev/urandom >/srv/rpi-server/master/large.bin")?;
    let first = mark(shell)?;
    vm.plug_slow("stick", &stick, 256 * 1024)?;
    written(shell)?;
    vm.pull("stick")?;
    shell
        .until("! systemctl list-units --no-legend --plain 'usb-dist-export@*' | grep -q .", Duration::from_secs(60))?;
    completed(shell)?;
    let said = shell.run(&format!("journalctl --after-cursor='{first}' -u '{}' -o cat", DIST.unit))?;
    check(!said.contains(DIST.line), format!("it says that it was done:\n{said}"))?;
    let second = mark(shell)?;
    vm.plug("stick", &stick)?;
    finished(shell, &DIST, &second)?;
    shell.run("diff -r /srv/rpi-server/master /mnt/physusb/master")?;
    vm.pull("stick")?;
    shell.run("rm /srv/rpi-server/master/large.bin")?;
    completed(shell)
}

fn three_at_once(lab: &mut Lab) -> Outcome<()> {
    let text = format!("three at once {}", lab.later());
    let sticks = [
        ("ingest", ingest_stick(lab, "ingest", Fs::Fat32, Layout::Partitioned, &text)?),
        ("dist", empty_stick(lab, &DIST, "dist", Fs::Fat32, Layout::Whole)?),
        ("backup", empty_stick(lab, &BACKUP, "backup", Fs::Ext4, Layout::Partitioned)?),
    ];
    let (vm, shell) = lab.machine()?;
    let mark = mark(shell)?;
    for (name, stick) in &sticks {
        vm.plug(name, stick)?;
    }
    for role in [&INGEST, &DIST, &BACKUP] {
        finished(shell, role, &mark)?;
    }
    same(shell, &format!("/srv/rpi-server/{CSV}"), &text)?;
    for (name, _) in &sticks {
        vm.pull(name)?;
    }
    completed(shell)
}

/// Plugs it in, waits for the sentence, and finds that the stick was not mounted and the server is as it was.
fn told_of(lab: &mut Lab, stick: &Path, unit: &str, sentence: &str) -> Outcome<()> {
    let before = std::fs::read(stick).map_err(|error| error.to_string())?;
    let (vm, shell) = lab.machine()?;
    let state = "find /srv/rpi-server/master /srv/rpi-server/docviewer -type f -exec sha256sum {} + | sort";
    let server = shell.run(state)?;
    let mark = mark(shell)?;
    vm.plug("stick", stick)?;
    shell.until(&format!("journalctl --after-cursor='{mark}' -u '{unit}' -o cat | grep -F '{sentence}'"), JOB)?;
    shell.until(crate::faults::QUIET, Duration::from_secs(60))?;
    shell.run("grep -F -e \"$(date +%Y-%m-%d)\" /srv/rpi-server/logs/usb_guard.log | tail -1 | grep .")?;
    shell.run("! grep -E '^/dev/(sd|dm)' /proc/mounts")?;
    check(shell.run(state)? == server, "the server's data has changed")?;
    vm.pull("stick")?;
    completed(shell)?;
    let after = std::fs::read(stick).map_err(|error| error.to_string())?;
    check(after == before, "the stick was written to")
}

fn foreign(lab: &mut Lab, label: &str, fs: Fs, sentence: &str) -> Outcome<()> {
    let files = [("master/meta.json".to_owned(), format!("{{\"updated_at\": {}}}", lab.later()))];
    let recipe = Recipe { label, role: Some("INGEST"), fs, layout: Layout::Partitioned, files: &files };
    let dir = lab.dir.clone();
    let stick = make(&dir, "stick", &recipe, lab.machine()?.1)?;
    told_of(lab, &stick, "usb-guard@*", sentence)
}

fn refused(lab: &mut Lab, role: Option<&str>) -> Outcome<()> {
    let files = [("master/meta.json".to_owned(), format!("{{\"updated_at\": {}}}", lab.later()))];
    let recipe = Recipe { label: INGEST.label, role, fs: Fs::Fat32, layout: Layout::Partitioned, files: &files };
    let dir = lab.dir.clone();
    let stick = make(&dir, "stick", &recipe, lab.machine()?.1)?;
    told_of(lab, &stick, INGEST.unit, "validation failed for /dev/sd")
}

fn encrypted(lab: &mut Lab) -> Outcome<()> {
    let stick = luks(&lab.dir)?;
    told_of(lab, &stick, "usb-guard@*", "is no stick of ours")
}

fn unformatted(lab: &mut Lab) -> Outcome<()> {
    let stick = lab.dir.join("raw.img");
    match std::fs::File::create(&stick).and_then(|file| file.set_len(1 << 24)) {
        Ok(()) => told_of(lab, &stick, "usb-guard@*", "is no stick of ours"),
        Err(error) => fail(format!("{}: {error}", stick.display())),
    }
}
