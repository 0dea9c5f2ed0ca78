//! What the program asks of the system in the booted image, on aarch64: system calls and bytes as the kernel's tracing counts them, memory as it
//! tells of it. The machine is emulated: seconds would say nothing.

use std::time::Duration;

use crate::lab::Lab;
use crate::shell::Shell;
use crate::stick::{Fs, Layout, Recipe, make};
use crate::sticks::{DIST, INGEST, empty_stick, plugged};
use crate::{Case, Outcome, check};

/// Files of the dataset, 50 a directory.
const FILES: usize = 2_000;
const COMMAND: Duration = Duration::from_secs(240);
/// The resident memory of any command that is counted here, KiB.
const MEMORY: u64 = 64 * 1024;

pub fn cases() -> Vec<Case> {
    vec![Case::long("system calls, bytes and memory: start, and each command that finds nothing changed", counted)]
}

fn counted(lab: &mut Lab) -> Outcome<()> {
    let mut files = vec![("master/meta.json".to_owned(), format!("{{\"updated_at\": {}}}\n", lab.later()))];
    files.extend((0..FILES).map(|number| {
        let place = format!("master/{:02}/工具{number:05}.csv", number / 50);
        (place, format!("{number},{}\n", "工具,".repeat(50)))
    }));
    let recipe = Recipe {
        label: INGEST.label,
        role: Some(INGEST.word),
        fs: Fs::Ext4,
        layout: Layout::Partitioned,
        files: &files,
    };
    let dir = lab.dir.clone();
    let ingest = make(&dir, "many", &recipe, lab.machine()?.1)?;
    let dist = empty_stick(lab, &DIST, "many-out", Fs::Ext4, Layout::Partitioned)?;
    println!(
        "       {:34} {:>7} {:>9} {:>9} {:>10} {:>9}",
        "work", "calls", "looks", "bytes in", "bytes out", "peak KiB"
    );
    // They run the same program, whose calls would be counted too.
    let pages = "toolmaster-page.timer toolmaster-page.path";
    lab.machine()?.1.run(&format!("systemctl stop {pages}"))?;
    count(lab.machine()?.1, "start", "toolmaster --help", 0)?;
    // The walk that nobody can do without, of both sides; by its path, or busybox takes its own.
    // The command by hand ends what the operator sees of the stick.
    plugged(lab, &INGEST, &ingest, |shell| {
        let walk = "/usr/bin/find /srv/rpi-server/master /mnt/physusb/master -printf '%s %T@\\n'";
        count(shell, "find, both trees", walk, 2 * FILES)?;
        let device = shell.run("findmnt -no SOURCE /mnt/physusb")?;
        count(shell, "ingest, nothing changed", &format!("toolmaster ingest --device {device}"), 2 * FILES)
    })?;
    plugged(lab, &DIST, &dist, |shell| {
        let device = shell.run("findmnt -no SOURCE /mnt/physusb")?;
        count(shell, "dist-export, nothing changed", &format!("toolmaster dist-export --device {device}"), 2 * FILES)?;
        let sync = format!("toolmaster dist-sync --device {device}");
        shell.run_within(&format!("{sync} 2>&1"), COMMAND)?;
        count(shell, "dist-sync, nothing changed", &sync, 2 * FILES)?;
        shell
            .run(&format!("rm -rf /opt/toolmaster/master /opt/toolmaster/docviewer && systemctl start {pages}"))
            .map(drop)
    })
}

/// Runs a command and prints its line. It has looked at `least` files at least: otherwise something else was counted.
fn count(shell: &mut Shell, name: &str, command: &str, least: usize) -> Outcome<()> {
    // What the kernel calls it, and its threads.
    let word = command.split(' ').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let traced = format!(
        "cd /sys/kernel/tracing/events && c='comm == \"{word}\"' && calls=raw_syscalls/sys_enter/trigger && \
         into=syscalls/sys_exit_read/trigger && out=syscalls/sys_exit_write/trigger && \
         echo \"hist:keys=id.syscall if $c\" >$calls && \
         for t in $into $out; do echo \"hist:keys=common_pid:vals=ret if $c && ret > 0\" >$t; done; \
         cd /root && busybox time -v {command} >/run/counted.out 2>/run/counted.err; echo \"code $?\"; \
         cd /sys/kernel/tracing/events && \
         awk '/hitcount:/ {{ n += $NF; if (/newfstatat|statx/) s += $NF }} END {{ print \"calls\", n + 0; print \"looks\", s + 0 }}' raw_syscalls/sys_enter/hist && \
         for d in read write; do awk -v d=$d '/ret:/ {{ for (i = 1; i < NF; i++) if ($i == \"ret:\") n += $(i + 1) }} END {{ print d, n + 0 }}' syscalls/sys_exit_$d/hist; done; \
         for t in $calls $into $out; do echo \"!$(grep -v '^#' $t | sed 's/ \\[active\\]//')\" >$t; done; \
         awk '/Maximum resident/ {{ print \"peak\", $NF }}' /run/counted.err"
    );
    let said = shell.run_within(&traced, COMMAND)?;
    let number = |key: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(key));
        line.and_then(|rest| rest.trim().parse::<u64>().ok()).ok_or(format!("{name}: no {key} in\n{said}"))
    };
    let err = shell.run("tail -n 3 /run/counted.err")?;
    check(number("code")? == 0, format!("{name}: {said}\n{err}"))?;
    let (calls, looks, peak) = (number("calls")?, number("looks")?, number("peak")?);
    println!("       {name:34} {calls:7} {looks:9} {:9} {:10} {peak:9}", number("read")?, number("write")?);
    check(looks >= least as u64, format!("{name}: {looks} looks at files: {said}"))?;
    check(peak <= MEMORY, format!("{name}: {peak} KiB"))
}
