//! What stands in two places is the same in both: names and their shims, cross's two configurations.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

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

#[test]
fn the_mirror_s_unit_runs_the_comparison() {
    let start = read("systemd/mirror-compare.service");
    let start = start.lines().find_map(|line| line.strip_prefix("ExecStart=toolmaster ")).unwrap();
    assert!(toolmaster::NAMES.iter().any(|(_, command)| *command == start), "{start}");
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
