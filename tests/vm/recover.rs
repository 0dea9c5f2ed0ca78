//! A dead server replaced: another machine, at its first start from the image, becomes the shared one by the stick with its backup.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::boot::{another, copy};
use crate::first::put;
use crate::lab::{Lab, in_service};
use crate::qemu::{Bus, Vm};
use crate::shell::{Shell, quiet};
use crate::stick::{Fs, Layout};
use crate::sticks::{self, BACKUP, INGEST, completed, mark, visit};
use crate::{Case, Outcome, check};

/// What is compared: every file's mode, size, time and hash, the tables, the id.
const FILES: &str = "cd /srv/rpi-server && find master docviewer -type f -printf '%m %s %T@ %p\\n' | sort && \
    find master docviewer -type f -exec sha256sum {} + | sort";
const TABLES: &str = "docker exec -i postgres sh -c 'pg_dump -U \"$POSTGRES_USER\" \"$POSTGRES_DB\"' | grep -v -e '^.\\(un\\)\\?restrict ' -e '^--'";
const ID: &str = "cat /srv/rpi-server/.toolmaster/server-id";
const ROWS: &str = "CREATE TABLE IF NOT EXISTS part_locations (order_code text PRIMARY KEY, location_code text); \
    INSERT INTO part_locations SELECT n, chr(26842) || n FROM generate_series(1, 5000) n ON CONFLICT DO NOTHING";
/// The archive's way back, and the database's.
const RECOVERY: Duration = Duration::from_secs(600);

/// It switches the shared machine off.
pub fn cases() -> Vec<Case> {
    vec![
        Case::long("a dead server's stick with RESTORE makes a fresh image the same server, once", |lab| {
            replaced(lab, Fs::Fat32, Consent::Stick)
        }),
        Case::long("a dead server's exFAT stick, with RESTORE on the new disk's bootfs, does so too", |lab| {
            replaced(lab, Fs::ExFat, Consent::Boot)
        }),
    ]
}

/// Where somebody at a PC puts the consent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Consent {
    /// On the stick.
    Stick,
    /// On the FAT partition of the disk that the image was written to.
    Boot,
}

/// All that is compared of a machine.
fn all_of(shell: &mut Shell) -> Outcome<String> {
    Ok([shell.run(FILES)?, shell.run(TABLES)?, shell.run(ID)?].join("\n"))
}

fn replaced(lab: &mut Lab, fs: Fs, consent: Consent) -> Outcome<()> {
    let text = format!("recovery {}", lab.later());
    let ingest = sticks::ingest_stick(lab, "ingest", Fs::Fat32, Layout::Partitioned, &text)?;
    visit(lab, &INGEST, &ingest, |_| Ok(()))?;
    let backup = sticks::empty_stick(lab, &BACKUP, "backup", fs, Layout::Whole)?;
    let (_, shell) = lab.machine()?;
    shell.run(&format!(
        "docker exec -i postgres sh -c 'psql -v ON_ERROR_STOP=1 -U \"$POSTGRES_USER\" \"$POSTGRES_DB\" -c \"{ROWS}\"'"
    ))?;
    shell.run("sed -i 's/^#BACKUP_RETENTION=4/BACKUP_RETENTION=9/' /etc/default/toolmaster")?;
    shell.run("systemctl start tool-snapshot.service")?;
    visit(lab, &BACKUP, &backup, |_| Ok(()))?;
    let expected = all_of(lab.machine()?.1)?;
    lab.machine()?.1.run("sed -i 's/^BACKUP_RETENTION=9/#BACKUP_RETENTION=4/' /etc/default/toolmaster")?;
    // The server dies; somebody puts the consent where a PC can write.
    lab.switch_off()?;
    let raw = copy(lab)?;
    match consent {
        Consent::Stick => {
            let file = lab.dir.join("restore.txt");
            fs::write(&file, "").map_err(|error| error.to_string())?;
            quiet(std::process::Command::new("mcopy").arg("-i").arg(&backup).arg(&file).arg("::/restore.txt"))?;
        }
        Consent::Boot => put(&raw, lab, "RESTORE.txt", "")?,
    }
    let (mut vm, mut shell) = another(lab, &raw.with_extension(""), Bus::Virtio, &[], "")?;
    let shell = &mut shell;
    in_service(shell)?;
    check(all_of(shell)? != expected, "a fresh image is the old server already")?;
    recovered(&mut vm, shell, &backup, &expected)?;
    let place = if consent == Consent::Stick { "/mnt/backup" } else { "/boot/firmware" };
    shell.run(&format!("test -e {place}/RESTORE-done.txt && ! ls {place} | grep -ix 'restore.txt'"))?;
    // On a browser of the same network.
    shell.run("systemctl start toolmaster-page.service")?;
    let page = shell.run("busybox wget -q -O - http://127.0.0.1/")?;
    check(page.contains("<li class=\"good\" id=\"data\">"), page)?;
    vm.pull("backup")?;
    completed(shell)?;
    // Once: put in again it takes a backup.
    let begun = mark(shell)?;
    vm.plug("backup", &backup)?;
    sticks::finished(shell, &BACKUP, &begun)?;
    check(all_of(shell)? == expected, "the second visit has changed the server")?;
    vm.pull("backup")?;
    completed(shell)?;
    fs::remove_file(&raw).map_err(|error| error.to_string())
}

fn recovered(vm: &mut Vm, shell: &mut Shell, stick: &Path, expected: &str) -> Outcome<()> {
    let begun = mark(shell)?;
    vm.plug("backup", stick)?;
    let said =
        format!("journalctl --after-cursor='{begun}' -u 'usb-backup@*' -o cat | grep -F 'recovery completed archive='");
    shell.until(&said, RECOVERY)?;
    shell.until("findmnt -no OPTIONS /mnt/backup | grep -w ro", Duration::from_secs(90))?;
    let found = all_of(shell)?;
    check(found == expected, format!("another server:\n{found}\n-- expected\n{expected}"))?;
    shell.run("grep -q 'RaspberryPiServer の結果: 完了' /mnt/backup/RESULT.txt")?;
    shell.run(
        "grep -x BACKUP_RETENTION=9 /etc/default/toolmaster && ! ls -A /srv/rpi-server/.toolmaster/recovery | grep .",
    )?;
    // What puts it in its place is a unit of its own, and provisioning made a key for the Pi Zero.
    shell.run(&format!(
        "journalctl --after-cursor='{begun}' -u tool-recover.service -o cat | grep -F 'are in their place'"
    ))?;
    shell.run("ssh-keygen -l -f /root/.ssh/id_ed25519.pub && test $(stat -c %a /root/.ssh/id_ed25519) = 600").map(drop)
}
