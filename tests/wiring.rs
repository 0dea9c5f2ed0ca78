//! What stands in two places is the same in both: names and their shims, cross's two configurations.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A TOML file's lines without comments and blank lines.
fn settings(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn cross_is_told_the_same_twice() {
    const PREFIX: &str = "[package.metadata.cross.";
    let manifest = read("Cargo.toml");
    let mut inside = false;
    let mut repeated = Vec::new();
    for line in settings(&manifest) {
        inside = if line.starts_with('[') { line.starts_with(PREFIX) } else { inside };
        if inside {
            repeated.push(line.replacen(PREFIX, "[", 1));
        }
    }
    assert_eq!(settings(&read("cross.toml")), repeated);
    assert!(!repeated.is_empty());
}

/// cross reads the lower-case name through this variable only, and warns instead of failing without it.
#[test]
fn whoever_calls_cross_names_its_configuration() {
    let mut calls = 0;
    for script in scripts() {
        for line in read(&script).lines().filter(|line| !line.trim_start().starts_with('#')) {
            if line.contains("cross build") || line.contains("cross test") {
                assert!(line.contains("CROSS_CONFIG="), "{script}: {line}");
                calls += 1;
            }
        }
    }
    assert_eq!(calls, 1);
}

#[test]
fn the_names_on_the_pi_are_the_program_s() {
    let mut expected: Vec<(String, String)> = toolmaster::NAMES
        .iter()
        .map(|(name, command)| {
            let kind = if name.starts_with("tool-") { "sh" } else { "py" };
            (format!("scripts/{name}.{kind}"), (*command).to_owned())
        })
        .collect();
    expected.sort();
    let shims: Vec<(String, String)> = scripts()
        .into_iter()
        .filter(|script| script.starts_with("scripts/tool-") || script.ends_with(".py"))
        .map(|script| (script.clone(), shim_command(&script)))
        .collect();
    assert_eq!(shims, expected);
}

/// The sticks' kinds: the unit that the rule wants for a label runs the command of the role with that label.
#[test]
fn a_label_s_rule_wants_the_unit_of_its_role() {
    use toolmaster::stick::role::Role;
    let labels = toolmaster::settings::Settings::read(|_| None).unwrap().labels;
    let rules = read("udev/90-toolmaster.rules");
    let mut every = Vec::new();
    for (role, command) in [(Role::Ingest, "ingest"), (Role::Dist, "dist-export"), (Role::Backup, "backup")] {
        let (label, unit) = (role.label(&labels), role.unit());
        let rule = format!(
            "ENV{{ID_FS_USAGE}}==\"filesystem\", ENV{{ID_FS_LABEL}}==\"{label}\", \
             ENV{{SYSTEMD_WANTS}}+=\"{unit}@%k.service\", GOTO=\"toolmaster_end\""
        );
        assert!(rules.lines().any(|line| line == rule), "{rule}");
        let unit = read(&format!("systemd/{unit}@.service"));
        let start = format!("ExecStart=/usr/bin/toolmaster {command} --device /dev/%I");
        assert!(unit.lines().any(|line| line.strip_prefix(&*start).is_some_and(|rest| !rest.starts_with('-'))));
        every.push(label.to_owned());
    }
    assert!(rules.contains(&format!("ENV{{ID_FS_LABEL}}==\"{}\", ENV{{SYSTEMD_MOUNT", every.join("|"))));
}

/// Each unit runs a command that the program has, and gets the journal identifier that the handbook greps.
#[test]
fn the_units_run_the_program_s_commands() {
    let mut runs = 0;
    for (unit, text) in units() {
        for line in text.lines().filter(|line| line.starts_with("Exec") && line.contains("/usr/bin/toolmaster")) {
            let (_, words) = line.split_once("/usr/bin/toolmaster ").unwrap();
            let mut words: Vec<&str> = words.split_whitespace().take_while(|word| !word.starts_with("/dev")).collect();
            words.retain(|word| !word.starts_with('-') && !word.ends_with('h'));
            let help = Command::new(env!("CARGO_BIN_EXE_toolmaster")).args(&words).arg("--help").output().unwrap();
            assert!(help.status.success(), "{unit}: {line}");
            if let Some((name, _)) = toolmaster::NAMES.iter().find(|(_, command)| words == [*command]) {
                assert!(text.contains(&format!("\nSyslogIdentifier={name}\n")), "{unit}");
            }
            runs += 1;
        }
    }
    assert!(runs >= 10, "{runs}");
}

/// What the presets and the package's scripts name is a unit that can be enabled, and each such unit is named.
#[test]
fn what_is_enabled_is_there_and_the_other_way_round() {
    let mut installable: Vec<String> =
        units().filter(|(_, text)| text.contains("\n[Install]\n")).map(|(unit, _)| unit).collect();
    installable.sort();
    let preset = read("systemd/80-toolmaster.preset");
    let mut named: Vec<String> = preset
        .lines()
        .filter_map(|line| line.split_once(' ').map(|(_, unit)| unit.to_owned()))
        .filter(|unit| path(&format!("systemd/{unit}")).exists())
        .collect();
    named.sort();
    assert_eq!(named, installable);
    let enabled: Vec<&str> = preset.lines().filter_map(|line| line.strip_prefix("enable ")).collect();
    assert!(read("config/maintainer/postinst").contains(&format!("UNITS='{}'", enabled.join(" "))));
}

/// The units' names and texts.
fn units() -> impl Iterator<Item = (String, String)> {
    let names = fs::read_dir(path("systemd")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| !name.ends_with(".preset") && !name.ends_with(".conf"))
        .map(|name| (name.clone(), read(&format!("systemd/{name}"))))
}

/// The command that a shim calls; it must be the two lines that the handbook copies around, executable.
fn shim_command(script: &str) -> String {
    let text = read(script);
    let command = text
        .strip_prefix("#!/bin/sh\nexec toolmaster ")
        .and_then(|rest| rest.strip_suffix(" \"$@\"\n"))
        .unwrap_or_else(|| panic!("{script} is not a two-line shim: {text}"));
    assert_eq!(fs::metadata(path(script)).unwrap().permissions().mode() & 0o777, 0o755, "{script}");
    command.to_owned()
}

/// The configuration that an operator starts from holds every key of SPEC 9, and the program takes it.
#[test]
fn the_sample_of_the_mirror_s_configuration_is_one() {
    const KEYS: [&str; 14] = [
        "config_path",
        "log_dir",
        "log_retention_days",
        "mirror_db_uri",
        "mirror_endpoint",
        "mirror_service",
        "mirror_timer",
        "ok_counter_file",
        "pi_zero_host",
        "pi_zero_service",
        "primary_db_uri",
        "primary_endpoint",
        "ssh_user",
        "status_dir",
    ];
    let text = read("config/mirrorctl-config.sample.json");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, KEYS);
    let mirror = toolmaster::settings::mirror::Mirror::parse(text.as_bytes(), "sample").unwrap();
    assert!(mirror.login().is_ok() && mirror.mirror_endpoint().is_ok() && mirror.databases().is_ok());
    assert!(mirror.primary_endpoint.is_some());
    for unit in [&mirror.timer, &mirror.service] {
        assert!(path("systemd").join(unit).exists(), "{unit}");
    }
}

/// The files in `scripts/`, in name order.
fn scripts() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path("scripts"))
        .unwrap()
        .map(|entry| format!("scripts/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    names.sort();
    names
}
