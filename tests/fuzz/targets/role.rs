//! Any role file: no panic, and only the word itself is taken.

#![no_main]

use libfuzzer_sys::fuzz_target;
use toolmaster::stick::role::{Role, word};

fuzz_target!(|input: &[u8]| {
    let Some(found) = word(input) else { return };
    for role in [Role::Ingest, Role::Dist, Role::Backup] {
        if found == role.word() {
            let text = std::str::from_utf8(input).unwrap();
            let rest = text.trim_start_matches('\u{feff}').trim();
            assert_eq!(rest, role.word());
        }
    }
});
