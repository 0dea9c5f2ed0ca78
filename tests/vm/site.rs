//! `toolmaster.json` on the FAT partition, as an operator puts it there on a PC.

use std::fs;
use std::process::Command;

use crate::boot::{another, copy};
use crate::lab::{Lab, in_service};
use crate::qemu::Bus;
use crate::shell::quiet;
use crate::{Outcome, check};

/// QEMU's own network has these addresses; a fixed one shows in the word that is missing: "dynamic".
const FIRST: &str = r#"{
  "hostname": "kojo-1",
  "network": { "address": "10.0.2.15/24", "gateway": "10.0.2.2", "dns": ["10.0.2.3"] },
  "time_zone": "Asia/Seoul",
  "ntp_server": "10.0.2.2",
  "pi_zero_host": "zero-2.local",
  "snapshot_retention_days": 30
}
"#;

pub fn applied(lab: &mut Lab) -> Outcome<()> {
    lab.switch_off()?;
    let raw = copy(lab)?;
    let file = lab.dir.join("toolmaster.json");
    fs::write(&file, FIRST).map_err(|error| error.to_string())?;
    let place = format!("{}@@8M", raw.display());
    quiet(Command::new("mcopy").args(["-i", &place]).arg(&file).arg("::/toolmaster.json"))?;
    let (_vm, mut shell) = another(lab, &raw.with_extension(""), Bus::Virtio, &[], "")?;
    let shell = &mut shell;
    in_service(shell)?;
    check(shell.run("hostname && cat /etc/hostname")? == "kojo-1\nkojo-1", "the host's name is another")?;
    let address = shell.run("ip -o -4 address show scope global | grep -w 10.0.2.15/24")?;
    check(!address.contains("dynamic"), address)?;
    let clock =
        shell.run("timedatectl show -p Timezone --value && systemctl show-environment >/dev/null && date +%z")?;
    check(clock == "Asia/Seoul\n+0900", clock)?;
    shell.run("timedatectl show-timesync -p SystemNTPServers --value | grep -x 10.0.2.2")?;
    shell.run("grep -q '\"pi_zero_host\": \"zero-2.local\"' /etc/mirrorctl/config.json")?;
    shell.run("grep -x SNAPSHOT_RETENTION_DAYS=30 /etc/default/toolmaster")?;
    let result = shell.run("cat /boot/firmware/toolmaster-result.txt")?;
    check(result.contains("結果: 設定しました。"), result)?;

    // A login, with a key that is made here.
    shell.run("ssh-keygen -q -t ed25519 -N '' -f /root/key")?;
    let user = "{\"user\": {\"name\": \"tanaka\", \"ssh_key\": \"'\"$(cat /root/key.pub)\"'\"}}";
    shell
        .run(&format!("echo '{user}' >/boot/firmware/toolmaster.json && systemctl restart toolmaster-site.service"))?;
    shell.run("systemctl reload ssh")?;
    let login = "ssh -i /root/key -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR tanaka@127.0.0.1 'id -un && sudo -n id -un'";
    shell.until(&format!("{login} | grep -x root"), std::time::Duration::from_secs(60))?;

    // A mistake: told beside the file and by the unit; what was applied stays.
    shell.run("printf '{\\n  \"hostname\": \"kojo-1\",\\n}\\n' >/boot/firmware/toolmaster.json")?;
    let (status, _) =
        shell.try_run("systemctl restart toolmaster-site.service", std::time::Duration::from_secs(120))?;
    check(status != 0, "a mistake was taken")?;
    let result = shell.run("cat /boot/firmware/toolmaster-result.txt")?;
    check(result.contains("3 行目: 最後の項目の後に , があります"), result)?;
    shell.run("journalctl -b -u toolmaster-site -o cat | grep -F '3 行目'")?;
    fs::remove_file(&raw).map_err(|error| error.to_string())
}
