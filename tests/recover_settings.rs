//! The old server's settings, its identity, and the key for the Pi Zero. `/etc` and root's home are this binary's own, and its
//! tests share them: so there is one at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use common::recovery::{consent, files, fresh, id, made};
use common::site::{Site, done};
use common::{Run, Server, Tree, ago, tool};

const DEFAULTS: &str = "/etc/default/toolmaster";
const CONFIG: &str = "/etc/mirrorctl/config.json";
const SSH: &str = "/run/root/.ssh";

/// `/etc` and root's home as on a machine that was just installed, for one test at a time.
fn machine() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for dir in ["/etc/mirrorctl", SSH] {
        let _ = fs::remove_dir_all(dir);
    }
    for dir in ["/etc/toolmaster", "/etc/mirrorctl", "/etc/default", "/etc/ssh"] {
        fs::create_dir_all(dir).unwrap();
    }
    // A file of an overlay seems to lie on another file system than its directory, and what does is no setting.
    tool("mount", &["-t", "tmpfs", "tmpfs", "/etc/toolmaster"]);
    fs::write(DEFAULTS, include_str!("../config/toolmaster.default")).unwrap();
    fs::write(CONFIG, include_str!("../config/mirrorctl-config.sample.json")).unwrap();
    fs::set_permissions(CONFIG, fs::Permissions::from_mode(0o640)).unwrap();
    let _ = fs::remove_file("/etc/default/toolmaster.before-restore");
    for entry in fs::read_dir("/etc/ssh").unwrap().map(|entry| entry.unwrap().path()) {
        if entry.to_str().unwrap().contains("ssh_host_") {
            fs::remove_file(entry).unwrap();
        }
    }
    one
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn append(path: &str, text: &str) {
    fs::write(path, fs::read_to_string(path).unwrap() + text).unwrap();
}

/// A server with settings of its own, and a backup of it.
fn with_settings() -> Site {
    let site = Site::new();
    append(DEFAULTS, "SNAPSHOT_RETENTION_DAYS=30\nLED_NAMES=\"PWR ACT\"\nREQUIRE_ENROLLED=1\nUSB_LOG_DIR=/elsewhere\n");
    append(DEFAULTS, "LD_PRELOAD=/evil.so\nPG_URI=postgresql://app@elsewhere/db\n");
    let text = fs::read_to_string(CONFIG).unwrap();
    fs::write(CONFIG, text.replace("pi-zero.local", "zero-7.local")).unwrap();
    let etc = Tree::at("/etc/toolmaster");
    etc.file("ingest.d/10-tell", "#!/bin/sh\n# toolmaster: no secrets\ntouch /run/told\n", ago(60)).file(
        "site.applied",
        "{}",
        ago(60),
    );
    etc.file("postgres-password", "s3cret\n", ago(60));
    for (name, mode) in [("ingest.d/10-tell", 0o755), ("postgres-password", 0o600)] {
        fs::set_permissions(etc.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    site.server.tree().file("docker-compose.yml", "# toolmaster: no secrets\nservices: {}\n", ago(60)).file(
        ".toolmaster/enroll-key",
        [7; 32],
        ago(60),
    );
    site.snapshot();
    done(site.backup(), "backup export completed");
    consent(&site.stick);
    site
}

fn recovers(new: &Site, old: &Site) -> Run {
    done(new.call(&["backup", "--device", old.stick.device()]), "recovery completed archive=")
}

#[test]
fn plain_settings_come_back_and_the_others_are_laid_aside() {
    let one = machine();
    let old = with_settings();
    drop(one);
    let _one = machine();
    let new = fresh();
    let run = recovers(&new, &old);
    let text = fs::read_to_string(DEFAULTS).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(lines, ["SNAPSHOT_RETENTION_DAYS=30", "LED_NAMES=\"PWR ACT\""], "{text}");
    assert_eq!(
        text.lines().count(),
        include_str!("../config/toolmaster.default").lines().count(),
        "in the lines' places"
    );
    let before = fs::read_to_string("/etc/default/toolmaster.before-restore").unwrap();
    assert_eq!(before, include_str!("../config/toolmaster.default"));
    for words in [
        "REQUIRE_ENROLLED=1 is not brought back",
        "USB_LOG_DIR stays as it is",
        "LD_PRELOAD stays as it is",
        "PG_URI stays",
    ] {
        assert!(run.stderr.contains(words), "{words}: {run}");
    }
    let config = fs::read_to_string(CONFIG).unwrap();
    assert!(config.contains("zero-7.local") && mode(CONFIG) == 0o640, "{config}");
    assert!(fs::read_to_string(format!("{CONFIG}.before-restore")).unwrap().contains("pi-zero.local"));

    // What would be executed, and what is the old machine's own, is only there to be looked at.
    assert!(!Path::new("/etc/toolmaster/ingest.d").exists() && !Path::new("/etc/toolmaster/site.applied").exists());
    assert!(!new.server.tree().has("docker-compose.yml"));
    let kept = new.server.tree().sub("restored-settings");
    assert_eq!(mode(kept.path("")), 0o700);
    for name in [
        "etc/toolmaster/ingest.d/10-tell",
        "etc/toolmaster/site.applied",
        "server/docker-compose.yml",
        "etc/default/toolmaster",
    ] {
        assert!(kept.has(name), "{name}: {}{run}", kept.snapshot());
    }
    let line = run.stderr.lines().find(|line| line.contains("not put in their place")).unwrap();
    assert!(line.contains("10-tell") && line.contains("docker-compose.yml") && !line.contains("etc/default"), "{line}");
    // No secret was in the backup.
    assert!(!kept.has("etc/toolmaster/postgres-password") && !new.server.tree().has(".toolmaster/enroll-key"));
}

#[test]
fn settings_that_make_no_sense_are_told_of_and_the_data_come_back() {
    let one = machine();
    let old = with_settings();
    fs::write(DEFAULTS, "export A=b\n").unwrap();
    fs::write(CONFIG, "{\"pi_zero_host\": ").unwrap();
    fs::write("/etc/toolmaster/large", vec![b'x'; 600_000]).unwrap();
    old.snapshot();
    old.stick.edit(|root| made(root.remove("RESTORE")));
    done(old.backup(), "backup export completed");
    consent(&old.stick);
    drop(one);
    let _one = machine();
    let new = fresh();
    let run = recovers(&new, &old);
    for words in ["the old /etc/default/toolmaster is not brought back: line 1", "config.json is not brought back"] {
        assert!(run.stderr.contains(words), "{words}: {run}");
    }
    assert_eq!(fs::read_to_string(DEFAULTS).unwrap(), include_str!("../config/toolmaster.default"));
    assert_eq!(files(&old.server), files(&new.server));
}

#[test]
fn the_identity_goes_from_one_server_to_its_successor() {
    let one = machine();
    let old = with_settings();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("identity.json");
    let name = file.to_str().unwrap();
    make_keys();
    let keys = |path: &str| fs::read_to_string(path).unwrap();
    let (host, host_pub) = (keys("/etc/ssh/ssh_host_ed25519_key"), keys("/etc/ssh/ssh_host_ed25519_key.pub"));
    let zero = keys("/run/root/.ssh/id_ed25519");
    let run = old.call(&["export-identity", name]).finish();
    run.ended(0);
    assert!(run.stderr.contains("enroll-key") && mode(&file) == 0o600, "{run}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!run.stderr.contains("07070707") && text.contains("07070707"), "keys are in the file alone");
    let again = old.call(&["export-identity", name]).fails(2);
    assert!(again.stderr.contains("is there already") && fs::read_to_string(&file).unwrap() == text);
    drop(one);

    let _one = machine();
    let new = fresh();
    fs::write("/etc/ssh/ssh_host_ed25519_key", "new host").unwrap();
    new.call(&["import-identity", name]).finish().ended(0);
    assert_eq!(id(&old.server), id(&new.server));
    let key = new.server.path(".toolmaster/enroll-key");
    assert_eq!((fs::read(&key).unwrap(), mode(&key)), (vec![7; 32], 0o600));
    for (path, text, bits) in [
        ("/etc/ssh/ssh_host_ed25519_key", &*host, 0o600),
        ("/etc/ssh/ssh_host_ed25519_key.pub", &host_pub, 0o644),
        ("/etc/ssh/ssh_host_ed25519_key.before-import", "new host", 0o644),
        ("/run/root/.ssh/id_ed25519", &zero, 0o600),
        ("/run/root/.ssh/known_hosts", "k", 0o644),
    ] {
        assert_eq!((fs::read_to_string(path).unwrap(), mode(path)), (text.to_owned(), bits), "{path}");
    }
    // Then the enrolment is asked for as before, and the stick with the consent is not refused.
    let run = recovers(&new, &old);
    assert!(run.stderr.contains("/etc/default/toolmaster: REQUIRE_ENROLLED=1"), "{run}");
    // Again it changes nothing; the server holds data now, but it is the same one.
    let run = new.call(&["import-identity", name]).finish();
    run.ended(0);
    assert!(!run.stderr.contains("put in its place"), "{run}");
    // Another server that holds data keeps its own.
    let other = Site::new();
    let before = other.server.tree().snapshot();
    other.call(&["import-identity", name]).fails(2);
    assert!(!other.server.tree().has(".toolmaster/enroll-key"), "{before}");
    for wrong in ["", "{}", &text[..text.len() / 2], &text.replace("identity 2", "identity 3")] {
        fs::write(dir.path().join("wrong"), wrong).unwrap();
        fresh().call(&["import-identity", dir.path().join("wrong").to_str().unwrap()]).fails(2);
    }
}

/// A server's keys for ssh, and one of root's with a passphrase.
fn make_keys() {
    for (kind, path, phrase) in [
        ("ed25519", "/etc/ssh/ssh_host_ed25519_key", ""),
        ("ecdsa", "/etc/ssh/ssh_host_ecdsa_key", ""),
        ("ed25519", "/run/root/.ssh/id_ed25519", "secret"),
    ] {
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        tool("ssh-keygen", &["-q", "-t", kind, "-N", phrase, "-f", path]);
    }
    Tree::at(SSH).file("known_hosts", "k", ago(60));
}

/// Whatever letter of the file is another: all of it is taken or nothing.
#[test]
fn a_damaged_identity_changes_nothing() {
    let one = machine();
    let dir = tempfile::tempdir().unwrap();
    make_keys();
    let old = with_settings();
    let file = dir.path().join("safe");
    old.call(&["export-identity", file.to_str().unwrap()]).finish().ended(0);
    let text = fs::read_to_string(&file).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let with = |key: &str, value: &str| {
        let mut json = json.clone();
        json["keys"][key] = value.into();
        json
    };
    let first = |mut json: serde_json::Value| {
        json["format"] = "toolmaster identity 1".into();
        json.as_object_mut().unwrap().remove("sha256");
        json.to_string()
    };
    let host = json["keys"]["ssh_host_ed25519_key"].as_str().unwrap();
    let flip =
        |at: usize| format!("{}{}{}", &host[..at], if &host[at..=at] == "3" { "2" } else { "3" }, &host[at + 1..]);
    drop(one);

    let _one = machine();
    fs::write("/etc/ssh/ssh_host_ed25519_key", "new host").unwrap();
    let new = fresh();
    let bad = dir.path().join("bad");
    let import = |content: &str| {
        fs::write(&bad, content).unwrap();
        new.call(&["import-identity", bad.to_str().unwrap()])
    };
    let before = (new.server.tree().snapshot(), fs::read_dir("/etc/ssh").unwrap().count());
    let mut cases: Vec<String> = (0..text.len().saturating_sub(2))
        .step_by(199)
        .map(|at| {
            let other = if text.as_bytes()[at] == b'5' { "6" } else { "5" };
            format!("{}{other}{}", &text[..at], &text[at + 1..])
        })
        .collect();
    let with_checksum = cases.len();
    // In the first version's form each key has only itself.
    cases.extend([
        first(with("enroll-key", "0707")),
        first(with("ssh_host_ed25519_key", &flip(401))),
        first(with("ssh_host_ed25519_key", &flip(300))),
        first(with("ssh_host_ed25519_key", &format!("{}z", &host[1..]))),
        first(with("ssh_host_ed25519_key", json["keys"]["ssh_host_ecdsa_key"].as_str().unwrap())),
        first(with("ssh_host_ed25519_key.pub", "00")),
        first(with("unknown", "00")),
    ]);
    for (number, content) in cases.iter().enumerate() {
        let run = import(content).fails(2);
        assert!(run.stderr.contains("nothing was changed"), "{number}: {run}");
        assert!(number < with_checksum || run.stderr.contains("damaged"), "{number}: {run}");
        assert_eq!(fs::read_to_string("/etc/ssh/ssh_host_ed25519_key").unwrap(), "new host", "{number}");
        assert_eq!((new.server.tree().snapshot(), fs::read_dir("/etc/ssh").unwrap().count()), before, "{number}");
    }
    assert!(!Path::new("/run/toolmaster/identity-check").exists());
    // A sound one of the first version is taken, and that it has no checksum is told.
    let run = import(&first(json.clone())).finish();
    run.ended(0);
    assert!(run.stderr.contains("has no checksum") && id(&new.server) == id(&old.server), "{run}");
    // A key that is broken here stays out of the safe.
    fs::write("/etc/ssh/ssh_host_ed25519_key", "broken").unwrap();
    let run = new.call(&["export-identity", dir.path().join("next").to_str().unwrap()]).fails(1);
    assert!(
        run.stderr.contains("the key ssh_host_ed25519_key of this server is damaged")
            && !dir.path().join("next").exists(),
        "{run}"
    );
}

fn provision(server: &Server) -> Run {
    let run = server.call(&["provision"]).finish();
    run.ended(0);
    run
}

#[test]
fn the_key_for_the_pi_zero_is_made_once() {
    let _one = machine();
    let server = Server::new();
    let run = provision(&server);
    let ssh = Tree::at(SSH);
    let public = ssh.text("id_ed25519.pub");
    assert!(public.starts_with("ssh-ed25519 ") && run.stderr.contains(public.trim()), "{run}");
    assert_eq!((mode(SSH), mode(ssh.path("id_ed25519"))), (0o700, 0o600));
    assert!(!run.stderr.contains("PRIVATE") && !ssh.has(".toolmaster-key.tmp"));
    let derived = tool("ssh-keygen", &["-y", "-f", ssh.path("id_ed25519").to_str().unwrap()]);
    assert_eq!(derived.split(' ').nth(1).unwrap().trim(), public.split(' ').nth(1).unwrap());
    let private = ssh.text("id_ed25519");
    // It stays; a public half that was lost is made anew.
    ssh.remove("id_ed25519.pub");
    ssh.file(".toolmaster-key.tmp", "half", ago(60));
    let run = provision(&server);
    assert_eq!(ssh.text("id_ed25519"), private);
    assert!(
        ssh.text("id_ed25519.pub").contains(public.split(' ').nth(1).unwrap())
            && run.stderr.contains("the key for the Pi Zero: ")
    );
    fs::set_permissions(ssh.path("id_ed25519"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(provision(&server).stderr.contains("because others may read it"));
    // An operator's own key is enough.
    for (name, said) in [("id_rsa", "a key of its own"), ("id_ed25519.pub", "has no private half")] {
        fs::remove_dir_all(SSH).unwrap();
        ssh.file(name, "own", ago(60));
        assert!(provision(&server).stderr.contains(said), "{name}");
        assert!(!ssh.has("id_ed25519") && ssh.text(name) == "own");
    }
}
