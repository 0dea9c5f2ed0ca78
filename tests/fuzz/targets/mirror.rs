//! Any configuration of a Pi Zero, any stream of rows: no panic, what is changed reads as it should and all else stays, and no
//! stream that is not whole is compared.

#![no_main]

use libfuzzer_sys::fuzz_target;
use toolmaster::mirror::compare::{END, compare};
use toolmaster::mirror::keys::{Change, change, look};
use toolmaster::settings::mirror::Mirror;

fuzz_target!(|input: &[u8]| {
    let _ = Mirror::parse(input, "config.json").map(|mirror| (mirror.login().is_ok(), mirror.databases().is_ok()));
    if let Ok(text) = std::str::from_utf8(input) {
        keys(text);
    }
    rows(input);
});

fn keys(text: &str) {
    let changes = || [("mirror_mode", Change::Flag(true)), ("mirror_endpoint", Change::Text("http://a"))];
    let Ok(changed) = change(text, &changes()) else { return };
    let on = changed.as_deref().unwrap_or(text);
    assert_eq!(change(on, &changes()), Ok(None), "once more changes nothing");
    assert_eq!(look(on, ["mirror_mode", "mirror_mode"]).unwrap(), [Some("true"); 2]);
    // What a reader of values sees is the same but for the two keys; it may refuse numbers beyond its own range.
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    if let (Some(serde_json::Value::Object(mut before)), Some(serde_json::Value::Object(mut after))) =
        (value(text), value(on))
    {
        for key in ["mirror_mode", "mirror_endpoint"] {
            before.remove(key);
            after.remove(key);
        }
        assert_eq!(before, after);
    }
}

fn rows(input: &[u8]) {
    let middle = input.len() / 2;
    let (a, b) = input.split_at(middle);
    let mut told = 0;
    let end = format!("{END}\n");
    for (a, b) in [(a, b), (a, a)] {
        if let Ok(counts) = compare(a, b, &mut |difference| {
            told += 1;
            let mut json = Vec::new();
            difference.write(&mut json).unwrap();
            assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        }) {
            assert!(a.ends_with(end.as_bytes()) && b.ends_with(end.as_bytes()));
            assert!(counts.different <= counts.primary + counts.mirror && counts.different <= told);
        }
    }
}
