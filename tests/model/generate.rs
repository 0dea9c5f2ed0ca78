//! Makes histories from a number: the same number gives the same history, whatever the time.

use crate::common::DAY;
use crate::history::History;
use crate::media::Kind;
use crate::steps::{Act, At, Consent, Disturbed, Edit, Meta, Step, Timed, Visit};

/// Which kinds of steps there are, by the names that `TOOLMASTER_MODEL_STEPS` takes.
pub const GROUPS: [&str; 15] = [
    "server",
    "meta",
    "clock",
    "pulled",
    "late",
    "kills",
    "clones",
    "images",
    "manifest",
    "roles",
    "droppings",
    "undo",
    "dist",
    "two",
    "consent",
];

/// Numbers by chance (splitmix64).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// True once in so many.
    fn once_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// What histories are made of.
pub struct Generator<'a> {
    pub groups: &'a [String],
    pub kinds: &'a [Kind],
}

impl Generator<'_> {
    fn has(&self, group: &str) -> bool {
        self.groups.iter().any(|name| name == group)
    }

    /// The history of that number.
    pub fn history(&self, seed: u64) -> History {
        let mut chance = Chance::new(seed);
        let chance = &mut chance;
        let servers = if self.has("two") && chance.once_in(4) { 2 } else { 1 };
        let kinds: Vec<Kind> = (0..1 + chance.below(2)).map(|_| chance.one_of(self.kinds)).collect();
        let mut steps = vec![self.filled(chance, At::Stick(0), 0)];
        if !chance.once_in(4) {
            steps.push(self.filled(chance, At::Stick(0), 1));
        }
        steps.push(self.visit(chance, Some(0)));
        for stick in 1..kinds.len() {
            steps.push(self.visit(chance, Some(stick)));
        }
        for _ in 0..4 + chance.below(11) {
            let step = self.step(chance);
            steps.push(timed(chance, step));
        }
        History { servers, kinds, steps }.resolved()
    }

    /// The first files on a stick.
    fn filled(&self, chance: &mut Chance, at: At, dataset: usize) -> Timed {
        let acts = (0..2 + chance.below(4)).map(|path| Act::Write { path, longer: false }).collect();
        timed(chance, Step::Edit(Edit { at, dataset, acts, meta: Meta::Set, clock: 0, kept: None, pulled: false }))
    }

    /// An undisturbed visit.
    fn visit(&self, chance: &mut Chance, stick: Option<usize>) -> Timed {
        let stick = stick.unwrap_or_else(|| chance.below(5));
        let visit = Visit::plain(stick);
        timed(chance, Step::Ingest(visit))
    }

    fn step(&self, chance: &mut Chance) -> Step {
        let stick = chance.below(5);
        let server = chance.below(2);
        loop {
            let (group, step) = match chance.below(100) {
                0..30 => ("", Step::Edit(self.edit(chance))),
                30..66 => ("", Step::Ingest(self.any_visit(chance))),
                66..71 => ("clones", Step::Clone { stick }),
                71..74 => ("images", Step::TakeImage { stick }),
                74..78 => ("images", Step::WriteBack { stick }),
                78..82 => ("manifest", Step::Manifest { stick, torn: chance.once_in(2) }),
                82 => ("roles", Step::WipeRole { stick }),
                83 => ("roles", Step::MakeRole { stick }),
                84 => ("roles", Step::Reformat { stick }),
                85..88 => ("droppings", self.dropping(chance)),
                88..92 => ("undo", Step::UndoPut { server }),
                92 => ("undo", Step::Acknowledge { server }),
                93..95 => ("dist", Step::Export { server, renamed: chance.once_in(2).then(|| chance.below(4)) }),
                95 => ("dist", Step::RotDist { dataset: chance.below(2), path: chance.below(4) }),
                96 => ("dist", Step::EditDist { dataset: chance.below(2), path: chance.below(4) }),
                _ => ("dist", Step::Sync { checksum: chance.once_in(2) }),
            };
            if group.is_empty() || self.has(group) {
                return step;
            }
        }
    }

    fn edit(&self, chance: &mut Chance) -> Edit {
        let on_server = self.has("server") && chance.once_in(3);
        let at = if on_server { At::Server(chance.below(2)) } else { At::Stick(chance.below(5)) };
        let acts = (0..1 + chance.below(3)).map(|_| self.act(chance)).collect();
        let meta = match chance.below(10) {
            0..5 => Meta::Untouched,
            8 if self.has("meta") => Meta::Garbage,
            9 if self.has("meta") => Meta::Removed,
            _ => Meta::Set,
        };
        let off = [-30 * DAY, -DAY, -3600, -120, 120, 3600, DAY / 2, 3 * DAY];
        let clock = if self.has("clock") && chance.once_in(3) { chance.one_of(&off) } else { 0 };
        let kept = chance.once_in(4).then(|| chance.one_of(&[600, 7200, 2 * DAY, 100 * DAY]));
        let pulled = !on_server && self.has("pulled") && chance.once_in(5);
        Edit { at, dataset: usize::from(chance.once_in(3)), acts, meta, clock, kept, pulled }
    }

    fn act(&self, chance: &mut Chance) -> Act {
        match chance.below(40) {
            0..22 => Act::Write { path: chance.below(8), longer: chance.once_in(3) },
            22..28 => Act::Delete { path: chance.below(8) },
            28..35 => Act::Rename { from: chance.below(8), to: chance.below(8) },
            35 | 36 => Act::Link { from: chance.below(6), to: chance.below(6) },
            37 | 38 => Act::Empty,
            _ => Act::RemoveDataset,
        }
    }

    fn any_visit(&self, chance: &mut Chance) -> Visit {
        let consent = match chance.below(16) {
            0 if self.has("consent") => Consent::File,
            1 if self.has("consent") => Consent::Force,
            _ => Consent::None,
        };
        let instant = chance.below(1200) as u64;
        let disturbed = match chance.below(16) {
            0 | 1 if self.has("late") => Disturbed::Late { instant, dataset: chance.below(2), path: chance.below(6) },
            2 if self.has("kills") => Disturbed::Killed { instant },
            3 if self.has("kills") => Disturbed::Pulled { instant },
            4 if self.has("kills") => Disturbed::Unflushed { instant },
            _ => Disturbed::Not,
        };
        Visit {
            stick: chance.below(5),
            server: chance.below(2),
            consent,
            checksum: chance.once_in(6),
            rehearsed: chance.once_in(5),
            disturbed,
        }
    }

    fn dropping(&self, chance: &mut Chance) -> Step {
        let on_server = chance.once_in(3);
        let at = if on_server { At::Server(chance.below(2)) } else { At::Stick(chance.below(5)) };
        // A server's root is nobody's share.
        Step::Dropping { at, dataset: chance.below(if on_server { 2 } else { 3 }), which: chance.below(8) }
    }
}

fn timed(chance: &mut Chance, step: Step) -> Timed {
    Timed { after: chance.one_of(&[60, 120, 1800, 7200, 7200, DAY, 3 * DAY]), step }
}
