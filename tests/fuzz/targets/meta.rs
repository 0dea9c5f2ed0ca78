//! Any `meta.json`: no panic, and no time outside the bounds ever decides.

#![no_main]

use libfuzzer_sys::fuzz_target;
use toolmaster::clock::{Belief, DAY, YEAR_2000};
use toolmaster::dataset::meta::{Meta, parse, seconds};

const NOW: i64 = 1_790_000_000;

fuzz_target!(|input: &[u8]| {
    let keys = parse(input).unwrap_or_default();
    let claimed = keys.get("updated_at").and_then(seconds);
    let belief = Belief::new(NOW, NOW - 5, NOW - 5, false);
    for mtime in [None, claimed, Some(i64::MAX), Some(i64::MIN)] {
        let meta = Meta { claimed, mtime, keys: keys.clone() };
        let time = meta.time(claimed.unwrap_or(7), &belief);
        assert!(time == 0 || (YEAR_2000..=NOW + DAY).contains(&time));
        let next = belief.next(&[time]);
        assert!(next > time && next > NOW);
        let written = meta.with_time(next);
        let again = parse(&written).expect("what is written can be read");
        assert_eq!(again.get("updated_at").and_then(seconds), Some(next));
    }
});
