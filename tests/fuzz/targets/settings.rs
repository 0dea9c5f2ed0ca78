//! Any environment: no panic, and what is accepted is what the rest of the program counts on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use toolmaster::settings::Settings;

fuzz_target!(|input: &[u8]| {
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
});
