//! Puts what `toolmaster.json` says where the system reads it. Each file is of our own or a whole one; done again, it changes nothing.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::super::provision;
use crate::error::{Error, Result};
use crate::mirror::keys::{Change, change};
use crate::os::atomic;
use crate::os::dir::Dir;
use crate::os::process;
use crate::settings::env_file;
use crate::settings::site::{Mistake, Network, Site, User};

const ZONES: &str = "/usr/share/zoneinfo";
/// What a login may belong to, where the system has it.
const GROUPS: [&str; 4] = ["sudo", "adm", "docker", "toolmaster"];
/// The file of the units' settings.
const DEFAULTS: &str = "/etc/default/toolmaster";
const MIRROR: &str = "/etc/mirrorctl/config.json";

/// What only the machine knows: whether there is such a time zone, and whether the user's name is free for a person.
pub fn check(site: &Site) -> std::result::Result<(), Mistake> {
    let wrong = |why: String| Err(Mistake { line: 0, why });
    if let Some(zone) = &site.time_zone
        && !Path::new(ZONES).join(zone).is_file()
    {
        return wrong(format!("time_zone: {zone} という時間帯はありません"));
    }
    if let Some(user) = &site.user
        && user_id(&user.name).is_some_and(|id| !(1000..65_000).contains(&id))
    {
        return wrong(format!("user: {} は、この機械が使っている名前です", user.name));
    }
    Ok(())
}

/// Applies all; a line for each thing that is set.
pub fn all(site: &Site) -> Result<Vec<String>> {
    let mut done = Vec::new();
    if let Some(name) = &site.hostname {
        hostname(name)?;
        done.push(format!("名前(hostname): {name}"));
    }
    if let Some(it) = &site.user {
        user(it)?;
        done.push(format!("利用者(user): {}", it.name));
    }
    if let Some(it) = &site.network {
        network(it)?;
        done.push(match it.address {
            Some((ip, bits)) => format!("アドレス(network): {ip}/{bits}"),
            None => "アドレス(network): dhcp".to_owned(),
        });
    }
    if let Some(zone) = &site.time_zone {
        time_zone(zone)?;
        done.push(format!("時間帯(time_zone): {zone}"));
    }
    if let Some(server) = &site.ntp_server {
        put("/etc/systemd/timesyncd.conf.d/50-toolmaster-site.conf", &format!("[Time]\nNTP={server}\n"), 0o644)?;
        done.push(format!("時刻サーバ(ntp_server): {server}"));
    }
    done.extend(mirror(site)?);
    done.extend(retention(site)?);
    Ok(done)
}

/// For this boot, too: the system has read the file by now.
fn hostname(name: &str) -> Result<()> {
    put("/etc/hostname", &format!("{name}\n"), 0o644)?;
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let kept = hosts.lines().filter(|line| line.split_whitespace().next() != Some("127.0.1.1"));
    let hosts: String = kept.map(|line| format!("{line}\n")).chain([format!("127.0.1.1\t{name}\n")]).collect();
    put("/etc/hosts", &hosts, 0o644)?;
    // Otherwise cloud-init would set the one of its own files again.
    if Path::new("/etc/cloud/cloud.cfg.d").is_dir() {
        put("/etc/cloud/cloud.cfg.d/95-toolmaster-site.cfg", "preserve_hostname: true\n", 0o644)?;
    }
    let kernel = Path::new("/proc/sys/kernel/hostname");
    std::fs::write(kernel, name).map_err(|error| Error::io("write", kernel, error))
}

/// Makes the user; one that is there stays as it is. Keys lie where only root writes: a home's owner could lead us elsewhere.
fn user(user: &User) -> Result<()> {
    let User { name, ssh_key } = user;
    if user_id(name).is_none() {
        let useradd = process::find("useradd")
            .ok_or_else(|| Error::Config { why: "useradd is not there".to_owned(), next: "sudo apt install passwd" })?;
        let groups: Vec<&str> = GROUPS.into_iter().filter(|group| provision::system_group(group).is_some()).collect();
        let groups = groups.join(",");
        let arguments = ["--create-home", "--shell", "/bin/bash", "--groups", &groups, "--", name];
        process::run(&useradd, &arguments, Duration::from_secs(60), "look at what it said")?;
    }
    put(&format!("/etc/ssh/authorized_keys.d/{name}"), &format!("{ssh_key}\n"), 0o644)?;
    let keys = "# toolmaster.json's keys, beside each user's own.\nAuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys.d/%u\n";
    put("/etc/ssh/sshd_config.d/60-toolmaster-site.conf", keys, 0o644)?;
    // It has no password that sudo could ask for.
    put("/etc/sudoers.d/toolmaster-site", &format!("{name} ALL=(ALL) NOPASSWD: ALL\n"), 0o440)
}

/// Before any other file for the same card.
fn network(network: &Network) -> Result<()> {
    let mut text = "[Match]\nType=ether\nKind=!*\n\n[Link]\nRequiredForOnline=no\n\n[Network]\n".to_owned();
    match network.address {
        None => text.push_str("DHCP=yes\nLinkLocalAddressing=yes\n"),
        Some((ip, bits)) => text.push_str(&format!("Address={ip}/{bits}\n")),
    }
    let named = |key: &'static str| move |ip: &IpAddr| format!("{key}={ip}\n");
    text.extend(network.gateway.iter().map(named("Gateway")));
    text.extend(network.dns.iter().map(named("DNS")));
    put("/etc/systemd/network/05-toolmaster-site.network", &text, 0o644)
}

fn time_zone(zone: &str) -> Result<()> {
    let etc = Dir::open(Path::new("/etc"))?;
    etc.replace_link(b"localtime", &format!("{ZONES}/{zone}"))?;
    etc.sync()?;
    put("/etc/timezone", &format!("{zone}\n"), 0o644)
}

/// The keys in mirrorctl's own file; the rest of it stays.
fn mirror(site: &Site) -> Result<Vec<String>> {
    let keys = [
        ("pi_zero_host", &site.pi_zero_host),
        ("mirror_endpoint", &site.mirror_endpoint),
        ("primary_endpoint", &site.primary_endpoint),
    ];
    let given: Vec<(&str, &str)> = keys.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?))).collect();
    if given.is_empty() {
        return Ok(Vec::new());
    }
    provision::mirror_settings()?;
    let path = Path::new(MIRROR);
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    let changes: Vec<_> = given.iter().map(|(key, value)| (*key, Change::Text(value))).collect();
    let changed = change(&text, &changes)
        .map_err(|why| Error::Config {
            why: format!("{MIRROR}: {why}"), next: "直して、もう一度起動する"
        })?;
    if let Some(text) = changed {
        atomic::rewrite(&Dir::made(Path::new("/etc/mirrorctl"))?, b"config.json", text.as_bytes())?;
    }
    Ok(given.iter().map(|(key, value)| format!("ミラー({key}): {value}")).collect())
}

/// The lines in the units' settings; the rest of the file stays.
fn retention(site: &Site) -> Result<Vec<String>> {
    let keys = [
        ("SNAPSHOT_RETENTION_DAYS", site.snapshot_retention_days, "snapshot_retention_days"),
        ("BACKUP_RETENTION", site.backup_retention, "backup_retention"),
    ];
    let mut done = Vec::new();
    let mut text = std::fs::read_to_string(DEFAULTS).unwrap_or_default();
    for (key, value, name) in keys {
        let Some(value) = value else { continue };
        text = env_file::with(&text, key, &value.to_string());
        done.push(format!("残す数({name}): {value}"));
    }
    if !done.is_empty() {
        put(DEFAULTS, &text, 0o644)?;
    }
    Ok(done)
}

fn user_id(name: &str) -> Option<u32> {
    provision::id_of(&std::fs::read_to_string("/etc/passwd").unwrap_or_default(), name)
}

/// Writes a file that says something else, with the directories that it needs.
fn put(path: &str, text: &str, mode: u32) -> Result<()> {
    let path = Path::new(path);
    if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    atomic::write(&Dir::made(parent)?, name.as_encoded_bytes(), text.as_bytes(), mode)
}
