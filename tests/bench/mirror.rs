//! `mirrorctl enable` and `disable` beside one login: a real sshd on this machine. scripts/bench runs it.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a benchmark")]

#[path = "../common/mod.rs"]
mod common;

use std::process::Command;
use std::time::Instant;

use common::pi_zero::Site;

const ROUNDS: usize = 9;

fn main() {
    let site = Site::new();
    let mut of_login = Vec::new();
    let mut ratios = [Vec::new(), Vec::new()];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (index, word) in ["enable", "disable"].into_iter().enumerate() {
            let login = seconds(|| {
                let done = Command::new("ssh").args(["-o", "BatchMode=yes", &site.login(), "true"]).status().unwrap();
                assert!(done.success(), "{done}");
            });
            let ours = seconds(|| {
                site.mirrorctl(word).finish().ended(0);
            });
            of_login.push(login);
            times[index].push(ours);
            ratios[index].push(ours / login);
        }
    }
    let login = median(&mut of_login);
    for (index, word) in ["enable", "disable"].into_iter().enumerate() {
        let (ours, ratio) = (median(&mut times[index]), median(&mut ratios[index]));
        let (least, most) = (ratios[index][0], ratios[index][ROUNDS - 1]);
        println!("BENCH|mirrorctl {word}|{ours:.3} s|one ssh login: {login:.3} s|{ratio:.3}|2.2|{least:.3}–{most:.3}");
    }
}

fn seconds(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
