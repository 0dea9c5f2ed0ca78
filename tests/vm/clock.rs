//! A Pi 5 whose clock has no battery, at a site without NTP: what the machine's clock says at power-on is wrong.

use std::time::Duration;

use crate::boot::another;
use crate::lab::{LOGIN, Lab, in_service};
use crate::qemu::Bus;
use crate::{Case, Outcome, check};

/// It switches the shared machine off.
pub fn cases() -> Vec<Case> {
    vec![Case::long(
        "a clock that is wrong at power-on: time does not go back, and a year ahead it is not believed",
        wrong,
    )]
}

fn wrong(lab: &mut Lab) -> Outcome<()> {
    lab.switch_off()?;
    let image = lab.image.clone();
    let (vm, mut shell) = another(lab, &image, Bus::Virtio, &[], "")?;
    in_service(&mut shell)?;
    // The server has this time on record, and systemd-timesyncd keeps it every minute, without a server of time.
    shell.run("systemctl start tool-snapshot.service && test -s /srv/rpi-server/.toolmaster/clock-seen")?;
    let before = seconds(&shell.run("date +%s")?)?;
    let kept = format!("test $(stat -c %Y /var/lib/systemd/timesync/clock) -ge {before}");
    shell.until(&kept, Duration::from_secs(180))?;
    shell.run("sync")?;
    // The power fails, and the clock begins anew.
    drop((vm, shell));
    let disk = lab.dir.join("another.qcow2");
    let vm = lab.start_at(&disk, "2019-03-01T00:00:00")?;
    let mut shell = vm.shell(LOGIN)?;
    in_service(&mut shell)?;
    // The first job of the boot, too, saw a time after that.
    let ready = "date -d \"$(systemctl show -P ExecMainStartTimestamp toolmaster-provision.service)\" +%s";
    let first = seconds(&shell.run(ready)?)?;
    check(first >= before, format!("{before} before the power failed, then {first}"))?;
    let status = shell.run("toolmaster status || true")?;
    check(!status.contains("は信じられません"), status)?;
    drop((vm, shell));
    // Years ahead, and nobody to ask: it may not decide anything.
    let vm = lab.start_at(&disk, "2035-03-01T00:00:00")?;
    let mut shell = vm.shell(LOGIN)?;
    in_service(&mut shell)?;
    let status = shell.run("toolmaster status || true")?;
    check(status.contains("は信じられません"), status)?;
    let before = shell.run("ls /srv/rpi-server/snapshots | grep -c '^20'")?;
    shell.run("systemctl start tool-snapshot.service")?;
    let after = shell.run("ls /srv/rpi-server/snapshots | grep -c '^20'")?;
    check(seconds(&after)? == seconds(&before)? + 1, format!("{before} snapshots before, {after} after"))
}

fn seconds(text: &str) -> Outcome<u64> {
    text.trim().parse().map_err(|_| format!("no number: {text}"))
}
