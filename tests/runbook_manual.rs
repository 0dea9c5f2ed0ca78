//! The handbook's manual way (3.2, 3.3) and its way back (4), typed as they stand there. `/etc`, `/usr/bin` and
//! `/usr/local` are this binary's own. No systemd and no udev run here: `systemctl` and `udevadm` are stand-ins that write
//! down what they are asked; `sudo` is one that just runs the command.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "runbook/document.rs"]
#[allow(dead_code, reason = "tests/runbook.rs uses the rest")]
mod document;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::Server;
use common::call::BINARY;
use document::{Kind, code};
use rustix::mount::MountFlags;
use tempfile::TempDir;
use toolmaster::NAMES;

const PLACES: [&str; 4] = ["/etc/systemd", "/etc/udev", "/usr/bin", "/usr/local"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Lays a layer of this binary's own over a directory.
fn own(place: &str) {
    let layers = PathBuf::from(format!("/run/own{}", place.replace('/', "-")));
    let [upper, work] = ["upper", "work"].map(|name| layers.join(name));
    fs::create_dir_all(&upper).unwrap();
    fs::create_dir_all(&work).unwrap();
    let data = format!("lowerdir={place},upperdir={},workdir={}", upper.display(), work.display());
    rustix::mount::mount("overlay", place, "overlay", MountFlags::empty(), &*CString::new(data).unwrap()).unwrap();
}

/// A checkout in which the program for the Pi is built (it is this machine's), and the stand-ins.
struct Checkout {
    dir: TempDir,
    server: Server,
}

impl Checkout {
    fn new() -> Checkout {
        let dir = tempfile::tempdir().unwrap();
        for name in ["scripts", "lib", "systemd", "udev", "config"] {
            symlink(root().join(name), dir.path().join(name)).unwrap();
        }
        let release = dir.path().join("target/aarch64-unknown-linux-musl/release");
        fs::create_dir_all(&release).unwrap();
        symlink(BINARY, release.join("toolmaster")).unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for (name, script) in [
            ("sudo", "exec \"$@\""),
            ("systemctl", "echo systemctl \"$@\" >> \"${0%/*}/asked\""),
            ("udevadm", "echo udevadm \"$@\" >> \"${0%/*}/asked\""),
        ] {
            fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Checkout { dir, server: Server::new() }
    }

    fn shell(&self, script: &str) -> Output {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.dir.path().join("bin").display());
        let mut command = Command::new("/bin/sh");
        command.args(["-euxc", script]).current_dir(self.dir.path());
        command.env("PATH", path).env("SERVER_ROOT", self.server.path("")).output().unwrap()
    }

    fn types(&self, script: &str) {
        let output = self.shell(script);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.dir.path().join("bin/asked")).unwrap_or_default()
    }
}

/// The command lines between a heading and the next, also those that are spans of a list.
fn commands_below(page: &str, heading: &str) -> String {
    let (_, section) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n#").next().unwrap();
    let typed = code(section).unwrap().into_iter().filter(|code| {
        let line = section.lines().nth(code.line - 1).unwrap();
        code.kind == Kind::Shell || line.contains(&format!(". `{}`", code.text))
    });
    typed.map(|code| code.text + "\n").collect()
}

/// What there is in the places: kinds, modes and contents.
fn everything() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = PLACES.iter().map(PathBuf::from).collect();
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let what = match metadata {
            ref link if link.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
            ref dir if dir.is_dir() => {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                "a directory".to_owned()
            }
            ref file => format!("{} bytes", file.len()),
        };
        found.insert(path, format!("{:o} {what}", metadata.permissions().mode()));
    }
    found
}

#[test]
fn what_the_manual_way_puts_there_works_and_its_way_back_takes_away() {
    for place in ["/usr/bin", "/usr/local"] {
        own(place);
    }
    for dir in ["/etc/systemd/system", "/etc/udev/rules.d", "/usr/local/lib"] {
        fs::create_dir_all(dir).unwrap();
    }
    let page = fs::read_to_string(root().join("RUNBOOK.md")).unwrap();
    let checkout = Checkout::new();
    let before = everything();

    checkout.types(&commands_below(&page, "### 3.2 systemd/udev テンプレート更新"));
    checkout.types(&commands_below(&page, "### 3.3 スクリプト配置"));
    let asked = checkout.asked();
    for line in [
        "systemctl daemon-reload",
        "systemctl enable --now tool-snapshot.timer",
        "udevadm control --reload",
        "udevadm trigger",
    ] {
        assert!(asked.lines().any(|asked| asked == line), "{line}: {asked}");
    }
    let by_hand = Path::new("/etc/systemd/system");
    for entry in fs::read_dir(root().join("systemd")).unwrap() {
        let path = entry.unwrap().path();
        let there = match path.extension().unwrap().to_str().unwrap() {
            "preset" => continue,
            "conf" if path.ends_with("docker.conf") => by_hand.join("docker.service.d/toolmaster.conf"),
            "conf" => by_hand.join("mnt-backup.mount.d/toolmaster.conf"),
            _ => by_hand.join(path.file_name().unwrap()),
        };
        assert_eq!(fs::read(there).unwrap(), fs::read(&path).unwrap(), "{path:?}");
    }
    assert!(Path::new("/etc/udev/rules.d/90-toolmaster.rules").is_file());
    for (name, command) in NAMES {
        let called = match name {
            "mirrorctl" => "mirrorctl".to_owned(),
            "mirror_compare" => "mirror_compare.py".to_owned(),
            script => format!("{script}.sh"),
        };
        let help = checkout.shell(&format!("{called} --help"));
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(text.starts_with(&format!("Usage: toolmaster {command} ")), "{name}: {text}");
    }
    checkout
        .types(". /usr/local/lib/toolmaster-usb.sh; command -v usb_log usb_mount_device usb_unmount usb_validate_role");
    assert!(checkout.server.path(".toolmaster/provisioned").is_file());

    checkout.types(&commands_below(&page, "**手で置いたものを消す**(3.2、3.3 を手で行った機械)"));
    let after = everything();
    let left: Vec<_> = after.iter().filter(|(path, what)| before.get(*path) != Some(*what)).collect();
    assert!(left.is_empty() && before.len() == after.len(), "{left:?}");
    assert!(checkout.server.path(".toolmaster/provisioned").is_file(), "the data stays");
    assert!(
        checkout
            .asked()
            .contains("systemctl disable --now tool-snapshot.timer tool-restore-drill.timer mirror-compare.timer\n")
    );
}
