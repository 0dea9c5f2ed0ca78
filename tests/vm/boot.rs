//! Booting: without a network, from each kind of disk, with sticks in, with parts missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::first::imager;
use crate::lab::{BOOT, DISK, LOGIN, Lab, in_service};
use crate::qemu::{Bus, Vm, overlay};
use crate::shell::{Shell, quiet};
use crate::stick::{Fs, Layout};
use crate::sticks::{self, completed};
use crate::{Case, Outcome, check, fail, site};

/// Before the sticks.
pub fn first() -> Vec<Case> {
    vec![
        Case::new("boots without a network: in service, no failed unit, database healthy", |lab| {
            lab.switch_on(Bus::Virtio, &[])?;
            in_service(lab.shell()?)
        }),
        Case::new("the data partition fills the disk, the root does not", grown),
        Case::new("docker keeps everything on the data partition", docker_root),
        Case::new("no password, no automounter, keys only, first boot's presets as built", hardened),
        Case::new("systemd and udev accept our units and rules without a word", accepted),
        Case::new("each unit is confined (systemd-analyze security)", confined),
        Case::new("the status page on port 80, renewed by itself, gone when it is old", page),
    ]
}

/// After them: these switch the machine off and on.
pub fn last() -> Vec<Case> {
    vec![
        Case::new("TM-INGEST present at boot", present_at_boot),
        Case::long("boots from USB storage, which is no stick", |lab| other_bus(lab, Bus::Usb, "sd")),
        Case::long("boots from NVMe", |lab| other_bus(lab, Bus::Nvme, "nvme")),
        Case::long("boots for the first time from a disk of 8 GiB, and fills it", |lab| {
            first_boot(lab, Bus::Virtio, "vd", 8)
        }),
        Case::long("boots for the first time from USB storage of 32 GiB, and fills it", |lab| {
            first_boot(lab, Bus::Usb, "sd", 32)
        }),
        Case::long("boots for the first time from NVMe of 64 GiB, and fills it", |lab| {
            first_boot(lab, Bus::Nvme, "nvme", 64)
        }),
        Case::long("a missing data partition does not hold the boot", without_data),
        Case::long("two disks of one image: nothing of the server starts, and the log names both", twins),
        Case::long("name, user, key and network as Raspberry Pi Imager writes them (cloud-init)", imager),
        Case::long("toolmaster.json on the FAT partition: applied, a mistake answered beside it", site::applied),
        Case::long("the snapshot timer fires when the clock passes 02:30", timer),
    ]
}

fn grown(lab: &mut Lab) -> Outcome<()> {
    grown_to(lab.machine()?.1, DISK)
}

fn grown_to(shell: &mut Shell, disk: u64) -> Outcome<()> {
    let sizes = shell.run("df --output=size -BM / /srv | tail -n 2 | tr -dc '0-9\\n'")?;
    let sizes: Vec<u64> = sizes.split_whitespace().filter_map(|size| size.parse().ok()).collect();
    // Boot and root partition have 4.5 GiB; of the rest the file system keeps a few hundredths for itself.
    let rest = disk * 1024 - 4624;
    let fits = matches!(sizes[..], [root, data] if root < 4096 && (rest * 93 / 100..=rest).contains(&data));
    check(fits, format!("MiB: {sizes:?} on a disk of {disk} GiB"))?;
    let block = shell.run("stat -fc %S / /srv")?;
    check(block == "4096\n4096", format!("block sizes: {block}"))
}

fn docker_root(lab: &mut Lab) -> Outcome<()> {
    let (_, shell) = lab.machine()?;
    let data = shell.run("findmnt -no SOURCE --target /srv")?;
    let root = shell.run("docker info --format '{{.DockerRootDir}}'")?;
    check(root == "/var/lib/docker", format!("docker's root: {root}"))?;
    let under = shell.run("findmnt -no SOURCE --target /var/lib/docker/overlay2")?;
    check(under.starts_with(&data), format!("{under}, not {data}"))?;
    let volume = shell.run("docker volume inspect postgres-data --format '{{.Mountpoint}}'")?;
    check(volume == "/var/lib/docker/volumes/postgres-data/_data", volume)?;
    // Without that mount docker has to stay off.
    shell.run("systemctl show docker.service -P RequiresMountsFor | grep -q /var/lib/docker")?;
    let id = shell.run("docker image inspect --format '{{.Id}}' postgres:17")?;
    let expected = shell.run("cat /usr/share/toolmaster/container/postgres.id")?;
    check(id == expected, format!("{id}, not {expected}"))?;
    let listening = shell.run("ss -Hltn 'sport = :5432' | tr -s ' ' | cut -d ' ' -f 4")?;
    check(listening == "127.0.0.1:5432", format!("the database listens at {listening}"))
}

fn hardened(lab: &mut Lab) -> Outcome<()> {
    let (_, shell) = lab.machine()?;
    shell.run("! grep -vE '^[^:]*:[*!]' /etc/shadow")?;
    shell.run("sshd -T | grep -x 'passwordauthentication no'")?;
    shell.run("! command -v udisksctl && ! systemctl cat udisks2 autofs 2>/dev/null")?;
    let wanted = shell.run("systemctl is-enabled ssh docker avahi-daemon systemd-networkd systemd-timesyncd raspi-server tool-snapshot.timer")?;
    check(wanted.lines().all(|line| line == "enabled"), wanted)?;
    // Nothing wears the disk or fills it by and by; once a day it is asked how worn it is.
    shell.run_within("systemctl start toolmaster-wear.service", Duration::from_secs(120))?;
    shell.run("systemctl is-enabled fstrim.timer && test -z \"$(swapon --noheadings)\"")?;
    shell.run("systemd-analyze cat-config systemd/journald.conf | grep -x SystemMaxUse=256M")?;
    shell.run("docker inspect -f '{{.HostConfig.LogConfig.Config}}' postgres | grep -F 'max-file:3 max-size:10m'")?;
    // Only "mirrorctl enable" enables it.
    shell.run("! systemctl is-enabled mirror-compare.timer 2>/dev/null | grep -qx enabled")?;
    let name = shell.run("hostname; date +%Z; test $(wc -c </etc/machine-id) = 33 && echo id")?;
    check(name == "toolmaster\nJST\nid", name)?;
    shell.run("getent ahosts toolmaster.local").map(drop)
}

fn accepted(lab: &mut Lab) -> Outcome<()> {
    let (_, shell) = lab.machine()?;
    let units = "/usr/lib/systemd/system/{usb-*@.service,tool-*.{service,timer},toolmaster-*,raspi-server.service,mirror-compare.*}";
    let verify = format!("systemd-analyze verify --recursive-errors=no {units} 2>&1");
    let said = shell.run_within(&verify, Duration::from_secs(300))?;
    check(said.is_empty(), said)?;
    shell.run("udevadm verify --no-summary /usr/lib/udev/rules.d/90-toolmaster.rules").map(drop)
}

/// The most that each unit may be exposed, tenths; docs/security.md has the reasons.
const EXPOSED: [(&str, u32); 17] = [
    ("usb-ingest@sda1", 25),
    ("usb-dist-export@sda1", 25),
    ("usb-backup@sda1", 25),
    ("usb-guard@sda1", 25),
    ("usb-light@sda1", 25),
    ("toolmaster-notify@usb-ingest@sda1", 90),
    ("tool-snapshot", 21),
    ("tool-restore-drill", 20),
    ("tool-recover", 23),
    ("mirror-compare", 20),
    ("raspi-server", 25),
    ("usb-park@sda1", 45),
    ("toolmaster-provision", 45),
    ("toolmaster-site", 50),
    ("toolmaster-page", 23),
    ("toolmaster-web@1", 10),
    ("toolmaster-wear", 20),
];

fn confined(lab: &mut Lab) -> Outcome<()> {
    let (_, shell) = lab.machine()?;
    for (unit, most) in EXPOSED {
        let said = shell.run(&format!("systemd-analyze security --no-pager {unit}.service | tail -n 1"))?;
        let found = said.split("service: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let tenths = found.parse::<f64>().map_or(100, |number| (number * 10.0).round() as u32);
        check(tenths <= most, format!("{unit}: {said}; it may be {most} tenths"))?;
    }
    Ok(())
}

/// With busybox's own client: the image has no other.
fn page(lab: &mut Lab) -> Outcome<()> {
    const ASK: &str = "busybox wget -q -O - http://127.0.0.1";
    let (_, shell) = lab.machine()?;
    let active = shell.run("systemctl is-active toolmaster-page.timer toolmaster-page.path toolmaster-web.socket")?;
    check(active == "active\nactive\nactive", active)?;
    // Not the page of a moment ago, when the database was not up yet.
    shell.run("systemctl start toolmaster-page.service")?;
    let shown = shell.run(&format!("{ASK}/"))?;
    check(shown.contains("toolmaster の状態") && shown.ends_with("</html>"), &shown)?;
    // What only systemd can tell is told from within the unit too.
    for key in ["timers", "units", "database"] {
        check(shown.contains(&format!("<li class=\"good\" id=\"{key}\">")), format!("{key}: {shown}"))?;
    }
    for path in ["/.index.html.tmp", "/%2e%2e/%2e%2e/etc/hostname", "/cgi-bin/x"] {
        shell.run(&format!("! {ASK}{path}"))?;
    }
    let age = "find /run/toolmaster-page/index.html -newermt '-50 seconds'";
    shell.run("touch -d '-1 minute' /run/toolmaster-page/index.html")?;
    shell.until(&format!("{age} | grep ."), Duration::from_secs(120))?;
    // Nobody writes it any more.
    let link =
        "mkdir -p /run/systemd/system/toolmaster-page.service.d && cd /run/systemd/system/toolmaster-page.service.d";
    shell.run(&format!(
        "{link} && printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' >no.conf && systemctl daemon-reload"
    ))?;
    shell.run("touch -d '-10 minutes' /run/toolmaster-page/index.html; ! systemctl start toolmaster-page.service")?;
    shell.run(&format!("! test -e /run/toolmaster-page/index.html && ! {ASK}/"))?;
    shell.run("rm -r /run/systemd/system/toolmaster-page.service.d && systemctl daemon-reload && systemctl start toolmaster-page.service")?;
    shell.run(&format!("{ASK}/ | grep -q 'この表示は'"))?;
    // The journal is for what matters.
    shell.run("! journalctl -b -o cat -u toolmaster-page.service -u 'toolmaster-web@*' | grep -E 'Start(ing|ed)|Finished'").map(drop)
}

fn present_at_boot(lab: &mut Lab) -> Outcome<()> {
    let text = format!("present at boot {}", lab.later());
    let stick = sticks::ingest_stick(lab, "boot", Fs::Fat32, Layout::Partitioned, &text)?;
    lab.switch_off()?;
    lab.switch_on(Bus::Virtio, &[&stick])?;
    let shell = lab.shell()?;
    in_service(shell)?;
    let done = "journalctl -b -u 'usb-ingest@*' -o cat | grep -F 'ingest completed (dry_run=0 force=0)'";
    shell.until(done, Duration::from_secs(240))?;
    let there = shell.run(&format!("cat '/srv/rpi-server/{}'", sticks::CSV))?;
    check(there == text, format!("on the server: {there}"))
}

/// The same disk, in another place.
fn other_bus(lab: &mut Lab, bus: Bus, device: &str) -> Outcome<()> {
    lab.switch_off()?;
    lab.switch_on(bus, &[])?;
    let shell = lab.shell()?;
    in_service(shell)?;
    booted_from(shell, device)?;
    lab.switch_off()
}

fn booted_from(shell: &mut Shell, device: &str) -> Outcome<()> {
    let root = shell.run("findmnt -no SOURCE /")?;
    check(root.starts_with(&format!("/dev/{device}")), format!("the root is {root}"))?;
    // The system's own disk is neither a stick nor foreign storage.
    let (_, said) = shell.try_run("journalctl -b -o cat | grep 'is no stick of ours: '", Duration::from_secs(60))?;
    check(said.is_empty(), said)
}

/// A machine of a case's own, at its first start from an image as it is, and its shell.
pub fn another(lab: &Lab, image: &Path, bus: Bus, sticks: &[&Path], append: &str) -> Outcome<(Vm, Shell)> {
    sized(lab, image, bus, sticks, append, DISK)
}

/// The same with a disk of so many GiB.
fn sized(lab: &Lab, image: &Path, bus: Bus, sticks: &[&Path], append: &str, size: u64) -> Outcome<(Vm, Shell)> {
    let disk = lab.dir.join("another.qcow2");
    overlay(image, &disk, size)?;
    let vm = lab.start(&disk, bus, sticks, append)?;
    let shell = vm.shell(LOGIN)?;
    Ok((vm, shell))
}

fn first_boot(lab: &mut Lab, bus: Bus, device: &str, size: u64) -> Outcome<()> {
    lab.switch_off()?;
    let image = lab.image.clone();
    let (_vm, mut shell) = sized(lab, &image, bus, &[], "", size)?;
    in_service(&mut shell)?;
    grown_to(&mut shell, size)?;
    booted_from(&mut shell, device)
}

/// A copy of the image in a raw file, for changing what is on its partitions.
pub fn copy(lab: &Lab) -> Outcome<PathBuf> {
    let raw = lab.dir.join("changed.img");
    quiet(Command::new("cp").args(["--sparse=always"]).arg(lab.image.with_extension("img")).arg(&raw))?;
    Ok(raw)
}

fn without_data(lab: &mut Lab) -> Outcome<()> {
    lab.switch_off()?;
    let raw = copy(lab)?;
    quiet(Command::new("sfdisk").args(["-q", "--no-reread", "--no-tell-kernel", "--delete"]).arg(&raw).arg("3"))?;
    let (vm, mut shell) = another(lab, &raw.with_extension(""), Bus::Virtio, &[], "")?;
    let login = vm.started.elapsed().as_secs();
    shell.try_run("systemctl is-system-running --wait", BOOT)?;
    let ended = vm.started.elapsed().as_secs();
    check(ended < login + 180, format!("a login after {login} s, the boot's end only after {ended} s"))?;
    shell.run("! systemctl is-active docker.service && ! findmnt /srv")?;
    let written = shell.run("ls -A /var/lib/docker /srv 2>/dev/null | grep -v ':$' | grep . || true")?;
    check(written.is_empty(), format!("written to the root instead of the data partition: {written}"))?;
    fs::remove_file(&raw).map_err(|error| error.to_string())
}

fn twins(lab: &mut Lab) -> Outcome<()> {
    lab.switch_off()?;
    let raw = copy(lab)?;
    let image = lab.image.clone();
    let (_vm, mut shell) = another(lab, &image, Bus::Virtio, &[&raw], "")?;
    shell.try_run("systemctl is-system-running --wait", BOOT)?;
    let said =
        shell.run("journalctl -b -u toolmaster-provision -o cat | grep -F 'two disks of one image are connected'")?;
    check(said.contains("/dev/vda") && said.contains("/dev/sda"), said)?;
    shell.run("! systemctl is-active --quiet docker.service && ! systemctl is-active --quiet raspi-server.service")?;
    shell.run("! test -e /srv/rpi-server/.toolmaster/provisioned")?;
    fs::remove_file(&raw).map_err(|error| error.to_string())
}

fn timer(lab: &mut Lab) -> Outcome<()> {
    let (_, shell) = lab.machine()?;
    let before = shell.run("ls /srv/rpi-server/snapshots | grep -c '^20' || true")?;
    shell.run("timedatectl set-ntp false; date -s 'tomorrow 02:29:50'")?;
    let done = "journalctl -u tool-snapshot.service -o cat --since '02:29:00' | grep -F 'snapshot completed (dry_run=0) dest='";
    let line = shell.until(done, Duration::from_secs(300))?;
    let place = line.lines().last().and_then(|line| line.rsplit_once("dest=")).map_or("", |(_, place)| place);
    check(place.starts_with("/srv/rpi-server/snapshots/"), format!("no place in: {line}"))?;
    shell.run(&format!("test -s {place}/db/pg_dump.sql && test -s {place}/manifest.json"))?;
    shell.run(&format!("test $(readlink -f /srv/rpi-server/snapshots/latest) = {place}"))?;
    let after = shell.run("ls /srv/rpi-server/snapshots | grep -c '^20'")?;
    match (before.trim().parse::<u32>(), after.trim().parse::<u32>()) {
        (Ok(before), Ok(after)) if after == before + 1 => completed(shell),
        _ => fail(format!("{before} snapshots before, {after} after")),
    }
}
