//! Any environment: no panic, and what is accepted is what the rest of the program counts on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use toolmaster::settings::pg_uri::PgUri;
use toolmaster::settings::{Settings, env_file};

fuzz_target!(|input: &[u8]| {
    dot_env(input);
    database(input);
    environment(input);
});

fn environment(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let pairs: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let var = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let Ok(settings) = Settings::read(var) else { return };
    for path in [&settings.server_root, &settings.master_dir, &settings.doc_dir, &settings.log_dir] {
        assert!(path.is_absolute() && path.file_name().is_some());
        assert!(!path.components().any(|part| part.as_os_str() == ".."));
    }
    for label in [&settings.labels.ingest, &settings.labels.dist, &settings.labels.backup] {
        assert!(!label.is_empty() && label.len() <= 16);
    }
    assert!((1..=100).contains(&settings.max_retry));
}

fn dot_env(input: &[u8]) {
    for (name, value) in env_file::parse(input).unwrap_or_default() {
        assert!(!name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_'));
        assert!(!value.chars().any(char::is_control));
    }
}

fn database(input: &[u8]) {
    let Ok(uri) = PgUri::parse(&String::from_utf8_lossy(input)) else { return };
    for (name, value) in uri.environment() {
        assert!(name.starts_with("PG") && !value.contains('\0'));
    }
    assert!(!uri.user().is_empty() && !uri.host().is_empty() && !uri.database().is_empty() && uri.port() > 0);
}
