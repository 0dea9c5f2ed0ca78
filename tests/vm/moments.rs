//! When a job is disturbed. One machine is faster than another, and slower beside other work: so the moments are taken by chance from a span that
//! follows what the last ones met, between a job that had not begun and one that was done.

use std::time::Duration;

use crate::replay::Random;

/// Less than this is not told apart; seconds.
const LEAST: f64 = 0.5;

/// The span that moments are taken from, seconds.
pub struct Moments {
    from: f64,
    to: f64,
}

impl Moments {
    /// From at once to so many seconds.
    pub fn until(to: f64) -> Moments {
        Moments { from: 0.0, to }
    }

    /// One of them.
    pub fn next(&self, random: &mut Random) -> Duration {
        Duration::from_secs_f64(self.from + random.chance() * (self.to - self.from))
    }

    /// How far the job was at a moment moves the span's ends; a job that was cut off widens it, so that beginnings and ends are met too.
    pub fn learn(&mut self, moment: Duration, reached: &str) {
        let moment = moment.as_secs_f64();
        match reached {
            "done" => self.to = (self.to + moment) / 2.0,
            "not begun" => self.from = (self.from + moment) / 2.0,
            _ => (self.from, self.to) = (self.from * 0.9, self.to * 1.1),
        }
        self.to = self.to.max(self.from + LEAST);
    }
}
