//! What tells an operator how it goes: the lights, the verdicts of `toolmaster status` and of its page, the site's programs that
//! tell of a failure, `toolmaster watch`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::lab::Lab;
use crate::shell::Shell;
use crate::stick::{Fs, Layout, Recipe, make};
use crate::sticks::{BACKUP, DIST, INGEST, completed, empty_stick, ingest_stick, mark, plugged};
use crate::{Case, Outcome, check, fail};

/// A job that was slow or failed, on a busy machine.
const JOB: Duration = Duration::from_secs(240);
const SLOW: u64 = 400_000;
const SETTINGS: &str = "/etc/default/toolmaster";

pub fn cases() -> Vec<Case> {
    vec![
        Case::long("the lights: working, done, lost, refused, failed, and as before when the stick is pulled", lights),
        Case::long(
            "the verdicts: timer masked, unit failed, database stopped, disk filled; status, exit code, page",
            verdicts,
        ),
        Case::long("a failure is told of by the site's program, and a job is followed", told),
    ]
}

/// The lights are those of a USB keyboard: real ones of the kernel's leds-class. A loop without a process of its own notes each change.
const OBSERVER: &str = r#"cat >/run/observe <<'END'
cd "$1" && exec 9<> <(:) || exit
last= seen=
while :; do
  IFS= read -r trigger <trigger; now=as-before
  case $trigger in *'[timer]'*) { read -r on <delay_on && read -r off <delay_off && now=$on/$off; } 2>/dev/null || now=$last ;; esac
  # Seen twice: the two times are set one after the other. 500/500 is the kernel's own, until they are.
  if [ "$now" = "$seen" ] && [ "$now" != "$last" ] && [ "$now" != 500/500 ]; then echo "$EPOCHREALTIME $now"; last=$now; fi
  seen=$now
  read -r -t 0.05 -u 9
done
END
"#;

fn lights(lab: &mut Lab) -> Outcome<()> {
    let text = format!("the lights {}", lab.later());
    let done = ingest_stick(lab, "done", Fs::Ext4, Layout::Whole, &text)?;
    let lost = ingest_stick(lab, "lost", Fs::Ext4, Layout::Whole, &format!("{text}, edited"))?;
    let failed = empty_stick(lab, &DIST, "failed", Fs::Fat32, Layout::Whole)?;
    let refused = wrong_role(lab)?;
    let (vm, shell) = lab.machine()?;
    vm.plug_keyboard()?;
    // Raspberry Pi's kernel has it built in, Debian's as a module.
    shell.run("modprobe ledtrig-timer")?;
    let light = shell.until("ls -d /sys/class/leds/*::capslock 2>/dev/null", Duration::from_secs(60))?;
    let name = light.rsplit('/').next().unwrap_or_default();
    shell.run(&format!("cp -a {SETTINGS} /run/settings && echo 'LED_NAMES=\"{name}\"' >>{SETTINGS}"))?;
    shell.run(OBSERVER)?;
    shell.run(&format!("bash /run/observe {light} >/run/lights 2>&1 & echo $! >/run/observe.pid"))?;
    let wait = |shell: &mut Shell, what: &str| shell.until(&format!("tail -n 1 /run/lights | grep -w {what}"), JOB);
    wait(shell, "as-before")?;
    for (name, end) in [("done", "1000/1000"), ("lost", "150/1850"), ("refused", "150/1850"), ("failed", "1850/150")] {
        match name {
            "done" => vm.plug_slow(name, &done, SLOW)?,
            "lost" => {
                shell.run(&format!("echo by hand >{ONLY_HERE}"))?;
                vm.plug_slow(name, &lost, SLOW)?;
            }
            "refused" => vm.plug(name, &refused)?,
            // It can be read until it has taken its second block.
            _ => vm.plug_failing(name, &failed, false, 2, true)?,
        }
        wait(shell, end)?;
        vm.pull(name)?;
        wait(shell, "as-before")?;
        completed(shell)?;
    }
    shell.run(&format!("kill $(cat /run/observe.pid); mv /run/settings {SETTINGS}"))?;
    vm.pull_keyboard()?;
    shell.run("toolmaster undo acknowledge all")?;
    let said = shell.run("cat /run/lights")?;
    let begin = said.split(' ').next().and_then(|word| word.parse::<f64>().ok()).unwrap_or_default();
    let mut shown = Vec::new();
    for (time, state) in said.lines().filter_map(|line| line.split_once(' ')) {
        println!("       {:6.1} s  {state}", time.parse::<f64>().unwrap_or_default() - begin);
        shown.push(state);
    }
    let working = "100/100";
    let expected = [
        "as-before",
        working,
        "1000/1000",
        "as-before",
        working,
        "150/1850",
        "as-before",
        working,
        "150/1850",
        "as-before",
        working,
        "1850/150",
        "as-before",
    ];
    check(shown == expected, format!("the light showed {shown:?}"))
}

/// What somebody saved on the server, and no stick has.
const ONLY_HERE: &str = "/srv/rpi-server/master/手書き.csv";

/// A stick wins, and what the server alone had is told where people look, until somebody has seen it.
fn lost(lab: &mut Lab) -> Outcome<()> {
    let text = format!("the lost {}", lab.later());
    let stick = ingest_stick(lab, "lost", Fs::Ext4, Layout::Whole, &text)?;
    lab.machine()?.1.run(&format!("echo by hand >{ONLY_HERE}"))?;
    plugged(lab, &INGEST, &stick, |shell| {
        let receipt = shell.run(&format!("cat {}/RESULT.txt", INGEST.place))?;
        let named = receipt.contains("採られなかったファイルがあります") && receipt.contains("手書き.csv");
        check(named, format!("the stick says: {receipt}"))?;
        let when = shell.run("toolmaster undo list | grep -F LOST | cut -d ' ' -f 1 | head -n 1")?;
        let kept = shell.run("cat /srv/rpi-server/undo/*/master/手書き.csv")?;
        check(kept == "by hand", format!("{when} keeps {kept:?}"))
    })?;
    let shell = lab.machine()?.1;
    shell.run(&format!("! test -e {ONLY_HERE}"))?;
    looked_at(shell, "lost", &["lost_edits"])?;
    shell.run("toolmaster undo acknowledge all")?;
    looked_at(shell, "healthy", &[])
}

fn wrong_role(lab: &mut Lab) -> Outcome<PathBuf> {
    let recipe =
        Recipe { label: INGEST.label, role: Some("DIST"), fs: Fs::Fat32, layout: Layout::Partitioned, files: &[] };
    let dir = lab.dir.clone();
    make(&dir, "refused", &recipe, lab.machine()?.1)
}

/// Each is caused as it would be, looked at three ways, and mended again.
fn verdicts(lab: &mut Lab) -> Outcome<()> {
    let text = format!("the verdicts {}", lab.later());
    let ingested = ingest_stick(lab, "stick", Fs::Ext4, Layout::Whole, &text)?;
    let backed_up = empty_stick(lab, &BACKUP, "backup", Fs::Ext4, Layout::Whole)?;
    plugged(lab, &INGEST, &ingested, |_| Ok(()))?;
    plugged(lab, &BACKUP, &backed_up, |_| Ok(()))?;
    let shell = lab.machine()?.1;
    shell.run_within("systemctl start tool-restore-drill.service", JOB)?;
    looked_at(shell, "healthy", &[])?;
    for (name, key, cause, mend) in CAUSES {
        shell.run_within(cause, JOB)?;
        looked_at(shell, name, &[key])?;
        shell.run_within(mend, JOB)?;
    }
    looked_at(shell, "healthy", &[])?;

    // Refused, and at work: no verdict, but the page says it.
    let refused = wrong_role(lab)?;
    let slow = empty_stick(lab, &DIST, "slow", Fs::Fat32, Layout::Whole)?;
    let (vm, shell) = lab.machine()?;
    let begun = mark(shell)?;
    vm.plug("refused", &refused)?;
    shell.until(
        &format!("journalctl --after-cursor='{begun}' -u '{}' -o cat | grep -F 'validation failed'", INGEST.unit),
        JOB,
    )?;
    shell.until(crate::faults::QUIET, JOB)?;
    looked_at(shell, "refused", &["ingest", "units"])?;
    vm.pull("refused")?;
    completed(shell)?;
    // The right stick makes it good.
    plugged(lab, &INGEST, &ingested, |_| Ok(()))?;
    lost(lab)?;
    let (vm, shell) = lab.machine()?;
    // At work for minutes, unless it is hurried: on a busy machine a page takes half a minute.
    shell.run("yes 工具 | head -c 40M >/srv/rpi-server/master/large.bin")?;
    vm.plug_slow("slow", &slow, SLOW)?;
    crate::sticks::written(shell)?;
    // How far it is, by a bar and in words.
    shell.until("systemctl show -P StatusText 'usb-dist-export@*' | grep %", JOB)?;
    looked_at(shell, "working", &[])?;
    shell.until(
        "systemctl start toolmaster-page.service && \
         grep -A 1 '端末用の書き出し(sd.*作業中' /run/toolmaster-page/index.html | grep '<progress max=.* %'",
        JOB,
    )?;
    vm.hurry("slow")?;
    shell.until(crate::faults::QUIET, JOB)?;
    vm.pull("slow")?;
    shell.run("rm /srv/rpi-server/master/large.bin")?;
    completed(shell)
}

/// Until it answers.
const DATABASE_UP: &str =
    "docker start postgres >/dev/null && until docker exec postgres pg_isready -q; do sleep 1; done";

/// A name, the line that turns bad, what is done for it, and how it is undone.
const CAUSES: [(&str, &str, &str, &str); 4] = [
    (
        "timer",
        "timers",
        "systemctl stop tool-snapshot.timer && systemctl mask --runtime tool-snapshot.timer",
        "systemctl unmask --runtime tool-snapshot.timer && systemctl start tool-snapshot.timer",
    ),
    (
        "unit",
        "units",
        "mkdir -p /run/systemd/system/avahi-daemon.service.d && cd /run/systemd/system/avahi-daemon.service.d && \
         printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\nRestart=no\\n' >no.conf && systemctl daemon-reload && ! systemctl restart avahi-daemon.service",
        "rm -r /run/systemd/system/avahi-daemon.service.d && systemctl daemon-reload && systemctl restart avahi-daemon.service",
    ),
    ("database", "database", "docker stop postgres >/dev/null", DATABASE_UP),
    (
        "disk",
        "disk",
        "fallocate -l $(($(df --output=avail -B1 /srv | tail -n 1) - 200000000)) /srv/filled",
        "rm /srv/filled",
    ),
];

/// The lines that are bad, by the command, its exit code and the page, which is kept in `$STATUS_PAGES` if that is set.
fn looked_at(shell: &mut Shell, name: &str, bad: &[&str]) -> Outcome<()> {
    let (code, said) = shell.try_run("toolmaster status --json 2>/dev/null", JOB)?;
    let status: Value = serde_json::from_str(&said).map_err(|error| format!("{name}: {error}: {said}"))?;
    let Some(checks) = status["checks"].as_array() else { return fail(format!("{name}: {said}")) };
    let word = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let found: Vec<String> =
        checks.iter().filter(|check| word(check, "verdict") == "bad").map(|check| word(check, "key")).collect();
    check(found == bad, format!("{name}: bad are {found:?}, not {bad:?}:\n{said}"))?;
    check(code == i32::from(!bad.is_empty()), format!("{name}: exit code {code}"))?;
    // One that was under way by itself may have looked before.
    shell.run_within("systemctl start toolmaster-page.service && systemctl start toolmaster-page.service", JOB)?;
    let page = shell.run("busybox wget -q -O - http://127.0.0.1/")?;
    for check_ in checks {
        let (key, verdict) = (word(check_, "key"), word(check_, "verdict"));
        check(
            page.contains(&format!("<li class=\"{verdict}\" id=\"{key}\">")),
            format!("{name}: the page says otherwise of {key}"),
        )?;
    }
    match std::env::var_os("STATUS_PAGES") {
        Some(dir) => {
            std::fs::write(PathBuf::from(dir).join(format!("{name}.html")), page).map_err(|error| error.to_string())
        }
        None => Ok(()),
    }
}

/// A program of the site's that keeps what it is told, a line a failure.
const PROGRAM: &str = "mkdir -p /etc/toolmaster/notify.d && printf '#!/bin/sh\\ncat >>/var/lib/told\\n' >/etc/toolmaster/notify.d/10-test && \
    chmod 755 /etc/toolmaster/notify.d/10-test";

fn told(lab: &mut Lab) -> Outcome<()> {
    let refused = wrong_role(lab)?;
    let failing = empty_stick(lab, &DIST, "failing", Fs::Fat32, Layout::Whole)?;
    let slow = empty_stick(lab, &DIST, "slow", Fs::Fat32, Layout::Whole)?;
    let (vm, shell) = lab.machine()?;
    shell.run(&format!("{PROGRAM} && rm -f /var/lib/told"))?;
    vm.plug("refused", &refused)?;
    record(shell, "usb-ingest@sd", "refused")?;
    vm.pull("refused")?;
    completed(shell)?;
    vm.plug_failing("failing", &failing, false, 2, true)?;
    record(shell, "usb-dist-export@sd", "failed")?;
    vm.pull("failing")?;
    completed(shell)?;

    // Every try is told of, until it succeeds.
    shell.run("mkdir -p /run/systemd/system/tool-snapshot.service.d && printf '[Service]\\nRestartSec=5\\n' >/run/systemd/system/tool-snapshot.service.d/soon.conf && systemctl daemon-reload")?;
    // A database that is down would be waited for.
    let password = "/etc/toolmaster/postgres-password";
    shell.run(&format!("cp -a {password} /run/password && printf 'another-password-1234567890abcdef' >{password}"))?;
    shell.run("systemctl start --no-block tool-snapshot.service")?;
    shell.until("test $(grep -c '\"unit\":\"tool-snapshot\"' /var/lib/told) -ge 2", JOB)?;
    shell.run(&format!("cp -a /run/password {password}"))?;
    shell.until("test $(systemctl show -P ActiveState tool-snapshot) = inactive", JOB)?;
    shell.run("rm -r /run/systemd/system/tool-snapshot.service.d && systemctl daemon-reload")?;
    println!("{}", shell.run("cut -c 1-300 /var/lib/told")?);

    shell.run("head -c 8M /dev/urandom >/srv/rpi-server/master/large.bin")?;
    vm.plug_slow("slow", &slow, SLOW)?;
    crate::sticks::written(shell)?;
    shell.send("{ toolmaster watch; echo \"code $?\"; } >/run/watch 2>&1 &")?;
    shell.until("grep -q 作業中 /run/watch", Duration::from_secs(60))?;
    vm.hurry("slow")?;
    shell.until("grep -q ^code /run/watch", JOB)?;
    let said = shell.run("cat /run/watch")?;
    check(said.contains("usb-dist-export@") && said.contains(DIST.line) && said.ends_with("code 0"), said)?;
    vm.pull("slow")?;
    shell.run("rm /srv/rpi-server/master/large.bin /etc/toolmaster/notify.d/10-test")?;
    completed(shell)
}

/// Waits for the record of a unit's run that ended so.
fn record(shell: &mut Shell, unit: &str, result: &str) -> Outcome<()> {
    shell.until(&format!("grep '\"unit\":\"{unit}' /var/lib/told | grep '\"result\":\"{result}\"'"), JOB).map(drop)
}
