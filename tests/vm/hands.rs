//! Commands that an operator or a timer starts, with a stick pulled or the power cut meanwhile: dist-sync and restore read a stick,
//! undo and mirror-compare change the server. `scripts/vm-faults` runs it; docs/faults.md has its last figures.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::faults::{Field, ROLES, Tally, fresh_snapshot_data, whole};
use crate::lab::{Lab, in_service};
use crate::moments::Moments;
use crate::qemu::{Bus, SLOW, Vm};
use crate::shell::Shell;
use crate::stick::Fs;
use crate::sticks::{completed, finished, mark};
use crate::{Outcome, check};

/// All are done by then, at first; seconds.
const SPAN: f64 = 5.0;
const END: Duration = Duration::from_secs(240);
/// Where the sticks' roles are in [`ROLES`].
const STICKS: [usize; 2] = [1, 2];
const RESTORED: &str = "/srv/restored";

/// A command, and the words of its end.
struct Hand {
    name: &'static str,
    command: &'static str,
    done: &'static str,
}

const SYNC: Hand = Hand {
    name: "dist-sync",
    command: "tool-dist-sync.sh --device /dev/disk/by-label/TM-DIST",
    done: "dist sync completed",
};
const RESTORE: Hand = Hand {
    name: "restore",
    command: "toolmaster restore --device /dev/disk/by-label/TM-BACKUP --dest /srv/restored",
    done: "restore completed",
};
const UNDO: Hand = Hand {
    name: "undo",
    command: "toolmaster undo put $(toolmaster undo list | awk '$2 == \"server\" { print $1; exit }')",
    done: "put back",
};
const COMPARE: Hand = Hand { name: "mirror-compare", command: "toolmaster mirror-compare", done: "\"status\":\"OK\"" };

/// The server's database is its own mirror: what is cut off is the reading and the record.
const MIRROR: &str = "p=$(cat /etc/toolmaster/postgres-password) && u=$(docker exec postgres printenv POSTGRES_USER) && \
    d=$(docker exec postgres printenv POSTGRES_DB) && \
    sed -i \"s|\\(_db_uri\\\": \\).*|\\1\\\"postgresql://$u:$p@127.0.0.1:5432/$d\\\",|\" /etc/mirrorctl/config.json && \
    docker exec postgres psql -q -U $u -d $d -c \"CREATE TABLE IF NOT EXISTS part_locations (order_code text PRIMARY KEY, \
    location_code text, device_id text, last_scan_id text, scanned_at timestamptz, updated_at timestamptz); \
    INSERT INTO part_locations SELECT n, 'A-' || n, 'd', n, now(), now() FROM generate_series(1, 20000) n ON CONFLICT DO NOTHING\" 2>&1";

/// When they are disturbed: dist-sync and restore by their sticks, and all of them by a power cut.
pub struct Spans {
    pulls: [Moments; 2],
    cuts: Moments,
}

impl Spans {
    /// Before anything is known of the machine.
    pub fn new() -> Spans {
        Spans { pulls: [0; 2].map(|_| Moments::until(SPAN)), cuts: Moments::until(SPAN) }
    }
}

/// Every second round is a power cut.
pub fn round(field: &mut Field, lab: &mut Lab, tally: &mut Tally, cut: bool) -> Outcome<()> {
    let (token, sticks) = field.sticks(lab)?;
    fresh_snapshot_data(lab.machine()?.1, field.round)?;
    field.again(lab, &token, &sticks)?;
    let (vm, shell) = lab.machine()?;
    shell.run(&format!("rm -rf {RESTORED}"))?;
    plug(vm, shell, &sticks)?;
    if cut { power_cut(field, lab, tally, &sticks) } else { pulled(field, lab, tally, &sticks) }
}

/// Both commands are under way; each one's stick is pulled at its own moment.
fn pulled(field: &mut Field, lab: &mut Lab, tally: &mut Tally, sticks: &[(PathBuf, Fs)]) -> Outcome<()> {
    let spans = &field.hands.pulls;
    let mut moments: Vec<(Duration, usize)> = spans.iter().map(|span| span.next(&mut field.random)).zip(0..).collect();
    moments.sort();
    let (vm, shell) = lab.machine()?;
    begin(shell, &[SYNC, RESTORE])?;
    let started = Instant::now();
    for (moment, index) in &moments {
        sleep(moment.saturating_sub(started.elapsed()));
        vm.pull(ROLES[STICKS[*index]].word)?;
    }
    shell.until("! pgrep -x toolmaster", END)?;
    completed(shell)?;
    let mut ends = Vec::new();
    for hand in [&SYNC, &RESTORE] {
        ends.push(ended(shell, hand)?);
    }
    for (moment, index) in &moments {
        field.hands.pulls[*index].learn(*moment, ends[*index]);
    }
    sound(shell)?;
    once_more(lab, sticks)?;
    for ((hand, index), end) in [&SYNC, &RESTORE].into_iter().zip(STICKS).zip(ends) {
        tally.note(hand.name, sticks[index].1, end, "pulled");
        println!("pull   {:14} {:5}  {end:10}  came right", hand.name, sticks[index].1.name());
    }
    Ok(())
}

/// All four are under way when the power fails; what was not flushed is lost.
fn power_cut(field: &mut Field, lab: &mut Lab, tally: &mut Tally, sticks: &[(PathBuf, Fs)]) -> Outcome<()> {
    let moment = field.hands.cuts.next(&mut field.random);
    let hands = [SYNC, RESTORE, UNDO, COMPARE];
    let shell = lab.shell()?;
    shell.run(MIRROR)?;
    let before = counter(shell)?;
    shell.run("sync")?;
    // What they have said is lost with the power; the serial console's text is not.
    begin(shell, &hands)?;
    shell.send("tail -q -n +1 -f /run/hand-*.log >/dev/ttyAMA0 & true")?;
    sleep(moment);
    let (said, lost) = lab.cut(&mut field.random)?;
    lab.switch_on(Bus::Virtio, &[])?;
    let shell = lab.shell()?;
    in_service(shell)?;
    sound(shell)?;
    let after = counter(shell)?;
    check(after == before || after == before + 1, format!("the OK counter was {before} and is {after}"))?;
    shell.run(COMPARE.command)?;
    let last = counter(shell)?;
    check(last == after + 1, format!("the OK counter was {after} and is {last} after one more comparison"))?;
    once_more(lab, sticks)?;
    let ends = hands.each_ref().map(|hand| if said.contains(hand.done) { "done" } else { "cut off" });
    field.hands.cuts.learn(moment, if ends.iter().all(|end| *end == "done") { "done" } else { "cut off" });
    for (hand, end) in hands.iter().zip(ends) {
        let fs = if hand.name == RESTORE.name { sticks[2].1 } else { sticks[1].1 };
        tally.note(hand.name, fs, end, "cut");
    }
    let told: Vec<String> = hands.iter().zip(ends).map(|(hand, end)| format!("{} {end}", hand.name)).collect();
    println!(
        "cut    {:5} ms  {} writes flushed, {} not: {} blocks of these lost  {}  came right",
        moment.as_millis(),
        lost.durable,
        lost.open,
        lost.blocks,
        told.join(", ")
    );
    Ok(())
}

/// The two sticks, slow ones; their jobs end and they are shown.
fn plug(vm: &mut Vm, shell: &mut Shell, sticks: &[(PathBuf, Fs)]) -> Outcome<()> {
    for index in STICKS {
        let begun = mark(shell)?;
        vm.plug_slow(ROLES[index].word, &sticks[index].0, SLOW)?;
        finished(shell, ROLES[index], &begun)?;
    }
    Ok(())
}

/// Starts the commands side by side, each with a file for what it says and, at its end, its exit code.
fn begin(shell: &mut Shell, hands: &[Hand]) -> Outcome<()> {
    shell.run("rm -f /run/hand-*")?;
    for Hand { name, command, .. } in hands {
        shell.run(&format!("{{ {command}; echo \"code $?\"; }} >/run/hand-{name}.log 2>&1 &"))?;
    }
    Ok(())
}

/// How a command ended: it did its work, or said why not in a line, also where its stick was gone before it had looked for it.
fn ended(shell: &mut Shell, hand: &Hand) -> Outcome<&'static str> {
    let said = shell.run(&format!("cat /run/hand-{}.log", hand.name))?;
    let told = said.lines().any(|line| line.contains(" -> "));
    match said.lines().last() {
        Some("code 0") => check(said.contains(hand.done), format!("{}: {said}", hand.name)).map(|()| "done"),
        Some("code 1" | "code 2" | "code 75" | "code 78") if told => Ok("cut off"),
        Some("code 64") if told && said.contains("there is no device") => Ok("not begun"),
        _ => Err(format!("{}: {said}", hand.name)),
    }
}

/// What the commands write to is of one round each, and nothing half restored has its final name.
fn sound(shell: &mut Shell) -> Outcome<()> {
    whole(shell, "/srv/rpi-server", None)?;
    shell.run("mkdir -p /opt/toolmaster/master /opt/toolmaster/docviewer")?;
    whole(shell, "/opt/toolmaster", None)?;
    let whole = format!(
        "cd {RESTORED} 2>/dev/null || exit 0; test -d .toolmaster-restore || test -s db/pg_dump.sql -o -z \"$(ls -A)\""
    );
    shell.run(&whole).map(drop)
}

/// The same commands in peace: they go on where they were cut off, or begin anew.
fn once_more(lab: &mut Lab, sticks: &[(PathBuf, Fs)]) -> Outcome<()> {
    lab.pull_all()?;
    let (vm, shell) = lab.machine()?;
    completed(shell)?;
    plug(vm, shell, sticks)?;
    shell.run_within(SYNC.command, END)?;
    // One that was done by then is refused: its place is no longer empty.
    let restored = format!("test -s {RESTORED}/db/pg_dump.sql -a ! -e {RESTORED}/.toolmaster-restore");
    shell.run_within(&format!("{restored} || {}", RESTORE.command), END)?;
    shell.run(&restored)?;
    for set in ["master", "docviewer"] {
        shell.run(&format!("diff -r /srv/rpi-server/{set} /opt/toolmaster/{set}"))?;
        shell.run(&format!("diff -r /srv/rpi-server/snapshots/latest/{set} {RESTORED}/{set}"))?;
    }
    let left =
        shell.run("find /opt/toolmaster /srv/rpi-server/master /srv/rpi-server/docviewer -name '.*.tmp' | head")?;
    check(left.is_empty(), format!("left over:\n{left}"))?;
    lab.pull_all()?;
    completed(lab.shell()?)
}

/// The comparisons without a difference.
fn counter(shell: &mut Shell) -> Outcome<u64> {
    let text = shell.run("cat /var/lib/mirror/ok_counter 2>/dev/null || echo 0")?;
    text.trim().parse().map_err(|_| format!("ok_counter holds {text:?}"))
}
