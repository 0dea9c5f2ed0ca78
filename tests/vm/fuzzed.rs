//! Sticks whose file systems are damaged at random places: the machine must live, the job end, and the server keep what it has or
//! take what can be read. `scripts/vm-faults` runs it; docs/faults.md has its last figures.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::faults::{Field, QUIET, ROLES, Tally, reached, whole};
use crate::lab::Lab;
use crate::replay::Random;
use crate::shell::Shell;
use crate::sticks::{completed, mark};
use crate::{Outcome, check};

const BLOCK: usize = 512;
/// A kernel that has lost a stick's file system may try for long.
const END: Duration = Duration::from_secs(400);

/// Three sticks, a role each, with a damaged copy of the role's stick; then the sound ones.
pub fn round(field: &mut Field, lab: &mut Lab, tally: &mut Tally) -> Outcome<()> {
    let (token, sticks) = field.sticks(lab)?;
    let mut damaged = Vec::new();
    for (index, (stick, _)) in sticks.iter().enumerate() {
        damaged.push(damage(stick, &lab.dir.join(format!("damaged-{index}.img")), &mut field.random)?);
    }
    let (vm, shell) = lab.machine()?;
    let begun = mark(shell)?;
    for (index, (file, _)) in damaged.iter().enumerate() {
        vm.plug(ROLES[index].word, file)?;
    }
    // Damage may have made a stick a foreign one: then the guard's line is the job.
    shell.run("sleep 5; udevadm settle")?;
    shell.until(QUIET, END)?;
    let reached = reached(shell, &begun)?;
    alive(shell, &begun)?;
    lab.pull_all()?;
    let shell = lab.shell()?;
    completed(shell)?;
    if reached[0] == "done" {
        // What could be read of the damaged stick was taken: only files and directories, and nothing outside.
        shell.run("! find /srv/rpi-server/master /srv/rpi-server/docviewer ! -type f ! -type d | grep .")?;
    } else {
        whole(shell, "/srv/rpi-server", None)?;
    }
    field.again(lab, &token, &sticks)?;
    for (index, (_, fs)) in sticks.iter().enumerate() {
        tally.note(ROLES[index].label, *fs, reached[index], "damaged");
        let (label, places) = (ROLES[index].label, damaged[index].1);
        println!("damage {label:9} {:5}  {places:3} places  {:10}  came right", fs.name(), reached[index]);
    }
    Ok(())
}

/// The kernel said nothing of a fault of its own, and no job had to be ended for its memory or its time.
fn alive(shell: &mut Shell, begun: &str) -> Outcome<()> {
    let bad = "Oops|BUG:|Call trace|oom-kill|Out of memory|timed out. Terminating|dumped core|status=(6/ABRT|11/SEGV)";
    let (_, said) = shell.try_run(
        &format!("journalctl --after-cursor='{begun}' -q -o cat | grep -E '{bad}'"),
        Duration::from_secs(60),
    )?;
    check(said.is_empty(), said)
}

/// A copy with 1 to 64 places changed: in what describes the file system rather than in the files' own contents.
fn damage(stick: &Path, copy: &Path, random: &mut Random) -> Outcome<(PathBuf, usize)> {
    let say = |error: std::io::Error| format!("{}: {error}", copy.display());
    fs::copy(stick, copy).map_err(say)?;
    let bytes = fs::read(copy).map_err(say)?;
    let described: Vec<usize> = (0..bytes.len() / BLOCK)
        .filter(|block| {
            let block = &bytes[block * BLOCK..(block + 1) * BLOCK];
            block.iter().any(|byte| *byte != 0)
                && !block.windows(32).any(|part| part == b"0123456789abcdef0123456789abcdef")
        })
        .collect();
    check(!described.is_empty(), format!("{} is empty", stick.display()))?;
    let file = File::options().write(true).open(copy).map_err(say)?;
    let mut below = |most: usize| (random.chance() * most as f64) as usize;
    let places = 1 << below(7);
    for _ in 0..places {
        let block = described[below(described.len())] * BLOCK;
        let at = block + below(BLOCK);
        match below(4) {
            0 => file.write_all_at(&[0; BLOCK], block as u64),
            1 => file.write_all_at(&[0xff; 8], at as u64),
            2 => file.write_all_at(&[below(256) as u8], at as u64),
            _ => file.write_all_at(&[bytes[at] ^ (1 << below(8))], at as u64),
        }
        .map_err(say)?;
    }
    Ok((copy.to_owned(), places))
}
