//! The first boot: what it makes is each machine's own, no power cut spoils it, and the handbook's manual way finds its work done.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::boot::another;
use crate::lab::{Lab, in_service};
use crate::qemu::Bus;
use crate::shell::{Shell, quiet};
use crate::stick::{Fs, Layout};
use crate::sticks::{BACKUP, INGEST, completed, empty_stick, finished, ingest_stick, mark, plugged};
use crate::{Case, Outcome, check, fail};

pub fn cases() -> Vec<Case> {
    vec![
        Case::long("the second boot does nothing of the first again", second_boot),
        Case::long("the power fails ten times in first boots: in service all the same", cut_off),
        Case::long("two first boots of one image share no secret, and show none", own_secrets),
        Case::long("Docker keeps a port of the database that does not run: it is started anew", kept_port),
        Case::long(
            "the handbook's way to Docker and PostgreSQL finds its work done, and its failures are answered",
            by_hand,
        ),
    ]
}

/// What the first boot has made: if it were made again, its time would be another.
const MADE: &str = "stat -c '%n %Y %i' /etc/machine-id /etc/ssh/ssh_host_*_key /etc/toolmaster/postgres-password \
    /srv/rpi-server/.toolmaster/provisioned /etc/mirrorctl/config.json /var/lib/docker/volumes/postgres-data && \
    docker image inspect --format '{{.Id}} {{.Metadata.LastTagTime}}' postgres:17 && df --output=size /srv | tail -n 1";

fn second_boot(lab: &mut Lab) -> Outcome<()> {
    let first = lab.machine()?.1.run(MADE)?;
    lab.switch_off()?;
    let (vm, shell) = lab.machine()?;
    let seconds = vm.started.elapsed().as_secs();
    let second = shell.run(MADE)?;
    println!("       in service {seconds} s after it was switched on again");
    check(first == second, format!("before:\n{first}\nafter:\n{second}"))
}

/// A secret's or an identity's name, and the command that prints it.
const OWN: [(&str, &str); 7] = [
    ("machine-id", "cat /etc/machine-id"),
    // The only kind that the image has made.
    ("ssh host key", "test $(ls /etc/ssh/ssh_host_*_key | wc -l) = 1 && sed -n 5p /etc/ssh/ssh_host_ed25519_key"),
    ("key for the Pi Zero", "sed -n 5p /root/.ssh/id_ed25519"),
    ("database password", "cat /etc/toolmaster/postgres-password"),
    ("server id", "cat /srv/rpi-server/.toolmaster/server-id"),
    ("random seed", "base64 -w 0 /var/lib/systemd/random-seed | cut -c 1-60"),
    ("Docker's id", "cat /var/lib/docker/engine-id"),
];
/// Those that give power to whoever reads them.
const SECRETS: &str = "/etc/ssh/ssh_host_*_key /root/.ssh/id_ed25519 /etc/toolmaster/postgres-password /var/lib/systemd/random-seed \
    /var/lib/systemd/credential.secret";

fn own_secrets(lab: &mut Lab) -> Outcome<()> {
    lab.switch_off()?;
    let image = lab.image.clone();
    let mut machines: Vec<BTreeMap<&str, String>> = Vec::new();
    for _ in 0..2 {
        let (_vm, mut shell) = another(lab, &image, Bus::Virtio, &[], "")?;
        in_service(&mut shell)?;
        machines.push(shown_to_nobody(&mut shell)?);
    }
    let [one, other] = &machines[..] else { return fail("two machines") };
    for (name, secret) in one {
        check(other.get(name) != Some(secret), format!("both machines have the same {name}"))?;
        for text in [Some(secret), other.get(name)].into_iter().flatten() {
            let found = Command::new("grep").args(["-qaF", "-e", text]).arg(image.with_extension("img")).status();
            check(found.is_ok_and(|status| status.code() == Some(1)), format!("the {name} is in the image file"))?;
        }
        println!("       each machine's own, not in the image: {name}");
    }
    Ok(())
}

/// The machine's secrets, after a look at who can read them.
fn shown_to_nobody(shell: &mut Shell) -> Outcome<BTreeMap<&'static str, String>> {
    let open = shell.run(&format!("find {SECRETS} -maxdepth 0 -perm /077 2>/dev/null || true"))?;
    check(open.is_empty(), format!("others can read:\n{open}"))?;
    let mut own = BTreeMap::new();
    for (name, command) in OWN {
        let text = shell.run(command)?;
        check(text.len() >= 32 || name == "database password" && text.len() >= 16, format!("{name}: {text:?}"))?;
        if name != "machine-id" && name != "Docker's id" && name != "server id" {
            shell.run(&format!("! journalctl -b -o cat | grep -F -e '{text}'"))?;
        }
        own.insert(name, text);
    }
    Ok(own)
}

/// `RUNBOOK.md` 3.4, as an operator types it.
fn by_hand(lab: &mut Lab) -> Outcome<()> {
    let stick = empty_stick(lab, &BACKUP, "backup", Fs::Ext4, Layout::Partitioned)?;
    let text = format!("by hand {}", lab.later());
    let ingest = ingest_stick(lab, "ingest", Fs::Ext4, Layout::Partitioned, &text)?;
    // A server without data has nothing to back up, and says so.
    plugged(lab, &INGEST, &ingest, |_| Ok(()))?;
    let (vm, shell) = lab.machine()?;
    let packages = "sudo apt install -y docker.io docker-compose-plugin postgresql-client python3-psycopg2 2>/dev/null";
    let said = shell.run(packages)?;
    println!("{said}");
    check(said.contains("Installing: 0") || said.contains("0 newly installed"), said)?;
    let before = shell.run("cat /srv/rpi-server/.env")?;
    shell.run("cd /srv/rpi-server && sudo cp --update=none .env.example .env && sudo docker compose up -d")?;
    check(shell.run("cat /srv/rpi-server/.env")? == before, ".env was changed")?;
    let state = shell.run("cd /srv/rpi-server && sudo docker compose ps")?;
    check(state.contains("(healthy)"), state)?;
    shell.run("sudo docker logs postgres --tail 50 2>&1 | grep 'database system is ready to accept connections'")?;
    shell.run("sudo docker volume inspect postgres-data | grep /var/lib/docker/volumes/postgres-data/_data")?;
    let uri = "postgresql://toolmaster:$(cat /etc/toolmaster/postgres-password)@localhost:5432/toolmaster";
    for command in [
        format!("sudo PG_URI=\"{uri}\" tool-snapshot.sh --dest /srv/rpi-server/snapshots"),
        "sudo tool-snapshot.sh".to_owned(),
    ] {
        let said = shell.run_within(&format!("{command} 2>&1"), Duration::from_secs(240))?;
        check(said.contains("snapshot completed"), said)?;
        shell.run("test -s /srv/rpi-server/snapshots/latest/db/pg_dump.sql")?;
    }
    let begun = mark(shell)?;
    vm.plug("backup", &stick)?;
    finished(shell, &BACKUP, &begun)?;
    let device = shell.run("findmnt -no SOURCE /mnt/backup")?;
    let archives = "ls /mnt/backup/*_full.tar.zst | wc -l";
    let plan = shell.run(&format!("sudo tool-backup-export.sh --device {device} --dry-run 2>&1"))?;
    check(plan.contains("dry_run=1"), plan)?;
    let said =
        shell.run_within(&format!("sudo tool-backup-export.sh --device {device} 2>&1"), Duration::from_secs(240))?;
    check(said.contains(BACKUP.line), said)?;
    println!("       archives on the stick: {}", shell.run(archives).unwrap_or_default());
    vm.pull("backup")?;
    completed(shell)?;
    failures(shell)
}

/// The rows of its table of troubles.
fn failures(shell: &mut Shell) -> Outcome<()> {
    shell.run("systemctl stop docker.socket docker.service")?;
    let (code, said) = shell.try_run("cd /srv/rpi-server && sudo docker compose ps 2>&1", Duration::from_secs(60))?;
    check(code != 0 && said.contains("Cannot connect to the Docker daemon"), said)?;
    shell.run_within("sudo systemctl restart raspi-server.service", Duration::from_secs(240))?;
    healthy(shell)?;

    // Without the password that the cluster was made with.
    let file = "/etc/toolmaster/postgres-password";
    shell.run(&format!("cp -a {file} /run/password && printf 'another-password-1234567890abcdef' >{file}"))?;
    let (code, said) = shell.try_run("tool-snapshot.sh 2>&1", Duration::from_secs(240))?;
    check(code == 1 && said.contains("password authentication failed"), format!("{code}: {said}"))?;
    shell.run(&format!("cp -a /run/password {file}"))?;

    // A start that failed is tried again, and brings the server into service.
    shell.run_within(
        &format!("systemctl stop raspi-server.service && mv {file} /run/password"),
        Duration::from_secs(240),
    )?;
    let (code, _) = shell.try_run("systemctl start raspi-server.service", Duration::from_secs(240))?;
    check(code != 0, "a database without its password was started")?;
    shell.run(&format!("mv /run/password {file}"))?;
    let back = "systemctl is-active raspi-server.service toolmaster-ready.target";
    shell.until(back, Duration::from_secs(300))?;

    shell.run("mv /usr/bin/pg_dump /usr/bin/pg_dump.away")?;
    let (code, said) = shell.try_run("tool-snapshot.sh 2>&1", Duration::from_secs(240))?;
    shell.run("mv /usr/bin/pg_dump.away /usr/bin/pg_dump")?;
    check(code == 78 && said.contains("pg_dump is not installed"), format!("{code}: {said}"))?;

    // A volume of another major: the container says so and touches nothing.
    let volume = "/var/lib/docker/volumes/postgres-data/_data/PG_VERSION";
    shell.run("cd /srv/rpi-server && docker compose stop 2>&1")?;
    shell.run(&format!("cp -a {volume} /run/major && echo 16 >{volume}"))?;
    shell.run("cd /srv/rpi-server && docker compose up -d 2>&1")?;
    shell.until(
        "docker logs postgres --tail 5 2>&1 | grep 'holds a cluster of PostgreSQL 16, this is 17'",
        Duration::from_secs(120),
    )?;
    shell.run(&format!(
        "cd /srv/rpi-server && docker compose stop 2>&1; cp -a /run/major {volume} && docker compose up -d 2>&1"
    ))?;
    healthy(shell)
}

fn healthy(shell: &mut Shell) -> Outcome<()> {
    shell
        .until("docker inspect -f '{{.State.Health.Status}}' postgres | grep -x healthy", Duration::from_secs(240))
        .map(drop)
}

/// After one of some power cuts while the container was being started, Docker's `docker-proxy` listens for a container that does not run.
/// Here a process of that name stands in for it: which cut does it can't be chosen.
fn kept_port(lab: &mut Lab) -> Outcome<()> {
    let shell = lab.machine()?.1;
    shell.run_within("systemctl stop raspi-server.service", Duration::from_secs(240))?;
    let before = shell.run("systemctl show -P ExecMainPID docker.service")?;
    shell.run("(exec -a docker-proxy tail -f /dev/null -- -host-port 5432) >/dev/null 2>&1 & echo")?;
    shell.run("systemctl start --no-block raspi-server.service")?;
    shell.until(
        "journalctl -b -o cat | grep 'Docker holds port 5432 of postgres, which does not run: starting Docker anew'",
        Duration::from_secs(120),
    )?;
    shell.run("pkill -f '^docker-proxy -f'")?;
    shell.until("systemctl is-active raspi-server.service toolmaster-ready.target", Duration::from_secs(300))?;
    let after = shell.run("systemctl show -P ExecMainPID docker.service && rm /run/toolmaster/docker-restarted")?;
    check(before != after, "Docker was not started anew")?;
    healthy(shell)
}

/// Rounds of the first boot, and power cuts in each, a later one while the boot after an earlier one goes on.
const ROUNDS: usize = 5;
const CUTS: usize = 2;
/// A first boot takes longer than that, seconds.
const SPAN: f64 = 110.0;

fn cut_off(lab: &mut Lab) -> Outcome<()> {
    lab.switch_off()?;
    let mut random = crate::faults::random();
    for _ in 0..ROUNDS {
        lab.begin_anew()?;
        lab.be_forgetful()?;
        let mut told = Vec::new();
        for _ in 0..CUTS {
            let moment = 3.0 + random.chance() * SPAN;
            let (_, lost) = lab.cut_again(&[], |_| true, Duration::from_secs_f64(moment), &mut random)?;
            told.push(format!(
                "{moment:5.1} s ({} writes not flushed, {} blocks of these lost)",
                lost.open, lost.blocks
            ));
        }
        let (_, shell) = lab.machine()?;
        shell.run(MADE)?;
        shell.run("systemctl is-active toolmaster-ready.target tool-snapshot.timer && ! journalctl -b -o cat -p 3 -t toolmaster | grep .")?;
        shell.run_within("sudo tool-snapshot.sh", Duration::from_secs(240))?;
        println!("       cut after {}: in service", told.join(", then "));
        lab.switch_off()?;
    }
    lab.begin_anew()
}

/// What Raspberry Pi Imager 2 leaves on the FAT partition when a name, a user with a key, a time zone, a keyboard and ssh are chosen
/// (its src/customization_generator.cpp), and with a wireless network its network-config.
pub fn imager(lab: &mut Lab) -> Outcome<()> {
    lab.switch_off()?;
    let raw = crate::boot::copy(lab)?;
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA5rhBdBdQFCEYPsZwcyFKcx4E0ckgHqjSXPbDYSkJaI factory@pc";
    let user_data = format!(
        "#cloud-config\n\nmanage_resolv_conf: false\n\nhostname: factory-7\nmanage_etc_hosts: true\npackages:\n- avahi-daemon\n\n\
         apt:\n  preserve_sources_list: true\n  conf: |\n    Acquire {{\n      Check-Date \"false\";\n    }};\n\n\
         timezone: Asia/Tokyo\nkeyboard:\n  model: pc105\n  layout: \"jp\"\nuser:\n  name: factory\n  shell: /bin/bash\n  lock_passwd: true\n  \
         ssh_authorized_keys:\n    - \"{key}\"\n  sudo: ALL=(ALL) NOPASSWD:ALL\n\nssh_pwauth: false\n\nruncmd:\n  - [ systemctl, enable, --now, ssh ]\n"
    );
    let network = "network:\n  version: 2\n  ethernets:\n    eth0:\n      dhcp4: true\n      dhcp6: true\n      optional: true\n  wifis:\n    \
         wlan0:\n      dhcp4: true\n      regulatory-domain: \"JP\"\n      access-points:\n        \"kojo\":\n          \
         password: \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n      optional: true\n";
    put(&raw, lab, "meta-data", "instance-id: rpi-imager-1700000000000\n")?;
    put(&raw, lab, "user-data", &user_data)?;
    put(&raw, lab, "network-config", network)?;
    let append = "ds=nocloud;i=rpi-imager-1700000000000 net.ifnames=0";
    let (_vm, mut shell) = another(lab, &raw.with_extension(""), Bus::Virtio, &[], append)?;
    let shell = &mut shell;
    in_service(shell)?;
    let (_, status) = shell.try_run("cloud-init status --long", Duration::from_secs(300))?;
    println!("{status}");
    let got = shell.run(
        "hostname; id -nG factory; date +%Z; sudo -n -u factory sudo -n id -un; cat /home/factory/.ssh/authorized_keys",
    )?;
    check(got.starts_with("factory-7\n") && got.contains("JST\nroot\n") && got.contains(key), &got)?;
    println!("{got}");
    let address = shell.run("ip -o -4 address show eth0 scope global")?;
    check(address.contains("10.0.2.15"), address)?;
    println!("{}", shell.run("ls /etc/netplan /etc/systemd/network /run/systemd/network 2>&1; journalctl -b -o cat -u cloud-init-network -u cloud-config -u cloud-final | tail -n 30")?);
    fs::remove_file(&raw).map_err(|error| error.to_string())
}

/// Puts a text on the FAT partition of a raw image.
pub fn put(raw: &Path, lab: &Lab, name: &str, text: &str) -> Outcome<()> {
    let file = lab.dir.join(name);
    fs::write(&file, text).map_err(|error| error.to_string())?;
    quiet(Command::new("mcopy").args(["-i", &format!("{}@@8M", raw.display())]).arg(&file).arg(format!("::/{name}")))
}
