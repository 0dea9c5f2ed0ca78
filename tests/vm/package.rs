//! Our package on the running machine: installed again while a job runs, upgraded, removed and brought back.
//! `scripts/package-check` shows its files, on a small root without a running systemd.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::lab::{BOOT, Lab, in_service};
use crate::shell::{Shell, quiet};
use crate::stick::{Fs, Layout};
use crate::sticks::{self, CSV, DIST, INGEST, completed, empty_stick, finished, ingest_stick, mark, visit, written};
use crate::{Case, Outcome, check};

/// apt and dpkg on the emulated processor, beside other work.
const INSTALL: Duration = Duration::from_secs(600);
/// Bytes in a second: 16 MiB take longer than an installation.
const SLOW: u64 = 32 * 1024;
const SETTINGS: &str = "/etc/default/toolmaster";
/// What the units are: of each, whether it is enabled, and of those between the boots, whether they run.
const UNITS: &str = "for u in toolmaster-provision.service raspi-server.service toolmaster-ready.target tool-snapshot.timer \
                     tool-restore-drill.timer mirror-compare.timer toolmaster-wear.timer; do \
                     echo $u $(systemctl is-enabled $u) $(systemctl is-active $u) $(systemctl show -P NextElapseUSecRealtime $u); done; \
                     docker inspect -f '{{.State.StartedAt}}' postgres";

/// Before the machine is switched off and its clock is set: sticks made afterwards would count as old.
pub fn cases() -> Vec<Case> {
    vec![
        Case::long(
            "the package comes on a stick and is installed again while a job runs: the job ends well",
            reinstalled,
        ),
        Case::long("upgraded from an older version, the operator's settings stay", upgraded),
        Case::long("removed: sticks start nothing, data stays; installed again: all in service", removed),
    ]
}

/// Brings the package that the image has, and an older one, to the machine, on a stick as an operator would.
fn bring(lab: &mut Lab) -> Outcome<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = root.join(format!("target/debian/toolmaster_{}_arm64.deb", env!("CARGO_PKG_VERSION")));
    check(package.exists(), format!("{} is missing -> build it: scripts/package", package.display()))?;
    let tree = lab.dir.join("packages");
    fs::create_dir_all(&tree)
        .and_then(|()| fs::copy(&package, tree.join("new.deb")))
        .map_err(|error| error.to_string())?;
    let older = root.join("scripts/package-older");
    quiet(Command::new(older).arg(&package).arg("0.0.1").arg(tree.join("old.deb")))?;
    let stick = lab.dir.join("packages.img");
    let size = ["-L", "PACKAGES", "-d"];
    quiet(Command::new("mke2fs").args(["-q", "-F", "-t", "ext4"]).args(size).arg(&tree).arg(&stick).arg("16M"))?;
    let (vm, shell) = lab.machine()?;
    vm.plug("packages", &stick)?;
    shell.until("test -e /dev/disk/by-label/PACKAGES", Duration::from_secs(60))?;
    shell.run("mount -o ro /dev/disk/by-label/PACKAGES /media && cp /media/*.deb /root/ && umount /media")?;
    vm.pull("packages")?;
    completed(shell)
}

/// Types it, with Enter at each question.
fn types(shell: &mut Shell, command: &str) -> Outcome<String> {
    shell.run_within(&format!("yes '' | {command} 2>&1"), INSTALL)
}

/// While a DIST stick is filled that takes minutes for it.
fn reinstalled(lab: &mut Lab) -> Outcome<()> {
    bring(lab)?;
    let stick = empty_stick(lab, &DIST, "stick", Fs::Fat32, Layout::Partitioned)?;
    let (vm, shell) = lab.machine()?;
    shell.run("head -c 16M /dev/urandom >/srv/rpi-server/master/large.bin")?;
    let before = shell.run(UNITS)?;
    let armed = before.lines().any(|line| line.starts_with("tool-snapshot.timer enabled active ") && line.len() > 40);
    check(armed, format!("the snapshots' timer is not armed: {before}"))?;
    let mark = mark(shell)?;
    vm.plug_slow("stick", &stick, SLOW)?;
    written(shell)?;
    let process = "systemctl show -P MainPID 'usb-dist-export@*' | grep '[1-9]'";
    let job = shell.run(process)?;
    types(shell, "dpkg --install /root/new.deb")?;
    check(shell.run(process)? == job, "the job did not go on while the package was installed")?;
    vm.hurry("stick")?;
    finished(shell, &DIST, &mark)?;
    shell.run("diff -r /srv/rpi-server/master /mnt/physusb/master")?;
    let after = shell.run(UNITS)?;
    check(after == before, format!("units before:\n{before}\nand after:\n{after}"))?;
    vm.pull("stick")?;
    shell.run("rm /srv/rpi-server/master/large.bin")?;
    completed(shell)
}

fn upgraded(lab: &mut Lab) -> Outcome<()> {
    bring(lab)?;
    let (_, shell) = lab.machine()?;
    let before = shell.run(UNITS)?;
    let original = shell.run(&format!("dpkg-deb --fsys-tarfile /root/new.deb | tar -xO .{SETTINGS}"))?;
    types(shell, "apt install --allow-downgrades /root/old.deb")?;
    shell.run(&format!("sed -i 's/^#BACKUP_RETENTION=.*/BACKUP_RETENTION=9/' {SETTINGS}"))?;
    let changed = shell.run(&format!("cat {SETTINGS}"))?;
    types(shell, "apt install /root/new.deb")?;
    let version = shell.run("dpkg-query -W -f '${Version} ${db:Status-Status}' toolmaster")?;
    check(version == concat!(env!("CARGO_PKG_VERSION"), " installed"), version)?;
    let there = shell.run(&format!("cat {SETTINGS}"))?;
    check(there == changed, format!("the operator's settings are now:\n{there}"))?;
    let beside = shell.run(&format!("cat {SETTINGS}.dpkg-dist"))?;
    check(beside == original, format!("the new settings are not beside them:\n{beside}"))?;
    let after = shell.run(UNITS)?;
    check(after == before, format!("units before:\n{before}\nand after:\n{after}"))?;
    shell.run(&format!("mv {SETTINGS}.dpkg-dist {SETTINGS}")).map(drop)
}

/// While one stick is shown and another is being written.
fn removed(lab: &mut Lab) -> Outcome<()> {
    bring(lab)?;
    let half = empty_stick(lab, &DIST, "half", Fs::Fat32, Layout::Partitioned)?;
    let text = format!("while it is removed {}", lab.later());
    let before_it = ingest_stick(lab, "before", Fs::Fat32, Layout::Partitioned, "before it is removed")?;
    let stick = ingest_stick(lab, "stick", Fs::Fat32, Layout::Partitioned, &text)?;
    let (vm, shell) = lab.machine()?;
    let first = mark(shell)?;
    vm.plug("before", &before_it)?;
    finished(shell, &INGEST, &first)?;
    shell.run("head -c 16M /dev/urandom >/srv/rpi-server/master/large.bin")?;
    vm.plug_slow("half", &half, SLOW)?;
    written(shell)?;
    let data = "cd /srv/rpi-server && find master docviewer undo snapshots .toolmaster/provisioned .toolmaster/server-id .env docker-compose.yml \
                /etc/toolmaster /etc/mirrorctl /etc/default/toolmaster -type f -exec sha256sum {} + | sort";
    let before = shell.run(data)?;
    types(shell, "apt remove toolmaster")?;
    shell.run("! grep -E '^/dev/sd' /proc/mounts")?;
    shell.run("! systemctl list-units --no-legend --plain 'usb-*@*' 'tool-*' | grep .")?;
    // With the package Docker runs only on a provisioned machine.
    shell.run("! pgrep -x postgres && test -e /var/lib/docker/volumes/postgres-data/_data")?;
    // The database is the operator's, without the package too.
    let database = "systemctl start docker && cd /srv/rpi-server && docker compose";
    shell.run_within(&format!("{database} start 2>&1"), INSTALL)?;
    shell.until("docker exec postgres pg_isready -q", INSTALL)?;
    shell.run(&format!("{database} stop 2>&1"))?;
    vm.pull("before")?;
    vm.pull("half")?;
    let second = mark(shell)?;
    vm.plug("stick", &stick)?;
    shell.until("test -e /dev/disk/by-label/TM-INGEST", Duration::from_secs(60))?;
    shell.run("udevadm settle && sleep 5")?;
    let said = shell
        .run(&format!("journalctl --after-cursor='{second}' -o cat | grep -iE 'usb-ingest|toolmaster' || true"))?;
    check(said.is_empty(), format!("a stick was answered:\n{said}"))?;
    vm.pull("stick")?;
    check(shell.run(data)? == before, "data or settings have changed")?;

    let third = mark(shell)?;
    types(shell, "apt install /root/new.deb")?;
    shell.until("systemctl is-active toolmaster-ready.target", BOOT)?;
    in_service(shell)?;
    check(shell.run(data)? == before, "data or settings have changed")?;
    let made = shell.run(&format!(
        "journalctl --after-cursor='{third}' -u toolmaster-provision -o cat | grep -E 'made |is a server now' || true"
    ))?;
    check(made.is_empty(), format!("provisioned anew:\n{made}"))?;
    visit(lab, &DIST, &half, |shell| shell.run("diff -r /srv/rpi-server/master /mnt/physusb/master").map(drop))?;
    lab.shell()?.run("rm /srv/rpi-server/master/large.bin")?;
    visit(lab, &INGEST, &stick, |shell| sticks::same(shell, &format!("/srv/rpi-server/{CSV}"), &text))
}
