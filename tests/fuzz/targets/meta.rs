//! Any `meta.json`: no panic, and no time outside the bounds ever decides.

#![no_main]

use libfuzzer_sys::fuzz_target;
use toolmaster::clock::{Belief, DAY, YEAR_2000};
use toolmaster::dataset::meta::{self, Meta};

const NOW: i64 = 1_790_000_000;

fuzz_target!(|input: &[u8]| {
    let claimed = meta::claimed(input);
    let belief = Belief::new(NOW, NOW - 5, NOW - 5, false);
    for mtime in [None, claimed, Some(i64::MAX), Some(i64::MIN)] {
        let meta = Meta { claimed, mtime, bytes: input.to_vec() };
        let time = meta.time(claimed.unwrap_or(7), &belief);
        assert!(time == 0 || (YEAR_2000..=NOW + DAY).contains(&time));
        let next = belief.next(&[time]);
        assert!(next > time && next > NOW);
        let written = meta.with_time(next);
        assert_eq!(meta::claimed(&written), Some(next), "what is written can be read");
    }
});
